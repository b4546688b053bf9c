"""Signals: what was there before comes back, and is what ends the work."""

import logging
import signal
import threading

import pytest

from smalti.system import stop as stops
from smalti.system.stop import Stop


@pytest.fixture(autouse=True)
def _handlers():
    """Those of before, whatever a test leaves."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(n) for n in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def handlers():
    return [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(
    ("number", "error", "code"), [(signal.SIGINT, KeyboardInterrupt, "go on so"),
                                  (signal.SIGTERM, SystemExit, 143)],
)  # fmt: skip
def test_at_once(number, error, code, caplog):
    before = handlers()
    with pytest.raises(error) as told, Stop("go on so"):
        assert handlers() != before
        signal.raise_signal(number)
    assert told.value.args == (code,)
    assert [r.getMessage() for r in caplog.records] == ["go on so"]
    assert caplog.records[0].levelno == logging.WARNING
    assert handlers() == before


def test_the_first_waits_and_the_second_does_not(monkeypatch):
    monkeypatch.setattr(stops, "_ECHO", 0.0)
    with Stop("so") as stop:
        stop.waits = True
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_echo_is_no_second_signal():
    """torchrun passes on what the terminal has sent to all processes."""
    with Stop("so") as stop:
        stop.waits = True
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.asked == signal.SIGINT


def test_a_handler_of_the_user_decides():
    came = []
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    with Stop("so"):
        signal.raise_signal(signal.SIGTERM)  # it returns, and the work goes on
    assert came == [signal.SIGTERM]


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and a shell's & do
    with Stop("so"):
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)


def test_in_a_thread_nothing_is_changed():
    seen, before = [], handlers()

    def work():
        with Stop("so"):
            seen.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
