"""``Arena``: what a kind of comparison has of its own, and what a fit may die of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from smalti.bags import Bags
from smalti.comparison.cache import Answer
from smalti.comparison.splits import Split
from smalti.core.identity import identity
from smalti.errors import InputError
from smalti.system.mapped import shared

# What a fit may die of (of numbers, of memory, of a lost worker) without the others.
FAILURES = (ValueError, RuntimeError, ArithmeticError, MemoryError)


def reason_of(error: BaseException) -> str:
    """Why a fit failed, in a line: a mistake of the user's needs no name of a class."""
    what = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return f"{what}{error}"


class Arena(ABC):
    """What a kind of comparison says. It travels to worker processes with the data it holds."""

    title: ClassVar[str] = "fits"  # of the progress bar
    units: ClassVar[str] = "bags"  # what positions of splits count
    about: str  # the data in one line
    digest: str  # of the data and of the question: two races of one digest may be set side by side

    @abstractmethod
    def splits(self, method: Any) -> Iterable[Split]:
        """The splits that a method is fitted on."""

    @abstractmethod
    def seed(self, method: Any, split: Split) -> int:
        """The seed of one fit."""

    @abstractmethod
    def fit(self, method: Any, split: Split) -> Answer:
        """Fit on the training side, and answer for the test side. Runs in a worker, is kept."""

    @abstractmethod
    def score(self, method: Any, split: Split, answer: Answer) -> dict[str, float]:
        """Metric -> value of an answer. Runs where the race was called, is not kept."""

    def begin(self) -> None:  # noqa: B027  nothing, for most
        """Before the first fit, here: what each worker would otherwise do anew."""

    def share(self) -> None:
        """Before it travels to processes of this machine: its bags are there once for all."""
        for held in vars(self).values():
            if isinstance(held, Bags):
                held.share(shared)

    def identity(self, method: Any) -> str:
        """What of a method an answer depends on, beside the seed."""
        return identity(method)

    def key(self, method: Any, split: Split) -> str:
        """What else an answer depends on, beside data, method, split and seed."""
        return ""

    def sizes(self, method: Any, split: Split) -> tuple[int, int]:
        """Numbers of training and of test units."""
        return len(split.train), len(split.test)

    def counted(self, split: Split) -> dict[str, int]:
        """What a plan says of a split."""
        sides = {"train": split.train, "test": split.test}
        return {f"{name}_{self.units}": len(side) for name, side in sides.items()}

    def quarter(self, train: np.ndarray) -> np.ndarray:
        """About a quarter of training positions, (k,) of (n,), for a fit that is timed."""
        n = max(1, len(train) // 4)
        return np.sort(np.random.default_rng(61).permutation(train)[:n])

    def amount(self, train: np.ndarray) -> int:
        """Instances at training positions, (n,), with which the time of a fit grows."""
        return len(train)

    def keeps(self, split: Split) -> bool:
        """Whether the table needs the arrays of this split's answers."""
        return True
