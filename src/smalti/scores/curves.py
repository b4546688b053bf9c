"""Receiver operating and precision-recall curves of test folds, averaged, with bands.

At each share of false alarms (each recall) the curves of the folds are averaged, never their bags
pooled: scores of models that never met have no common order. The area below such a mean is the mean
of the areas, the very AUROC (average precision) of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import stats
from scipy.integrate import trapezoid
from sklearn.metrics import precision_recall_curve, roc_curve

from smalti.errors import InputError

_DRAWS = 200  # of the donors, where there is one part alone
_SIDE = 1e-9  # beside a step
Curve: TypeAlias = Callable[[np.ndarray], np.ndarray]


def mean_curves(
    predictions: pd.DataFrame,
    kind: str = "roc",
    *,
    bands: Sequence[str] = (),
    n_train: float | None = None,
    freedom: int | None = None,
) -> pd.DataFrame:
    """The mean curve of each method of a binary task.

    Parameters
    ----------
    predictions
        ``comparison.predictions``: columns method, true, p_CLASS (the last column of that form is
        the positive class); repeat and fold where there are several parts, donor for the band of
        one part alone. Parts of one class have no curve.
    kind
        "roc": the share found over the share of false alarms; "precision_recall": the share of
        calls that are right over the share found.
    bands
        Methods that get a band.
    n_train, freedom
        Training bags of a fold and degrees of freedom, for the bands of several parts; without
        ``n_train`` they have none.

    Returns
    -------
    DataFrame
        method, x, y; low and high of a pointwise 95 % band, of several parts the corrected
        resampled t interval of the procedure, of one part alone by resampling its donors, for the
        one fitted model; area, the mean of the parts' areas; parts, how many.

    Raises
    ------
    InputError
        If the task is not binary, or no part has both classes.

    Examples
    --------
    >>> import smalti as sm
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"method": "a", "fold": [0, 0, 1, 1], "true": list("nyny"),
    ...                       "p_n": [0.8, 0.3, 0.4, 0.6], "p_y": [0.2, 0.7, 0.6, 0.4]})
    >>> round(float(sm.scores.mean_curves(frame)["area"].iloc[0]), 2)
    0.5
    """
    columns = [c for c in predictions if str(c).startswith("p_")]
    if len(columns) != 2 or "true" not in predictions:
        raise InputError("a ROC curve needs a binary task: columns true and two of p_CLASS.")
    rows = predictions.assign(
        truth=predictions["true"].astype(str) == columns[1].removeprefix("p_"),
        p=predictions[columns[1]],
    )
    keys = [c for c in ("repeat", "fold") if c in rows]
    out = []
    for method, own in rows.groupby("method", sort=False):
        parts = [part for _, part in own.groupby(keys)] if keys else [own]
        parts = [part for part in parts if part["truth"].nunique() == 2]
        if parts:
            n = n_train if method in bands else None
            drawn = method in bands and len(parts) == 1 and "donor" in own
            out.append(_of_method(parts, kind, n, freedom, drawn).assign(method=method))
    if not out:
        raise InputError("a ROC curve needs test bags of both classes.")
    table = pd.concat(out, ignore_index=True)
    return table[["method", *table.columns.drop("method")]]


def _of_method(
    parts: list[pd.DataFrame], kind: str, n_train: float | None, freedom: int | None, drawn: bool
) -> pd.DataFrame:
    made = [_curve(part["truth"], part["p"], kind) for part in parts]
    steps = np.unique(np.concatenate([[0, 1], *(at for at, _ in made)]))
    x = np.unique(np.clip([steps - _SIDE, steps, steps + _SIDE], 0, 1))
    each = np.stack([curve(x) for _, curve in made])  # (parts, points)
    y, low, high = each.mean(0), np.full(len(x), np.nan), np.full(len(x), np.nan)
    if drawn:
        low, high = np.quantile(_resampled(parts[0], kind, x), [0.025, 0.975], axis=0)
    elif len(parts) > 1 and n_train is not None:
        n_test = np.mean([len(part) for part in parts])
        free = len(parts) - 1 if freedom is None else max(min(freedom, len(parts) - 1), 1)
        error = np.sqrt((1 / len(parts) + n_test / n_train) * each.var(0, ddof=1))
        half = stats.t.ppf(0.975, free) * error
        low, high = np.clip([y - half, y + half], 0, 1)
    return pd.DataFrame({"x": x, "y": y, "low": low, "high": high,
                         "area": trapezoid(y, x), "parts": len(parts)})  # fmt: skip


def _curve(
    truth: pd.Series, p: pd.Series, kind: str, weight: np.ndarray | None = None
) -> tuple[np.ndarray, Curve]:
    """Where a curve steps, and the curve as a function."""
    if kind == "roc":
        fall_out, found, _ = roc_curve(truth, p, sample_weight=weight, drop_intermediate=False)
        return fall_out, lambda x: np.interp(x, fall_out, found)
    right, found, _ = precision_recall_curve(truth, p, sample_weight=weight)
    right, found = right[-2::-1], found[-2::-1]  # without the end that scikit-learn adds
    return found, lambda x: right[np.minimum(np.searchsorted(found, x), len(found) - 1)]


def _resampled(part: pd.DataFrame, kind: str, x: np.ndarray) -> np.ndarray:
    """(draws, points): curves of donors drawn with replacement."""
    rng = np.random.default_rng(0)
    donors, which = np.unique(part["donor"].astype(str), return_inverse=True)
    out: list[np.ndarray] = []
    for _ in range(_DRAWS):
        times = rng.multinomial(len(donors), np.full(len(donors), 1 / len(donors)))[which]
        kept = part[times > 0]
        if kept["truth"].nunique() == 2:
            out.append(_curve(kept["truth"], kept["p"], kind, times[times > 0])[1](x))
    return np.stack(out)
