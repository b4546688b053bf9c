"""Who was in a comparison: one row for each bag, and the table of the cohort by class.

It is made of the bags when they are compared, and small: nothing reads the instances again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from smalti.bags import Bags
from smalti.core.seen import donor_names
from smalti.labels import missing
from smalti.leaks.confounding import technical
from smalti.scores.sentences import plain
from smalti.task import Task

ALL = "all"  # the group of everyone
COMPARED, TRAINING, TEST = "compared", "training", "test"
OWN = ("part", "bag", "donor", "site", "group", "instances")
_CODES = 4  # so few whole numbers are names
_LEVELS, _COLUMNS, _TYPES = 8, 24, 60  # more are a list, not a description


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Who was in.

    Attributes
    ----------
    bags
        One row per bag: part ("compared", or "training" and "test" of an external validation), bag,
        donor, site (where one is named), group (its class, or third of the target), instances, and
        columns of the bags that describe them.
    types
        (n_bags, n_types) instances of each type, in the rows of ``bags``; no column where no type
        is known.
    """

    bags: pd.DataFrame
    types: pd.DataFrame

    @classmethod
    def of(cls, parts: dict[str, Bags], methods: Iterable[Any] = ()) -> Cohort:
        """The cohort of bags.

        Parameters
        ----------
        parts
            Name of the part -> its bags, with one target.
        methods
            Who takes part, for the columns that they read: covariates, and a type of instances.
        """
        methods = list(methods)
        first = next(iter(parts.values()))
        group = type_column(first, methods)
        names = _described(first, {c for m in methods for c in getattr(m, "covariates", ())})
        labels = _grouping(first)
        frames, types = [], []
        for part, bags in parts.items():
            own: dict[str, Any] = {"part": part, "bag": bags.bag.index, "donor": donor_names(bags)}
            if bags.site is not None:
                own["site"] = bags.bag[bags.site].to_numpy()
            own |= {"group": labels(bags), "instances": bags.lengths}
            more = {c: bags.bag[c].to_numpy() for c in names if c in bags.bag}
            frames.append(pd.DataFrame(own | more))
            types.append(_counts(bags, group))
        return cls(pd.concat(frames, ignore_index=True),
                   pd.concat(types, ignore_index=True).fillna(0).astype(int))  # fmt: skip

    def classes(self) -> dict[str, pd.Categorical]:
        """Part -> (n_bags,) the group of each bag, in the order of the bags."""
        parts = self.bags.groupby("part", sort=False)["group"]
        return {str(part): pd.Categorical(groups) for part, groups in parts}

    @property
    def groups(self) -> list[str]:
        """Classes in order (or thirds), of each part; everyone last."""
        each = self._group_of().drop_duplicates()
        order = self.bags.loc[each.index]
        order = order.sort_values(["part", "group"], kind="stable", key=_sortable)
        found = [self._group_of()[i] for i in order.index]
        return found if len(found) == 1 else [*found, ALL]

    @property
    def tested(self) -> Cohort:
        """Those that are scored: the test of an external validation, else all."""
        rows = (self.bags["part"] != TRAINING).to_numpy()
        return Cohort(self.bags[rows].reset_index(drop=True),
                      self.types[rows].reset_index(drop=True))  # fmt: skip

    def describe(self) -> pd.DataFrame:
        """Table of the cohort, tidy.

        Returns
        -------
        DataFrame
            variable, unit ("donors", or "bags" where the value differs within a donor), level (of a
            category), group; n (units with a value), missing; median, low and high (the range) of
            numbers; count and share of a level, or the count alone of donors and bags.
        """
        of, rows = self._group_of(), []
        for name in self.groups:
            part = self.bags if name == ALL else self.bags[of == name]
            for row in _lines(part, self.bags):
                rows.append({**row, "group": name})
        columns = ["variable", "unit", "level", "group", "n", "missing", "median", "low", "high",
                   "count", "share"]  # fmt: skip
        return pd.DataFrame(rows).reindex(columns=columns)

    def table(self) -> pd.DataFrame:
        """The same as words, a column for each group."""
        long = self.describe()
        long = long.assign(text=[_words(row) for row in long.to_dict("records")],
                           line=[_line(row) for row in long.to_dict("records")])  # fmt: skip
        lines = long["line"].drop_duplicates()
        wide = long.pivot_table("text", "line", "group", aggfunc="first", sort=False)
        wide = wide.reindex(index=lines, columns=self.groups).fillna("0")
        return wide.rename_axis(columns=None).rename_axis("what").reset_index()

    def _group_of(self) -> pd.Series:
        """(n_bags,) the column of the table that each is in."""
        if len(self.bags["part"].unique()) < 2:
            return self.bags["group"].astype(str)
        return self.bags["group"].astype(str) + " (" + self.bags["part"] + ")"


def _sortable(column: pd.Series) -> pd.Series:
    """Classes in their order, parts as they came."""
    if column.name == "part":
        return pd.Series(pd.factorize(column)[0], index=column.index)
    return column.cat.codes if isinstance(column.dtype, pd.CategoricalDtype) else column


def _grouping(bags: Bags) -> Any:
    """What tells the groups of bags apart: the classes, or thirds of a number."""
    task = bags.task
    assert task is not None
    if task.several:
        return lambda part: pd.Categorical([ALL] * len(part), [ALL])
    if task.is_classifier:
        names = list(map(str, task.classes))
        return lambda part: pd.Categorical(list(map(str, part.labels)), names)
    if task.kind == "survival":
        return lambda part: pd.Categorical.from_codes(
            (task.encode(part.labels)[:, 1] > 0).astype(int), ["censored", "event"]
        )
    return _thirds(task, bags.labels)


def _thirds(task: Task, labels: np.ndarray) -> Any:
    values = np.asarray(labels, float)
    ends = np.unique(np.quantile(values, [1 / 3, 2 / 3]))
    if len(np.unique(values)) < 6 or len(ends) < 2:
        return lambda part: pd.Categorical([ALL] * len(part), [ALL])
    low, high = (f"{v:.3g}" for v in ends)
    names = [f"up to {low}", f"{low} to {high}", f"above {high}"]
    return lambda part: pd.Categorical.from_codes(
        np.searchsorted(ends, np.asarray(part.labels, float)), names
    )


def _described(bags: Bags, read: set[str]) -> list[str]:
    """Columns that describe bags: those that a method reads, numbers, and categories of a few."""
    target = bags.target if isinstance(bags.target, tuple) else (bags.target,)
    idle = {*target, bags.donor, bags.site, *OWN}
    found = []
    for name in bags.bag:
        column = bags.bag[name]
        there = column[~missing(column)]
        n = len(there.unique())
        told = n > 1 and (n <= min(_LEVELS, max(2, len(bags) // 2)) or _is_number(column, name))
        if name not in idle and (name in read or told):
            found.append(name)
    return sorted(found, key=lambda c: c not in read)[:_COLUMNS]


def type_column(bags: Bags, methods: list[Any]) -> str | None:
    """The column of types that methods read, else that of cell types."""
    asked = [getattr(m, "group", None) for m in methods]
    found = [c for c in (*asked, "cell_type") if c is not None and c in bags.instance]
    return next((c for c in found if bags.instance[c].nunique() <= _TYPES), None)


def _counts(bags: Bags, group: str | None) -> pd.DataFrame:
    """(n_bags, n_types) instances of each type."""
    if group is None:
        return pd.DataFrame(index=range(len(bags)))
    column = bags.instance[group]
    codes, names = pd.factorize(column, sort=True)
    known = codes >= 0
    flat = np.bincount(bags.index[known] * len(names) + codes[known],
                       minlength=len(bags) * len(names))  # fmt: skip
    return pd.DataFrame(flat.reshape(len(bags), -1), columns=list(map(str, names)))


def _lines(part: pd.DataFrame, every: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """What is said of one group of bags."""
    yield {"variable": "donors", "count": part["donor"].nunique()}
    yield {"variable": "bags", "count": len(part)}
    yield _number("instances of a bag", "bags", part["instances"])
    own = ("part", "bag", "donor", "group", "instances")
    for name in (c for c in every if c not in own):
        of_donors = _of_donors(every, name)
        values = part.groupby("donor", sort=False)[name].first() if of_donors else part[name]
        unit = "donors" if of_donors else "bags"
        if _is_number(every[name], name):
            yield _number(str(name), unit, values)
        else:
            yield from _levels(str(name), unit, values, every[name])


def _levels(name: str, unit: str, values: pd.Series, every: pd.Series) -> Iterator[dict[str, Any]]:
    """Counts of the levels of a category, and of those without one."""
    gone, some = missing(values), missing(every)
    counts = values[~gone].astype(str).value_counts()
    n = int((~gone).sum())
    about = {"variable": name, "unit": unit, "n": n, "missing": int(gone.sum())}
    for level in sorted(every[~some].astype(str).unique()):
        count = int(counts.get(level, 0))
        yield about | {"level": level, "count": count, "share": count / n if n else np.nan}
    if some.any():
        yield about | {"level": "missing", "count": int(gone.sum())}


def _is_number(column: pd.Series, name: object) -> bool:
    """Whether a column is measured; a batch that is called 3 is not, nor a sex of 1 or 2."""
    if not is_numeric_dtype(column) or is_bool_dtype(column) or technical(str(name)):
        return False
    values = column.dropna().unique()
    return len(values) > _CODES or bool((values != np.round(values)).any())


def _of_donors(every: pd.DataFrame, name: str) -> bool:
    """Whether a column has one value in each donor, where it has any."""
    codes = pd.Series(pd.factorize(every[name].where(~missing(every[name])))[0])
    there = codes >= 0
    kinds = codes[there].groupby(every["donor"].to_numpy()[there]).nunique()
    return bool((kinds <= 1).all())


def _number(variable: str, unit: str, values: pd.Series) -> dict[str, Any]:
    there = values[~missing(values)].to_numpy(float)
    ends = [np.median(there), there.min(), there.max()] if len(there) else [np.nan] * 3
    return {"variable": variable, "unit": unit, "n": len(there),
            "missing": len(values) - len(there),
            **dict(zip(("median", "low", "high"), map(float, ends), strict=True))}  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    """What a line of the table is called."""
    name = row["variable"]
    if pd.notna(row["median"]) or pd.isna(row["count"]):
        return f"{name}, median (range)"
    unit = "" if pd.isna(row["unit"]) or row["unit"] == "donors" else f", {row['unit']}"
    return name if pd.isna(row["level"]) else f"{name}{unit}: {row['level']}"


def _words(row: dict[str, Any]) -> str:
    if pd.notna(row["share"]):
        return f"{row['count']:.0f} ({row['share']:.0%})"
    if pd.notna(row["count"]):
        return f"{row['count']:,.0f}"
    gone = f"; {row['missing']:.0f} missing" if row["missing"] else ""
    if pd.isna(row["median"]):
        return f"–{gone}"
    return f"{plain(row['median'])} ({plain(row['low'])} to {plain(row['high'])}){gone}"
