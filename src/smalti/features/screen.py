"""Which of several encoders predicts expression best, inside the training donors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.features.extraction import extract
from smalti.genes.units import gene_names, measured, most_variable
from smalti.scores.gene_correlations import nanmean
from smalti.solve.best_genes import left_out_scores
from smalti.solve.leave_out import tuning_folds


@dataclasses.dataclass(frozen=True)
class Screen:
    """What :func:`screen_backbones` found.

    Attributes
    ----------
    folds
        One row per view and part that was left out: view, width, left_out, n_tiles, pcc_slide (mean
        over genes and its slides).
    left_out
        What was left out in turn: "donor", "slide" or "strip of the slide".
    genes
        Those that were predicted.
    """

    folds: pd.DataFrame
    left_out: str
    genes: tuple[str, ...]

    @property
    def best(self) -> str:
        """The view of the highest mean; ``summary`` says which others are not told from it."""
        return str(self.summary()["view"].iloc[0])

    def summary(self) -> pd.DataFrame:
        """One row per view, best first.

        Returns
        -------
        DataFrame
            view, width, pcc_slide (mean over what was left out), and what the best one is ahead by:
            behind, with its paired 95 % interval (low, high; NaN with fewer than three parts) and
            the ``verdict``: worse or not told apart. The best was picked by these very
            scores, so that the intervals are too hopeful.
        """
        each = self.folds.pivot_table("pcc_slide", "left_out", "view", sort=False)
        order = each.mean().sort_values(ascending=False, kind="stable")
        gap = each[[order.index[0]]].to_numpy() - each[order.index].to_numpy()
        n, mean = len(gap), gap.mean(0)
        half = np.full(len(mean), np.nan)
        if n > 2:
            half = stats.t.ppf(0.975, n - 1) * gap.std(0, ddof=1) / np.sqrt(n)
        width = self.folds.drop_duplicates("view").set_index("view")["width"]
        low = mean - half
        words = np.where(low > 0, "worse", "not told apart")
        words[0] = ""  # the best itself
        return pd.DataFrame({"view": order.index, "width": width[order.index].to_numpy(),
                             "pcc_slide": order.to_numpy(), "behind": mean, "low": low,
                             "high": mean + half, "verdict": words})  # fmt: skip


def screen_backbones(
    bags: Bags,
    encoders: Sequence[str],
    *,
    counts: str = "counts",
    genes: int | Sequence[str] | None = 1000,
    units: str = "log1p_cp10k",
    **extraction: Any,
) -> Screen:
    """Predict expression by ridge on each encoder's features, each training donor left out in turn.

    Give the **training** donors only: which encoder is taken is part of the fit, and the test
    donors must not choose it.

    Parameters
    ----------
    bags
        Slides with counts, and with features or tiles.
    encoders
        Views that the bags have ("X_uni"), or encoders that :func:`smalti.features.extract` knows.
    counts, units
        The view of expression, and its units.
    genes
        How many (those of most variance), which, or None: all.
    **extraction
        Of :func:`smalti.features.extract`: cache, n_jobs, device, ...

    Returns
    -------
    Screen
        One penalty for each encoder, chosen in the same folds, so that all are a little optimistic
        alike. Where there is one donor its slides are left out, where there is one slide its
        strips.

    Raises
    ------
    InputError
        If fewer than two encoders are named, or one cannot be had.

    Examples
    --------
    >>> import smalti as sm
    >>> slides = sm.datasets.planted_slides(6, 16, images=True, seed=0)
    >>> found = sm.features.screen_backbones(slides, ["X_planted", "morphology"], progress=False)
    >>> found.best
    'X_planted'
    """
    if isinstance(encoders, str) or len(set(encoders)) < 2:
        raise InputError(f"encoders={encoders!r}: name two or more.")
    y = measured(bags, view=counts, units=units,
                 genes=None if genes is None or isinstance(genes, int) else genes)  # fmt: skip
    names = gene_names(bags, counts) if genes is None or isinstance(genes, int) else tuple(genes)
    if isinstance(genes, int):
        kept = most_variable(y, genes)
        y, names = np.ascontiguousarray(y[:, kept]), tuple(names[i] for i in kept)
    folds, what = tuning_folds(bags)
    label = _labels(bags, folds, what)
    rows: list[dict[str, Any]] = []
    for encoder in encoders:
        view = encoder if encoder in bags.x else None
        own = bags if view else extract(bags, encoder, **extraction)
        view = view or next(iter(own.x))
        part = folds if what == _STRIP else bags.index
        each = left_out_scores(own, view, y, part)
        for k in np.unique(folds):
            here = folds == k
            value = nanmean(nanmean(each[np.unique(part[here])].T))
            rows.append({"view": view, "width": own.x[view].shape[1], "left_out": label[k],
                         "n_tiles": int(here.sum()), "pcc_slide": float(value)})  # fmt: skip
    return Screen(pd.DataFrame(rows), what, names)


_STRIP = "strip of the slide"


def _labels(bags: Bags, folds: np.ndarray, what: str) -> dict[int, str]:
    """The name of each part that is left out."""
    if what == _STRIP:
        return {int(k): f"strip {k}" for k in np.unique(folds)}
    names = np.asarray(bags.donors if what == "donor" else bags.bag.index).astype(str)
    first = [int(np.flatnonzero(folds == k)[0]) for k in np.unique(folds)]
    return {int(k): str(names[bags.index[at]])
            for k, at in zip(np.unique(folds), first, strict=True)}  # fmt: skip
