"""Simulated slides whose genes are known functions of what tiles show and of what genes mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.datasets.slides import smooth_fields, square_grid
from smalti.genes.vectors import GeneVectors

PROGRAMMES = ("density", "size", "eosin", "density x eosin", "crowding")
_GRID = 4  # cells along the edge of a tile in the map of nuclei
_CHANNELS = ("count", "cover")
_WORDS = 6  # of the text of a gene


def planted_programmes(
    n_slides: int = 6,
    n_tiles: int = 64,
    *,
    n_genes: int = 120,
    width: int = 24,
    gene_width: int = 24,
    donors: int | None = None,
    effect: float = 0.7,
    depth: float = 40.0,
    vague: float = 0.3,
    law_seed: int = 0,
    seed: int = 0,
) -> tuple[Bags, GeneVectors]:
    """Slides of tiles, and vectors of genes, whose counts follow both by a known law.

    Four smooth fields lie over each slide. Density, size and eosin shape the features; crowding,
    how unevenly nuclei lie, shows in the map of nuclei alone. Five programmes are known functions
    of them (:data:`PROGRAMMES`; the fourth is a product). A gene has a latent meaning m of five
    numbers: its log rate is its level plus effect times (programmes . m), its vector a linear map
    of m with noise, its words noisy copies of parts of that vector. So a gene that was never
    measured can be predicted from its vector, and not from a random one.

    Parameters
    ----------
    n_slides, n_tiles
        Slides, and tiles (spots on a square grid 100 µm apart) of each.
    n_genes, gene_width
        Genes "G0", "G1", ..., and numbers of their vectors.
    width
        Features of view "X_planted".
    donors
        Donors; one per two slides when left out.
    effect
        S.d. of the log rate of a gene over the tiles, roughly.
    depth
        Mean counts of a gene in a spot.
    vague
        S.d. of the noise of the vectors, that of their meaning being 1.
    law_seed, seed
        Of meanings, maps and levels; of fields, donors and counts.

    Returns
    -------
    tuple
        :class:`~smalti.Bags` with views "X_planted", "X_nuclei" ((n, 4 x 4 x 2): number and cover
        of nuclei in each cell of a tile), "counts", and instance columns x_um, y_um, x_px, y_px and
        programme_0 .. programme_4; and the :class:`~smalti.genes.GeneVectors` of all genes.
    """
    law, rng = np.random.default_rng([law_seed, 21]), np.random.default_rng([seed, 22])
    meaning = law.normal(size=(n_genes, len(PROGRAMMES)))
    vectors = _vectors(meaning, gene_width, vague, law)
    base = 0.5 * meaning @ law.normal(size=len(PROGRAMMES)) / np.sqrt(len(PROGRAMMES))
    mix = law.normal(size=(4, width))
    grid = square_grid(n_tiles)
    fields = np.concatenate([smooth_fields(grid, rng, 4) for _ in range(n_slides)])
    product = fields[:, 0] * fields[:, 2]
    product = (product - product.mean()) / product.std()
    programmes = np.column_stack([fields[:, :3], product, fields[:, 3]])
    slide = np.repeat(np.arange(n_slides), n_tiles)
    donors = donors or max(1, n_slides // 2)
    level = rng.normal(0, 0.2, size=(donors, n_genes))[slide % donors]
    log_rate = base + effect * programmes @ meaning.T / np.sqrt(len(PROGRAMMES)) + level
    rate = depth * np.exp(log_rate - 0.5 * effect**2)
    counts = rng.poisson(rate * rng.lognormal(0, 0.2, size=(len(slide), 1)))
    shift = 0.2 * rng.normal(size=(n_slides, width))[slide]  # stain of the slide
    shown = np.column_stack([fields[:, :3], product])
    features = shown @ mix + shift + 0.5 * rng.normal(size=(len(slide), width))
    nuclei = _nuclei(fields[:, 0], fields[:, 3], rng)
    xy = np.tile(grid, (n_slides, 1))
    table = pd.DataFrame(
        {"x_px": xy[:, 0], "y_px": xy[:, 1], "x_um": xy[:, 0], "y_um": xy[:, 1], "tissue": 1.0}
        | {f"programme_{k}": programmes[:, k] for k in range(len(PROGRAMMES))},
        index=[f"S{s}_{i}" for s in range(n_slides) for i in range(n_tiles)],
    )
    bag = pd.DataFrame(
        {"donor": [f"D{10_000 * seed + s % donors}" for s in range(n_slides)], "um_per_px": 1.0},
        index=[f"S{s}" for s in range(n_slides)],
    )
    cells = [f"nuclei_r{r}c{c}_{name}" for r in range(_GRID) for c in range(_GRID)
             for name in _CHANNELS]  # fmt: skip
    bags = Bags.from_rows(
        {"X_planted": features.astype(np.float32), "X_nuclei": nuclei,
         "counts": sp.csr_matrix(counts.astype(np.float32))},
        np.array([f"S{s}" for s in slide]), donor="donor", instance=table, bag=bag,
        features={"counts": vectors.names, "X_planted": [f"f{j}" for j in range(width)],
                  "X_nuclei": cells},
    )  # fmt: skip
    return bags, vectors


def _vectors(
    meaning: np.ndarray, width: int, vague: float, law: np.random.Generator
) -> GeneVectors:
    """Vectors of genes, and words: each says a part of the meaning, with noise."""
    n, k = meaning.shape
    to = law.normal(size=(k, width)) / np.sqrt(k)
    x = meaning @ to + vague * law.normal(size=(n, width))
    about = law.integers(k, size=(n, _WORDS))
    words = np.repeat(meaning[:, None], _WORDS, axis=1) * (
        np.arange(k) == about[..., None]
    ) @ to + 0.5 * vague * law.normal(size=(n, _WORDS, width))  # fmt: skip
    words[:, 0] = x  # the first word is the whole gene, so that a text tells no less
    return GeneVectors(
        tuple(f"G{i}" for i in range(n)), x.astype(np.float32), "planted",
        tokens=words.reshape(-1, width).astype(np.float32),
        offsets=np.arange(0, n * _WORDS + 1, _WORDS),
    )  # fmt: skip


def _nuclei(density: np.ndarray, crowding: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, 4 x 4 x 2) float32: nuclei of a tile, dealt to its cells the less evenly the crowded."""
    total = rng.poisson(32 * np.exp(0.25 * np.clip(density, -2.5, 2.5)))
    even = 2.0 * np.exp(-0.9 * np.clip(crowding, -2.5, 2.5))  # of a Dirichlet: small is uneven
    share = rng.gamma(np.repeat(even[:, None], _GRID**2, axis=1) + 1e-3)
    count = rng.poisson(total[:, None] * share / share.sum(1, keepdims=True))
    cover = np.clip(count * 0.03 + 0.01 * rng.normal(size=count.shape), 0, 1) * (count > 0)
    return np.stack([count, cover], axis=2).reshape(len(count), -1).astype(np.float32)
