"""Several processes that fit one model together: the first alone speaks and writes.

Each of them runs the whole verb, for so torchrun, SLURM and Fabric start them.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from smalti.errors import InputError

_hushed = ""


def join(method: Any) -> None:
    """Say nothing from here on, if this is not the first of the processes of a method.

    Raises
    ------
    InputError
        If torchrun started several, and the method is for one: each would fit and write the same.
    """
    global _hushed
    started = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if method.devices == 1 < started:
        raise InputError(f"torchrun started {started} processes: say devices={started}.")
    rank = rank_of(method.devices)
    if rank:
        _hushed = f"process {rank}: "
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the end


def leave(method: Any) -> None:
    """End here, if this is not the first of the processes: the model is fitted."""
    if rank_of(method.devices):
        raise typer.Exit


def hushed() -> str:
    """How a process that says nothing but errors begins them; "" where it may speak."""
    return _hushed


def rank_of(devices: int) -> int:
    """The number of this process among those that fit a model together; 0 where it is alone."""
    if devices == 1:  # tasks of SLURM that have nothing to do with one another have numbers too
        return 0
    named = [os.environ.get(name, "") for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")]
    return next((int(rank) for rank in named if rank.isdigit()), 0)
