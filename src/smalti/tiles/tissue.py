"""Where a slide holds tissue, and how good its tiles are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from smalti.system.extras import need
from smalti.system.progress import Progress
from smalti.views import View

# Otsu parts nuclei from stroma where a picture is tissue all over: the threshold stays in between
# what glass and pale stroma show on H&E
_LOW, _HIGH = 0.05, 0.15


def tissue_mask(rgb: np.ndarray) -> np.ndarray:
    """Pixels that are tissue: more colourful than glass, by Otsu's threshold.

    Parameters
    ----------
    rgb
        (height, width, 3) uint8, best a thumbnail.

    Returns
    -------
    np.ndarray
        (height, width) bool.

    Notes
    -----
    Colour is the range of the three channels (0..1) after a Gaussian of one pixel; black pen has
    none. Of a grey picture the optical density takes its place. The threshold of Otsu (IEEE
    Trans. Syst. Man Cybern. 9:62, 1979) is kept within 0.05 to 0.15.
    """
    need("skimage", extra="slides")
    from skimage.filters import gaussian, threshold_otsu

    pixels = rgb.astype(np.float32) / 255
    signal = pixels.max(2) - pixels.min(2)
    if signal.max() < 0.02:
        signal = -np.log10((pixels.mean(2) * 255 + 1) / 256)
    signal = gaussian(signal, 1, mode="nearest")
    threshold = threshold_otsu(signal) if np.ptp(signal) > 0 else _LOW
    return signal > np.clip(threshold, _LOW, _HIGH)


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
        Show a bar; None: only on a terminal.

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
