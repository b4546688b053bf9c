"""Pictures over slides: genes measured and predicted, Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.names import meant
from smalti.plot.style import GREY, INK, Sheet, bare, sheet_of, short, styled

# small picture of a slide, its extent in slide pixels, and the edge of a tile there
Background: TypeAlias = tuple[np.ndarray, tuple[float, float, float, float], int]

_THUMBNAIL = 1200  # pixels of the picture behind the spots
_FADED = 0.35  # of the picture's own colour
_MANY = 150  # spots
_ROBUST = (1, 99)  # percentiles that the colours span


@styled
def plot_gene_maps(
    bags: Bags,
    genes: Sequence[str],
    measured: np.ndarray,
    predicted: np.ndarray,
    *,
    slide: Any = None,
    scale: Literal["shared", "z"] = "shared",
    spot_um: float | None = None,
    image: bool = True,
    title: str | None = None,
    fig: Sheet | None = None,
) -> Figure:
    """Draw genes over one slide: measured, predicted, and the difference.

    Parameters
    ----------
    bags
        Slides.
    genes
        Names, one row of the picture each.
    measured, predicted
        (n_tiles, n_genes) values of the tiles of ``bags``, in one unit.
    slide
        Name of the slide; the first when left out.
    scale
        "shared": one colour is one value in both maps, so that a prediction that spans less is seen
        to do so; "z": both z-scored over the slide, where the pattern alone is asked for.
    spot_um
        Diameter of a spot in µm; 0.7 of the distance to the nearest when left out.
    image
        Draw the slide behind, faded, where the bags have tiles cut from pictures.
    title
        Of the picture.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        One row per gene. Measured and predicted have one colour scale, from the 1st to the 99th
        percentile of both together; the difference is in the same unit. Pearson r and Moran's I
        over this slide.

    Raises
    ------
    InputError
        If the slide is not there, no gene is named, positions are missing, shapes do not fit, or
        ``scale`` is another.
    """
    from smalti.scores.expression_limits import morans_i
    from smalti.scores.expression_metrics import pearson_genes

    rows, name = tile_rows(bags, slide)
    if scale not in ("shared", "z"):
        raise InputError(f"scale={scale!r} is neither 'shared' nor 'z'.")
    if not len(genes):
        raise InputError("genes names no gene to draw.")
    for label, values in (("measured", measured), ("predicted", predicted)):
        if np.shape(values) != (bags.n_instances, len(genes)):
            raise InputError(
                f"{label} has shape {np.shape(values)}: give ({bags.n_instances}, {len(genes)}), "
                "one row per tile and one column per gene."
            )
    xy, um = _positions(bags, rows)
    y, p = np.asarray(measured)[rows], np.asarray(predicted)[rows]
    r = pearson_genes(p, y)
    moran = [morans_i(v, xy, np.zeros(len(rows))) for v in (y, p)]
    back = _background(bags, rows) if image else None
    span = np.ptp(xy, axis=0)
    tall = float(np.clip((span[1] + 1) / (span[0] + 1), 0.5, 1.6))
    sheet, grid = sheet_of(
        fig, 8.6, (2.45 * tall + 0.62) * len(genes) + 0.55, nrows=len(genes), ncols=3, squeeze=False
    )
    radius = 0.35 * _pitch(xy) if spot_um is None else spot_um / um / 2
    unit = ", z-scores" if scale == "z" else ""
    for g, gene in enumerate(genes):
        both = [_z(v[:, g]) if scale == "z" else v[:, g] for v in (y, p)]
        low, high = np.percentile(np.concatenate(both), _ROBUST)
        panels = zip(("measured", "predicted"), both, (m[g] for m in moran), strict=True)
        for axes, (label, values, i) in zip(grid[g, :2], panels, strict=True):
            _spots(axes, xy, values, radius, back, "viridis", low, high)
            note = "" if np.isnan(i) else f", Moran's I {i:.2f}"
            _titled(axes, short(gene, 60) if label == "measured" else "", f"{label}{unit}{note}")
        gap = both[1] - both[0]
        most = float(np.percentile(np.abs(gap), 98)) or 1.0
        _spots(grid[g, 2], xy, gap, radius, back, "RdBu_r", -most, most)
        note = "" if np.isnan(r[g]) else f", r {r[g]:.2f}"
        _titled(grid[g, 2], "", f"predicted − measured{note}")
    scale_bar(grid[-1, 0], xy, um)
    said = f"Slide {name}" if title is None else title
    sheet.suptitle(said, x=0.01, ha="left", fontweight="bold", fontsize=10.5)
    return sheet.figure


@styled
def plot_grad_cam(
    images: np.ndarray, cams: np.ndarray, names: Sequence[str], *, fig: Sheet | None = None
) -> Figure:
    """Draw tiles and, beside each, where the evidence for each gene stands.

    Parameters
    ----------
    images
        (n, 3, height, width) uint8.
    cams
        (n, n_genes, height, width) in 0..1 (see :func:`smalti.explain.grad_cams`).
    names
        Of the genes.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        One row per tile: the tile, then one map per gene.

    Raises
    ------
    InputError
        If shapes do not fit.
    """
    images, cams = np.asarray(images), np.asarray(cams)
    if cams.shape[:2] != (len(images), len(names)):
        raise InputError(f"maps of shape {cams.shape} do not fit {len(images)} tiles and "
                         f"{len(names)} genes.")  # fmt: skip
    sheet, grid = sheet_of(
        fig,
        1.5 * (len(names) + 1),
        1.5 * len(images) + 0.35,
        nrows=len(images),
        ncols=len(names) + 1,
        squeeze=False,
    )
    for i, row in enumerate(grid):
        tile = np.moveaxis(images[i], 0, -1)
        row[0].imshow(tile)
        for j, axes in enumerate(row[1:]):
            axes.imshow(_fade(tile, 0.6))
            clear = 0.8 * np.clip(cams[i, j], 0, 1)  # no evidence: nothing over the tile
            axes.imshow(cams[i, j], cmap="inferno", alpha=clear, vmin=0, vmax=1)
        for axes in row:
            bare(axes)
    for axes, name in zip(grid[0], ["tile", *names], strict=True):
        axes.set_title(short(name, 16), fontsize=9, fontweight="normal")
    return sheet.figure


# ---------------------------------------------------------------- parts


def tile_rows(bags: Bags, bag: Any) -> tuple[np.ndarray, Any]:
    """Positions of the tiles of a bag, (n,) int64, and its name; the first bag where None.

    Raises
    ------
    InputError
        If there is no such bag.
    """
    if bag is None:
        return np.arange(bags.offsets[0], bags.offsets[1]), bags.bag.index[0]
    at = np.flatnonzero(bags.bag.index == bag)
    if not len(at):
        there = ", ".join(map(str, bags.bag.index[:5]))
        raise InputError(f"no slide {bag!r}; there are {there}.{meant(bag, bags.bag.index)}")
    return np.arange(bags.offsets[at[0]], bags.offsets[at[0] + 1]), bag


def _positions(bags: Bags, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """(n, 2) x, y in pixels, and µm of a pixel (1 where not known)."""
    if not {"x_px", "y_px"} <= set(bags.instance):
        raise InputError("tiles have no positions: instance columns x_px and y_px.")
    xy = bags.instance.iloc[rows][["x_px", "y_px"]].to_numpy(float)
    um = float(bags.bag["um_per_px"].iloc[bags.index[rows[0]]]) if "um_per_px" in bags.bag else 1.0
    return xy, um if np.isfinite(um) else 1.0


def _background(bags: Bags, rows: np.ndarray) -> Background | None:
    """Small picture of a slide, its extent in slide pixels, and the edge of a tile there."""
    view: Any = bags.x.get("tile")
    if hasattr(view, "base") and hasattr(view, "rows"):
        rows, view = view.rows[rows], view.base
    if not hasattr(view, "images"):
        return None
    of = int(view.of[rows[0]])
    image = view.images[of]
    small, _ = image.thumbnail(_THUMBNAIL)
    return small, (0.0, float(image.width), float(image.height), 0.0), int(view.side[of])


def _fade(picture: np.ndarray, colour: float = _FADED) -> np.ndarray:
    return (255 - colour * (255 - picture.astype(np.float32))).astype(np.uint8)


def _spots(
    axes: Axes, xy: np.ndarray, values: np.ndarray, radius: float,
    back: Background | None, colours: str, low: float, high: float,
) -> None:  # fmt: skip
    """Spots of their true size over the faded slide, and a slim colour bar."""
    if back is not None:
        axes.imshow(_fade(back[0]), extent=back[1], interpolation="antialiased")
    # each spot is a path: thousands of them are an image inside of the drawing
    spots = PatchCollection([Circle((x, y), radius) for x, y in xy], cmap=colours, lw=0,
                            rasterized=len(xy) > _MANY)  # fmt: skip
    spots.set_array(values)
    spots.set_clim(low, high if high > low else low + 1)
    axes.add_collection(spots)
    margin = 3 * radius
    (left, top), (right, bottom) = xy.min(0) - margin, xy.max(0) + margin
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")  # y runs down, as on the slide
    bare(axes)
    bar = axes.figure.colorbar(spots, ax=axes, shrink=0.75, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)


def _titled(axes: Axes, gene: str, note: str) -> None:
    """The gene over a line of small print: side by side they would meet that of the next panel."""
    axes.set_title(gene, fontsize=9.5, pad=15)
    axes.annotate(note, (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
                  fontsize=8, color=GREY, va="bottom")  # fmt: skip


def scale_bar(axes: Axes, xy: np.ndarray, um: float) -> None:
    """A bar of a round length below the lower left corner, where it hides no spot.

    ``xy`` are (n, 2) places in pixels of ``um`` µm, which say how wide the picture is.
    """
    span = np.ptp(xy[:, 0]) * um
    length = next((n for n in (2000, 1000, 500, 200, 100, 50, 20) if n <= 0.35 * span), 10)
    (left, _), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    unit = 0.012 * (bottom - top)
    axes.add_patch(Rectangle((left, bottom + 2 * unit), length / um, unit, color=INK, lw=0,
                             clip_on=False))  # fmt: skip
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length} µm"
    axes.text(left + length / um, bottom + 2.5 * unit, f"  {text}", fontsize=7.5, va="center")


def _pitch(xy: np.ndarray) -> float:
    """Median distance to the nearest other tile, in pixels."""
    from scipy.spatial import cKDTree

    if len(xy) < 2:
        return 100.0
    return float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1]))


def _z(values: np.ndarray) -> np.ndarray:
    sd = values.std()
    return (values - values.mean()) / (sd if sd > 1e-9 else 1.0)
