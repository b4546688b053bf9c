"""Columns of the instances and of the bags as numbers: cell types as codes, covariates scaled.

Both are fitted on the training bags and kept with the model, so that a prediction reads the same
column in the same way.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.labels import missing, missing_words
from smalti.names import meant


@dataclasses.dataclass(frozen=True)
class Columns:
    """How a method reads the columns that it asked for.

    Attributes
    ----------
    group
        Column of the instances (cell type, tissue region), or None.
    levels
        Its values in the training bags, in order.
    covariates
        One dict per column of the bags: ``name`` and either ``center`` and ``scale`` (a number) or
        ``levels`` (a category).
    batch
        Column of the instances, or of the bags, with the batches of cells, or None.
    batches
        Its values in training, in order.
    placed
        Whether the method asks where the instances lie, and training bags say it.
    donor
        Column of the bags with their donors, which training alone reads, or None.
    """

    group: str | None = None
    levels: tuple[str, ...] = ()
    covariates: tuple[dict[str, Any], ...] = ()
    batch: str | None = None
    batches: tuple[str, ...] = ()
    placed: bool = False
    donor: str | None = None

    @classmethod
    def of_batches(cls, bags: Bags, batch: str | None) -> Columns:
        """The batches of cells alone; nothing where no column is named.

        Raises
        ------
        InputError
            If the column is not there, a value is missing, or there is one batch only.
        """
        if batch is None:
            return cls()
        batches = tuple(sorted(set(batches_of(bags, batch))))
        if len(batches) < 2:
            raise InputError(f"batch={batch!r}: every cell is of batch {batches[0]!r}, and of one "
                             "there is nothing to tell apart: leave batch= out.")  # fmt: skip
        return cls(batch=batch, batches=batches)

    @classmethod
    def fit(
        cls, bags: Bags, group: str | None, covariates: tuple[str, ...], *, placed: bool = False
    ) -> Columns:
        """Learn levels, means and standard deviations; and whether places can be had if asked for.

        Raises
        ------
        InputError
            If a column is not there, or a value is missing.
        """
        levels: tuple[str, ...] = ()
        if group is not None:
            column = _group(bags, group)
            ordered = isinstance(column.dtype, pd.CategoricalDtype)
            there = set(column.astype(str))
            names = map(str, column.cat.categories) if ordered else sorted(there)
            levels = tuple(n for n in names if n in there)
        if isinstance(covariates, str):
            covariates = (covariates,)
        fitted = tuple(_fit_covariate(_covariate(bags, c), c) for c in covariates)
        return cls(group, levels, fitted, placed=placed and places_of(bags) is not None)

    @property
    def n_covariates(self) -> int:
        """Width of :meth:`table`."""
        return sum(len(c["levels"]) - 1 if "levels" in c else 1 for c in self.covariates)

    def codes(self, bags: Bags) -> np.ndarray:
        """(n_instances,) int64 position of each instance's group in ``levels``.

        A group that training lacked is ``len(levels)``, with a warning that names it.
        """
        assert self.group is not None
        column = _group(bags, self.group).astype(str)
        place = {name: i for i, name in enumerate(self.levels)}
        codes = column.map(place).fillna(len(self.levels)).to_numpy().astype(np.int64)
        new = codes == len(self.levels)
        if new.any():
            names = sorted(set(column[new]))
            warnings.warn(
                f"{int(new.sum())} instances of {len(np.unique(bags.index[new]))} bags are of "
                f"{self.group} {', '.join(map(repr, names[:5]))}"
                f"{', ...' if len(names) > 5 else ''}, which no training bag holds: they are "
                "taken together as a type of their own.", UserWarning, stacklevel=2,
            )  # fmt: skip
        return codes

    def batch_codes(self, bags: Bags) -> np.ndarray:
        """(n_instances,) int64 position of each instance's batch, -1 where training lacked it."""
        assert self.batch is not None
        place = {name: i for i, name in enumerate(self.batches)}
        return np.array([place.get(b, -1) for b in batches_of(bags, self.batch)], dtype=np.int64)

    def reading_order(self, bags: Bags) -> np.ndarray:
        """(n_instances,) int64 rank in its bag: by slide, then from above, then from the left.

        Instances of one place share a rank.

        Raises
        ------
        InputError
            If the bags do not say where their instances lie, as those of training did.
        """
        xy = places_of(bags)
        if xy is None:
            raise InputError(
                "the training bags said where their instances lie (instance columns x_um and y_um, "
                "or x_px and y_px), and these do not: read them as those were, or fit with "
                "by_place=False."
            )
        keys = np.column_stack([slides_of(bags), xy[:, ::-1]])  # slide, y, x
        order = np.lexsort(keys.T[::-1])
        rank = np.empty(len(keys), dtype=np.int64)
        rank[order] = np.append(0, (np.diff(keys[order], axis=0) != 0).any(1).cumsum())
        return rank

    def table(self, bags: Bags) -> np.ndarray:
        """(n_bags, n_covariates) float32: standardised numbers, and one column per further level.

        A level that training lacked reads as the first one, with a warning.

        Raises
        ------
        InputError
            If a covariate that was a number in training is text here.
        """
        parts = []
        for known in self.covariates:
            values = _covariate(bags, known["name"])
            if "levels" not in known:
                if not pd.api.types.is_numeric_dtype(values):
                    raise InputError(
                        f"covariate {known['name']!r} was a number in training and is text here."
                    )
                parts.append(((values.to_numpy(float) - known["center"]) / known["scale"])[:, None])
                continue
            text = values.astype(str)
            new = sorted(set(text) - set(known["levels"]))
            if new:
                warnings.warn(
                    f"covariate {known['name']!r} is {new[0]!r} in {int(text.isin(new).sum())} "
                    f"bags, which no training bag is: read as {known['levels'][0]!r}.",
                    UserWarning, stacklevel=2,
                )  # fmt: skip
            others = np.asarray(known["levels"][1:], dtype=object)  # none of a constant one
            parts.append(text.to_numpy(object)[:, None] == others)
        return np.concatenate([np.zeros((len(bags), 0)), *parts], axis=1).astype(np.float32)


PLACES = (("x_um", "y_um"), ("x_px", "y_px"))
"""Columns of the instances that say where they lie: µm, or pixels of their slide."""


def places_of(bags: Bags) -> np.ndarray | None:
    """(n_instances, 2) x and y; None where the bags do not say them of every instance."""
    for columns in PLACES:
        if set(columns) <= set(bags.instance):
            xy = bags.instance[list(columns)].to_numpy(np.float64)
            if np.isfinite(xy).all():
                return xy
    return None


def slides_of(bags: Bags) -> np.ndarray:
    """(n_instances,) number of the slide of each: in a bag of several, by their names."""
    if "slide" not in bags.instance:
        return bags.index
    slide = pd.factorize(bags.instance["slide"].astype(str), sort=True)[0]
    return bags.index * (slide.max(initial=0) + 1) + slide


def of_instances(bags: Bags, name: str) -> pd.Series:
    """A column of the instances, numbered anew.

    Raises
    ------
    InputError
        If it is not there.
    """
    if name not in bags.instance:
        there = ", ".join(map(str, bags.instance.columns)) or "none"
        near = meant(name, bags.instance.columns)
        raise InputError(f"no column {name!r} of the cells; there are {there}.{near}")
    return bags.instance[name].reset_index(drop=True)


def column_of(bags: Bags, name: str) -> pd.Series:
    """A column of the instances, or of the bags for each of their instances, numbered anew.

    Raises
    ------
    InputError
        If it is not there.
    """
    if name in bags.instance or name not in bags.bag:
        return of_instances(bags, name)
    return bags.bag[name].iloc[bags.index].reset_index(drop=True)


def batches_of(bags: Bags, name: str) -> np.ndarray:
    """(n_instances,) text: the batch of each instance, a column of the instances or of the bags.

    Raises
    ------
    InputError
        If the column is not there, or the batch of a cell is missing.
    """
    column = column_of(bags, name)
    absent = missing(column)
    if absent.any():
        raise InputError(
            f"batch {name!r} is missing for {int(absent.sum()):,} cells (first: "
            f"{bags.instance.index[absent][0]!r}): fill it in, or leave these cells out."
        )
    return column.astype(str).to_numpy()


def groups_of(bags: Bags, name: str, leave_out: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """(n_instances,) code of each instance's group, -1 where it has none; and the groups.

    Parameters
    ----------
    bags, name
        With this column of the instances.
    leave_out
        Names that are no group.

    Raises
    ------
    InputError
        If the column is not there.
    """
    column = of_instances(bags, name)
    names = column.astype(str).where(~missing(column))
    codes, known = pd.factorize(names.where(~names.isin(list(leave_out))), sort=True)
    return codes, [str(k) for k in known]


def _group(bags: Bags, name: str) -> pd.Series:
    if name not in bags.instance:
        there = ", ".join(map(str, bags.instance.columns)) or "none"
        raise InputError(
            f"no instance column {name!r}, which says the type of each instance; there are {there}."
            f" Name one with group=...{meant(name, bags.instance.columns)}"
        )
    column = bags.instance[name]
    absent = missing(column)
    if absent.any():
        raise InputError(
            f"{name!r} is missing for {int(absent.sum())} instances (written "
            f"{missing_words(column)}; first: {bags.instance.index[absent][0]!r}): give them "
            "a type, such as 'unknown', or drop them."
        )
    return column


def _covariate(bags: Bags, name: str) -> pd.Series:
    if name not in bags.bag:
        inside = name in bags.instance
        hint = f" It is an instance column: read it with bag_columns=[{name!r}]." if inside else ""
        there = ", ".join(map(str, bags.bag.columns))
        hint = hint or meant(name, bags.bag.columns)
        raise InputError(f"no covariate {name!r} in the bag table; there are {there}.{hint}")
    if name == bags.target or (isinstance(bags.target, tuple) and name in bags.target):
        raise InputError(f"covariate {name!r} is the target itself: leave it out.")
    column = bags.bag[name]
    absent = missing(column)
    if absent.any():
        raise InputError(
            f"covariate {name!r} is missing for {int(absent.sum())} of {len(bags)} bags (written "
            f"{missing_words(column)}; first: {bags.bag.index[absent][0]!r}): fill it in, drop "
            "these bags, or leave it out."
        )
    return column.astype(str) if name == bags.site else column  # site 2 is not twice site 1


def _fit_covariate(values: pd.Series, name: str) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(values) and values.dtype != bool:
        number = values.to_numpy(float)
        if not np.isfinite(number).all():
            raise InputError(f"covariate {name!r} contains infinity: mend it, or leave it out.")
        return {"name": name, "center": float(number.mean()), "scale": float(number.std()) or 1.0}
    return {"name": name, "levels": sorted(set(values.astype(str)))}
