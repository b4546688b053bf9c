"""Section of an integration: what clusters, distances and batches are worth, metric by metric."""

from __future__ import annotations

from typing import Any

from smalti.comparison.page.scores import metrics_table
from smalti.report.section import Folded, Section, Table, Text

_AGREEMENT = (
    "Clusters against the labels, which no method saw: adjusted Rand index (ARI), Fowlkes-Mallows "
    "index (FMI) and normalised mutual information (NMI); 1 is the same, and of ARI and NMI 0 is "
    "chance. FMI is above 0 by chance."
)
_SHAPE = (
    "Shape: silhouette and Davies-Bouldin index of the clusters by k-means, and the silhouette of "
    "the labels. They depend on the scale and the width of an embedding, so they rank methods with "
    "care."
)
_ALGORITHMS = {"kmeans": "k-means", "ward": "Ward", "leiden": "Leiden"}


def clusters(table: Any) -> Section:
    """Agreement by algorithm, shape of the clusters, labels carried over, reconstruction."""
    shown: list[tuple[str, list[str], str]] = [
        ("protocols", ["ari_kmeans", "ari_own"],
         "Two protocols beside each other, by the adjusted Rand index, in as many clusters for "
         "all. Alike: every embedding by k-means. Own: each by what it is meant for, Leiden on the "
         "graph of WNN and on the code of most, k-means for UMINT and the autoencoders."),
    ] if "ari_own" in table.metrics else []  # fmt: skip
    shown += [
        ("transfer", ["transfer_accuracy", "transfer_f1"],
         "Labels of held-out cells by their 15 nearest training cells."),
        ("reconstruction", [m for m in table.metrics if m == "ors" or m.startswith("ors_")],
         "Distances between held-out cells that the reconstruction keeps, of all modalities and "
         "of each; – where a method reconstructs nothing."),
    ]  # fmt: skip
    more = [(f"ari-{key}", [f"{m}_{key}" for m in ("ari", "fmi", "nmi")], f"Clusters by {name}.")
            for key, name in _ALGORITHMS.items()]  # fmt: skip
    more.append(("shape", ["silhouette", "davies_bouldin", "silhouette_labels"], _SHAPE))
    folded = Folded("Every index of each way to cluster",
                    (Text(_AGREEMENT, soft=True), *_tables(table, more)))  # fmt: skip
    return Section("clusters", "Clusters, labels and distances", (*_tables(table, shown), folded))


def _tables(table: Any, asked: list[tuple[str, list[str], str]]) -> list[Table]:
    """One table for each name, metrics and caption; none where no metric is known."""
    known = [(name, [m for m in metrics if m in table.metrics], caption)
             for name, metrics, caption in asked]  # fmt: skip
    return [metrics_table(table, metrics, name=name, caption=caption)
            for name, metrics, caption in known if metrics]  # fmt: skip


def halves(table: Any) -> Section | None:
    """Cells that lack a modality beside whole ones; None where all cells are whole."""
    names = ["halves_transfer_f1", "halves_transfer_accuracy", "halves_mixing"]
    there = [m for m in names if m in table.metrics]
    if not there:
        return None
    caption = (
        "Labels of held-out cells that lack a modality, by their 15 nearest whole training cells; "
        "what the lacking modality alone shows cannot come back. Mixing: among the neighbours "
        "within a label, cells measured otherwise, over those expected at random: 1 mixed, 0 "
        "apart, over 1 no better: cells then prefer those that were measured otherwise."
    )
    return Section("halves", "Cells that lack a modality",
                   (metrics_table(table, there, name="halves", caption=caption),))  # fmt: skip


def mixing(table: Any) -> Section | None:
    """Mixing of the batches; None where no batch was named."""
    names = [
        m for m in ("ilisi", "kbet", "graph_connectivity", "unique_purity") if m in table.metrics
    ]
    if not names:
        return None
    caption = (
        "iLISI and kBET: whether neighbours come from all batches (1) or from their own (0). Graph "
        "connectivity: whether cells of one label hang together. An embedding that mixes all and "
        "knows nothing mixes best: read this beside the clusters. Unique purity, where there are "
        "types of one batch alone: the share of their neighbours that are of the same type."
    )
    return Section("mixing", "Mixing of the batches",
                   (metrics_table(table, names, name="mixing", caption=caption),))  # fmt: skip
