"""Section: whether the best method works alike in groups of donors."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Section, Table, Text
from smalti.scores.verdicts import LEVEL

_MOST = 6  # columns; more is a search for a difference
_HEADS = {"column": "by", "roc_auc": "AUROC", "c_index": "Harrell's C",
          "excess": "predicted less observed"}  # fmt: skip


def groups(table: Any) -> Section | None:
    """Its scores by site, sex, age and what else describes the donors; None where nothing does."""
    if not table.task.by_itself or table.cohort is None:
        return None
    method = table.leading()
    found = table.by_group(method)
    if found.empty:
        return None
    columns = list(dict.fromkeys(found["column"]))[:_MOST]
    found = found[found["column"].isin(columns)]
    apart = list(dict.fromkeys(found.loc[found["p_holm"] <= LEVEL, "column"]))
    times = table.task.kind == "survival"
    what = "excess of predicted events" if times else "loss"
    words = (f"The {what} of {method} differs between groups of {', '.join(apart)}." if apart else
             f"No difference in the {what} of {method} between groups was found, which does not "
             "say that there is none: groups are small.")  # fmt: skip
    loss = "log loss" if table.task.is_classifier else "absolute error"
    test = "p of Kruskal and Wallis over the donors' losses, each less the mean of its class"
    if times:
        test = ("Predicted less observed: of an event by the median time of events, weighted "
                "against censoring; p of Alexander and Govern over it")  # fmt: skip
    caption = (
        "Left-out bags, by what was given of their donors; numbers are parted at their median. "
        f"Intervals are over donors, of these models' predictions. {test}; Holm over the columns. "
        "A group of a few donors says little."
    )
    shown = found.drop(columns=["p", "verdict"]).reset_index(drop=True)
    return Section("groups", "Does it work alike in all groups?", (
        Text(words), Table("groups", shown, caption, heads=_HEADS | {"loss": loss}),
    ))  # fmt: skip
