"""What a page needs to draw genes over a slide: the best, the median and the worst of a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.genes.units import measured


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GeneMaps:
    """Three genes over one slide, predicted by models that were not fitted on it.

    Attributes
    ----------
    slide
        The tiles of the slide, without features.
    method
        Whose predictions.
    genes
        The best, the median and the worst one.
    scores
        Their Pearson within a slide, mean over the folds.
    true, predicted
        (n_tiles, 3) in the units of the method.
    """

    slide: Bags
    method: str
    genes: tuple[str, ...]
    scores: tuple[float, ...]
    true: np.ndarray
    predicted: np.ndarray


def gene_maps(table: Any, bags: Bags, methods: Mapping[str, Any]) -> GeneMaps | None:
    """The genes of the best method over the slide of most tiles.

    None where no predictions were kept, tiles have no places or no gene has a score.
    """
    ranked = [m for m in table.ranked()["method"] if m in table.predictions]
    if not ranked or not {"x_px", "y_px"} <= set(bags.instance):
        return None
    name = str(ranked[0])
    own = table.genes[table.genes["method"] == name]
    score = own.groupby("gene")["pcc_slide"].mean().dropna().sort_values(ascending=False)
    predicted = table.predictions[name]
    tested = np.isfinite(predicted).all(1)
    if score.empty or not tested.any():
        return None
    at = list(dict.fromkeys([0, len(score) // 2, len(score) - 1]))
    genes = tuple(map(str, score.index[at]))
    held = np.bincount(bags.index[tested], minlength=len(bags)).argmax()
    rows = np.flatnonzero(tested & (bags.index == held))
    of, method = bags.keep(rows), methods[name]
    true = measured(of, view=method.counts, genes=genes, units=method.units)
    columns = [table.gene_names.index(g) for g in genes]
    return GeneMaps(
        slide=of.only("tile" if "tile" in of.x else method.counts), method=name, genes=genes,
        scores=tuple(score.iloc[at].astype(float)), true=np.asarray(true, np.float32),
        predicted=predicted[np.ix_(rows, columns)],
    )  # fmt: skip
