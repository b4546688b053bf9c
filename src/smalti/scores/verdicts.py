"""What paired tests say: one of four answers, over a stated family of comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from smalti.errors import InputError
from smalti.scores.headline import signed
from smalti.scores.metrics import widest

LEVEL = 0.05  # of a family: how often any of its answers may be found by chance
_POWER = 0.8


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """P values of a family, adjusted so that any false finding among them is rare (Holm 1979).

    Parameters
    ----------
    p
        (n,) p values; NaN ones are no members of the family.

    Returns
    -------
    ndarray
        (n,) adjusted: at most 0.05 is a finding at the level of 5 % over the whole family.

    Examples
    --------
    >>> import smalti as sm
    >>> sm.scores.holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    out = np.full(p.shape, np.nan)
    there = np.flatnonzero(np.isfinite(p))
    order = there[np.argsort(p[there], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps * p[order]))
    return out


def judge(
    found: pd.DataFrame, *, margin: float | None = None, lower_is_better: bool = False
) -> pd.DataFrame:
    """Answers to a family of comparisons.

    Parameters
    ----------
    found
        One row per comparison, of what :func:`~smalti.scores.corrected_test` returns.
    margin
        The region of practical equivalence: differences from -margin to +margin do not matter.
        None: there is none.
    lower_is_better
        Whether a negative difference is a gain.

    Returns
    -------
    DataFrame
        The same with family (comparisons that have a p), p_holm, p_equal (of the two one-sided
        tests that the difference is inside the region, adjusted likewise), detectable (the
        difference that a study of this size tells apart four times of five, at the level that the
        family leaves to one comparison) and the ``verdict`` (see :func:`verdict`).

    Raises
    ------
    InputError
        If the margin is not positive.
    """
    if margin is not None and not margin > 0:
        raise InputError(f"margin={margin:g}: a region of practical equivalence has a width > 0.")
    p, freedom = found["p"].to_numpy(float), found["freedom"].to_numpy()
    family = int(np.isfinite(p).sum())
    gap, error = (found[k].to_numpy(float) for k in ("difference", "standard_error"))
    outside = np.full(len(found), np.nan)
    if margin is not None:
        outside = stats.t.sf((margin - np.abs(gap)) / error, freedom)
    needed = stats.t.isf(LEVEL / 2 / max(family, 1), freedom) + stats.t.ppf(_POWER, freedom)
    told = found.assign(family=family, p_holm=holm(p), p_equal=holm(outside),
                        detectable=needed * error)  # fmt: skip
    words = [verdict(row, lower_is_better=lower_is_better) for row in told.to_dict("records")]
    return told.assign(verdict=words)


def verdict(found: Mapping[str, Any], *, lower_is_better: bool = False) -> str:
    """What a paired test says in words.

    Parameters
    ----------
    found
        What :func:`~smalti.scores.corrected_test` returned, perhaps with p_holm and p_equal.
    lower_is_better
        Whether a negative difference is a gain.

    Returns
    -------
    str
        "practically equal" where the difference lies in the region of practical equivalence at the
        5 % level, "better" or "worse" where it is not 0 at that level, else "not told apart"; "not
        tested" where no test can be made, of one part, or of parts that all differ alike.

    Examples
    --------
    >>> import smalti as sm
    >>> gap = sm.scores.corrected_test([0.02, 0.05, 0.01, 0.04, 0.03], n_train=40, n_test=10)
    >>> sm.scores.verdict(gap)
    'better'
    >>> sm.scores.verdict(sm.scores.corrected_test([0.1, 0.1], n_train=40, n_test=10))
    'not tested'
    """
    equal = found["n"] > 1 and abs(found["difference"]) <= 1e-12
    if np.isnan(found["p"]) and not equal:
        return "not tested"
    if found.get("p_equal", np.nan) <= LEVEL:
        return "practically equal"
    if not found.get("p_holm", found["p"]) <= LEVEL:
        return "not told apart"
    return "better" if (found["difference"] > 0) != lower_is_better else "worse"


def in_words(one: str, other: str, found: Mapping[str, Any], comma: str = "") -> str:
    """A row of :func:`judge` as a sentence; ``comma`` closes an aside in ``other``."""
    gap, answer = signed(found["difference"], 3), found["verdict"]
    pair = f"{one} and {other}{comma} are {answer}"
    if np.isnan(found["low"]):
        if answer == "not tested":
            return f"{one} and {other}{comma} cannot be tested: {gap}" + (
                " in every part" * int(found["n"] > 1))  # fmt: skip
        return f"{pair}: equal in every part"
    gap += f" (95 % interval {signed(found['low'], 3)} to {signed(found['high'], 3)}"
    if found["family"] > 1:
        gap += f"; p {found['p_holm']:.2g} by Holm over {found['family']} comparisons"
    if answer in ("better", "worse"):
        return f"{one} is {answer} than {other}: {gap})"
    if answer == "not told apart":
        few = found["detectable"] >= widest(str(found.get("metric", "")))
        gap += "; so few parts would tell no difference apart" if few else \
            f"; {found['detectable']:.2f} would be told apart four times of five"  # fmt: skip
    return f"{pair}: {gap})"
