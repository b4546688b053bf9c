"""What the checks of all rooms share: one short fit of each method, and bags that tell nothing."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch

from smalti.bags import Bags
from smalti.columns import Columns


class Fitted(NamedTuple):
    """Bags, the method fitted on them, and the global random streams that the fit moved."""

    bags: Bags
    model: Any
    moved: str

    @classmethod
    def of(cls, method: Any, bags: Bags) -> Self:
        """Fit, and watch the global random streams."""
        moved: list[str] = []
        for _ in range(2):  # the first fit may import a package, and scvi-tools draws as it is
            torch_before, numpy_before = torch.random.get_rng_state(), _numpy_stream()
            model = method.fit(bags)
            moved = [] if torch.equal(torch_before, torch.random.get_rng_state()) else ["torch"]
            if not np.array_equal(numpy_before, _numpy_stream()):
                moved.append("NumPy")
            if not moved:
                break
        return cls(bags, model, " and ".join(moved))


def once(make: Callable[[type[Any]], Fitted]) -> Callable[[type[Any]], Fitted]:
    """Fit a method once, however many checks ask, and hand each check a copy of its own.

    A check may thus do with it what it likes. Few fits are kept: checks of one method run together.
    """
    kept: Callable[[Any], Fitted] = lru_cache(maxsize=2)(make)

    @wraps(make)
    def copied(cls: type[Any]) -> Fitted:
        return copy.deepcopy(kept(cls))

    return copied


def bare(bags: Bags, columns: Columns | None = None) -> Bags:
    """The same instances without a name, a label or a column, but those that a method asked for."""
    columns = columns or Columns()
    asked = [c["name"] for c in columns.covariates]
    group = [] if columns.group is None else [columns.group]
    return dataclasses.replace(
        bags,
        bag=bags.bag[[c for c in [*asked, *group] if c in bags.bag]].set_axis(
            pd.RangeIndex(len(bags))),
        instance=bags.instance[[c for c in group if c in bags.instance]].set_axis(
            pd.RangeIndex(bags.n_instances)),
        rows=np.arange(bags.n_instances),
        target=None, kind=None, donor=None, origin=None,
    )  # fmt: skip


def _numpy_stream() -> np.ndarray:
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - the global stream
    return np.array([*state["key"], state["pos"]])
