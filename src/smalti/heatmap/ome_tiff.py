"""OME-TIFF: the numbers as a layer over the slide, NaN where no tile lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.system.files import atomic_write, check_free
from smalti.tiles.heatmap import Heatmap

_FINE = 4  # pixels of a tile, where the user does not say how fine
_PART = 256  # edge of a stored tile


def write_ome_tiff(
    heatmap: Heatmap, path: str | Path, *, downsample: int | None = None, overwrite: bool = False
) -> None:
    """Write the columns as channels of a float32 pyramid in the frame of the slide.

    Parameters
    ----------
    heatmap
        What ``model.heatmap(...)`` returned.
    path
        The .ome.tif file.
    downsample
        Pixels of the slide in one of the layer; when left out the edge of a tile is 4 pixels or
        more. The metadata say it.
    overwrite
        Replace a file that is there.

    Raises
    ------
    InputError
        If a file is there, or it cannot be written.

    Notes
    -----
    Pixel (i, j) of the layer covers ``downsample`` pixels of the slide from ``j * downsample``,
    ``i * downsample``; where µm per pixel are known, ``PhysicalSize`` says the same. Levels are
    halved by means of what is not NaN.
    """
    tifffile = need("tifffile", extra="slides")
    if downsample is not None and downsample < 1:
        raise InputError(f"downsample={downsample} must be 1 or more.")
    check_free(path, overwrite=overwrite, inputs=heatmap.reads)
    step = downsample or max(1, int(heatmap.side // _FINE))
    layer = np.stack([heatmap.raster(heatmap.column(c), step) for c in heatmap.columns]) \
        .astype(np.float32)  # (channels, height, width)  # fmt: skip
    levels = [layer]
    while max(levels[-1].shape[1:]) > _PART:
        levels.append(_halved(levels[-1]))
    about = f"smalti heat map of {heatmap.name}; downsample {step}; NaN where no tile lies"
    metadata: dict[str, Any] = {
        "axes": "CYX", "Channel": {"Name": heatmap.columns}, "Name": heatmap.name,
        "Description": about,
    }  # fmt: skip
    if heatmap.um_per_px is not None:
        pixel = heatmap.um_per_px * step
        metadata |= {"PhysicalSizeX": pixel, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": pixel,
                     "PhysicalSizeYUnit": "µm"}  # fmt: skip
    large = layer.nbytes > 2**31
    how = {"tile": (_PART, _PART), "compression": "zlib", "photometric": "minisblack"}
    with atomic_write(path, overwrite=overwrite) as temporary, \
            tifffile.TiffWriter(temporary, bigtiff=large, ome=True) as file:  # fmt: skip
        file.write(layer, subifds=len(levels) - 1, metadata=metadata, **how)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **how)


def _halved(layer: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, of those that are numbers; (channels, height, width)."""
    c, height, width = layer.shape
    padded = np.full((c, height + height % 2, width + width % 2), np.nan, np.float32)
    padded[:, :height, :width] = layer
    parts = padded.reshape(c, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2)
    count = np.isfinite(parts).sum((2, 4))
    total = np.nansum(parts, axis=(2, 4))
    return np.divide(total, count, out=np.full(total.shape, np.nan, np.float32), where=count > 0)
