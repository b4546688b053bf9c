"""Simulated cells with counts, a place and a picture: part of the disease is in each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.tiles.formats import ArrayImage
from smalti.tiles.view import TileView

TYPES = ("tumour", "lymphocyte", "fibroblast")
_SHARES = (0.5, 0.25, 0.25)
_NUCLEI = ((4.6, 0.85), (3.4, 0.95), (5.4, 0.4))  # long radius in px, and short to long, by type
_UM = 0.5  # µm per pixel
_PITCH = 30  # px from cell to cell, about
_MARKERS, _PROGRAMME = 5, 6  # genes of a type, and of the programme
_ILL, _WELL = (0.6, 0.9), (0.0, 0.15)  # shares of the tumour cells that are altered


def pictured_cells(
    n_donors: int = 24,
    cells: int = 100,
    *,
    n_genes: int = 40,
    programme: float = 8.0,
    growth: float = 1.6,
    size: int = 32,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """One slide of each donor: cells with counts, drawn on an H&E picture.

    Three types of cells, each with genes and nuclei of its own. In every donor some tumour cells
    around one place are altered: 60 to 90 % of them in the ill, up to 15 % in the healthy. In one
    half of the donors the altered cells have a programme of genes and look as others do; in the
    other half they have large, dark nuclei and genes as others have. So genes alone, and pictures
    alone, miss half of the ill; both together miss none. Stains and levels of genes differ from
    donor to donor.

    Parameters
    ----------
    n_donors
        Donors, half of them ill.
    cells
        Cells on each slide.
    n_genes
        Genes: five for each type, six of the programme, and others.
    programme
        Factor of the rates of the programme where it is on.
    growth
        Factor of the radius of altered nuclei.
    size
        Edge of a tile around a cell, pixels of 0.5 µm.
    law_seed, seed
        Of the levels of genes; of donors, cells and pictures.

    Returns
    -------
    Bags
        Views "tile" (uint8, (n, 3, ``size``, ``size``), cut from the pictures) and "counts";
        instance columns x_px, y_px, x_um, y_um, tissue, cell_type and ``altered`` ("no", "genes"
        or "look"); bag columns ``state`` ("healthy", "ill"; the target), ``donor``, ``share`` (of
        the tumour cells that are altered), um_per_px, tile_um and tile_um_per_px.

    Raises
    ------
    InputError
        If a number makes no cohort.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.pictured_cells(6, 30, seed=0)
    >>> list(cells.x), cells.labels.tolist()
    (['tile', 'counts'], ['healthy', 'ill', 'healthy', 'ill', 'healthy', 'ill'])
    """
    least = _MARKERS * len(TYPES) + _PROGRAMME
    if n_donors < 2 or cells < 10 or n_genes < least or size < 1:
        raise InputError(f"{n_donors} donors, {cells} cells, {n_genes} genes, tiles of {size} px: "
                         f"take 2, 10, {least} and 1 or more.")  # fmt: skip
    law, rng = np.random.default_rng([law_seed, 31]), np.random.default_rng([seed, 32])
    base = law.lognormal(0, 0.4, n_genes)
    # healthy and ill in turn, and of each in turn those of genes and those of looks
    slides = [_slide(cells, i % 2, 1 + i // 2 % 2, base, programme, growth, rng)
              for i in range(n_donors)]  # fmt: skip
    names = np.array([f"S{i}" for i in range(n_donors)], dtype=object)
    instance = pd.concat([s[0] for s in slides])
    instance.index = [f"{names[i]}_{k}" for i in range(n_donors) for k in range(cells)]
    of = np.repeat(np.arange(n_donors), cells)
    images = [ArrayImage(s[2], str(name), _UM) for s, name in zip(slides, names, strict=True)]
    tumour = (instance["cell_type"] == TYPES[0]).to_numpy()
    altered = pd.Series((instance["altered"] != "no").to_numpy()[tumour])
    bag = pd.DataFrame(
        {"state": np.where(np.arange(n_donors) % 2, "ill", "healthy"),
         "donor": [f"D{10_000 * seed + i}" for i in range(n_donors)],
         "share": altered.groupby(of[tumour]).mean().to_numpy(), "um_per_px": _UM,
         "tile_um": size * _UM, "tile_um_per_px": _UM}, index=names,
    )  # fmt: skip
    view = TileView(images, of, instance[["x_px", "y_px"]].to_numpy(), size, size, pad=True)
    counts = sp.csr_matrix(np.concatenate([s[1] for s in slides]).astype(np.float32))
    return Bags.from_rows(
        {"tile": view, "counts": counts}, names[of], target="state", donor="donor",
        instance=instance, bag=bag, features={"counts": _genes(n_genes)},
    )  # fmt: skip


def _genes(n: int) -> list[str]:
    """Names: TUM1, LYM1, FIB1, ..., PROG1, ..., and G1, ... of the others."""
    named = [f"{t[:3].upper()}{i + 1}" for t in TYPES for i in range(_MARKERS)]
    named += [f"PROG{i + 1}" for i in range(_PROGRAMME)]
    return named + [f"G{i + 1}" for i in range(n - len(named))]


def _slide(
    n: int, ill: int, how: int, base: np.ndarray, programme: float, growth: float,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:  # fmt: skip
    """Cells, their counts (n, n_genes) and the picture (3, height, width) of one slide.

    ``how`` is 1 where cells are altered in their genes, 2 in their look.
    """
    side = int(np.ceil(np.sqrt(n)))
    at = np.stack(np.divmod(rng.permutation(side**2)[:n], side), axis=1)
    # no place is half way between two pixels, where the last digit says which tile is cut
    xy = np.round(_PITCH * (at + 1) + rng.uniform(-8, 8, (n, 2)), 1) + 0.05
    kind = rng.permutation(np.repeat(np.arange(3), np.ceil(n * np.array(_SHARES)).astype(int))[:n])
    altered = how * _altered(xy, kind, ill, rng)
    table = pd.DataFrame(
        {"x_px": xy[:, 0], "y_px": xy[:, 1], "x_um": xy[:, 0] * _UM, "y_um": xy[:, 1] * _UM,
         "tissue": 1.0, "cell_type": np.array(TYPES, dtype=object)[kind],
         "altered": np.array(["no", "genes", "look"], dtype=object)[altered]}
    )  # fmt: skip
    rate = base * rng.lognormal(0, 0.1, len(base)) * rng.lognormal(0, 0.3, (n, 1))
    for k in range(len(TYPES)):
        rate[kind == k, _MARKERS * k : _MARKERS * (k + 1)] *= 5
    start = _MARKERS * len(TYPES)
    rate[altered == 1, start : start + _PROGRAMME] *= programme
    return table, rng.poisson(rate), _drawn(xy, kind, altered == 2, side, growth, rng)


def _altered(xy: np.ndarray, kind: np.ndarray, ill: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) 1 of the tumour cells nearest to one place, 0 of all others."""
    tumour = np.flatnonzero(kind == 0)
    centre = rng.uniform(xy.min(0), xy.max(0))
    near = tumour[np.argsort(np.hypot(*(xy[tumour] - centre).T))]
    out = np.zeros(len(xy), dtype=int)
    out[near[: round(rng.uniform(*(_ILL if ill else _WELL)) * len(tumour))]] = 1
    return out


def _drawn(
    xy: np.ndarray, kind: np.ndarray, grown: np.ndarray, side: int, growth: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """(3, edge, edge) uint8: nuclei on an eosin ground, in the stains of the slide."""
    edge = _PITCH * (side + 1)
    ground = np.array([232, 196, 218]) + rng.normal(0, 2, 3)
    blue = np.array([112, 84, 156]) + rng.normal(0, 3, 3)
    picture = ground + rng.normal(0, 5, (edge, edge, 1))
    y, x = np.mgrid[:edge, :edge]
    for (cx, cy), k, large in zip(xy, kind, grown, strict=True):
        long, ratio = _NUCLEI[k]
        long *= rng.uniform(0.9, 1.1) * (growth if large else 1)
        angle, reach = rng.uniform(0, np.pi), int(long) + 2
        box = np.s_[max(int(cy) - reach, 0) : int(cy) + reach + 1,
                    max(int(cx) - reach, 0) : int(cx) + reach + 1]  # fmt: skip
        dx, dy = x[box] - cx, y[box] - cy
        u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        inside = (u / long) ** 2 + (v / (long * ratio)) ** 2 <= 1
        shade = blue * (0.75 if large else 1) * (0.8 if k == 1 else 1) + rng.normal(0, 6)
        picture[box][inside] = shade + rng.normal(0, 5, (int(inside.sum()), 1))
    return np.clip(picture, 0, 255).astype(np.uint8).transpose(2, 0, 1)
