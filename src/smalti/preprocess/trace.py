"""Which of the user's columns a sequence of steps makes anything of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np


class Follows(Protocol):
    """A fitted step."""

    def follow(self, trace: Trace) -> None:
        """Say which columns it keeps and which it reads."""
        ...


@dataclasses.dataclass
class Trace:
    """The columns of each view, followed through the steps.

    Attributes
    ----------
    now
        View -> (n_now,) the user's column that each column now is; None: each is made of several.
    read
        View -> (n_features,) bool, the user's columns that something was made of.
    across
        View -> names of the steps that look at all columns of a row to change one, as a library
        size does.
    """

    now: dict[str, np.ndarray | None]
    read: dict[str, np.ndarray]
    across: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, steps: Iterable[Follows], widths: Mapping[str, int]) -> Trace:
        """Follow the columns of views, of so many each, through fitted steps to their end."""
        trace = cls({k: np.arange(n) for k, n in widths.items()},
                    {k: np.zeros(n, dtype=bool) for k, n in widths.items()})  # fmt: skip
        for step in steps:
            step.follow(trace)
        for view in list(trace.now):
            trace.take(view)
        return trace

    def keep(self, view: str, kept: np.ndarray | None) -> None:
        """A step leaves the columns ``kept`` (n_out,); None: it makes new ones of all."""
        at = self.now[view]
        if at is not None and kept is not None:
            self.now[view] = at[kept]
        elif at is not None:
            self.take(view)
            self.now[view] = None

    def take(self, view: str, columns: np.ndarray | None = None) -> None:
        """Something is made of columns, (n_now,) bool, of what is there now; of all when None."""
        at = self.now[view]
        if at is not None:
            self.read[view][at if columns is None else at[columns]] = True
