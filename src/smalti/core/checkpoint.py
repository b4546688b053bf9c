"""Checkpoints of a fit: one safetensors file, always whole, never a pickle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from smalti.core.fit import Fit, Place
from smalti.errors import InputError
from smalti.system.lock import lock
from smalti.system.stop import Stop
from smalti.system.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from smalti.core.runner import Runner

Answer = TypeVar("Answer")
_GOES_ON = "stopped; the same goes on from here when it is run again"
_ended: ContextVar[list[Checkpoint] | None] = ContextVar("ended", default=None)


@contextmanager
def kept_until_saved() -> Iterator[None]:
    """Keep the checkpoints of the fits in this block until it ends, and with an error beyond it.

    The model is saved in the block too: where that fails, as the disk is full, a verb of the
    command line has no model left to save again, and hours are lost but for the checkpoint.

    Raises
    ------
    InputError
        Of the block, with a word on how to go on.
    """
    ended: list[Checkpoint] = []
    token = _ended.set(ended)
    try:
        yield
    except InputError as error:
        if ended:
            raise InputError(
                f"{error} The fit is kept: the same goes on from its end when it is run again, "
                f"checkpoint={str(ended[-1].path)!r}."
            ) from error
        raise
    finally:
        _ended.reset(token)
    for checkpoint in ended:
        checkpoint.remove()


class Checkpoint:
    """Where a fit may be left and taken up again.

    Of several processes the first alone reads and writes the file. The others have from it what it
    read, so that all of them begin at one place.

    Parameters
    ----------
    path
        The file. Where it exists, the fit goes on from it.
    every
        Seconds between two savings.
    identity
        Digest of data and settings; a file of another fit is refused.
    """

    def __init__(self, path: str | Path, *, every: float = 60.0, identity: str = "") -> None:
        self.path, self.every, self.identity = Path(path), every, identity
        self.stop = Stop(self._how("stopped before the first step, and nothing is saved anew"))
        self._saved = time.monotonic()
        self._stage: dict[str, Any] = {"tensors": {}, "meta": {"stage": -1}}
        self._left: dict[str, Any] | None = None  # the place inside a stage, until it is taken up

    @contextmanager
    def held(self, fabric: Any) -> Iterator[None]:
        """Have the file alone for the length of a fit; remove it once that has ended.

        Inside of :func:`kept_until_saved`, it is removed with the end of that.

        Two fits that went on from one file would write it in turn, and one would remove it under
        the other.

        Raises
        ------
        InputError
            If another fit is at work on it, or it cannot be written there.
        """
        with ExitStack() as stack:
            of_the_first(fabric, lambda: self._take(stack))
            with self.stop:
                yield
            if not fabric.global_rank:
                ended = _ended.get()
                if ended is None:
                    self.remove()
                else:
                    ended.append(self)

    def _take(self, stack: ExitStack) -> None:
        if self.path.is_dir():
            raise InputError(f"checkpoint {self.path} is a folder: give the name of a file.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # not the file's own lock, which each writing of it takes
            own = self.path.with_name(f"{self.path.name}.fit")
            stack.enter_context(lock(own, busy=(
                f"another fit is at work on checkpoint {self.path}: wait until it has ended, or "
                "name another file."
            )))  # fmt: skip
        except OSError as error:
            raise InputError(
                f"checkpoint {self.path} cannot be written ({error.strerror}): choose another "
                "folder, or change its permissions."
            ) from error

    # ---------------------------------------------------------------- reading

    def begin(self, fit: Fit, fabric: Any) -> int:
        """Read the file if there is one; returns the stage to go on with.

        Raises
        ------
        InputError
            If the file belongs to another fit, is damaged, or is no safetensors file.
        """
        read = of_the_first(fabric, self._read)
        if read is None:
            return 0
        tensors, meta = read
        stage = {k: v for k, v in tensors.items() if k.startswith("stage.")}
        self._stage = {"tensors": stage, "meta": {"stage": int(meta["stage"])}}
        fit.network.load_state_dict(_under("stage.", tensors))
        fit.order.bit_generator.state = meta["order"]
        fit.noise.set_state(tensors["noise"])
        fit.history[:] = meta["history"]
        fit.falling = bool(meta.get("falling", False))
        if "epoch" in meta:
            self._left = {"tensors": tensors, "meta": meta}
        return int(meta["stage"])

    def _read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if not self.path.exists():
            return None
        tensors, meta = read_tensors(self.path, "checkpoint")
        if meta.get("identity") != self.identity:
            raise InputError(
                f"checkpoint {self.path} belongs to other data or settings: delete it to begin "
                "anew, or name another file."
            )
        return tensors, meta

    def restore_gradient(self, runner: Runner, fit: Fit, place: Place) -> None:
        """Put runner, fit and place where the file left them, if it left a stage by gradient."""
        if self._left is None:
            return
        tensors, meta, self._left = self._left["tensors"], self._left["meta"], None
        runner.restore(_under("runner.", tensors))
        fit.best, fit.stale = meta["best"], meta["stale"]
        fit.best_state = _under("best.", tensors) or None
        place.epoch, place.step = meta["epoch"], meta["step"]
        place.stopped = bool(meta.get("stopped", False))
        if "place.order" in tensors:
            place.order = tensors["place.order"].numpy()
            place.loss = tensors["place.loss"].to(runner.store.device)

    # ---------------------------------------------------------------- writing

    def save_stage(self, number: int, name: str, fit: Fit, fabric: Any) -> None:
        """Save the beginning of a stage, where it was not read; a sweep can only begin there."""
        again = f"stopped in {name!r}, which begins anew when the same is run again"
        self.stop.how = self._how(again if self._left is None else _GOES_ON)
        if number == self._stage["meta"]["stage"]:
            return
        network = {f"stage.{k}": v.clone() for k, v in fit.network.state_dict().items()}
        self._stage = {"tensors": network, "meta": {"stage": number}}
        if not fabric.global_rank:
            self._write({}, {}, fit)

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Let signals wait for :meth:`save_gradient`."""
        last = "stopped at once; the same goes on from its last save when it is run again"
        self.stop.how, self.stop.waits = self._how(last), True
        try:
            yield
        finally:
            self.stop.waits = False
        if self.stop.asked:  # after the last step
            self.stop.now(self.stop.asked)

    def save_gradient(self, runner: Runner, fit: Fit, place: Place) -> None:
        """Save the place inside a gradient stage if it is time, or if the fit is to stop here.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            Once it is saved, where a signal asked the fit to stop.
        """
        asked = runner.agreed(self.stop.asked)
        due = asked or time.monotonic() - self._saved >= self.every
        if due and not runner.fabric.global_rank:
            self._save(runner, fit, place)
        if asked:
            runner.fabric.barrier()  # torchrun ends all processes as soon as one has ended
            self.stop.how = self._how(_GOES_ON)
            self.stop.now(asked)

    def _save(self, runner: Runner, fit: Fit, place: Place) -> None:
        tensors = {f"runner.{k}": v for k, v in runner.state().items()}
        tensors |= {f"best.{k}": v for k, v in (fit.best_state or {}).items()}
        if place.order is not None and place.loss is not None:
            tensors |= {
                "place.order": torch.from_numpy(np.ascontiguousarray(place.order)),
                "place.loss": place.loss,
            }
        meta = {"epoch": place.epoch, "step": place.step, "best": fit.best, "stale": fit.stale,
                "stopped": place.stopped}  # fmt: skip
        self._write(tensors, meta, fit)

    def _write(self, tensors: dict[str, Tensor], meta: dict[str, Any], fit: Fit) -> None:
        whole = self._stage["tensors"] | tensors | {"noise": fit.noise.get_state()}
        note = self._stage["meta"] | meta
        note |= {"identity": self.identity, "history": fit.history, "falling": fit.falling}
        note["order"] = fit.order.bit_generator.state
        write_tensors(self.path, "checkpoint", whole, note)
        self._saved = time.monotonic()

    def _how(self, said: str) -> str:
        return f"{said}: checkpoint={str(self.path)!r}"

    def remove(self) -> None:
        """Delete the file: the fit has ended."""
        self.path.unlink(missing_ok=True)


def of_the_first(fabric: Any, work: Callable[[], Answer]) -> Answer:
    """What the first process has of some work, in all processes; so it is with its error."""
    answer: Any = None
    if not fabric.global_rank:
        try:
            answer = work()
        except InputError as error:
            answer = error
    if fabric.world_size > 1:
        answer = fabric.broadcast(answer)
    if isinstance(answer, InputError):
        raise answer
    return answer


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
