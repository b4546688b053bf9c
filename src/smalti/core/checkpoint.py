"""Checkpoints of a fit: one safetensors file, always whole, never a pickle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from smalti.core.fit import Fit, Place
from smalti.errors import InputError
from smalti.system.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from smalti.core.runner import Runner


class Checkpoint:
    """Where a fit may be left and taken up again.

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
        self._saved = time.monotonic()
        self._stage: dict[str, Any] = {"tensors": {}, "meta": {"stage": 0}}
        self._loaded: dict[str, Any] | None = None

    # ---------------------------------------------------------------- reading

    def begin(self, fit: Fit) -> int:
        """Read the file if there is one; returns the stage to go on with.

        Raises
        ------
        InputError
            If the file belongs to another fit, is damaged, or is no safetensors file.
        """
        if not self.path.exists():
            return 0
        tensors, meta = read_tensors(self.path, "checkpoint")
        if meta.get("identity") != self.identity:
            raise InputError(
                f"checkpoint {self.path} belongs to other data or settings: delete it to begin "
                "anew, or name another file."
            )
        fit.network.load_state_dict(_under("stage.", tensors))
        fit.order.bit_generator.state = meta["order"]
        fit.noise.set_state(tensors["noise"])
        fit.history[:] = meta["history"]
        self._loaded = {"tensors": tensors, "meta": meta}
        return int(meta["stage"])

    @property
    def has_gradient(self) -> bool:
        """Whether the file that was read stopped inside a gradient stage."""
        return self._loaded is not None and "epoch" in self._loaded["meta"]

    def restore_gradient(self, runner: Runner, fit: Fit, place: Place) -> None:
        """Put runner, fit and place where the file left them."""
        assert self._loaded is not None
        tensors, meta = self._loaded["tensors"], self._loaded["meta"]
        self._loaded = None
        runner.restore(_under("runner.", tensors))
        fit.best, fit.stale = meta["best"], meta["stale"]
        fit.best_state = _under("best.", tensors) or None
        place.epoch, place.step = meta["epoch"], meta["step"]
        if "place.order" in tensors:
            place.order = tensors["place.order"].numpy()
            place.loss = tensors["place.loss"].to(runner.store.device)

    # ---------------------------------------------------------------- writing

    def save_stage(self, stage: int, fit: Fit) -> None:
        """Note the beginning of a stage; an interrupted sweep starts from here."""
        if self._loaded is not None:  # just read: nothing new to save
            self._stage = {
                "tensors": {
                    k: v for k, v in self._loaded["tensors"].items() if k.startswith("stage.")
                },
                "meta": {"stage": stage},
            }
            return
        network = {f"stage.{k}": v.clone() for k, v in fit.network.state_dict().items()}
        self._stage = {"tensors": network, "meta": {"stage": stage}}
        self._write({}, {}, fit)

    def save_gradient(self, runner: Runner, fit: Fit, place: Place) -> None:
        """Save the place inside a gradient stage, if it is time."""
        if time.monotonic() - self._saved < self.every or runner.fabric.global_rank:
            return
        tensors = {f"runner.{k}": v for k, v in runner.state().items()}
        tensors |= {f"best.{k}": v for k, v in (fit.best_state or {}).items()}
        if place.order is not None and place.loss is not None:
            tensors |= {
                "place.order": torch.from_numpy(np.ascontiguousarray(place.order)),
                "place.loss": place.loss,
            }
        meta = {"epoch": place.epoch, "step": place.step, "best": fit.best, "stale": fit.stale}
        self._write(tensors, meta, fit)

    def _write(self, tensors: dict[str, Tensor], meta: dict[str, Any], fit: Fit) -> None:
        whole = self._stage["tensors"] | tensors | {"noise": fit.noise.get_state()}
        note = self._stage["meta"] | meta
        note |= {"identity": self.identity, "history": fit.history}
        note["order"] = fit.order.bit_generator.state
        write_tensors(self.path, "checkpoint", whole, note)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file: the fit has ended."""
        self.path.unlink(missing_ok=True)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
