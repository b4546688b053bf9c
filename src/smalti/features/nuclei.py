"""Where the nuclei of a tile are: a grid over it, and what the nuclei of each cell are like."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from smalti.errors import InputError
from smalti.features.nuclei_sources import SOURCES, labeller, version
from smalti.tiles.nuclei import UM_PER_PX, Nuclei, find_nuclei, measure
from smalti.tiles.stain import separate

CHANNELS = ("count", "cover", "area", "eccentricity", "haematoxylin", "nearest")
VIEW = "X_nuclei"
_APART = 1e7  # µm between tiles where neighbours are looked for: more than any slide has


@dataclasses.dataclass
class NucleiMap:
    """The nuclei of a tile on a grid: how many in each cell, and what they are like.

    The six numbers of a cell are those of the nuclei whose centre lies in it; an empty cell has 0
    in all of them:

    - count: nuclei per 1,000 µm²
    - cover: their area as a share of the area of the cell, at most 1
    - area: mean, µm²
    - eccentricity: mean; 0 a circle, towards 1 a line
    - haematoxylin: mean, in the units of :func:`smalti.tiles.stain.separate`
    - nearest: mean distance from each to the nearest other nucleus of the tile, µm; 0 where the
      tile has no other

    The nuclei-distribution branch of Deep Association reads such maps. Its paper does not say what
    finds the nuclei, nor what it keeps of them: the channels here are ours.

    Parameters
    ----------
    source
        "watershed" (:func:`smalti.tiles.nuclei.find_nuclei`; needs no weights), "stardist"
        (2D_versatile_he) or "cellpose" (Cellpose-SAM, version 4 or later; finds cells too): your
        own installed packages, with their weights. They see tiles as they are read: give them
        tiles of about 0.5 µm per pixel or finer.
    grid
        Cells along the edge of a tile.
    n_jobs
        Processes of "watershed".

    Notes
    -----
    Cells are named ``nuclei_r0c0_count``: row and column from the upper left corner; row by row,
    channels last. A nucleus that the edge of the tile cuts counts by what is inside.

    Raises
    ------
    InputError
        If the source is unknown, or its package or weights cannot be had.

    References
    ----------
    Zhou et al. (2025), MICCAI (Deep Association).
    """

    source: str = "watershed"
    grid: int = 4
    n_jobs: int = 1
    name: str = dataclasses.field(default="nuclei", init=False)
    identity: str = dataclasses.field(default="", init=False)
    half: bool = dataclasses.field(default=False, init=False)
    placed: bool = dataclasses.field(default=True, init=False)  # a mean over flips has no meaning

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise InputError(f"source={self.source!r} is not one of {', '.join(SOURCES)}.")
        checked_grid(self.grid)
        self.identity = f"nuclei 1 {self.source} {version(self.source)} {self.grid}"
        self._label: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """``nuclei_r0c0_count`` and so on."""
        return cell_names(self.grid)

    def encode(self, tiles: np.ndarray, um_per_px: np.ndarray) -> np.ndarray:
        """(n, 3, H, W) uint8 and (n,) µm per pixel (NaN: 0.5) to (n, grid * grid * 6) float32."""
        pixel = np.where(np.isnan(um_per_px), UM_PER_PX, um_per_px).astype(float)
        jobs = list(zip(tiles, pixel, strict=True))
        if self.source != "watershed":
            self._label = self._label or labeller(self.source)
            return np.stack([_map(t, u, self.grid, self._label) for t, u in jobs])
        if self.n_jobs == 1:
            return np.stack([_map(t, u, self.grid) for t, u in jobs])
        from joblib import Parallel, delayed

        pool = Parallel(n_jobs=self.n_jobs, inner_max_num_threads=1)
        return np.stack(pool(delayed(_map)(t, u, self.grid) for t, u in jobs))

    def check(self, table: np.ndarray) -> tuple[str, ...]:
        """What to note of (n, ...) maps; an error if none holds a nucleus (see ``checked``)."""
        return checked(table)


def _map(
    tile: np.ndarray,
    pixel: float,
    grid: int,
    label: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """(grid * grid * 6,) of one tile, (3, H, W) uint8."""
    rgb = np.ascontiguousarray(tile.transpose(1, 2, 0))
    if label is None:
        found = find_nuclei(rgb, pixel)
    else:
        found = measure(np.asarray(label(rgb)), separate(rgb)[..., 0])
    return cells(*of_tile(found, pixel), grid)[0]


def of_tile(found: Nuclei, pixel: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The n nuclei of one tile as :func:`cells` takes them: (n,), (n, 2), (n, 3) and (1, 2).

    ``pixel`` in µm.
    """
    extent = np.array(found.labels.shape)
    at = (found.centroids + 0.5) / extent  # 0 is the edge of the first pixel, not its centre
    known = np.stack([found.area * pixel**2, found.eccentricity, found.intensity], axis=1)
    return np.zeros(len(found), dtype=np.int64), at, known, (extent * pixel)[None]


def cells(
    tile: np.ndarray, at: np.ndarray, known: np.ndarray, extent: np.ndarray, grid: int
) -> np.ndarray:
    """Maps of tiles from a list of nuclei.

    Parameters
    ----------
    tile
        (n,) tile of each nucleus.
    at
        (n, 2) its row and column in the tile, as shares of the tile's extent: 0 to 1.
    known
        (n, 3) its area (µm²), eccentricity and haematoxylin.
    extent
        (n_tiles, 2) height and width of the tiles, µm.
    grid
        Cells along the edge of a tile.

    Returns
    -------
    numpy.ndarray
        (n_tiles, grid * grid * 6) float32 (see :class:`NucleiMap`).
    """
    size = len(extent) * grid * grid
    row, column = np.clip((at * grid).astype(np.int64), 0, grid - 1).T
    cell = (tile * grid + row) * grid + column
    count = np.bincount(cell, minlength=size).astype(float)
    values = np.column_stack([known, _nearest(tile, at * extent[tile])])
    sums = np.stack([np.bincount(cell, v, minlength=size) for v in values.T], axis=1)
    space = np.repeat(extent.prod(1) / grid**2, grid * grid)  # µm² of a cell
    means = sums / np.maximum(count, 1)[:, None]
    cover = np.minimum(sums[:, 0] / space, 1)
    out = np.column_stack([1000 * count / space, cover, means])
    return out.reshape(len(extent), -1).astype(np.float32)


def _nearest(tile: np.ndarray, um: np.ndarray) -> np.ndarray:
    """(n,) distance to the nearest other nucleus of the same tile, µm; 0 where there is none."""
    if len(um) < 2:
        return np.zeros(len(um))
    # tiles lie far apart along a third axis: one tree serves them all
    place = np.column_stack([um, tile * _APART])
    distance = cKDTree(place).query(place, k=2)[0][:, 1]
    return np.where(distance < _APART / 2, distance, 0.0)


def cell_names(grid: int) -> tuple[str, ...]:
    """Names of the numbers of a map, row by row, channels last."""
    return tuple(f"nuclei_r{r}c{c}_{k}" for r in range(grid) for c in range(grid) for k in CHANNELS)


def checked_grid(grid: int) -> None:
    """Refuse a grid that cannot be laid.

    Raises
    ------
    InputError
        If it is no whole number of 1 or more.
    """
    if isinstance(grid, bool) or not isinstance(grid, (int, np.integer)) or grid < 1:
        raise InputError(f"grid={grid!r} must be a whole number of 1 or more: cells along an edge.")


def checked(table: np.ndarray) -> tuple[str, ...]:
    """Say how many tiles have no nucleus.

    Parameters
    ----------
    table
        (n_tiles, ...) maps.

    Returns
    -------
    tuple
        The note that was warned of, if any.

    Raises
    ------
    InputError
        If no tile has any.
    """
    n = len(table)
    empty = n - int(table.reshape(n, -1).any(axis=1).sum())
    if not empty:
        return ()
    if empty == n:
        raise InputError(
            f"none of the {n:,} tiles holds a nucleus: look whether um_per_px= is right and the "
            "tiles are stained with haematoxylin (sm.plot.plot_nuclei), or, with nuclei of your "
            "own, whether x_px and y_px are pixels of these slides."
        )
    note = f"{empty:,} of {n:,} tiles hold no nucleus: their {VIEW} is 0."
    warnings.warn(note, UserWarning, stacklevel=3)
    return (note,)
