"""Section of an integration: labels told apart against batches mixed, and what corrections did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from smalti.report.section import Drawing, Part, Section, Table, Text

MIXING = ("ilisi", "kbet", "graph_connectivity")
_CAPTION = (
    "Differences to the same method on uncorrected input, seed by seed, as means over the seeds. "
    "In words: better or worse where it is so in every seed. Seeds share cells: this is no test. "
)


def batches(table: Any) -> Section | None:
    """One picture of both, and a row for each correction; None where no batch was named."""
    if not set(MIXING) <= set(table.metrics):
        return None
    from smalti.plot import plot_mixing

    labels = "ari_leiden" if "ari_leiden" in table.metrics else next(
        m for m in table.metrics if m.startswith("ari_"))  # fmt: skip
    wide = _wide(table)
    mean = wide.groupby("label", sort=False)[[*MIXING, labels]].mean()
    rows = pd.DataFrame({
        "method": [_of(table, k)[0] for k in mean.index],
        "correction": [_of(table, k)[1] for k in mean.index],
        "mixing": mean[list(MIXING)].mean(axis=1).to_numpy(), "labels": mean[labels].to_numpy(),
    })  # fmt: skip
    best = rows.loc[rows["labels"].idxmax()]
    drawing = Drawing(
        "mixing-and-labels",
        plot_mixing(rows, x="mixing: mean of iLISI, kBET and graph connectivity",
                    y=f"labels: ARI by {labels.removeprefix('ari_')}"),
        alt=f"Mixing of batches against labels told apart; labels are best by {best['method']} on "
            f"input corrected by {best['correction']}.",
        caption="To the right batches mix better, upwards labels are told apart better. Lines join "
                "the rows of one method. An embedding that knows nothing mixes best.",
    )  # fmt: skip
    found = changes(table, wide, labels)
    parts: list[Part] = [drawing]
    if len(found):
        parts.append(Table("corrections", found, caption=_CAPTION + _unique(found)))
    else:
        parts.append(Text("No input was corrected; corrections= compares what corrections do.",
                          soft=True))  # fmt: skip
    return Section("batches", "Labels against mixing", tuple(parts))


def _unique(found: pd.DataFrame) -> str:
    if "unique_purity" in found:
        return (
            "Purity: of cells of types that one batch alone has, the share of neighbours that are "
            "of their type; what mixes them with others has corrected too much."
        )
    return "All types are in more than one batch, so over-correction shows in the labels alone."


def _of(table: Any, label: str) -> tuple[str, str]:
    return table.corrections.get(label, (label, "none"))


def _wide(table: Any) -> pd.DataFrame:
    """One row for each method, input and seed; a column for each metric."""
    wide = table.folds.pivot_table(index=["method", "repeat"], columns="metric", values="value",
                                   sort=False)  # fmt: skip
    return wide.reset_index().rename(columns={"method": "label"})


def changes(table: Any, wide: pd.DataFrame, labels: str) -> pd.DataFrame:
    """What each correction did to each method: mean differences, and a verdict.

    Parameters
    ----------
    table
        A comparison with corrections.
    wide
        One row for each method, input and seed.
    labels
        Metric of the labels.

    Returns
    -------
    DataFrame
        method, correction, mixing, ``labels``, unique_purity (where types are in one batch only)
        and verdict; no row where nothing was compared.
    """
    unique = ["unique_purity"] if "unique_purity" in wide else []
    by_seed = {k: part.set_index("repeat") for k, part in wide.groupby("label", sort=False)}
    rows = []
    for label, part in by_seed.items():
        method, correction = _of(table, label)
        if correction == "none" or method not in by_seed:
            continue
        seeds = part.index.intersection(by_seed[method].index)
        before = by_seed[method].loc[seeds].drop(columns="label")
        gap = part.loc[seeds].drop(columns="label") - before
        mixing = gap[list(MIXING)].mean(axis=1).to_numpy()
        told = {name: gap[name].to_numpy() for name in [labels, *unique]}
        rows.append({"method": method, "correction": correction, "mixing": mixing.mean()}
                    | {k: v.mean() for k, v in told.items()}
                    | {"verdict": verdict(mixing, *told.values())})  # fmt: skip
    return pd.DataFrame(rows)


def verdict(mixing: np.ndarray, labels: np.ndarray, unique: np.ndarray | None = None) -> str:
    """What a correction did, in words; (n_seeds,) differences to uncorrected input."""
    lost = ["labels"] if (labels < 0).all() else []
    if unique is not None and (unique < 0).all():
        lost.append("types of one batch")
    cost = f"{' and '.join(lost)} told apart worse" if lost else ""
    if (mixing > 0).all():
        if lost:
            return f"over-corrected: batches mix better, {cost}"
        gain = "labels told apart better" if (labels > 0).all() else \
            "labels not worse in every seed"  # fmt: skip
        return f"batches mix better, {gain}"
    if (mixing < 0).all():
        return f"batches mix worse{f', {cost}' if cost else ''}"
    return f"batches mix no better in every seed{f', {cost}' if cost else ''}"
