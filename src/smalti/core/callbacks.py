"""What watches a fit: told of each epoch, and able to end a stage.

A callback is a function of a record, or an object with ``on_epoch(record)``; a logger is one of
them (see :mod:`smalti.core.loggers`). A record is a row of ``history_`` and two numbers more:

``{"stage": "train", "epoch": 0, "train_loss": 0.69, "val_loss": nan, "lr": 0.001, "seconds": 0.1}``

A sweep has no learning rate, and a stage without validation no ``val_loss``: they are NaN.
A callback that returns True ends the stage there, as early stopping does: the best weights stay,
and stages that follow are run. An object may have ``on_start(model)`` too, and ``on_end(done)``,
where ``done`` says whether the fit came to its end. Epochs that were made before a checkpoint are
not told again.

Of several processes the first alone calls them. They are an argument of a fit and no setting: what
they hold, such as an open file, is no part of a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from smalti.core.checkpoint import of_the_first
from smalti.core.loggers import NAMES, Logged, is_logger, named
from smalti.errors import InputError


class Callbacks:
    """All callbacks of one fit.

    Parameters
    ----------
    given
        One, several, or None.
    fabric
        The processes of the fit.
    """

    def __init__(self, given: Any = None, fabric: Any = None) -> None:
        several = isinstance(given, (list, tuple))
        self.given: list[Any] = [] if given is None else list(given) if several else [given]
        self.fabric = fabric
        self.called: list[Any] = []  # in the first process, once the fit has begun

    @contextmanager
    def watching(self, model: Any) -> Iterator[Callbacks]:
        """Tell of the beginning and of the end of a fit.

        Raises
        ------
        InputError
            If one is no callback, or fails; the fit then leaves nothing behind.
        """
        if not self.given:
            yield self
            return
        try:
            of_the_first(self.fabric, lambda: self._start(model))
            yield self
        except BaseException:
            for one in self.called:
                with suppress(Exception):  # why the fit ended is what is to be read
                    _hook(one, "on_end", False)
            raise
        of_the_first(self.fabric, lambda: self._tell_all("on_end", "at the end of the fit", True))

    def epoch(self, record: dict[str, Any]) -> bool:
        """Tell of an epoch; whether one asks to end the stage.

        Raises
        ------
        InputError
            If one fails; in all processes.
        """
        if not self.given:
            return False
        when = f"after epoch {record['epoch'] + 1} of stage {record['stage']!r}"
        return of_the_first(self.fabric, lambda: self._tell_all("on_epoch", when, record))

    def _start(self, model: Any) -> None:
        self.called = [_callback(one, model) for one in self.given]
        self._tell_all("on_start", "at the beginning of the fit", model)

    def _tell_all(self, hook: str, when: str, what: Any) -> bool:
        """Tell all, whatever the others say; whether one of them said True."""
        ends = False
        for one in self.called:
            try:
                # a record of its own: it may be kept, or written into
                answer = _hook(one, hook, dict(what) if hook == "on_epoch" else what)
            except Exception as error:
                name = getattr(one, "__qualname__", type(one).__name__)
                raise InputError(
                    f"callback {name} failed {when} ({type(error).__name__}: {error}), and the fit "
                    "with it: mend it, or leave it out of callbacks=."
                ) from error
            # the number of letters that a function has written is no wish to end
            ends |= isinstance(answer, (bool, np.bool_)) and bool(answer)
        return ends


def _hook(callback: Any, hook: str, what: Any) -> Any:
    """Call one hook of a callback, if it has it; a function is its own ``on_epoch``."""
    method = getattr(callback, hook, callback if hook == "on_epoch" else None)
    return None if method is None else method(what)


def _callback(given: Any, model: Any) -> Any:
    """What can be told of epochs, of what a user gave."""
    if isinstance(given, str):
        return named(given, model.name)
    if is_logger(given):
        return Logged(given)
    if hasattr(given, "on_epoch") or callable(given):
        return given
    raise InputError(
        f"callbacks={given!r} is no callback: give a function of a record, an object with "
        f"on_epoch(record), a logger of Lightning, or the name of one ({', '.join(NAMES)})."
    )
