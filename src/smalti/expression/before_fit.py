"""What features know of each gene, before any fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import false_discovery_control, rankdata
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.expression.base import as_slides, default_view
from smalti.genes.units import gene_names, measured
from smalti.scores.gene_correlations import nanmean

_WIDTH = 50  # components in which neighbours are looked for
_GENES = 512  # looked at at once


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """What the score needs of the tiles: slides, groups that are left out, turns of the null."""

    slide: np.ndarray  # (n,) slide of each
    of: np.ndarray  # (n_slides,) donor of each slide
    null: list[np.ndarray]  # each (n,): which tile's value stands for a tile's
    depth: np.ndarray | None  # (n,) sum of the counts; None where there are none


def predictable(
    bags: Any,
    *,
    view: str | Sequence[str] | None = None,
    counts: str = "counts",
    genes: Sequence[str] | None = None,
    units: str = "log1p_cp10k",
    by: str = "donor",
    k: int = 20,
    shuffles: int = 50,
    least: int = 20,
    most: int = 20_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score each gene by the nearest tiles of other donors, without fitting anything.

    Each tile is guessed by the mean of the ``k`` tiles of **other donors** whose features are
    nearest; the score is the rank correlation of guess and measurement within a slide, as the mean
    over the slides of a donor and then over donors. Ranks within slides say nothing of how high a
    gene is in a donor, and no few spots of large counts make a score.

    Parameters
    ----------
    bags
        Slides with features and counts, of two donors or more.
    view
        One view of features, or several to compare; the first one where left out.
    counts, units
        The view of expression, and its units (:func:`smalti.genes.units.measured`).
    genes
        Names; all of the view when left out.
    by
        "donor"; or "slide": the nearest tiles of other slides, a donor's own among them, which is
        easier than a new donor.
    k
        Neighbours.
    shuffles
        Of the null: how often tiles change places within their slide. With positions (x_um, y_um)
        the map of a slide is turned by a random angle, and half of the time mirrored, so that
        neighbours stay neighbours: a smooth gene beside smooth features is no finding by itself.
        Without positions tiles are shuffled.
    least
        Tiles in which a gene must be seen, at least, and a quarter of it in a second donor; others
        have no score.
    most
        Tiles looked at; spread evenly over the slides where there are more.
    seed
        Of the null and the choice of tiles.

    Returns
    -------
    DataFrame
        A row for each gene and view, in their order: gene, view, score (-1 to 1), null_mean,
        null_sd, z = (score - null_mean) / null_sd, p (one-sided, by the z of all genes' nulls of
        that view together), beyond_depth (the score as a partial correlation, the tile's total
        count held fixed: what is left beside "more cells, more of every gene"; NaN for
        units="given"), fdr (Benjamini-Hochberg over the genes of a view), donors (in how many
        the score is over 0), n_donors, and seen (tiles with the gene). NaN where a gene is seen in
        too few tiles. ``attrs["by"]`` is ``by``.

    Raises
    ------
    InputError
        If there are not two donors (slides), a view or gene is missing, or a number cannot be used.

    Notes
    -----
    That a gene can be predicted from the features does not say that a method will: ridge weighs
    features, neighbours do not. The idea of a score on the neighbour graph with a shuffled null is
    that of expression-copilot; donors, ranks and turned maps are ours. p is about these donors:
    with two or three it says little of a new one, and it is somewhat too small where a gene changes
    over the whole slide: of 40 simulations of three donors a gene that the features do not show had
    p < 0.05 in 9 % by turned maps, and in 31 % by shuffling. Counts per 10,000, the units where
    none are named, tie each gene to all others of the tile: where features tell those, they tell a
    little of every gene, and in the same simulations 25 to 27 % had p < 0.05. Take p and fdr as a
    guide of what to look at, and ``score`` and ``beyond_depth`` to rank by.

    Examples
    --------
    >>> import smalti as sm
    >>> slides = sm.datasets.planted_slides(4, 36, n_genes=12, seed=0)
    >>> table = sm.expression.predictable(slides)
    >>> table.nlargest(3, "score")["gene"].str[0].isin(["A", "B", "C"]).all()  # D does not show
    np.True_
    """
    slides = as_slides(bags)
    if by not in ("donor", "slide"):
        raise InputError(f"by={by!r} is neither 'donor' nor 'slide'.")
    if min(k, shuffles, least, most) < 1:
        raise InputError(f"k={k}, shuffles={shuffles}, least={least} and most={most}: 1 or more.")
    slides = _fewer(slides, most, seed)
    views = [view] if isinstance(view, str) else list(view or [default_view(slides, counts)])
    names = tuple(genes) if genes is not None else gene_names(slides, counts)
    y = measured(slides, view=counts, genes=names, units=units)
    tiles = _tiles(slides, by, shuffles, seed)
    if units != "given":
        total = np.asarray(slides.view(counts)[1].sum(1), dtype=np.float64).reshape(-1)
        tiles = dataclasses.replace(tiles, depth=total)
    enough, seen = _enough(y, tiles, least)
    parts = []
    for name in views:
        near = _neighbours(slides.table(name), tiles, k)
        columns = {key: np.full(len(names), np.nan) for key in
                   ("score", "beyond_depth", "null_mean", "null_sd", "donors")}  # fmt: skip
        nulls = np.full((shuffles, len(names)), np.nan)
        for start in range(0, int(enough.sum()), _GENES):
            at = np.flatnonzero(enough)[start : start + _GENES]
            each, columns["beyond_depth"][at], nulls[:, at] = _scores(y[:, at], near, tiles)
            columns["score"][at] = nanmean(each)
            columns["donors"][at] = (each > 0).sum(0)
        parts.append(_table(names, name, columns, nulls, seen, int(tiles.of.max()) + 1))
    table = pd.concat(parts, ignore_index=True)
    table.attrs["by"] = by
    return table


def _fewer(bags: Bags, most: int, seed: int) -> Bags:
    """At most so many tiles, the same share of each slide."""
    if bags.n_instances <= most:
        return bags
    rng, keep = np.random.default_rng([seed, 7]), np.zeros(bags.n_instances, bool)
    for start, stop in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
        n = max(1, int((stop - start) * most / bags.n_instances))
        keep[start + rng.choice(stop - start, n, replace=False)] = True
    return bags.keep(keep)


def _tiles(bags: Bags, by: str, shuffles: int, seed: int) -> _Tiles:
    """Slides, donors, and for each shuffle of the null which tile stands for which."""
    if by == "donor" and bags.donor is None:
        raise InputError("whose are the slides? donor=... (or by='slide', which is easier).")
    donors = bags.donors if by == "donor" else np.arange(len(bags))
    of = np.unique(donors, return_inverse=True)[1]
    if of.max() < 1:
        way_out = ", or by='slide'." if by == "donor" else "."
        raise InputError(
            f"there is one {by}: its tiles are guessed from those of others, so give two or more"
            f"{way_out}"
        )
    rng = np.random.default_rng([seed, 8])
    placed = {"x_um", "y_um"} <= set(bags.instance)
    xy = bags.instance[["x_um", "y_um"]].to_numpy(float) if placed else None
    null = []
    for _ in range(shuffles):
        place = np.arange(bags.n_instances)
        for start, stop in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
            place[start:stop] = start + (
                rng.permutation(stop - start) if xy is None else _turned(xy[start:stop], rng)
            )
        null.append(place)
    return _Tiles(np.asarray(bags.index), of, null, None)


def _turned(xy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) another tile for each: the slide's map turned, and half of the time mirrored."""
    middle = xy - (xy.min(0) + xy.max(0)) / 2
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[:, 0] *= rng.choice([-1, 1])
    return np.asarray(cKDTree(middle).query(middle @ turn)[1])


def _enough(y: np.ndarray, tiles: _Tiles, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Genes that are seen often enough, (n_genes,) bool, and in how many tiles each is."""
    donor = tiles.of[tiles.slide]
    by_donor = np.stack([(y[donor == d] != 0).sum(0) for d in range(tiles.of.max() + 1)])
    second = np.sort(by_donor, axis=0)[-2]
    seen = by_donor.sum(0)
    return (seen >= least) & (second >= np.ceil(least / 4)), seen


def _neighbours(x: np.ndarray, tiles: _Tiles, k: int) -> np.ndarray:
    """(n, k) the nearest tiles of other donors, by features that are standardised."""
    x = np.asarray(x, np.float32)
    sd = x.std(0)
    z = (x - x.mean(0)) / np.where(sd > 1e-6, sd, 1)
    width = min(_WIDTH, *z.shape)
    if width < z.shape[1]:
        z = PCA(width, svd_solver="randomized", random_state=0).fit_transform(z)
    donor = tiles.of[tiles.slide]
    sizes = np.bincount(donor)
    k = min(k, len(z) - int(sizes.max()))  # as many for all
    near = np.empty((len(z), k), np.int64)
    for d in range(len(sizes)):
        rest = np.flatnonzero(donor != d)
        found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(z[rest])
        near[donor == d] = rest[found.kneighbors(z[donor == d], return_distance=False)]
    return near


def _scores(
    y: np.ndarray, near: np.ndarray, tiles: _Tiles
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank correlations (n_donors, n_genes), beyond depth (n_genes,), of the null (n, n_genes)."""
    ranks = np.concatenate([_unit(rankdata(y[rows], axis=0)) * np.sqrt(len(y[rows]))
                            for rows in _slides(tiles)])  # fmt: skip
    guess = np.zeros_like(ranks)
    for j in range(near.shape[1]):
        guess += ranks[near[:, j]]
    guess = np.concatenate([_unit(rankdata(guess[rows], axis=0)) for rows in _slides(tiles)])
    true = np.concatenate([_unit(ranks[rows]) for rows in _slides(tiles)])
    each = _within(guess, true, tiles)
    null = [nanmean(_by_donor(_within(guess, true[place], tiles), tiles)) for place in tiles.null]
    beyond = np.full(y.shape[1], np.nan)
    if tiles.depth is not None:
        depth = np.concatenate([_unit(rankdata(tiles.depth[rows])[:, None])
                                for rows in _slides(tiles)])  # fmt: skip
        a, b = _within(guess, depth, tiles), _within(true, depth, tiles)
        rest = np.sqrt(np.maximum((1 - a**2) * (1 - b**2), 1e-9))
        beyond = nanmean(_by_donor((each - a * b) / rest, tiles))
    return _by_donor(each, tiles), beyond, np.array(null)


def _slides(tiles: _Tiles) -> Iterator[slice]:
    at = np.flatnonzero(np.diff(tiles.slide, prepend=-1, append=-1))
    yield from (slice(a, b) for a, b in pairwise(at))


def _unit(x: np.ndarray) -> np.ndarray:
    """Columns (n, n_genes) less their mean, of length 1; 0 where they do not vary."""
    x = (x - x.mean(0)).astype(np.float32)
    length = np.linalg.norm(x, axis=0)
    return x / np.where(length > 1e-6, length, 1)


def _within(guess: np.ndarray, true: np.ndarray, tiles: _Tiles) -> np.ndarray:
    """(n_slides, n_genes) correlation of columns of length 1; NaN where the truth does not vary."""
    starts = [rows.start for rows in _slides(tiles)]
    each = np.add.reduceat(guess * true, starts)
    return np.where(np.add.reduceat(np.abs(true), starts) > 0, each, np.nan)


def _by_donor(each: np.ndarray, tiles: _Tiles) -> np.ndarray:
    """(n_donors, n_genes) mean over the slides of a donor; NaN where there is none."""
    total, n = (np.zeros((tiles.of.max() + 1, each.shape[1])) for _ in range(2))
    np.add.at(total, tiles.of, np.nan_to_num(each))
    np.add.at(n, tiles.of, np.isfinite(each))
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def _table(
    names: Sequence[str], view: str, columns: dict[str, np.ndarray], nulls: np.ndarray,
    seen: np.ndarray, n_donors: int,
) -> pd.DataFrame:  # fmt: skip
    known = np.isfinite(columns["score"])
    own = nulls[:, known]
    mean, sd = own.mean(0), own.std(0, ddof=1) if len(own) > 1 else np.full(known.sum(), np.nan)
    sd = np.where(sd > 0, sd, np.nan)
    columns["null_mean"][known], columns["null_sd"][known] = mean, sd
    z = (columns["score"] - columns["null_mean"]) / columns["null_sd"]
    by_chance = np.sort(((own - mean) / sd).ravel())
    by_chance = by_chance[np.isfinite(by_chance)]
    p, fdr = np.full(len(names), np.nan), np.full(len(names), np.nan)
    there = np.isfinite(z)
    above = len(by_chance) - np.searchsorted(by_chance, z[there], side="left")
    p[there] = (above + 1) / (len(by_chance) + 1)
    if there.any():
        fdr[there] = false_discovery_control(p[there])
    return pd.DataFrame({"gene": list(names), "view": view, "score": columns["score"],
                         "beyond_depth": columns["beyond_depth"],
                         "null_mean": columns["null_mean"], "null_sd": columns["null_sd"], "z": z,
                         "p": p, "fdr": fdr, "donors": columns["donors"], "n_donors": n_donors,
                         "seen": seen})  # fmt: skip
