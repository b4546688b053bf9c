"""What a probability is worth to someone who must decide: thresholds and net benefit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.scores.probabilities import wilson

_ODDS = np.arange(5, 100, 5) / 100


def net_benefit(
    truth: Any, p: Any, thresholds: Sequence[float] | None = None, *,
    prevalence: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Decision curve of one class (Vickers & Elkin 2006).

    Parameters
    ----------
    truth
        (n,) whether each bag is of the class.
    p
        (n,) its probability.
    thresholds
        Probabilities from which on one would treat, above 0 and below 1; 0.05 to 0.95 when left
        out. Whoever treats from t on takes (1 - t) / t treated in vain for one treated rightly.
    prevalence
        Of the class where the model is to be used; that of these bags when left out.

    Returns
    -------
    DataFrame
        threshold; net_benefit of the model, in bags of the class found per bag, less the treated in
        vain by their odds; treat_all: the same of treating everyone. Treating nobody has 0.

    Raises
    ------
    InputError
        If a threshold or the prevalence is not between 0 and 1, or a class is missing.

    Examples
    --------
    >>> import smalti as sm
    >>> sm.scores.net_benefit([1, 0, 1, 0], [0.9, 0.2, 0.7, 0.4], [0.5])["net_benefit"].tolist()
    [0.5]
    """
    y, p = np.asarray(truth, bool), np.asarray(p, float)
    at = np.asarray(_ODDS if thresholds is None else thresholds, float)
    if not ((at > 0) & (at < 1)).all():
        raise InputError("thresholds of a decision curve lie between 0 and 1, without the ends.")
    share = _share(y, prevalence)
    if y.all() or not y.any():
        raise InputError("a decision curve needs bags of the class and others.")
    called = p >= at[:, None]  # (n_thresholds, n)
    odds = at / (1 - at)
    found, in_vain = called[:, y].mean(1) * share, called[:, ~y].mean(1) * (1 - share)
    return pd.DataFrame({"threshold": at, "net_benefit": found - in_vain * odds,
                         "treat_all": share - (1 - share) * odds})  # fmt: skip


def pick_threshold(truth: Any, p: Any, *, sensitivity: float | None = None) -> float:
    """A threshold by bags of training donors.

    Parameters
    ----------
    truth, p
        As of :func:`net_benefit`.
    sensitivity
        The highest threshold that finds so large a share of the class; when left out the one with
        the largest sum of sensitivity and specificity (Youden 1950).

    Returns
    -------
    float
        From this probability on a bag is called: half way between two that are there. 0.5 where a
        class is missing.

    Raises
    ------
    InputError
        If the sensitivity is not above 0 and at most 1.
    """
    y, p = np.asarray(truth, bool), np.asarray(p, float)
    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise InputError(f"sensitivity={sensitivity:g} is not a share above 0.")
    if y.all() or not y.any():
        return 0.5
    values = np.unique(p)
    between = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
    called = p >= between[:, None]
    found, spared = called[:, y].mean(1), 1 - called[:, ~y].mean(1)
    if sensitivity is not None:
        return float(between[found >= sensitivity - 1e-12].max())
    best = np.flatnonzero(found + spared >= (found + spared).max() - 1e-12)
    return float(between[best[len(best) // 2]])


def operating_point(
    truth: Any, called: Any, donors: Any, *, prevalence: float | None = None
) -> dict[str, float]:
    """What calls are worth: found, spared, and what a call means at a prevalence.

    Parameters
    ----------
    truth, called
        (n,) whether each bag is of the class, and was called so.
    donors
        (n,) whose it is.
    prevalence
        Of the class where the model is to be used; that of these bags when left out.

    Returns
    -------
    dict
        sensitivity, specificity, ppv and npv (predictive values at the prevalence), each with _low
        and _high: 95 % by Wilson, n counted in donors; those of the predictive values are at the
        ends of both, and so too wide rather than too narrow. prevalence.

    Raises
    ------
    InputError
        If the prevalence is not between 0 and 1.
    """
    y, c = np.asarray(truth, bool), np.asarray(called, bool)
    whose, share = np.asarray(donors), _share(y, prevalence)
    out: dict[str, float] = {}
    for name, rows, right in (("sensitivity", y, c), ("specificity", ~y, ~c)):
        value = float(right[rows].mean()) if rows.any() else np.nan
        low, high = wilson(value, len(np.unique(whose[rows])))
        out |= {name: value, f"{name}_low": low, f"{name}_high": high}
    for end in ("", "_low", "_high"):
        one, other = out[f"sensitivity{end}"], out[f"specificity{end}"]
        out[f"ppv{end}"] = _over(one * share, (1 - other) * (1 - share))
        out[f"npv{end}"] = _over(other * (1 - share), (1 - one) * share)
    return out | {"prevalence": share}


def _over(right: float, wrong: float) -> float:
    """Share of the calls that are right; NaN where there is none."""
    return right / (right + wrong) if right + wrong > 0 else float("nan")


def _share(y: np.ndarray, prevalence: float | None) -> float:
    if prevalence is not None and not 0 < prevalence < 1:
        raise InputError(f"prevalence={prevalence:g} is not between 0 and 1.")
    return float(y.mean()) if prevalence is None else prevalence
