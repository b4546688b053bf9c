"""``Case``: what the checks look at; and the checks by their kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pandas.api.types import is_numeric_dtype

from smalti.bags import Bags
from smalti.columns import groups_of
from smalti.core.seen import donor_names
from smalti.leaks.finding import Finding
from smalti.preprocess.sequence import held

Check: TypeAlias = Callable[["Case"], Iterable[Finding]]
CHECKS: dict[str, Check] = {}
ALPHA = 0.005
"""Share of clean cohorts in which a check that goes by a p-value may speak; kinds of several
checks stay under 2 %."""


_UNITS = 2000


def check(kind: str) -> Callable[[Check], Check]:
    """Add a function from a case to its findings, for every audit from now on.

    Parameters
    ----------
    kind
        What its findings are called.
    """

    def add(function: Check) -> Check:
        CHECKS[kind] = function
        return function

    return add


def each_has_one(groups: Any, values: Any) -> bool:
    """Whether all of a group have one value, in each group."""
    pairs = pd.DataFrame({"group": np.asarray(groups), "value": np.asarray(values)})
    return not pairs.drop_duplicates()["group"].duplicated().any()


@dataclass(frozen=True, eq=False)
class Case:
    """Bags, and what is to be done with them.

    Parameters
    ----------
    bags
        What is compared.
    methods
        Methods that are to be fitted, by their labels.
    splits
        (training, test) positions of instances, of each fold; none: donors never part.
    seed
        Of the samples and permutations that checks draw.
    label, batch
        Columns of the instances: the groups that integrations are scored by, and batches.
    leave_out
        Labels that are no group.
    """

    bags: Bags
    methods: dict[str, Any]
    splits: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    seed: int = 0
    label: str | None = None
    batch: str | None = None
    leave_out: tuple[str, ...] = ()

    @property
    def rng(self) -> np.random.Generator:
        """The same numbers for every check, whichever ran before it."""
        return np.random.default_rng([self.seed, 31])

    @cached_property
    def donors(self) -> np.ndarray:
        """(n_bags,) names of donors, of the bags where none is named."""
        return donor_names(self.bags)

    @cached_property
    def codes(self) -> np.ndarray:
        """(n_instances,) int64 donor of each instance."""
        return pd.factorize(self.donors)[0][self.bags.index]

    @cached_property
    def groups(self) -> tuple[np.ndarray, list[str]]:
        """(n_instances,) code of the group of each instance, -1 of none; and their names."""
        assert self.label is not None
        return groups_of(self.bags, self.label, self.leave_out)

    @cached_property
    def tables(self) -> dict[str, Any]:
        """Views that are tables of finite numbers: (n, d) dense or CSR.

        Of cells on disk those that are small enough to be held; :mod:`smalti.leaks.on_disk` tells
        of the others.
        """
        return {
            name: view for name, view in held(self.bags).x.items()
            if (isinstance(view, np.ndarray) or sp.issparse(view)) and len(view.shape) == 2
            and np.isfinite(view.sum(dtype=np.float64))
        }  # fmt: skip

    @cached_property
    def units(self) -> np.ndarray:
        """(n_units,) first bag of each donor and label: what can be told apart by a label.

        Of very many a sample, which permutations are as good on.
        """
        frame = pd.DataFrame({"donor": self.donors, "label": self.labels})
        units = np.flatnonzero(~frame.duplicated())
        return np.sort(self.rng.permutation(units)[:_UNITS])

    @cached_property
    def labels(self) -> np.ndarray:
        """(n_bags,) labels as text or number; several in one text; none: all alike."""
        if self.bags.target is None:
            return np.zeros(len(self.bags), dtype=int)
        labels = self.bags.labels
        if labels.ndim > 1:
            return np.array([str(tuple(row)) for row in labels])
        return labels if is_numeric_dtype(labels) else labels.astype(str)

    @cached_property
    def is_classes(self) -> bool:
        """Whether the labels are classes: few, of several units each."""
        return self.bags.kind != "regression" and (
            not is_numeric_dtype(self.labels) or len(np.unique(self.labels)) <= 10
        )

    @cached_property
    def y(self) -> np.ndarray:
        """(n_units, k) centred labels of the units: one column a class, or ranks."""
        labels = pd.Series(self.labels[self.units])
        if self.is_classes:
            y = pd.get_dummies(labels.astype(str)).to_numpy(float)
        else:
            y = labels.astype(float).rank().to_numpy()[:, None]
        return y - y.mean(0)

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns that are predicted."""
        target = self.bags.target
        return () if target is None else (target,) if isinstance(target, str) else tuple(target)

    def columns(self) -> Iterator[tuple[str, pd.Series, bool]]:
        """Name, values by bag, and whether bags have it: every column that is one value a bag.

        Columns of the instances are among them where they do not change within any bag; target and
        donor are not.
        """
        known = {*self.targets, self.bags.donor}
        for j, name in enumerate(self.bags.bag):  # by place: two may bear one name
            if name not in known:
                yield str(name), self.bags.bag.iloc[:, j].reset_index(drop=True), True
        starts = self.bags.offsets[:-1]
        for j, name in enumerate(self.bags.instance):
            if name in known or name in self.bags.bag:
                continue
            values = self.bags.instance.iloc[:, j]
            text = values.astype(str) if values.dtype == object else values  # lists have no hash
            codes = pd.factorize(text, use_na_sentinel=False)[0]
            if (codes == codes[starts][self.bags.index]).all():
                yield str(name), values.iloc[starts].reset_index(drop=True), False

    def settings(self, name: str) -> dict[str, tuple[str, ...]]:
        """Label -> columns that a setting of the methods names; only those that name some."""
        found = {}
        for label, method in self.methods.items():
            value = getattr(method, name, None) or ()
            if value:
                found[label] = (value,) if isinstance(value, str) else tuple(value)
        return found
