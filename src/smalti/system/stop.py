"""Ctrl-C and SIGTERM: the work stops where it can be taken up again, and says how."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Any, Self

_log = logging.getLogger("smalti")

# torchrun passes on what the terminal has sent to all processes: so soon, it is the same Ctrl-C
_ECHO = 0.5  # seconds


class Stop:
    """What the two signals do in a ``with`` block: log how to go on, then what they did before.

    Where :attr:`waits` is set, the first is only noted in :attr:`asked`, and the work stops itself
    by :meth:`now`; a second one stops it at once. Signals are heeded in the main thread of a
    process only, and where they are not ignored; afterwards their handlers are those of before.

    Parameters
    ----------
    how
        How to go on, as it is said.
    """

    def __init__(self, how: str) -> None:
        self.how, self.waits, self.asked = how, False, 0
        self._before: dict[int, Any] = {}
        self._since = 0.0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                    self._before[number] = before
                    signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def _came(self, number: int, frame: Any) -> None:
        if not self.waits:
            self.now(number)
        elif not self.asked:
            self.asked, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > _ECHO:
            self.now(number)

    def now(self, number: int) -> None:
        """Stop by a signal.

        Returns only where a handler that the user had set does.

        Raises
        ------
        KeyboardInterrupt
            By Ctrl-C; its text says how to go on.
        SystemExit
            By SIGTERM, with the code that a shell gives to it.
        """
        before = self._before.get(number)
        self.__exit__()  # whatever comes now is none of ours
        self.asked, self.waits = 0, False
        _log.warning("%s", self.how)
        if number == signal.SIGINT and before in (None, signal.SIG_DFL, signal.default_int_handler):
            raise KeyboardInterrupt(self.how)
        if not callable(before):
            raise SystemExit(128 + number)
        before(number, None)
