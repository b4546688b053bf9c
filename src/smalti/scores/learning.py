"""Would more donors help: means over growing shares of them, what the last doubling gained."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from smalti.scores.headline import signed
from smalti.scores.metrics import LOWER_IS_BETTER, SHARES, ends_of, named
from smalti.scores.statistics import corrected_test
from smalti.scores.verdicts import judge

_DRAWS = 400
_WIDE = 0.15  # an interval wider than this says nothing that one could plan by
_POWERS = np.linspace(0.1, 2.0, 39)
_WORDS = {"better": "improving", "worse": "worsening", "practically equal": "flat"}


def learning_means(curve: pd.DataFrame, metric: str, freedom: int | None = None) -> pd.DataFrame:
    """Mean of a metric at each share, with its 95 % interval.

    Parameters
    ----------
    curve
        ``comparison.learning``.
    metric
        Which.
    freedom
        Degrees of freedom, as of :func:`smalti.scores.corrected_test`.

    Returns
    -------
    DataFrame
        method, share, donors (mean), value, low, high, folds; only of folds that have every share.
    """
    rows = []
    for (method, share), part in _whole(curve, metric).groupby(["method", "share"], sort=False):
        # the interval of a mean is that of its difference to 0
        found = corrected_test(part["value"].to_numpy(), part["n_train"].mean(),
                               part["n_test"].mean(), freedom=freedom)  # fmt: skip
        low, high = found["low"], found["high"]
        low, high = np.clip([low, high], *ends_of(metric))
        rows.append({"method": method, "share": share, "donors": part["donors"].mean(),
                     "value": found["difference"], "low": low, "high": high,
                     "folds": len(part)})  # fmt: skip
    return pd.DataFrame(rows).sort_values(["method", "share"], ignore_index=True)


def _whole(curve: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Scores of the folds that have a value at every share of their method."""
    own = curve[(curve["metric"] == metric) & curve["value"].notna()]
    n = own.groupby("method")["share"].transform("nunique")
    each = own.groupby(["method", "repeat", "fold"])["share"].transform("nunique")
    return own[n == each]


def learning_gains(
    curve: pd.DataFrame, metric: str, *, margin: float | None, freedom: int | None = None
) -> pd.DataFrame:
    """What the last doubling of the donors gained: all against the share nearest to a half.

    Returns
    -------
    DataFrame
        method, share, donors (of the share), all_donors, what
        :func:`~smalti.scores.corrected_test` and :func:`~smalti.scores.verdicts.judge` give, and
        ``curve``: "improving", "worsening", "flat" (a difference inside the margin) or "not told".
    """
    rows = []
    for method, part in _whole(curve, metric).groupby("method", sort=False):
        wide = part.pivot_table(index=["repeat", "fold"], columns="share", values="value")
        fewer = [s for s in wide if s < 1]
        if 1.0 not in wide or not fewer:
            continue
        half = min(fewer, key=lambda s: (abs(s - 0.5), s))
        at = part.groupby("share")[["donors", "n_train", "n_test"]].mean()
        found = corrected_test((wide[1.0] - wide[half]).to_numpy(), at.loc[1.0, "n_train"],
                               at.loc[1.0, "n_test"], freedom=freedom)  # fmt: skip
        rows.append({"method": method, "share": half, "donors": at.loc[half, "donors"],
                     "all_donors": at.loc[1.0, "donors"]} | found)  # fmt: skip
    if not rows:
        return pd.DataFrame(columns=["method", "share", "curve"])
    told = judge(pd.DataFrame(rows), margin=margin, lower_is_better=metric in LOWER_IS_BETTER)
    return told.assign(curve=[_WORDS.get(v, "not told") for v in told["verdict"]])


def learning_said(
    curve: pd.DataFrame, metric: str, *, margin: float | None, freedom: int | None = None
) -> list[str]:
    """Would more donors help: what each curve says, and what it cannot."""
    out = []
    for row in learning_gains(curve, metric, margin=margin, freedom=freedom).to_dict("records"):
        n, few = f"{row['all_donors']:.0f}", f"{row['donors']:.0f}"
        gap = f"{named(metric)} {signed(row['difference'])} from {few} to {n} training donors"
        if not np.isnan(row["low"]):
            gap += f" (95 % {signed(row['low'])} to {signed(row['high'])})"
        if row["curve"] == "improving":
            more = ahead(curve, metric, str(row["method"]), 2 * row["all_donors"])
            out.append(f"More donors would help {row['method']}: it still improves, {gap}{more}")
        elif row["curve"] == "flat":
            out.append(f"More donors would hardly help {row['method']}: it is flat, {gap}")
        elif row["curve"] == "worsening":
            out.append(f"{row['method']} is worse on more donors: {gap}; look at its settings")
        else:
            out.append(f"Whether more donors would help {row['method']} cannot be told: {gap}")
    return out


def power_law(donors: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The inverse power law end - rate * donors ** -power with the least squares.

    Parameters
    ----------
    donors
        (n,) numbers of donors.
    values
        (..., n) scores of one curve or of several.

    Returns
    -------
    ndarray
        (..., 3) end, rate and power (of a grid from 0.1 to 2); NaN of fewer than three numbers.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> n = np.array([8, 16, 32])
    >>> sm.scores.power_law(n, 0.9 - n**-0.5).round(2).tolist()
    [0.9, 1.0, 0.5]
    """
    donors, values = np.asarray(donors, float), np.asarray(values, float)
    if len(np.unique(donors)) < 3:
        return np.full((*values.shape[:-1], 3), np.nan)
    # given the power, the others are linear
    x = np.stack([np.ones((len(_POWERS), len(donors))), -(donors ** -_POWERS[:, None])], 2)
    fitted = np.einsum("pkn,...n->...pk", np.linalg.pinv(x), values)
    loss = ((np.einsum("pnk,...pk->...pn", x, fitted) - values[..., None, :]) ** 2).sum(-1)
    best = loss.argmin(-1)[..., None]
    chosen = np.take_along_axis(fitted, best[..., None], -2)[..., 0, :]
    return np.concatenate([chosen, _POWERS[best]], -1)


def ahead(curve: pd.DataFrame, metric: str, method: str, donors: float) -> str:
    """Where a curve that improves would be at more donors, in words; if it is narrow enough."""
    low, high = extrapolated(curve, metric, method, donors)
    if not high - low <= _WIDE:
        return f"; what {donors:.0f} would bring these folds do not say"
    return f"; at {donors:.0f} donors an inverse power law has {low:.2f} to {high:.2f}"


def extrapolated(
    curve: pd.DataFrame, metric: str, method: str, donors: float, *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean of a metric at more donors, by an inverse power law.

    The law is fitted to the means of folds drawn with replacement; the spread of the draws is
    widened as that of the mean is, for folds share their training donors, with the degrees of
    freedom of one repeat. So widened the interval held the true mean in 90 to 98 % of simulated
    cohorts of 40 and 100 donors (``benchmarks/learning.py``); without it in about half.

    Parameters
    ----------
    curve
        ``comparison.learning``.
    metric
        One that lies between 0 and 1.
    method
        Which.
    donors
        How many.
    seed
        Of the draws.

    Returns
    -------
    tuple
        low and high; NaN where there are too few folds or shares, or the metric has no bounds.
    """
    part = _whole(curve, metric)
    part = part[part["method"] == method]
    each = part.pivot_table(index=["repeat", "fold"], columns="share", values="value")
    n, folds = len(each), int(each.groupby("repeat").size().max()) if len(each) else 0
    if metric not in SHARES or folds < 2:
        return np.nan, np.nan
    at = part.groupby("share")["donors"].mean().to_numpy()
    rows = np.random.default_rng([seed, 10]).integers(0, n, (_DRAWS, n))
    end, rate, power = power_law(at, each.to_numpy()[rows].mean(1)).T
    drawn = end - rate * donors**-power
    whole = part[part["share"] == 1]
    wider = np.sqrt(1 + n * whole["n_test"].mean() / whole["n_train"].mean())
    half = float(stats.t.ppf(0.975, folds - 1) * wider * drawn.std())
    low, high = np.clip([np.median(drawn) - half, np.median(drawn) + half], 0, 1)
    return float(low), float(high)
