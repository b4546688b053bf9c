"""Section: receiver operating characteristics."""

from __future__ import annotations

from typing import Any

from smalti.comparison.page.classes import in_one_order
from smalti.report.section import Drawing, Section


def curves(table: Any) -> Section | None:
    """ROC curves of a binary task; None where scores of models that never met have no order."""
    if not in_one_order(table):
        return None
    from smalti.plot import plot_roc

    ready = table.predictions[~table.predictions["method"].isin(table.failed)]
    areas = table.summary("roc_auc").set_index("method")["mean"].dropna()
    areas = areas[areas.index.isin(ready["method"].unique())]
    known = set(ready["method"]) <= set(areas.index)
    drawing = Drawing(
        "roc", plot_roc(ready, areas=areas.to_dict() if known else None),
        alt="ROC curves of the test bags" + (
            f"; the highest AUROC is {areas.max():.2f} of {areas.idxmax()}." if known else "."),
        caption="Test bags of all folds pooled within a repeat. The AUROC beside a name is that of "
                "the table, the mean over test folds.",
    )  # fmt: skip
    return Section("curves", "ROC curves", (drawing,))
