"""Simulated slides: tiles whose look and genes follow the same few hidden fields."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags

_FIELDS = 4  # nuclear density, nuclear size, eosin, and one that the tile does not show
_PITCH = 100.0  # µm between spots


def planted_slides(
    n_slides: int = 6,
    n_tiles: int = 64,
    *,
    n_genes: int = 40,
    width: int = 16,
    donors: int | None = None,
    effect: float = 1.0,
    depth: float = 60.0,
    images: bool = False,
    size: int = 64,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """Slides of tiles whose counts follow hidden fields that the tiles show.

    Four smooth fields lie over each slide. Three of them shape the tile: density of nuclei, their
    size, eosin; the fourth does not show. Log rates of genes are linear in the fields through
    loadings of their own, in four programmes (prefixes "AAA", "BBB", "CCC", "DDD" of the names);
    those of programme "DDD" follow the hidden field, so that nobody can predict them from tiles.
    Counts are Poisson, of a depth of each spot's own and a level of each gene in each donor.

    Parameters
    ----------
    n_slides, n_tiles
        Slides, and tiles (spots on a square grid 100 µm apart) of each.
    n_genes, width
        Genes, and features in view "X_planted": a linear map of the three fields, with noise.
    donors
        Donors; one per two slides when left out.
    effect
        S.d. of the log rate of a gene over the tiles.
    depth
        Mean counts of a gene in a spot.
    images
        Draw the tiles too: view "tile", (n, 3, ``size``, ``size``) uint8, 1 µm per pixel.
    size
        Pixels of a tile's edge.
    law_seed, seed
        Of loadings and feature map; of fields, donors, counts and drawings.

    Returns
    -------
    Bags
        Views "X_planted" (and "tile"), "counts"; instance columns x_px, y_px, x_um, y_um, tissue,
        n_nuclei (with ``images``) and field_0 .. field_3.

    Examples
    --------
    >>> import smalti as sm
    >>> slides = sm.datasets.planted_slides(4, 25, n_genes=20, seed=0)
    >>> slides
    Bags: 4 bags of 25-25 instances, X_planted 16, counts 20, 2 donors
    """
    law, rng = np.random.default_rng([law_seed, 11]), np.random.default_rng([seed, 12])
    programme = np.arange(n_genes) % _FIELDS
    loading = 0.25 * law.normal(size=(_FIELDS, n_genes))
    loading[3] = 0
    loading[:, programme == 3] = 0
    loading[programme, np.arange(n_genes)] = law.choice([-1.0, 1.0], n_genes)
    base = law.normal(0, 0.5, n_genes)
    mix = law.normal(size=(3, width))
    grid = square_grid(n_tiles)
    donors = donors or max(1, n_slides // 2)
    level = rng.normal(0, 0.2, size=(donors, n_genes))
    fields = np.concatenate([smooth_fields(grid, rng, _FIELDS) for _ in range(n_slides)])
    slide = np.repeat(np.arange(n_slides), n_tiles)
    donor = slide % donors
    rate = depth * np.exp(base + effect * fields @ loading + level[donor] - 0.5 * effect**2)
    counts = rng.poisson(rate * rng.lognormal(0, 0.3, size=(len(slide), 1)))
    shift = 0.3 * rng.normal(size=(n_slides, width))[slide]  # stain of the slide
    features = fields[:, :3] @ mix + shift + 0.5 * rng.normal(size=(len(slide), width))
    xy = np.tile(grid, (n_slides, 1))
    table = pd.DataFrame(
        {"x_px": xy[:, 0], "y_px": xy[:, 1], "x_um": xy[:, 0], "y_um": xy[:, 1], "tissue": 1.0}
        | {f"field_{k}": fields[:, k] for k in range(_FIELDS)},
        index=[f"S{s}_{i}" for s in range(n_slides) for i in range(n_tiles)],
    )
    views: dict[str, object] = {"X_planted": features.astype(np.float32)}
    if images:
        drawn = [draw_tile(f, size, rng) for f in fields]
        views = {"tile": np.stack([d[0] for d in drawn]), **views}
        table["n_nuclei"] = [d[1] for d in drawn]
    views["counts"] = sp.csr_matrix(counts.astype(np.float32))
    names = [f"{'ABCD'[p] * 3}{i // _FIELDS + 1}" for i, p in enumerate(programme)]
    bag = pd.DataFrame(
        {"donor": [f"D{10_000 * seed + s % donors}" for s in range(n_slides)], "um_per_px": 1.0},
        index=[f"S{s}" for s in range(n_slides)],
    )
    return Bags.from_rows(
        views, np.array([f"S{s}" for s in slide]), donor="donor", instance=table, bag=bag,
        features={"counts": names, "X_planted": [f"f{j}" for j in range(width)]},
    )  # fmt: skip


def square_grid(n_tiles: int) -> np.ndarray:
    """(n_tiles, 2) x, y in µm of spots 100 µm apart."""
    side = int(np.ceil(np.sqrt(n_tiles)))
    return np.stack(np.divmod(np.arange(n_tiles), side)[::-1], axis=1) * _PITCH + _PITCH


def smooth_fields(xy: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """(n_tiles, n) smooth fields over places in µm, of mean 0 and s.d. 1."""
    scale = np.ptp(xy, axis=0).max() + _PITCH
    out = np.empty((len(xy), n))
    for k in range(n):
        centers, height = rng.uniform(0, scale, size=(12, 2)), rng.normal(size=12)
        squared = ((xy[:, None] - centers) ** 2).sum(2)
        out[:, k] = np.exp(-squared / (2 * (0.18 * scale) ** 2)) @ height
    return (out - out.mean(0)) / np.maximum(out.std(0), 1e-9)


def draw_tile(field: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A tile of drawn nuclei on an eosin ground, and how many nuclei it has.

    Parameters
    ----------
    field
        Density, size and eosin in s.d. (the first three are read).
    size
        Pixels of the tile's edge, of 1 µm.
    rng
        Draws places and shades.

    Returns
    -------
    tuple
        (3, size, size) uint8, and the number of nuclei. Nuclei do not touch.
    """
    density, big, eosin = np.clip(field[:3], -2.5, 2.5)
    radius = 3.2 * np.exp(0.15 * big)
    wanted = rng.poisson((size / 64) ** 2 * 14 * np.exp(0.35 * density))
    pink = np.array([236, 205, 222]) - np.array([6, 30, 14]) * (0.5 + 0.35 * eosin)
    tile = pink + rng.normal(0, 4, size=(size, size, 1))
    yy, xx = np.mgrid[:size, :size]
    placed: list[np.ndarray] = []
    for _ in range(20 * wanted):
        if len(placed) == wanted:
            break
        at = rng.uniform(radius, size - radius, 2)
        if all(np.hypot(*(at - other)) > 2.6 * radius for other in placed):
            placed.append(at)
            ratio, angle = rng.uniform(0.8, 1.0), rng.uniform(0, np.pi)
            dx, dy = xx - at[1], yy - at[0]
            u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
            inside = (u / radius) ** 2 + (v / (radius * ratio)) ** 2 <= 1
            tile[inside] = np.array([88, 60, 140]) + rng.normal(0, 6)
    return np.clip(tile, 0, 255).astype(np.uint8).transpose(2, 0, 1), len(placed)
