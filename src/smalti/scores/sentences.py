"""What a table of scores says beside its headline: as text, of controls, of views, of its words."""

from __future__ import annotations

from typing import Any

import pandas as pd

from smalti.notebook import card
from smalti.scores.headline import with_ends
from smalti.scores.metrics import LOWER_IS_BETTER, NOT_RANKED, margin_of, named
from smalti.scores.verdicts import in_words


def of_controls(table: Any) -> list[str]:
    """What is known without looking at the data, a sentence for each control."""
    if not table.controls:
        return []
    metric = table.metrics[0]
    means = table.intervals(metric).set_index("method")
    return [f"A control, {m}, has {named(metric)} {with_ends(means.loc[m])}: what of "
            "the target lies in how the data were made"
            for m in table.controls if m in means.index]  # fmt: skip


def terms(table: Any) -> list[str]:
    """What the words and intervals mean, as whole sentences (``Scores.terms``)."""
    n, metric = table.folds["n_train"], table.metrics[0]
    size = f"{n.min():,}" if n.min() == n.max() else f"{n.min():,} to {n.max():,}"
    margin, freedom = margin_of(metric), table.freedom(metric)
    several = ["The interval of the best of several is too hopeful: these scores chose it."]
    several *= int((~table.ranked()["baseline"]).sum() > 1)
    of_one = "" if freedom is None else f", {freedom} degrees of freedom"
    return [
        f"Intervals are of the procedure, fitted on {size} {table.trains_on}, not of one fitted "
        f"model (corrected resampled t-test{of_one}).",
        "Practically equal: "
        + (f"less than {margin:g} apart." if margin else "not asked of a loss."),
        *several,
    ]


def additions(table: Any, metric: str) -> list[str]:
    """What views add, a sentence for each pair of methods (``Scores.additions``)."""
    read = {k: set(v["views"]) for k, v in table.settings.items() if v.get("views")}
    rest = {k: {**table.settings[k], "views": None, "preprocess": None} for k in read}
    out = []
    for less in read:
        more = [k for k in read if rest[k] == rest[less] and read[less] < read[k]]
        if more and less in set(table.folds["method"]):
            found = table.against(less, metric).set_index("method")
            out += [in_words(k, less, found.loc[k]) for k in more if k in found.index]
    return out


def as_text(table: Any) -> str:
    """The whole table as a terminal shows it."""
    said = [f"{sentence}." for sentence in table.said()]
    rows, best = _rows(table)
    for name in rows.columns[1:]:  # a place for the star in each line, so that digits stand below
        rows[name] = [f"{cell}{'*' if (i, name) in best else ' '}"
                      for i, cell in enumerate(rows[name])]  # fmt: skip
    shown, tail = rows.to_string(index=False), _spread(table, "* best mean")
    return "\n".join([table.about, "", shown, "", *said, *table.terms(), tail, *_noted(table)])


def as_html(table: Any) -> str:
    """The table as a notebook shows it: what it says, the rows, and the rest at a click."""
    first, *more = (f"{sentence}." for sentence in table.said())
    rows, best = _rows(table)
    beside = {i for i, m in enumerate(table.summary()["method"].drop_duplicates())
              if table.role(m)}  # fmt: skip
    noted = _noted(table)
    return card(
        first, above=table.about, table=rows, bold=best, soft=beside,
        folded={"More on this answer": [*more, *table.terms(), _spread(table, "bold: best mean")],
                f"{len(noted)} note{'s' * (len(noted) > 1)}": noted},
    )  # fmt: skip


def _spread(table: Any, best: str) -> str:
    return f"mean ± s.d. over {table.n_fits} {table.unit}; {best}. Digest {table.digest}."


def _noted(table: Any) -> list[str]:
    """Notes of the data, and what the audit found."""
    return [*(f"Note: {note}" for note in table.notes),
            *(f"Audit, {finding}" for finding in table.audit or ())]  # fmt: skip


def _rows(table: Any) -> tuple[pd.DataFrame, set[tuple[int, str]]]:
    """A line for each method, as text: mean and spread of the first six metrics.

    With it (position of a row, column) of the best mean of each metric.
    """
    names = [m for m in table.metrics if m in set(table.folds["metric"])][:6]
    summary = table.summary()
    # a metric may be NaN for every method, as R2 is where folds test one bag
    known = summary[summary["method"].map(table.races)].dropna(subset="mean")
    first = {m: f"{means.min() if m in LOWER_IS_BETTER else means.max():.3f}"
             for m, means in known.groupby("metric")["mean"] if m not in NOT_RANKED}  # fmt: skip
    rows, best = [], set()
    for i, method in enumerate(summary["method"].drop_duplicates()):
        cells = summary[summary.method == method].set_index("metric")
        role = f" ({table.role(method)})" if table.role(method) else ""
        row = {"method": method + role + table.lost(method)}
        for m in names:
            mean, sd = cells.loc[m, ["mean", "sd_folds"]]
            # equal to the digits shown is equally good
            if first.get(m) == f"{mean:.3f}" and table.races(method):
                best.add((i, named(m)))
            spread = "" if pd.isna(sd) else f" ± {sd:.3f}"
            shown = f"{mean:.3f}{spread}".replace("-", "−")
            row[named(m)] = "–" if pd.isna(mean) else shown
        rows.append(row)
    return pd.DataFrame(rows), best


def plain(value: float) -> str:
    """A measured number in a sentence: 1,206 and 3.45, never 1.21e+03."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
