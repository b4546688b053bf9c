"""Features of tiles without any weights: stains, texture and nuclei."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from smalti.system.extras import need
from smalti.tiles.nuclei import UM_PER_PX, describe, segment
from smalti.tiles.stain import separate

_STAINS = ("h", "e", "d")
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SCALES = (1.0, 2.0, 4.0, 8.0)  # µm: s.d. of the Gaussians whose differences are the bands
_LEVELS = 16  # of the co-occurrence matrices


def describe_tile(rgb: np.ndarray, um_per_px: float | None = None) -> dict[str, float]:
    """Some 140 numbers about a tile, by name.

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
    stain = separate(rgb)
    grey = rgb.mean(2, dtype=np.float32) / 255
    out = _colour(rgb) | _stains(stain)
    for name, plane in (("h", stain[..., 0]), ("e", stain[..., 1]), ("grey", grey)):
        out |= _bands(plane, pixel, name)
    out |= _patterns(grey)
    for name, plane in (("h", stain[..., 0]), ("e", stain[..., 1])):
        out |= _cooccurrence(plane, name)
    nuclei = segment(stain[..., 0], pixel, 6.0, 10.0, "otsu")
    out |= {f"nuclei_{k}": v for k, v in describe(nuclei, pixel).items()}
    return {k: float(v) if np.isfinite(v) else 0.0 for k, v in out.items()}


def _colour(rgb: np.ndarray) -> dict[str, float]:
    x = rgb.reshape(-1, 3).astype(np.float32) / 255
    high, low = x.max(1), x.min(1)
    saturation = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
    out = {f"{c}_mean": v for c, v in zip("rgb", x.mean(0, dtype=np.float64), strict=True)}
    out |= {f"{c}_sd": v for c, v in zip("rgb", x.std(0, dtype=np.float64), strict=True)}
    out |= {"saturation_mean": saturation.mean(), "saturation_sd": saturation.std()}
    return out | {"white": (low > 0.85).mean(), "dark": (high < 0.35).mean()}


def _stains(stain: np.ndarray) -> dict[str, float]:
    flat = stain.reshape(-1, 3)
    out: dict[str, float] = {}
    for name, values, quantiles in zip(
        _STAINS, flat.T, np.quantile(flat, _QUANTILES, axis=0).T, strict=True
    ):
        out |= {f"{name}_mean": values.mean(), f"{name}_sd": values.std()}
        out |= {f"{name}_q{int(100 * q):02d}": v
                for q, v in zip(_QUANTILES, quantiles, strict=True)}  # fmt: skip
    about = flat - flat.mean(0, dtype=np.float64)
    length = np.linalg.norm(about, axis=0)
    both = length[0] * length[1]
    return out | {"h_e_correlation": about[:, 0] @ about[:, 1] / both if both > 1e-9 else 0.0}


def _bands(plane: np.ndarray, pixel: float, name: str) -> dict[str, float]:
    """Energy between neighbouring scales, and how far gradients agree in direction."""
    out: dict[str, float] = {}
    before = plane
    for k, scale in enumerate(_SCALES):
        after = ndimage.gaussian_filter(plane, scale / pixel, truncate=3.0)
        band = before - after
        out |= {f"{name}_band{k}_sd": band.std(), f"{name}_band{k}_mean": np.abs(band).mean()}
        before = after
    dy, dx = np.gradient(ndimage.gaussian_filter(plane, 1.0 / pixel, truncate=3.0))
    xx, yy, xy = (dx * dx).mean(), (dy * dy).mean(), (dx * dy).mean()
    spread = xx + yy
    out[f"{name}_coherence"] = np.hypot(xx - yy, 2 * xy) / spread if spread > 1e-12 else 0.0
    return out


def _patterns(grey: np.ndarray) -> dict[str, float]:
    feature = need("skimage.feature", "slides")
    image = (grey * 255).astype(np.uint8)
    out: dict[str, float] = {}
    for radius in (1, 2):
        codes = feature.local_binary_pattern(image, 8, radius, method="uniform")
        share = np.bincount(codes.astype(np.int64).ravel(), minlength=10) / codes.size
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
