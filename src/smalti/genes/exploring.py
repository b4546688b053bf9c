"""A look at genes before a fit: scale, spread, which go together, and how many groups there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import skew
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score, silhouette_score

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.genes.profiles import gene_points, profiles
from smalti.genes.units import gene_names, measured, most_variable

_COMPONENTS = 50  # as gene_groups has them
_STEADY = 0.75  # agreement of seeds from which a number of groups counts as found


@dataclasses.dataclass(frozen=True)
class GeneExploration:
    """What :func:`explore` found.

    Attributes
    ----------
    genes
        One row per gene: gene, mean, sd, skew, detected (share of the tiles where it is not 0), x
        and y (its place in two dimensions), group (of the ``k`` that was chosen, 0 the largest).
    choice
        One row per number of groups: k, silhouette (mean over genes, -1 to 1), seeds (mean adjusted
        Rand index between k-means of other seeds: 1 where they agree), halves (between groups of
        two halves of the tiles).
    k
        The number with the highest silhouette of those whose seeds agree to 0.75; of all, where
        none does.
    correlations
        (n_genes, n_genes) float32 Pearson over the tiles, in the order of ``genes``.
    """

    genes: pd.DataFrame
    choice: pd.DataFrame
    k: int
    correlations: np.ndarray

    @property
    def steady(self) -> bool:
        """Whether seeds of k-means agree on the number that was chosen."""
        return bool(self.choice.set_index("k")["seeds"].loc[self.k] >= _STEADY)


def explore(
    bags: Bags,
    *,
    view: str = "counts",
    units: str = "log1p_cp10k",
    genes: int | Sequence[str] | None = 1000,
    ks: Sequence[int] = tuple(range(2, 11)),
    seeds: int = 5,
    seed: int = 0,
) -> GeneExploration:
    """Look at the genes of training slides: scale, distribution, correlations, groups.

    Parameters
    ----------
    bags
        **Training** slides with counts; no features or pictures are looked at.
    view, units
        Of the expression.
    genes
        How many (those of most variance), which, or None: all.
    ks
        Numbers of groups to try.
    seeds
        K-means of each number, each with ten starts as :func:`gene_groups` has them.
    seed
        Of all that is drawn.

    Returns
    -------
    GeneExploration
        Drawn by :func:`smalti.plot.plot_genes`.

    Raises
    ------
    InputError
        If there are too few genes, or a number cannot be used.

    Examples
    --------
    >>> import smalti as sm
    >>> found = sm.genes.explore(sm.datasets.planted_slides(4, 64, seed=0), ks=(2, 4, 8))
    >>> list(found.choice.columns)
    ['k', 'silhouette', 'seeds', 'halves']
    """
    if seeds < 2 or not len(ks) or min(ks) < 2:
        raise InputError(f"seeds={seeds}, ks={list(ks)}: give two seeds or more, groups from 2.")
    names = gene_names(bags, view) if genes is None or isinstance(genes, int) else tuple(genes)
    y = measured(bags, view=view, genes=names, units=units)
    kept = most_variable(y, genes) if isinstance(genes, int) else np.arange(len(names))
    kept = kept[np.ptp(y[:, kept], axis=0) > 1e-6]
    y, names = np.ascontiguousarray(y[:, kept]), tuple(names[i] for i in kept)
    if len(names) <= max(ks):
        raise InputError(f"{len(names)} genes vary: too few for ks={list(ks)}.")
    profile = profiles(names, y)
    points = gene_points(profile, _COMPONENTS, seed)
    rng = np.random.default_rng([seed, 9])
    half = rng.permutation(len(y)) < len(y) // 2
    halves = [gene_points(profiles(names, y[part]), _COMPONENTS, seed) for part in (half, ~half)]
    rows, found = [], {}
    for k in ks:
        runs = [_labels(points, k, seed + s) for s in range(seeds)]
        found[k] = runs[0]
        rows.append({
            "k": k, "silhouette": float(silhouette_score(points, runs[0])),
            "seeds": float(np.mean([adjusted_rand_score(*p) for p in combinations(runs, 2)])),
            "halves": float(adjusted_rand_score(*(_labels(h, k, seed) for h in halves))),
        })  # fmt: skip
    choice = pd.DataFrame(rows)
    steady = choice[choice["seeds"] >= _STEADY]
    best = (steady if len(steady) else choice).sort_values("silhouette", ascending=False)
    k = int(best["k"].iloc[0])
    flat = TSNE(2, perplexity=min(30, (len(names) - 1) / 3), init="pca", random_state=seed)
    xy = flat.fit_transform(points)
    size = np.bincount(found[k], minlength=k)
    rank = np.argsort(np.argsort(-size, kind="stable"))
    table = pd.DataFrame({
        "gene": names, "mean": y.mean(0), "sd": y.std(0), "skew": skew(y, axis=0),
        "detected": (y != 0).mean(0), "x": xy[:, 0], "y": xy[:, 1], "group": rank[found[k]],
    })  # fmt: skip
    return GeneExploration(table, choice, k, (profile @ profile.T / profile.shape[1]))


def _labels(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    return np.asarray(KMeans(k, n_init=10, random_state=seed).fit_predict(points))
