"""Risks and curves of left-out bags: thirds by risk, and what was expected of each bag.

Models of several folds have no one scale of risk, and their middle depends on who was left out. So
risks are read as ranks within the test fold, from 0 to 1, and a rank is the mean over repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from smalti.scores.survival import horizon, kaplan_meier, known_by, log_rank_trend, still_watched

THIRDS = ("low", "middle", "high")
_CURVE = "event_free_"
_LEAST = 1e-4  # a curve that ends at 0 expects no infinite number of events


def times_of(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Times at which curves were kept, (n_times,), and curves, (n, n_times); both from time 0 on.

    Parameters
    ----------
    predictions
        With columns event_free_TIME.
    """
    names = [c for c in predictions if str(c).startswith(_CURVE)]
    at = np.array([0.0, *(float(str(c).removeprefix(_CURVE)) for c in names)])
    curves = predictions[names].to_numpy(float)
    return at, np.column_stack([np.ones(len(curves)), curves])


def event_free(predictions: pd.DataFrame, until: np.ndarray) -> np.ndarray:
    """Predicted probability of no event until a time of each row: (n,) to (n,).

    Straight between the times that were kept; as it is at the last one from there on.
    """
    at, curves = times_of(predictions)
    return np.array([np.interp(t, at, row) for t, row in zip(until, curves, strict=True)])


def judged(predictions: pd.DataFrame, alone: bool) -> pd.DataFrame:
    """Each row with time, event and entry, its rank, and the events that its curve expects.

    Parameters
    ----------
    predictions
        Of one method, in all repeats.
    alone
        Whether test folds are single donors: ranks are then among all of a repeat.

    Returns
    -------
    DataFrame
        repeat, fold, bag, donor, time, event, entry, rank (0 to 1, the highest risk last; 0.5 where
        all are alike), expected (the predicted hazard, cumulated while the bag was watched).
    """
    found = predictions[["repeat", "fold", "bag", "donor"]].copy()
    found["time"] = predictions["true_time"].astype(float)
    found["event"] = predictions["true_event"].to_numpy(float) > 0
    entry = predictions.get("true_entry", pd.Series(0.0, index=predictions.index))
    found["entry"] = entry.astype(float)
    own = predictions["predicted"].groupby([found[c] for c in _parts(alone)])
    found["rank"] = (own.rank() - 0.5) / own.transform("size")
    left = np.maximum(event_free(predictions, found["time"].to_numpy()), _LEAST)
    before = np.maximum(event_free(predictions, found["entry"].to_numpy()), _LEAST)
    return found.assign(expected=np.log(before) - np.log(left))


def _parts(alone: bool) -> list[str]:
    return ["repeat"] if alone else ["repeat", "fold"]


def by_donor(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a donor, the mean over repeats, and the third by risk that it is in.

    Parameters
    ----------
    rows
        Of :func:`judged`.

    Returns
    -------
    DataFrame
        donor (bag, where bags of one donor have times of their own), time, event, entry, rank,
        group ("low", "middle" or "high"; fewer where ranks are alike).
    """
    own = rows.groupby("donor")[["time", "event", "entry"]].nunique().max(axis=None) == 1
    unit = "donor" if own else "bag"
    how = dict.fromkeys(("time", "event", "entry"), "first") | {"rank": "mean"}
    found = rows.groupby(unit, sort=False).agg(how).reset_index()
    ends = np.unique(np.quantile(found["rank"].round(9), [1 / 3, 2 / 3]))
    code = np.searchsorted(ends, found["rank"].round(9))  # equal ranks are in one third
    there = np.unique(code)
    names = dict(zip(there, THIRDS if len(there) > 2 else (THIRDS[0], THIRDS[-1]), strict=False))
    group = pd.Categorical([names[c] for c in code], [n for n in THIRDS if n in names.values()])
    return found.assign(group=group)


def thirds(donors: pd.DataFrame) -> pd.DataFrame:
    """What became of each third.

    Parameters
    ----------
    donors
        Of :func:`by_donor`.

    Returns
    -------
    DataFrame
        group, n, events, half_by (the time by which half had the event; NaN where fewer had),
        event_free with its 95 % interval (share without an event at the time in ``until``, the
        median time of events), and of a log-rank test for trend z and p of one side: of curves in
        the order of the risks. NaN of one group.
    """
    until = float(donors.loc[donors["event"], "time"].median())
    test = {"z": np.nan, "p": np.nan}
    entry = donors["entry"] if donors["entry"].any() else None
    if donors["group"].cat.categories.size > 1:
        test = log_rank_trend(donors["time"], donors["event"], donors["group"].cat.codes, entry)
    rows = []
    for name, own in donors.groupby("group", observed=True):
        curve = kaplan_meier(own["time"], own["event"], None if entry is None else own["entry"])
        half = curve.loc[curve["survival"] <= 0.5, "time"]
        last = curve[curve["time"] <= until].tail(1)
        left = [1.0, np.nan, np.nan] if last.empty else \
            last[["survival", "low", "high"]].to_numpy(float)[0]  # fmt: skip
        rows.append({
            "group": str(name), "n": len(own), "events": int(own["event"].sum()),
            "half_by": float(half.iloc[0]) if len(half) else np.nan, "until": until,
            **dict(zip(("event_free", "event_free_low", "event_free_high"), left, strict=True)),
            **test,
        })  # fmt: skip
    return pd.DataFrame(rows)


def excess(predictions: pd.DataFrame) -> np.ndarray:
    """How much more likely than it was an event by the median time of events was said to be.

    Parameters
    ----------
    predictions
        Of one method, in all repeats.

    Returns
    -------
    ndarray
        (n,) weighted against censoring: their mean is that of all, those lost from sight too.
    """
    one = predictions.drop_duplicates("bag")
    lived, seen = one["true_time"].to_numpy(float), one["true_event"].to_numpy(float) > 0
    t = float(np.median(lived[seen]))
    time, event = (predictions[c].to_numpy(float) for c in ("true_time", "true_event"))
    weight = known_by(t, time, event > 0, still_watched(lived, seen))
    p = 1 - event_free(predictions, np.full(len(predictions), t))
    return weight * (p - (time <= t))


def usual_times(predictions: pd.DataFrame) -> np.ndarray:
    """The quartiles of the times of events, before censoring leaves too few: (n_times,)."""
    first = predictions.drop_duplicates("bag")
    time, event = first["true_time"].to_numpy(float), first["true_event"].to_numpy(float) > 0
    at = np.quantile(time[event], [0.25, 0.5, 0.75])
    return np.unique(at[at < horizon(time, event)])


def by_time(
    predictions: pd.DataFrame, times: Sequence[float] | None
) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Method, time and rows (donor, truth, p, weight) of each: an event by then, as predicted.

    Bags that were lost from sight before are left out, and the others weighted for them by the
    censoring of all bags.
    """
    wanted = usual_times(predictions) if times is None else np.asarray(times, float)
    one = predictions.drop_duplicates("bag")
    watched = still_watched(one["true_time"], one["true_event"].to_numpy(float) > 0)
    for method, part in predictions.groupby("method", sort=False):
        time, event = part["true_time"].to_numpy(float), part["true_event"].to_numpy(float) > 0
        for t in wanted:
            p = 1 - event_free(part, np.full(len(part), t))
            rows = part[["donor"]].assign(truth=time <= t, p=p,
                                          weight=known_by(t, time, event, watched))  # fmt: skip
            yield str(method), float(t), rows[rows["weight"] > 0]
