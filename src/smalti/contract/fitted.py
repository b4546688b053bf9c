"""What the checks of all rooms share: one short fit of each method, and bags that tell nothing."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple, Self
from unittest import mock

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from smalti.bags import Bags
from smalti.columns import Columns
from smalti.core.checkpoint import Checkpoint


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


class Killed(BaseException):
    """The process ends: as with KeyboardInterrupt, nobody may catch it and go on."""


def resumes(method: Any, bags: Bags, whole: Any) -> None:
    """A fit that is killed again and again, and gone on with each time, is the whole fit.

    It dies after the first writing of its checkpoint, after the second that follows, and so on; and
    when all is done but to remove the checkpoint.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit"
        for writings in (1, 2, 6, None):
            with suppress(Killed), killed(writings) as last:
                clone(method).fit(bags, checkpoint=path)
            assert path.exists(), "killed, and no checkpoint is there"
            if last:
                break
        resumed = clone(method).fit(bags, checkpoint=path)
        left = [p.name for p in path.parent.iterdir()]
        assert not left, f"the fit has ended, and left {left}"
    same_fit(whole, resumed)


@contextmanager
def killed(writings: int | None) -> Iterator[list[str]]:
    """Let a fit die after some writings of its checkpoint, of which there is one in each step.

    A fit of fewer dies when all is done but to remove it; then what is yielded says so.
    """
    write, done = Checkpoint._write, 0
    last: list[str] = []

    def dies(self: Checkpoint, *what: Any) -> None:
        nonlocal done
        write(self, *what)
        done += 1
        if done == writings:
            raise Killed

    def ends(self: Checkpoint) -> None:
        last.append("all but removed")
        raise Killed

    every = mock.patch.dict(Checkpoint.__init__.__kwdefaults__ or {}, every=0.0)
    with every, mock.patch.multiple(Checkpoint, _write=dies, remove=ends):
        yield last


def same_fit(one: Any, two: Any) -> None:
    """Whether two fitted methods are the same to the bit, and say the same of their fits."""
    ours, theirs = one.network_.state_dict(), two.network_.state_dict()
    assert ours.keys() == theirs.keys(), "gone on with, it has other weights"
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), f"gone on with, {name} is another"
    # as text, for NaN equals NaN there
    assert one.history_.to_csv() == two.history_.to_csv(), "gone on with, it has another history"
    assert one.converged_ == two.converged_, "gone on with, it says otherwise whether it converged"
    ours, theirs = one.fitted_state(), two.fitted_state()
    assert repr(ours) == repr(theirs), "gone on with, it holds something else"


def _numpy_stream() -> np.ndarray:
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - the global stream
    return np.array([*state["key"], state["pos"]])


def names_its_columns(model: Any, data: Any, index: Any) -> None:
    """Whether a fitted method with an embedding gives it as a table, if it is asked to."""
    if not hasattr(model, "transform"):
        assert not hasattr(model, "get_feature_names_out"), (
            "names of an embedding that is not there"
        )
        return
    rows = np.asarray(model.transform(data))
    asked = copy.copy(model).set_output(transform="pandas")
    table = asked.transform(data)
    assert list(table.columns) == list(asked.get_feature_names_out()), "columns have other names"
    assert list(table.index) == list(index), "rows have other names"
    np.testing.assert_array_equal(table.to_numpy(), rows, err_msg="the table has other numbers")
    assert clone(asked)._sklearn_output_config == {"transform": "pandas"}, "clone forgets it"
