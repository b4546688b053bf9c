"""Section: the scores with their intervals and tests, and their pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from smalti.report.section import Drawing, Part, Section, Table, Text
from smalti.scores.metrics import LOWER_IS_BETTER
from smalti.scores.table import is_oracle

_SHOWN = 5  # metrics in the table; more do not fit on paper


def scores(table: Any) -> Section:
    """What the table says, the table, the differences, the pictures."""
    parts: list[Part] = [Text(f"{sentence}.") for sentence in table.said()]
    parts += [_means(table), Text(" ".join(table.terms()), soft=True)]
    parts += [*_intervals(table), *_differences(table), *_pictures(table)]
    return Section("scores", "Table", tuple(parts))


def _means(table: Any) -> Table:
    """Mean and spread of the first metrics, one row per method; the best are bold."""
    from smalti.plot.scores import NAMES

    summary = table.summary()
    names = [m for m in table.metrics if m in set(summary["metric"])][:_SHOWN]
    order = list(summary["method"].drop_duplicates())
    wide = summary.pivot_table(index="method", columns="metric", values=["mean", "sd_folds"],
                               dropna=False, sort=False).reindex(order)  # fmt: skip
    frame = pd.DataFrame({"method": order})
    heads, best = {}, set()
    raced = np.array([not is_oracle(m) for m in order])
    for m in names:
        frame[m] = wide["mean"][m].to_numpy(float)
        frame[f"{m}_sd"] = wide["sd_folds"][m].to_numpy(float)
        heads[m] = f"{NAMES.get(m, (m, None))[0].split(' (')[0]} {_arrow(m)}"
        kept = frame.loc[raced, m].dropna()
        if len(kept):
            top = f"{kept.min() if m in LOWER_IS_BETTER else kept.max():.3f}"
            # equal to the digits shown is equally good
            best |= {(i, m) for i in kept.index if f"{kept[i]:.3f}" == top}
    seconds = table.folds.groupby("method")["seconds"].mean()
    frame["seconds"] = seconds.reindex(order).to_numpy()
    caption = (
        f"Mean ± standard deviation over {table.unit}; best mean in bold; ↑ higher is better, ↓ "
        "lower. The spread is not a standard error: fits share training data. "
    )
    marks = {i: text for i, m in enumerate(order) if (text := _mark(table, m))}
    return Table("scores", frame, caption, heads=heads | {"seconds": "s / fit"}, marks=marks,
                 best=frozenset(best))  # fmt: skip


def _arrow(metric: str) -> str:
    return "↓" if metric in LOWER_IS_BETTER else "↑"


def _mark(table: Any, method: str) -> str:
    kind = "baseline" if method in table.baselines and not is_oracle(method) else ""
    return " ".join(filter(None, [kind, table.lost(method).strip()]))


def _intervals(table: Any) -> list[Part]:
    own = table.intervals().drop(columns="metric", errors="ignore")
    metric = table.metrics[0]
    caption = f"Means of {metric} with their 95 % intervals."
    return [Table("intervals", own, caption, heads={"value": metric})]


def _differences(table: Any) -> list[Part]:
    rival = table.best_baseline()
    found = pd.DataFrame() if rival is None else table.against(rival)
    if found.empty:
        return []
    columns = ["method", "difference", "difference_low", "difference_high", "p", "p_holm",
               "detectable", "verdict"]  # fmt: skip
    ends = {"low": "difference_low", "high": "difference_high"}
    return [Table("differences", found.rename(columns=ends)[columns],
                  f"Differences to the best baseline, {rival}.")]  # fmt: skip


def _pictures(table: Any) -> list[Part]:
    from smalti.plot import plot_scores

    titles = table.titles or {table.metrics[0]: "Scores"}
    return [Drawing(f"scores-{m.replace('_', '-')}", plot_scores(table, m),
                    alt=f"{titles[m]}. {table.headline(m)}.", caption=titles[m])
            for m in titles if m in table.metrics]  # fmt: skip
