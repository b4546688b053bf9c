"""What a predicted risk, or a predicted curve, is worth where some bags are censored.

Weights against censoring come from the censoring times of the *training* donors (Kaplan-Meier of
them). Where fewer than a tenth of these are still watched, such weights explode: times beyond that
are left out (:func:`horizon`). Entry times are heeded by :func:`concordance`, Kaplan-Meier and the
log-rank test; the weighted scores know none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.integrate import trapezoid

from smalti.errors import InputError
from smalti.task.survival import steps_at

_WATCHED = 0.1


def kaplan_meier(time: Any, event: Any, entry: Any = None, *, level: float = 0.95) -> pd.DataFrame:
    """The share without an event over time, as a curve of steps (Kaplan & Meier 1958).

    Parameters
    ----------
    time, event
        (n,) last time of each, and whether the event was seen then.
    entry
        (n,) from when on each was watched; from the beginning when left out.
    level
        Of the interval, by Greenwood's variance of log(-log S).

    Returns
    -------
    DataFrame
        One row for each time with an event: time, at_risk, events, survival, low, high.

    Examples
    --------
    >>> import smalti as sm
    >>> found = sm.scores.kaplan_meier([2, 4, 4, 5], [1, 1, 0, 0])
    >>> found[["time", "at_risk", "survival"]].to_numpy().tolist()
    [[2.0, 4.0, 0.75], [4.0, 3.0, 0.5]]
    """
    time, event = np.asarray(time, float), np.asarray(event, bool)
    start = np.full(len(time), -np.inf) if entry is None else np.asarray(entry, float)
    at, events = np.unique(time[event], return_counts=True)
    at_risk = _at_risk(time, start, at)
    left = np.cumprod(1 - events / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(events / (at_risk * (at_risk - events))) / np.log(left) ** 2
        away = stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance)
        low, high = left ** np.exp(away), left ** np.exp(-away)
    return pd.DataFrame({"time": at, "at_risk": at_risk, "events": events, "survival": left,
                         "low": low, "high": high})  # fmt: skip


def still_watched(time: Any, event: Any) -> tuple[np.ndarray, np.ndarray]:
    """Kaplan-Meier of the censoring times: (n_times,) times, and the share watched from each on.

    Of those that end at one time, events come before censorings.
    """
    time, event = np.asarray(time, float), np.asarray(event, bool)
    at, lost = np.unique(time[~event], return_counts=True)
    left = (time >= at[:, None]).sum(1) - ((time == at[:, None]) & event).sum(1)
    return at, np.cumprod(1 - lost / left)


def horizon(train_time: Any, train_event: Any) -> float:
    """The last time that training donors can vouch for.

    The last event among them, or the time at which fewer than a tenth are still watched.
    """
    time, event = np.asarray(train_time, float), np.asarray(train_event, bool)
    at, watched = still_watched(time, event)
    few = at[watched < _WATCHED - 1e-9]
    last = time[event].max() if event.any() else 0.0
    return float(min(last, few[0] if len(few) else np.inf))


def concordance(
    time: Any, event: Any, risk: Any, entry: Any = None, *, weight: Any = None,
    until: float = np.inf,
) -> float:  # fmt: skip
    """The share of pairs of which the one with the higher risk has the event first.

    Harrell's C; with ``weight`` = 1 / G(time)^2 and ``until`` that of Uno et al. (2011).

    Parameters
    ----------
    time, event, risk
        (n,) each; a higher risk means an earlier event.
    entry
        (n,) from when on each was watched: a pair counts where the other had entered.
    weight
        (n,) of the pairs that a bag is the first of.
    until
        Events from this time on are no first of a pair.

    Returns
    -------
    float
        0.5 by chance; equal risks count half. NaN where no pair can be compared.

    Examples
    --------
    >>> import smalti as sm
    >>> sm.scores.concordance([1, 2, 3], [1, 1, 0], [0.9, 0.4, 0.1])
    1.0
    """
    first, share = comparable(time, event, entry, weight, until)
    return float(_concordant(first, share, np.asarray(risk, float)[None])[0])


def concordances(time: Any, event: Any, risks: Any, entry: Any = None) -> np.ndarray:
    """Harrell's C of (k, n) risks, (k,)."""
    first, share = comparable(time, event, entry)
    return _concordant(first, share, np.asarray(risks, float))


def comparable(
    time: Any, event: Any, entry: Any = None, weight: Any = None, until: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs (first, other) are in order by time, (n, n) bool; the weight of each first."""
    time, event = np.asarray(time, float), np.asarray(event, bool)
    start = np.full(len(time), -np.inf) if entry is None else np.asarray(entry, float)
    later = (time[:, None] < time) | ((time[:, None] == time) & ~event)
    first = (event & (time < until))[:, None] & later & (start < time[:, None])
    return first, np.ones(len(time)) if weight is None else np.asarray(weight, float)


def _concordant(first: np.ndarray, share: np.ndarray, risks: np.ndarray) -> np.ndarray:
    """(k,) concordances of (k, n) risks."""
    one, other = np.nonzero(first)
    total = share[one].sum()
    if not total > 0:
        return np.full(len(risks), np.nan)
    out = np.empty(len(risks))
    for i, risk in enumerate(risks):
        gap = risk[one] - risk[other]
        right = (gap > 1e-8) + 0.5 * (np.abs(gap) <= 1e-8)
        out[i] = right @ share[one] / total
    return out


def auroc_at(
    times: Any, time: Any, event: Any, risk: Any, watched: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Area of those with the event by a time against those without (cumulative, dynamic).

    Parameters
    ----------
    times
        (n_times,) to ask at.
    time, event, risk
        (n,) each.
    watched
        Of the training donors, from :func:`still_watched`: cases count 1 / G(their time) (Uno et
        al. 2007).

    Returns
    -------
    ndarray
        (n_times,); NaN where there are no cases or no others.
    """
    time, event, risk = np.asarray(time, float), np.asarray(event, bool), np.asarray(risk, float)
    weight = _inverse(watched, time)
    out = np.full(len(np.atleast_1d(times)), np.nan)
    for i, t in enumerate(np.atleast_1d(times)):
        case, other = event & (time <= t), time > t
        if case.any() and other.any():
            ranks = stats.rankdata(np.concatenate([risk[other], risk[case]]))
            above = ranks[other.sum() :] - stats.rankdata(risk[case])  # others below each case
            out[i] = weight[case] @ above / (weight[case].sum() * other.sum())
    return out


def brier_at(
    times: Any, time: Any, event: Any, curves: Any, watched: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Squared distance of predicted curves to what was seen, weighted against censoring.

    Graf et al. (1999).

    Parameters
    ----------
    times
        (n_times,) to ask at.
    time, event
        (n,) each.
    curves
        (n, n_times) predicted probability of no event until each.
    watched
        Of the training donors, from :func:`still_watched`.

    Returns
    -------
    ndarray
        (n_times,); 0.25 is what a probability of one half has.
    """
    time, curves = np.asarray(time, float), np.asarray(curves)
    out = np.empty(len(np.atleast_1d(times)))
    for j, t in enumerate(np.atleast_1d(times)):
        weight = known_by(t, time, event, watched)
        out[j] = weight @ (curves[:, j] - (time > t)) ** 2 / len(time)
    return out


def deviance(event: Any, expected: Any) -> np.ndarray:
    """Deviance residuals of a predicted hazard (Therneau et al. 1990).

    Parameters
    ----------
    event
        (n,) 0 or 1.
    expected
        (n,) events: the predicted hazard, cumulated while each was watched.

    Returns
    -------
    ndarray
        (n,); above 0 the event came earlier than predicted.
    """
    seen, due = np.asarray(event, float), np.maximum(np.asarray(expected, float), 1e-12)
    gap = seen - due  # the martingale residual
    return np.sign(gap) * np.sqrt(np.maximum(-2 * (gap + seen * np.log(due)), 0))


def known_by(t: float, time: Any, event: Any, watched: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Weights against censoring of bags of which it is known whether they had the event by a time.

    Parameters
    ----------
    t
        That time.
    time, event
        (n,) each.
    watched
        Of the donors that tell how censoring goes, from :func:`still_watched`.

    Returns
    -------
    ndarray
        (n,) 1 / G(time) of those with the event by then, 1 / G(t) of those still without, and 0 of
        those lost from sight before.
    """
    time, event = np.asarray(time, float), np.asarray(event, bool)
    gone = np.where(event & (time <= t), _inverse(watched, time), 0.0)
    return np.where(time > t, _inverse(watched, [t]), gone)


def _inverse(watched: tuple[np.ndarray, np.ndarray], times: Any) -> np.ndarray:
    """1 / G at times, (n,); 0 where nobody is watched any more."""
    share = steps_at(*watched, times, start=1.0)
    return np.divide(1.0, share, out=np.zeros_like(share), where=share > 0)


def log_rank(time: Any, event: Any, group: Any, entry: Any = None) -> dict[str, float]:
    """Whether the curves of some groups are one (Mantel 1966).

    Parameters
    ----------
    time, event, group
        (n,) each.
    entry
        (n,) from when on each was watched.

    Returns
    -------
    dict
        chi2, freedom (groups less one) and p.

    Raises
    ------
    InputError
        If there is one group only.
    """
    names, code = np.unique(np.asarray(group), return_inverse=True)
    if len(names) < 2:
        raise InputError("a log-rank test compares two groups or more.")
    excess, cover = _events_beyond(time, event, code, len(names), entry)
    chi2 = float(excess[:-1] @ np.linalg.pinv(cover[:-1, :-1]) @ excess[:-1])
    return {"chi2": chi2, "freedom": len(names) - 1.0,
            "p": float(stats.chi2.sf(chi2, len(names) - 1))}  # fmt: skip


def log_rank_trend(time: Any, event: Any, order: Any, entry: Any = None) -> dict[str, float]:
    """Whether the event comes earlier from group to group (Tarone 1975), in that direction only.

    Parameters
    ----------
    time, event
        (n,) each.
    order
        (n,) whole numbers: the place of each one's group, those expected to have it last first.
    entry
        (n,) from when on each was watched.

    Returns
    -------
    dict
        z (above 0: earlier from group to group) and p, of one side.

    Raises
    ------
    InputError
        If there is one group only.
    """
    places, code = np.unique(np.asarray(order, float), return_inverse=True)
    if len(places) < 2:
        raise InputError("a log-rank test compares two groups or more.")
    excess, cover = _events_beyond(time, event, code, len(places), entry)
    z = float(places @ excess / np.sqrt(places @ cover @ places))
    return {"z": z, "p": float(stats.norm.sf(z))}


def _events_beyond(
    time: Any, event: Any, code: np.ndarray, n_groups: int, entry: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Events of each group beyond those expected were all alike, (n_groups,), and their covariance.

    ``code`` is (n,) the group of each.
    """
    time, event = np.asarray(time, float), np.asarray(event, bool)
    start = np.full(len(time), -np.inf) if entry is None else np.asarray(entry, float)
    member = code == np.arange(n_groups)[:, None]  # (n_groups, n)
    at = np.unique(time[event])
    risk = np.stack([_at_risk(time[m], start[m], at) for m in member], 1)  # (n_times, n_groups)
    died = np.stack([((time[m] == at[:, None]) & event[m]).sum(1) for m in member], 1)
    n, d = risk.sum(1), died.sum(1)
    excess = (died - risk * (d / n)[:, None]).sum(0)
    factor = np.divide(d * (n - d), n**2 * (n - 1), out=np.zeros(len(n)), where=n > 1)
    return excess, np.diag((factor * n) @ risk) - (risk * factor[:, None]).T @ risk


def _at_risk(time: np.ndarray, start: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n_times,) how many are watched just before each time."""
    return ((start < at[:, None]) & (at[:, None] <= time)).sum(1)


def survival_scores(
    train: np.ndarray, truth: np.ndarray, risk: np.ndarray, curves: np.ndarray, times: np.ndarray
) -> dict[str, float]:
    """All metrics of a survival target.

    Parameters
    ----------
    train, truth
        (m, 3), (n, 3) time, event and entry of the training and of the test bags.
    risk
        (n,) predicted; higher is earlier.
    curves
        (n, n_times) predicted probability of no event until each of ``times``.
    times
        (n_times,) rising.

    Returns
    -------
    dict
        c_index: Harrell's. c_uno: Uno's, weighted by the censoring of training. auroc_time: mean of
        the time-dependent AUROC over the times. integrated_brier: mean over time of the squared
        distance of curves. brier_gain: by how much that is less than the Kaplan-Meier curve of
        training has, as a share of it. NaN where the test bags cannot have it.
    """
    time, event, entry = truth.T
    seen = event > 0
    watched = still_watched(train[:, 0], train[:, 1] > 0)
    end = min(horizon(train[:, 0], train[:, 1] > 0), float(time.max()))
    known = _inverse(watched, time)
    inside = times[(times < end) & (times > 0)]
    out = {
        "c_index": concordance(time, seen, risk, entry if entry.any() else None),
        "c_uno": concordance(time, seen, risk, weight=known**2, until=end),
        "auroc_time": np.nan, "integrated_brier": np.nan, "brier_gain": np.nan,
    }  # fmt: skip
    areas = auroc_at(inside, time, seen, risk, watched)
    if np.isfinite(areas).any():
        out["auroc_time"] = float(np.nanmean(areas))
    if len(inside) > 1:
        which = np.isin(times, inside)
        usual = kaplan_meier(train[:, 0], train[:, 1] > 0, train[:, 2] if train[:, 2].any() else
                             None)  # fmt: skip
        flat = steps_at(usual["time"], usual["survival"], inside, start=1.0)
        own, other = (
            trapezoid(brier_at(inside, time, seen, c, watched), inside) / np.ptp(inside)
            for c in (curves[:, which], np.broadcast_to(flat, (len(time), len(inside))))
        )
        out["integrated_brier"] = float(own)
        out["brier_gain"] = float(1 - own / other) if other > 0 else np.nan
    return out
