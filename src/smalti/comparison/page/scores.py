"""Section: the scores with their intervals and tests, and their pictures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from smalti.comparison.page.rows import marks
from smalti.report.section import Drawing, Folded, Part, Section, Table, Text
from smalti.scores.chance import BY_RANK
from smalti.scores.metrics import LOWER_IS_BETTER, NOT_RANKED, named, widest

_SHOWN = 5  # metrics in a table; more do not fit on paper
_MANY = 10  # rows, above which one picture is shown and the others open by a click


def scores(table: Any) -> Section:
    """What the headline leaves out, the table that it rests on, all metrics, the pictures."""
    parts: list[Part] = [Text(f"{sentence}.") for sentence in table.said()[1:]]
    parts += [_tested(table), Text(" ".join(table.terms()), soft=True), *_pictures(table)]
    there = [m for m in table.metrics if m in set(table.folds["metric"])]
    return Section("scores", "Scores", (*parts, metrics_table(table, there[:_SHOWN])))


def _tested(table: Any) -> Table:
    """The metric to rank by with its interval, and the difference to the best baseline."""
    metric, rival = table.metrics[0], table.best_baseline()
    own = {"value": metric, "value_low": f"{metric}_low", "value_high": f"{metric}_high"}
    frame = table.summary(metric)[["method"]]
    means = table.intervals().drop(columns="metric").rename(columns=own)
    frame = frame.merge(means, on="method", how="left")
    gaps = pd.DataFrame() if rival is None else table.against(rival)
    if len(gaps):
        ends = {"low": "difference_low", "high": "difference_high"}
        known = gaps["detectable"] < widest(metric)  # of values within 1, 17 is none
        gaps["detectable"] = gaps["detectable"].where(known)
        columns = ["method", "difference", *ends.values(), "p_holm", "detectable", "verdict"]
        frame = frame.merge(gaps.rename(columns=ends)[columns], on="method", how="left")
        frame.loc[frame["method"] == rival, "verdict"] = "the reference"
    frame["seconds"] = _seconds(table, frame["method"])
    what = "" if rival is None else (
        f" Difference: to the best baseline, {rival}, paired over {table.unit}. p: by Holm "
        "over the methods; baselines and controls are a family of their own. Detectable: the "
        "difference that would be told apart four times of five, – where none would."
    )  # fmt: skip
    name = named(metric)[:1].upper() + named(metric)[1:]
    caption = f"{name} with its 95 % interval, {_better(metric)}; best mean in bold.{what}"
    heads = {metric: f"{named(metric)} (95 %)", "difference": "difference (95 %)", "p_holm": "p",
             "seconds": "s / fit"}  # fmt: skip
    return Table("scores", frame, caption, heads=heads, marks=marks(table, frame),
                 best=_best(table, frame, [metric]))  # fmt: skip


def metrics_table(
    table: Any, names: list[str], *, name: str = "metrics", caption: str = ""
) -> Table:  # fmt: skip
    """Mean and spread of these metrics, one row per method."""
    summary = table.summary()
    order = list(summary["method"].drop_duplicates())
    wide = summary.pivot_table(index="method", columns="metric", values=["mean", "sd_folds"],
                               dropna=False, sort=False).reindex(order)  # fmt: skip
    frame = pd.DataFrame({"method": order})
    for m in names:
        frame[m] = wide["mean"][m].to_numpy(float)
        frame[f"{m}_sd"] = wide["sd_folds"][m].to_numpy(float)
    arrows = {m: "" if m in NOT_RANKED else "\u00a0↓" if m in LOWER_IS_BETTER else "\u00a0↑"
              for m in names}  # fmt: skip
    heads = {m: f"{named(m)}{arrow}" for m, arrow in arrows.items()}
    spread = (
        f"Mean ± standard deviation over {table.unit}; ↑ higher is better, ↓ lower. The spread is "
        "not a standard error: fits share training data."
    )
    return Table(name, frame, caption or spread, heads=heads, marks=marks(table, frame),
                 best=_best(table, frame, names))  # fmt: skip


def _better(metric: str) -> str:
    return "lower is better" if metric in LOWER_IS_BETTER else "higher is better"


def _seconds(table: Any, methods: pd.Series) -> pd.Series:
    return methods.map(table.folds.groupby("method")["seconds"].mean())


def _best(table: Any, frame: pd.DataFrame, metrics: list[str]) -> frozenset[tuple[int, str]]:
    """Cells of the best mean; what is equal to the digits shown is equally good."""
    out = set()
    for m in (m for m in metrics if m not in NOT_RANKED):
        kept = frame.loc[frame["method"].map(table.races).astype(bool), m].dropna()
        if len(kept):
            top = f"{kept.min() if m in LOWER_IS_BETTER else kept.max():.3f}"
            out |= {(i, m) for i in kept.index if f"{kept[i]:.3f}" == top}
    return frozenset(out)


def _pictures(table: Any) -> list[Part]:
    from smalti.plot import plot_scores

    each = "donor" if getattr(table, "contrast", None) is None else "sample"
    shaded = (
        f"Shaded: where nine of ten means lie of scores that mean nothing, one a {each}, in these "
        "very folds."
    )
    found = [Drawing(f"scores-{m.replace('_', '-')}", plot_scores(table, m, title=""),
                     alt=f"{table.headline(m)}.",
                     caption=shaded if m in BY_RANK and hasattr(table, "chance") else "")
             for m in table.titles or table.metrics[:1] if m in table.metrics]  # fmt: skip
    if len(found) < 2 or table.folds["method"].nunique() <= _MANY:
        return list(found)
    return [found[0], Folded("Pictures of the other scores", tuple(found[1:]))]
