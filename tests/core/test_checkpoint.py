"""A fit that goes on from its checkpoint: the same fit, by one process at a time, stopped at will.

That every method goes on, whenever it is killed, is part of the contract (``check_resumes``).
"""

import signal
from contextlib import contextmanager

import pytest
import torch

from smalti import mil
from smalti.contract.fitted import Killed, killed, same_fit
from smalti.core import training
from smalti.core.checkpoint import kept_until_saved
from smalti.core.stage import Sweep
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.system import stop as stops
from smalti.system.lock import lock
from smalti.system.progress import Progress

BAGS = planted_bags(30)


def model(**settings):
    return mil.ABMIL(**dict(widths=(8,), dropout=0.3, epochs=4, batch_size=8, validation=0.25,
                            accelerator="cpu", progress=False) | settings)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_between_its_last_checkpoint_and_its_end_it_does_not_train_on(seed, tmp_path):
    settings = dict(seed=seed, epochs=40, batch_size=12, patience=2, lr=0.05)
    whole = model(**settings).fit(BAGS)
    assert len(whole.history_) < 41  # it stopped early
    with pytest.raises(Killed), killed(None):
        model(**settings).fit(BAGS, checkpoint=tmp_path / "fit")
    same_fit(whole, model(**settings).fit(BAGS, checkpoint=tmp_path / "fit"))


class Between(mil.ABMIL):
    """Gradient, sweep, gradient, sweep: what one stage left is not the next one's."""

    name = "between"

    def plan(self, shape):
        first, *rest = super().plan(shape)
        move = Sweep(step=lambda net, _: net.head.bias.add_(0.1) and None, name="move")
        yield from (first, *rest, move, *rest, move)


@pytest.mark.slow
@pytest.mark.parametrize("writings", [1, 3, 9, 16, 30])
def test_a_plan_of_several_stages(writings, tmp_path):
    """Killed, gone on with, and killed again at the next two writings, in whatever stage."""
    method = Between(**model(patience=2).get_params())
    method.set_params(epochs=5)
    whole = method.fit(BAGS)
    for n in (writings, 1, 1):
        with pytest.raises(Killed), killed(n):
            Between(**method.get_params()).fit(BAGS, checkpoint=tmp_path / "fit")
    same_fit(whole, Between(**method.get_params()).fit(BAGS, checkpoint=tmp_path / "fit"))


def test_it_says_that_its_loss_was_falling_after_a_sweep_too(tmp_path):
    """MixMIL ends in a sweep; killed there, the gradient stage before is not run again."""
    settings = dict(epochs=3, lr=0.02, batch_size=16, draws=4, accelerator="cpu", progress=False)
    with pytest.warns(UserWarning, match="still falling"):
        assert not mil.MixMIL(**settings).fit(BAGS).converged_
    with pytest.raises(Killed), killed(None):
        mil.MixMIL(**settings).fit(BAGS, checkpoint=tmp_path / "fit")
    with pytest.warns(UserWarning, match="still falling"):
        assert not mil.MixMIL(**settings).fit(BAGS, checkpoint=tmp_path / "fit").converged_


# ---------------------------------------------------------------- whose it is


def test_a_second_fit_on_one_checkpoint_is_refused(tmp_path):
    path = tmp_path / "fit"
    with lock(tmp_path / "fit.fit"), pytest.raises(InputError, match="another fit is at work on"):
        model().fit(BAGS, checkpoint=path)  # a lock is of the one that opened it, not of a process
    model().fit(BAGS, checkpoint=path)
    assert list(tmp_path.iterdir()) == []


def test_another_method_of_the_same_settings_and_weights_is_refused(tmp_path):
    settings = dict(widths=(8,), epochs=2, accelerator="cpu", progress=False)
    with pytest.raises(Killed), killed(3):
        mil.MeanPooling(**settings).fit(BAGS, checkpoint=tmp_path / "fit")
    with pytest.raises(InputError, match="belongs to other data or settings"):
        mil.MaxPooling(**settings).fit(BAGS, checkpoint=tmp_path / "fit")


def test_the_bar_counts_the_epochs_that_were_made_before(tmp_path, monkeypatch):
    shown = []
    count = Progress.advance

    def counts(self, *args, **kwargs):
        count(self, *args, **kwargs)
        shown.append(self.done)

    monkeypatch.setattr(Progress, "advance", counts)
    settings = dict(batch_size=30, epochs=5)  # a step an epoch
    with pytest.raises(Killed), killed(8):  # two stages, and both savings of three epochs
        model(**settings).fit(BAGS, checkpoint=tmp_path / "fit")
    shown.clear()
    model(**settings).fit(BAGS, checkpoint=tmp_path / "fit")
    assert shown == [3, 4, 5]


@pytest.mark.parametrize("name", ["", "file/fit"])
def test_a_checkpoint_that_cannot_be_written_is_one_clear_error(name, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match="is a folder|cannot be written"):
        model().fit(BAGS, checkpoint=tmp_path / name)


# ---------------------------------------------------------------- signals


@contextmanager
def signalled(monkeypatch, at, *numbers):
    """Signals come in a step of a fit."""
    step, count = training.Runner.step, 0

    def signals(self, units):
        nonlocal count
        count += 1
        if count == at:
            for number in numbers:
                signal.raise_signal(number)
        return step(self, units)

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(training.Runner, "step", signals)
        yield
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_writes_the_checkpoint_and_says_how_to_go_on(
    number, error, tmp_path, monkeypatch, caplog
):
    path, whole = tmp_path / "fit", model().fit(BAGS)
    with signalled(monkeypatch, 5, number), pytest.raises(error) as told:
        model().fit(BAGS, checkpoint=path)
    said = f"stopped; the same goes on from here when it is run again: checkpoint={str(path)!r}"
    assert [r.getMessage() for r in caplog.records] == [said]
    assert told.value.args == ((said,) if error is KeyboardInterrupt else (143,))
    assert [p.name for p in tmp_path.iterdir()] == ["fit"]
    steps = []
    with monkeypatch.context() as patch:
        step = training.Runner.step
        patch.setattr(training.Runner, "step", lambda *a: steps.append(1) or step(*a))
        same_fit(whole, model().fit(BAGS, checkpoint=path))
    assert len(steps) == 4 * 3 - 5  # none is made twice


def test_a_second_signal_stops_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(stops, "_ECHO", 0.0)
    twice = signalled(monkeypatch, 5, signal.SIGINT, signal.SIGINT)
    with twice, pytest.raises(KeyboardInterrupt, match="at once; the same goes on from its last"):
        model().fit(BAGS, checkpoint=tmp_path / "fit")


def test_a_sweep_says_that_it_begins_anew(tmp_path, monkeypatch):
    settings = dict(widths=(8,), epochs=4, accelerator="cpu", progress=False)
    method, path = Between(**settings), tmp_path / "fit"
    whole, add = method.fit(BAGS), torch.Tensor.add_

    def stops_here(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return add(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "add_", stops_here)
        with pytest.raises(KeyboardInterrupt, match="in 'move', which begins anew when the same"):
            Between(**settings).fit(BAGS, checkpoint=path)
    same_fit(whole, Between(**settings).fit(BAGS, checkpoint=path))


def test_without_a_checkpoint_nothing_is_pretended(monkeypatch, caplog):
    with signalled(monkeypatch, 5, signal.SIGINT), pytest.raises(KeyboardInterrupt) as told:
        model().fit(BAGS)
    assert not told.value.args
    assert not caplog.records


def test_a_model_that_cannot_be_saved_has_its_checkpoint_still(tmp_path, full_disk):
    path, whole = tmp_path / "fit", model().fit(BAGS)
    said = r"File too large.*The fit is kept.*checkpoint='.*fit'\."
    with pytest.raises(InputError, match=said), kept_until_saved():
        fitted = model().fit(BAGS, checkpoint=path)
        with full_disk(500):
            fitted.save(tmp_path / "model")
    with kept_until_saved():
        fitted = model().fit(BAGS, checkpoint=path)  # goes on
        fitted.save(tmp_path / "model")
        assert path.exists()
    assert not path.exists()
    same_fit(whole, fitted)


def test_an_error_before_the_fit_has_ended_says_nothing_of_a_kept_one(tmp_path):
    with pytest.raises(InputError, match="folder: give the name of a file.$"), kept_until_saved():
        model().fit(BAGS, checkpoint=tmp_path)
