"""Where a slide holds tissue, and how good its tiles are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

from smalti.system.extras import need
from smalti.system.progress import Progress
from smalti.views import View

# natural optical density: from _LOW on textured pixels are tissue, from _HIGH on all are
_LOW, _HIGH = 0.025, 0.12
_TEXTURE = 0.006  # s.d. of density over 7 pixels: that of pale tissue, and more than of smears
_SHARE = 0.12  # of the density that must be colour: noise of black pen has less
_SPECK, _HOLE = 5_000.0, 20_000.0  # µm²: discs of 80 and 160 µm, wider than a fat cell
_SPECK_PX, _HOLE_PX = 64, 256  # where the size of a pixel is not known


def tissue_mask(rgb: np.ndarray, um_per_px: float | None = None) -> np.ndarray:
    """Pixels that are tissue: those that take green out of the light, as stains do and pens do not.

    Parameters
    ----------
    rgb
        (height, width, 3) uint8, best a thumbnail.
    um_per_px
        µm per pixel of it, where known: for the sizes of specks and holes.

    Returns
    -------
    np.ndarray
        (height, width) bool. Pieces under 5,000 µm² are dropped and holes under 20,000 µm² filled
        (64 and 256 pixels where their size is not known), see :func:`tidy`.

    Notes
    -----
    The signal is the optical density of green less the lesser one of red and blue, against the
    colour of the glass, after a Gaussian of one pixel: haematoxylin, eosin and DAB have it, and
    dust, shadows and black pen have none; green pen has less than none. Blue pen takes more red
    than green at a strength that haematoxylin does not reach, and is left out with its rim. Red pen
    cannot be told from eosin. Of a grey picture the density takes the place of the signal.

    A pixel is tissue by a strong signal, or by a weak one and texture, which smears of eosin and
    the tint of the glass lack. Where "strong" begins is Otsu's threshold (IEEE Trans. Syst. Man
    Cybern. 9:62, 1979) within 0.05 to 0.12, so that nuclei in stroma do not move it. Constants were
    chosen by the drawn and the real slides of docs/results/slides.md.
    """
    need("skimage", extra="slides")
    from skimage.filters import gaussian, threshold_otsu

    density = gaussian(-np.log((rgb.astype(np.float32) + 1) / 256), (1, 1, 0), mode="nearest")
    mean = ndimage.uniform_filter(density[..., 1], 7)
    square = ndimage.uniform_filter(density[..., 1] ** 2, 7)
    textured = square - mean**2 > _TEXTURE**2
    density = density - _glass(rgb, density, ~textured)
    red, green, blue = (density[..., k] for k in range(3))
    signal = green - np.minimum(red, blue)
    if np.percentile(np.ptp(rgb, axis=2), 99) < 8:
        signal = green
    strong = np.clip(threshold_otsu(signal), 0.05, _HIGH) if np.ptp(signal) > 0 else _HIGH
    mask = (signal > strong) | ((signal > _LOW) & textured)
    mask &= (signal > _SHARE * green) & ~_inked(red, green, blue)
    return tidy(mask, um_per_px)


def _glass(rgb: np.ndarray, density: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """(3,) density of the glass: of bright pixels of little colour and no texture; else 0."""
    bare = smooth & (rgb.min(2) > 190) & (np.ptp(rgb, axis=2) < 40)
    if bare.mean() < 0.005:
        return np.zeros(3, np.float32)
    bright = density[bare].mean(1)
    return np.asarray(np.median(density[bare][bright <= np.median(bright)], axis=0))


def _inked(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Pixels of blue and green pen with their soft rims."""
    pen = (red > 1.15 * green) & (red - blue > 1.1)
    rim = (red > 1.1 * green) & (red - blue > 0.4)  # where tissue is dark blue too
    green_pen = (green < blue - 0.1) & (green < red - 0.3)
    ink = ndimage.binary_opening(pen | green_pen)
    ink = ndimage.binary_dilation(ink, iterations=4, mask=rim | green_pen | ink)
    return ndimage.binary_dilation(ink, iterations=2)


def tidy(mask: np.ndarray, um_per_px: float | None = None) -> np.ndarray:
    """A mask without its small pieces and its small holes.

    Parameters
    ----------
    mask
        (height, width) bool.
    um_per_px
        µm per pixel of it, where known.

    Returns
    -------
    np.ndarray
        (height, width) bool: holes under 20,000 µm² are filled, then pieces under 5,000 µm² dropped
        (256 and 64 pixels where ``um_per_px`` is not known; never more than a hundredth of the
        picture). What touches the edge of the picture is no hole.
    """
    most = mask.size / 100
    pixel = None if um_per_px is None else um_per_px**2
    hole = min(most, _HOLE_PX if pixel is None else _HOLE / pixel)
    speck = min(most, _SPECK_PX if pixel is None else _SPECK / pixel)
    gaps, n = ndimage.label(~mask)
    size = np.bincount(gaps.ravel(), minlength=n + 1)
    open_ = np.unique(np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]))
    fill = size < hole
    fill[open_] = False
    fill[0] = True  # the mask itself
    whole = fill[gaps]
    pieces, n = ndimage.label(whole)
    keep = np.bincount(pieces.ravel(), minlength=n + 1) >= speck
    keep[0] = False
    return np.asarray(keep[pieces])


def tissue_share(mask: np.ndarray, scale: float, corners: np.ndarray, side: int) -> np.ndarray:
    """Share of each tile that is tissue.

    Parameters
    ----------
    mask
        (height, width) bool of the thumbnail.
    scale
        Pixels of the thumbnail per pixel of the slide.
    corners
        (n, 2) x, y of the upper left corners, pixels of the slide.
    side
        Edge of a tile, pixels of the slide.

    Returns
    -------
    np.ndarray
        (n,) float32 in 0..1; what lies outside the slide is no tissue.
    """
    total = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    low = np.rint(corners * scale).astype(np.int64)
    high = np.maximum(np.rint((corners + side) * scale).astype(np.int64), low + 1)
    area = np.prod(high - low, axis=1)
    limit = np.array(mask.shape)[::-1]
    (x0, y0), (x1, y1) = np.clip(low, 0, limit).T, np.clip(high, 0, limit).T
    held = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    return (held / area).astype(np.float32)


def tile_quality(view: View, *, progress: bool | None = None) -> pd.DataFrame:
    """How sharp each tile is, and whether it shows pen; every tile is read.

    Parameters
    ----------
    view
        The tiles.
    progress
        Show a bar; None: on a terminal or in a notebook.

    Returns
    -------
    pd.DataFrame
        ``blur``: variance of the Laplacian of the grey tile (0..255), low where it is out of
        focus or empty; only tiles of one µm per pixel compare. ``pen``: share of its pixels that
        are greener than red, or nearly black, which haematoxylin and eosin never are.
    """
    from scipy.ndimage import laplace

    blur, pen = np.empty(view.shape[0], np.float32), np.empty(view.shape[0], np.float32)
    with Progress(progress, "quality of tiles") as bar:
        bar.start("", view.shape[0])
        for start in range(0, view.shape[0], 64):
            tiles = view.read(start, min(start + 64, view.shape[0])).astype(np.float32)
            grey = tiles.mean(1)
            at = slice(start, start + len(tiles))
            blur[at] = [laplace(tile).var() for tile in grey]
            ink = (tiles[:, 1] > tiles[:, 0] + 20) | (tiles.max(1) < 40)
            pen[at] = ink.mean((1, 2))
            bar.advance(steps=len(tiles))
    return pd.DataFrame({"blur": blur, "pen": pen})
