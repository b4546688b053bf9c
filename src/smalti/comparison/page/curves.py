"""Section: receiver operating and precision-recall curves."""

from __future__ import annotations

from typing import Any

from smalti.comparison.page.rows import in_one_order, leading
from smalti.report.section import Drawing, Section, Text

_FEW = 5  # bags of a class in a fold


def curves(table: Any) -> Section | None:
    """Both curves of a binary task; None where scores of models that never met have no order."""
    if not in_one_order(table):
        return None
    from smalti.plot import plot_precision_recall, plot_roc

    names = leading(table)
    ready = table.predictions[table.predictions["method"].isin(names)]
    ready = ready.sort_values("method", key=lambda m: m.map(names.index), kind="stable")
    bands = list(dict.fromkeys([names[0], names[-1]]))
    more = {"bands": bands, "n_train": float(table.folds["n_train"].mean()),
            "freedom": table.freedom()}  # fmt: skip
    return Section("curves", "ROC and precision-recall", (
        Drawing("roc", plot_roc(ready, **more),
                alt=_finding(table, names, "roc_auc", "AUROC"),
                caption="ROC: the area below a curve is the AUROC of the table; dashed, chance."),
        Drawing("precision-recall", plot_precision_recall(ready, **more),
                alt=_finding(table, names, "average_precision", "average precision"),
                caption="Precision over recall: the area below a curve is the average precision of "
                        "the table; dashed, the share of the class, which calls by chance have."),
        Text(_how(table, names, bands), soft=True),
    ))  # fmt: skip


def _how(table: Any, names: list[str], bands: list[str]) -> str:
    n, of = len(table.summary()["method"].unique()), " and ".join(bands)
    shown = "" if len(names) == n else f" Shown are {len(names)} of {n} rows of the table."
    one = table.predictions[table.predictions["method"] == names[0]]
    least = int(one.groupby(["repeat", "fold"])["true"].value_counts().min())
    if least < _FEW:
        shown += f" A test fold has as few as {least} of a class: its curve has as few steps."
    if table.n_fits > 1:
        return ("A curve is the mean of those of the test folds, at each share; bags of several "
                f"folds are never pooled. Bands, of {of}: pointwise 95 % intervals of the "
                f"procedure, from the spread over folds.{shown}")  # fmt: skip
    return (f"Curves of the test bags. Bands, of {of}: pointwise 95 % intervals of the fitted "
            f"model, by drawing the test donors anew.{shown}")  # fmt: skip


def _finding(table: Any, names: list[str], metric: str, name: str) -> str:
    """Who has the largest area, and what the best baseline has."""
    means = table.summary(metric).set_index("method")["mean"].reindex(names).dropna()
    if means.empty:
        return f"No fold has any {name}."
    told = f"Of the curves shown {means.idxmax()} has the largest area, {name} {means.max():.2f}"
    others = [m for m in (names[0], names[-1]) if m in means.index and m != means.idxmax()]
    return "; ".join([told, *(f"{m} has {means[m]:.2f}" for m in dict.fromkeys(others))]) + "."
