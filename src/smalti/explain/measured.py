"""Curves and scores of a fit as rows of tables: one a bag, and means over donors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.core.seen import donor_names
from smalti.explain.curves import GONE, YARDSTICKS
from smalti.explain.explanations import BAG_COLUMNS, CURVE_COLUMNS
from smalti.explain.instance_scores import side_of

_REFITS = ("seeds", "permuted", "permuted_gain", "permuted_effective")


def bag_rows(
    label: str, fold: int, bags: Bags, kinds: Sequence[str], measured: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """One row per kind of scores and bag, with the columns of ``Explanations.bags``.

    Parameters
    ----------
    label, fold
        Of the fit.
    bags
        That it was asked about.
    kinds
        Kinds of scores.
    measured
        gains (2, n_bags, n_orders, 2) of :class:`Curves`; effective, and perhaps seeds, permuted,
        permuted_gain and permuted_effective, (n_bags, n_kinds).
    """
    about = pd.DataFrame({"method": label, "fold": fold, "bag": bags.bag.index,
                          "donor": donor_names(bags), "instances": bags.lengths})  # fmt: skip
    parts = []
    for j, kind in enumerate(kinds):
        side = measured["gains"][side_of(kind)]  # (n_bags, n_orders, 2)
        own = about.assign(scores=kind, deletion=side[:, j, 0], insertion=side[:, j, 1],
                           effective=measured["effective"][:, j], repeats=np.nan)  # fmt: skip
        for i, name in enumerate(YARDSTICKS):
            own[name] = side[:, len(kinds) + i].mean(1)
        for name in _REFITS:
            own[name] = measured[name][:, j] if name in measured else np.nan
        parts.append(own[list(BAG_COLUMNS)])
    return pd.concat(parts, ignore_index=True)


def curve_rows(
    label: str, bags: Bags, kinds: Sequence[str], measured: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Curves of bags, wide: a column for each share that is gone.

    ``measured`` has the curves (2, n_bags, n_orders, 2, n_shares) and random (2, n_bags, n_draws,
    n_shares) of :class:`Curves`; the others are as of :func:`bag_rows`.
    """
    donors, parts = donor_names(bags), []

    def add(kind: str, order: str, first: str, table: np.ndarray) -> None:
        frame = pd.DataFrame(table.astype(float), columns=list(GONE)).assign(donor=donors)
        parts.append(frame.assign(method=label, scores=kind, order=order, gone_first=first))

    for j, kind in enumerate(kinds):
        values, random = (measured[name][side_of(kind)] for name in ("curves", "random"))
        at = {"scores": j} | {name: len(kinds) + i for i, name in enumerate(YARDSTICKS)}
        for order, i in at.items():
            add(kind, order, "highest", values[:, i, 0])
            add(kind, order, "lowest", values[:, i, 1])
        for i in range(random.shape[1]):
            add(kind, f"random {i}", "any", random[:, i])
    return pd.concat(parts, ignore_index=True)


def mean_curves(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Means over donors of what :func:`curve_rows` gave: ``Explanations.curves``."""
    if not parts:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    keys = ["method", "scores", "order", "gone_first"]
    wide = pd.concat(parts, ignore_index=True)
    each = wide.groupby([*keys, "donor"], sort=False)[list(GONE)].mean()
    means = each.groupby(keys, sort=False).mean().reset_index()
    tidy = means.melt(keys, var_name="gone", value_name="value")
    tidy["order"] = tidy["order"].str.replace(r"^random \d+$", "random", regex=True)
    by = tidy.groupby([*keys, "gone"], sort=False)["value"]
    found = by.agg(value="mean", low="min", high="max").reset_index()
    found.loc[found["order"] != "random", ["low", "high"]] = np.nan
    return found[list(CURVE_COLUMNS)]
