"""The sentence that answers: the best method beside the best baseline, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from smalti.scores.metrics import named, widest

_SMALL = 0.01  # differences below it need a third decimal


def headline(table: Any, metric: str) -> str:
    """What a table says of one metric, without a full stop (``Scores.headline``).

    Both sides are picked by these very scores. Of several methods the answer is Holm's over all of
    them, and the difference is also said on folds that neither side was chosen by.
    """
    ranked, rival = table.ranked(metric), table.best_baseline(metric)
    methods = [str(m) for m in ranked.loc[~ranked["baseline"], "method"]]
    if not methods:
        return "No method could be ranked" if rival is None else "No method but baselines"
    first = methods[0] + (f", best of {len(methods)}," if len(methods) > 1 else "")
    means = table.intervals(metric).set_index("method")
    own = f"{named(metric)} {with_ends(means.loc[methods[0]])}"
    if rival is None:
        return f"{first} has the best mean: {own}"
    found = table.against(rival, metric).set_index("method").loc[methods[0]]
    other = f"the best baseline, {rival}"  # what comes behind it begins with a comma or a colon
    against = f"{own} against {decimals(means.loc[rival, 'value'])}"
    if np.isnan(found["low"]):
        return _untested(first, other, against, found)
    does, doing = table.deed
    answers = {
        "better": f"{first} {does} better than {other}",
        "worse": f"{first} {does} worse than {other}",
        "practically equal": f"{first} is practically equal to {other}{doing}",
        "not told apart": f"{first} is not told apart from {other}{doing}",
    }
    gap = f"difference {signed(found['difference'])}"
    gap += f" ({signed(found['low'])} to {signed(found['high'])})"
    honest = table.chosen_gap(metric)
    if not np.isnan(honest):
        gap += f", {signed(honest)} on folds that did not choose it"
    return f"{answers[found['verdict']]}: {against}; {gap}"


def _untested(first: str, other: str, against: str, found: pd.Series) -> str:
    """Where no interval can be given: all parts differ alike, or there is one."""
    gap = found["difference"]
    if found["n"] > 1 and abs(gap) <= 1e-12:
        return f"{first} and {other}, are equal in every part: {against}"
    why = f"every part differs by {signed(gap)}" if found["n"] > 1 else \
        f"one part alone, a difference of {signed(gap)}"  # fmt: skip
    return f"{first} beside {other}: {against}; {why}, so no interval can be given"


def detail(table: Any, metric: str) -> list[str]:
    """What the headline leaves out: Holm's p, and what so many folds would tell apart."""
    ranked, rival = table.ranked(metric), table.best_baseline(metric)
    methods = ranked.loc[~ranked["baseline"], "method"]
    if rival is None or methods.empty:
        return []
    found = table.against(rival, metric).set_index("method").loc[str(methods.iloc[0])]
    if np.isnan(found["p_holm"]):
        return []
    n = found["family"]
    over = f" by Holm over {n} comparisons" if n > 1 else ""
    told = f"one of {decimals(found['detectable'])} would be told apart four times of five"
    if found["detectable"] >= widest(metric):
        told = "so few parts that spread so far would tell no difference apart four times of five"
    return [f"The difference has p {found['p_holm']:.2g}{over}; {told}"]


def with_ends(row: pd.Series) -> str:
    """A mean with its interval, where there is one."""
    ends = "" if np.isnan(row["value_low"]) else \
        f" (95 % {decimals(row['value_low'])} to {decimals(row['value_high'])})"  # fmt: skip
    return decimals(row["value"]) + ends


def decimals(value: float) -> str:
    """A number as a sentence has it."""
    if abs(value) < 5e-4:
        return "0.00"
    small = abs(value) < _SMALL
    text = f"{value:.3f}" if small else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return text.replace("-", "−")


def signed(value: float, digits: int | None = None) -> str:
    """A difference as a sentence has it; with so many ``digits``, where they are given."""
    if digits is not None:
        return f"{value:+.{digits}f}".replace("-", "−")
    text = decimals(value)
    return text if text[0] == "−" or text == "0.00" else f"+{text}"
