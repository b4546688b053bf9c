"""Features of tiles without any weights: stains, texture and nuclei."""

from __future__ import annotations

import itertools

import numpy as np

from smalti.system.extras import need
from smalti.tiles.nuclei import UM_PER_PX, describe, segment
from smalti.tiles.patterns import uniform_patterns
from smalti.tiles.smoothing import smooth
from smalti.tiles.stain import separate

_STAINS = ("h", "e", "d")
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SCALES = (1.0, 2.0, 4.0, 8.0)  # µm: s.d. of the Gaussians whose differences are the bands
_LEVELS = 16  # of the co-occurrence matrices


def describe_tile(rgb: np.ndarray, um_per_px: float | None = None) -> dict[str, float]:
    """115 numbers about a tile, by name.

    Colour (means and s.d. of RGB, saturation, white and dark share), stains (mean, s.d. and
    quantiles of haematoxylin, eosin and the residual; their correlation), energy in four bands of
    spatial frequency and coherence of orientation, local binary patterns (Ojala et al. 2002),
    co-occurrence of grey levels (Haralick et al. 1973), and nuclei (see
    :func:`smalti.tiles.nuclei.describe`).

    Parameters
    ----------
    rgb
        (height, width, 3) uint8.
    um_per_px
        µm of a pixel of the tile; 0.5 when not known.

    Returns
    -------
    dict
        Name -> number, always finite; what a blank tile has none of is 0.
    """
    pixel = UM_PER_PX if um_per_px is None else float(um_per_px)
    # plane by plane: over the three channels of a pixel NumPy is slow
    stain = np.ascontiguousarray(np.moveaxis(separate(rgb), 2, 0))
    r, g, b = np.moveaxis(rgb, 2, 0).astype(np.float32)
    grey = (r + g + b) / np.float32(3) / 255
    out = _colour(rgb) | _stains(stain)
    for name, plane in (("h", stain[0]), ("e", stain[1]), ("grey", grey)):
        out |= _bands(plane, pixel, name)
    out |= _patterns(grey)
    for name, plane in (("h", stain[0]), ("e", stain[1])):
        out |= _cooccurrence(plane, name)
    nuclei = segment(stain[0], pixel, 6.0, 10.0, "otsu")
    out |= {f"nuclei_{k}": v for k, v in describe(nuclei, pixel).items()}
    return {k: float(v) if np.isfinite(v) else 0.0 for k, v in out.items()}


def _colour(rgb: np.ndarray) -> dict[str, float]:
    planes = np.ascontiguousarray(np.moveaxis(rgb, 2, 0)).reshape(3, -1)
    # of bytes: how many there are of each says all
    share = np.stack([np.bincount(p, minlength=256) for p in planes]) / planes.shape[1]
    values = (np.arange(256, dtype=np.float32) / 255).astype(np.float64)
    mean = share @ values
    sd = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
    high, low = (p.astype(np.float32) / 255 for p in (planes.max(0), planes.min(0)))
    saturation = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
    out = {f"{c}_mean": v for c, v in zip("rgb", mean, strict=True)}
    out |= {f"{c}_sd": v for c, v in zip("rgb", sd, strict=True)}
    out |= {"saturation_mean": saturation.mean(), "saturation_sd": saturation.std()}
    return out | {"white": (low > 0.85).mean(), "dark": (high < 0.35).mean()}


def _stains(stain: np.ndarray) -> dict[str, float]:
    flat = stain.reshape(3, -1)
    out: dict[str, float] = {}
    for name, values in zip(_STAINS, flat, strict=True):
        quantiles = np.quantile(values, _QUANTILES)
        out |= {f"{name}_mean": values.mean(), f"{name}_sd": values.std()}
        out |= {f"{name}_q{int(100 * q):02d}": v
                for q, v in zip(_QUANTILES, quantiles, strict=True)}  # fmt: skip
    h, e = (p - p.mean(dtype=np.float64) for p in flat[:2])
    both = np.sqrt((h @ h) * (e @ e))
    return out | {"h_e_correlation": h @ e / both if both > 1e-9 else 0.0}


def _bands(plane: np.ndarray, pixel: float, name: str) -> dict[str, float]:
    """Energy between neighbouring scales, and how far gradients agree in direction."""
    out: dict[str, float] = {}
    smoothed = [plane, *(smooth(plane, scale / pixel) for scale in _SCALES)]
    for k, (before, after) in enumerate(itertools.pairwise(smoothed)):
        band = before - after
        out |= {f"{name}_band{k}_sd": band.std(), f"{name}_band{k}_mean": np.abs(band).mean()}
    dy, dx = np.gradient(smoothed[1])
    xx, yy, xy = (dx * dx).mean(), (dy * dy).mean(), (dx * dy).mean()
    spread = xx + yy
    out[f"{name}_coherence"] = np.hypot(xx - yy, 2 * xy) / spread if spread > 1e-12 else 0.0
    return out


def _patterns(grey: np.ndarray) -> dict[str, float]:
    image = (grey * 255).astype(np.uint8)
    out: dict[str, float] = {}
    for radius in (1, 2):
        share = uniform_patterns(image, radius) / image.size
        out |= {f"lbp{radius}_{k}": v for k, v in enumerate(share)}
    return out


def _cooccurrence(plane: np.ndarray, name: str) -> dict[str, float]:
    feature = need("skimage.feature", "slides")
    levels = np.clip(plane / 0.3 * _LEVELS, 0, _LEVELS - 1).astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    table = feature.graycomatrix(levels, [1, 4], angles, levels=_LEVELS, symmetric=True,
                                 normed=True)  # fmt: skip
    out: dict[str, float] = {}
    for prop in ("contrast", "homogeneity", "energy", "correlation", "dissimilarity"):
        # mean over the angles: a turned tile has the same features
        for distance, value in zip((1, 4), feature.graycoprops(table, prop).mean(1), strict=True):
            out[f"{name}_glcm{distance}_{prop}"] = value
    return out
