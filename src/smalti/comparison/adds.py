"""What each modality adds to cells of each label: how it moves codes, what is found by it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from smalti.bags import Bags
from smalti.comparison.splits import Split
from smalti.integrate.halves import measured
from smalti.scores.intervals import resampled_interval

_VOTERS = 15
COLUMNS = ["method", "repeat", "label", "modality", "share", "found", "found_without"]
_NUMBERS = COLUMNS[4:]


def added(
    model: Any, z: np.ndarray, cells: Bags, split: Split, labels: np.ndarray, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Of the held-out cells of each label, for each modality.

    Parameters
    ----------
    model
        Fitted on the training side.
    z
        (n_cells, width) its embedding of all cells.
    cells
        All of them.
    split
        Training and held-out cells.
    labels, names
        (n_cells,) codes of the labels, -1 where unknown; and what they are called.

    Returns
    -------
    list of dict
        label, modality, ``share`` (mean of ``modality_contributions``, of a graph its weights),
        ``found`` (share of the cells that their 15 nearest training cells label rightly) and
        ``found_without`` (the same, the modality hidden). Nothing of one modality alone.
    """
    there = measured(cells)
    several = (there.sum(1) > 1) & (labels >= 0)
    test, train = split.test[several[split.test]], split.train[labels[split.train] >= 0]
    weights, views = hasattr(model, "modality_weights"), list(model.features_)
    asked = weights or (model.missing and not model.at_hand())
    if len(views) < 2 or not len(test) or not asked:
        return []
    shares = model.modality_contributions(cells[test])
    right = pd.DataFrame(np.nan, index=range(len(test)), columns=["", *views])
    if not weights and len(train) >= _VOTERS:
        voters = KNeighborsClassifier(_VOTERS).fit(z[train], labels[train])
        right[""] = voters.predict(z[test]) == labels[test]
        for view in views:
            right[view] = voters.predict(_without(model, cells[test], view)) == labels[test]
    return [
        {"label": names[code], "modality": view,
         "share": _mean(shares[view].to_numpy()[at & has]), "found": _mean(right[""][at & has]),
         "found_without": _mean(right[view][at & has])}
        for code in np.unique(labels[test]) for i, view in enumerate(views)
        if (has := there[test, i]).any() and (at := labels[test] == code).any()
    ]  # fmt: skip


def _without(model: Any, cells: Bags, view: str) -> np.ndarray:
    gone = np.zeros(cells.n_instances, dtype=bool)
    gone_there = dataclasses.replace(cells, present={**cells.present, view: gone})
    return np.asarray(model.transform(gone_there))


def _mean(values: Any) -> float | None:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None


def over_seeds(rows: pd.DataFrame, n_train: float, n_test: float) -> pd.DataFrame:
    """Means over the seeds, with the interval of ``share`` and of what is found by a modality.

    Parameters
    ----------
    rows
        With the columns above.
    n_train, n_test
        Cells of a fit.

    Returns
    -------
    DataFrame
        method, label, modality, share, found, found_without, gain (found less found_without), and
        the ends of 95 % intervals of share and gain.
    """
    rows = rows.astype(dict.fromkeys(_NUMBERS, float))
    rows = rows.assign(gain=rows["found"] - rows["found_without"])
    out = []
    for key, part in rows.groupby(["method", "label", "modality"], sort=False):
        row = dict(zip(("method", "label", "modality"), key, strict=True))
        row |= {name: part[name].mean() for name in (*_NUMBERS, "gain")}
        for name, least in (("share", 0), ("gain", -1)):
            ends = np.clip(resampled_interval(part[name].to_numpy(), n_train, n_test), least, 1)
            row |= dict(zip((f"{name}_low", f"{name}_high"), ends, strict=True))
        out.append(row)
    order = ["method", "label", "modality", "share", "share_low", "share_high", "found",
             "found_without", "gain", "gain_low", "gain_high"]  # fmt: skip
    return pd.DataFrame(out, columns=order)
