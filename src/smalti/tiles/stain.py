"""Stains of a tile: colour deconvolution, a slide's own stain vectors, distances and jitter.

Light passes through stains by the law of Beer and Lambert, so that optical density (minus the log
of the transmitted light) is linear in the amount of each stain. Everything here is one 3 x 3
matrix on optical densities.
"""

from __future__ import annotations

import numpy as np

from smalti.errors import InputError

# Optical density in R, G, B of one unit of haematoxylin, eosin and DAB (Ruifrok & Johnston 2001)
HED_TO_OD = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_UNIT = -np.log(1e-6)  # optical density that counts as 1, as scikit-image has it
_OD = np.minimum(-np.log(np.maximum(np.arange(256), 1e-9) / 255), _UNIT)  # of each byte
_DENSITY = (_OD / _UNIT).astype(np.float32)


def separate(rgb: np.ndarray, matrix: np.ndarray | None = None) -> np.ndarray:
    """Amount of each stain at each pixel, by colour deconvolution.

    Parameters
    ----------
    rgb
        (..., height, width, 3) uint8.
    matrix
        (3, 3) optical density in R, G, B (columns) of one unit of each stain (rows), such as
        :func:`macenko` fits; the standard haematoxylin, eosin and DAB when left out.

    Returns
    -------
    numpy.ndarray
        (..., height, width, 3) float32, never negative: haematoxylin, eosin, DAB (or the residual
        of a fitted matrix). Equal to ``skimage.color.rgb2hed``: 1 is the density of light
        dimmed to a millionth, so that dark nuclei have about 0.1.

    Raises
    ------
    InputError
        If ``rgb`` is not uint8 with three channels last.

    References
    ----------
    Ruifrok & Johnston (2001), Anal. Quant. Cytol. Histol. 23:291.
    """
    inverse = np.linalg.inv(HED_TO_OD if matrix is None else matrix).astype(np.float32)
    return np.maximum(_DENSITY[_checked(rgb)] @ inverse, 0)


def macenko(
    rgb: np.ndarray, *, floor: float = 0.15, tail: float = 1.0, most: int = 200_000
) -> np.ndarray:
    """Stain vectors of one slide, from its own pixels.

    The two stains span a plane of optical densities; the extreme directions of the pixels in it
    are the stains. The third row is the normal of that plane and takes up what is neither.

    Parameters
    ----------
    rgb
        (..., height, width, 3) uint8: tiles of the slide, or its thumbnail.
    floor
        Optical density (natural log) that all channels of a pixel must pass to be looked at.
    tail
        Percent of the pixels to pass over at both extremes.
    most
        Pixels looked at, spread evenly.

    Returns
    -------
    numpy.ndarray
        (3, 3) float64 of unit rows haematoxylin, eosin, residual, for :func:`separate`.

    Raises
    ------
    InputError
        If fewer than 100 of the pixels are stained.

    References
    ----------
    Macenko et al. (2009), ISBI, 1107-1110.
    """
    density = _stained(rgb, floor, most, "macenko")
    plane = np.linalg.eigh(np.cov(density.T))[1][:, 1:]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    angles = np.arctan2(*(density @ plane).T)
    ends = np.percentile(angles, [tail, 100 - tail])
    return _ordered(np.stack([np.sin(ends), np.cos(ends)], axis=1) @ plane.T)


def vahadane(
    rgb: np.ndarray, *, floor: float = 0.15, sparsity: float = 0.1, most: int = 20_000
) -> np.ndarray:
    """Stain vectors of one slide as sparse factors of its optical densities, none negative.

    min ||D - A S||^2 / 2 + sparsity * sum(A), with A and S at least 0 and rows of S of length 1:
    a pixel holds mostly one stain. Where :func:`macenko` looks at the extreme pixels, this looks at
    all, so that a few of another colour weigh less.

    Parameters
    ----------
    rgb
        (..., height, width, 3) uint8: tiles of the slide, or its thumbnail.
    floor
        Optical density (natural log) that all channels of a pixel must pass to be looked at.
    sparsity
        Weight of the sum of the amounts.
    most
        Pixels looked at, spread evenly.

    Returns
    -------
    numpy.ndarray
        (3, 3) float64 of unit rows haematoxylin, eosin, residual, for :func:`separate`.

    Raises
    ------
    InputError
        If fewer than 100 of the pixels are stained.

    References
    ----------
    Vahadane et al. (2016), IEEE Trans. Med. Imaging 35:1962.
    """
    density = _stained(rgb, floor, most, "vahadane")
    stains = HED_TO_OD[:2] / np.linalg.norm(HED_TO_OD[:2], axis=1, keepdims=True)
    amounts = np.maximum(density @ np.linalg.pinv(stains), 0)
    for _ in range(300):  # two columns in turn: each step is exact (block coordinate descent)
        before = stains.copy()
        for k in (0, 1):
            rest = density - np.outer(amounts[:, 1 - k], stains[1 - k])
            amounts[:, k] = np.maximum(rest @ stains[k] - sparsity, 0)
            if amounts[:, k].any():
                row = np.maximum(amounts[:, k] @ rest, 0)
                stains[k] = row / max(np.linalg.norm(row), 1e-12)
        if np.abs(stains - before).max() < 1e-7:
            break
    return _ordered(stains)


def _stained(rgb: np.ndarray, floor: float, most: int, who: str) -> np.ndarray:
    """(n, 3) optical densities of stained pixels."""
    pixels = _checked(rgb).reshape(-1, 3)
    density = _OD[pixels[:: max(1, -(-len(pixels) // most))]]
    density = density[(density > floor).all(axis=1)]
    if len(density) < 100:
        raise InputError(
            f"only {len(density)} of the pixels are stained: give {who} tiles that hold tissue."
        )
    return np.asarray(density)


def _ordered(stains: np.ndarray) -> np.ndarray:
    """(3, 3): haematoxylin, eosin and the normal of their plane."""
    stains = stains[np.argsort(-stains[:, 0])]  # haematoxylin takes more of the red
    normal = np.cross(*stains)
    return np.stack([*stains, normal / np.linalg.norm(normal)])


def stain_histogram_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far the stains of two sets of tiles are apart, tile by tile.

    Wasserstein-1 distance between the distributions of the pixels' haematoxylin, and of their
    eosin; the mean of both.

    Parameters
    ----------
    a, b
        (..., height, width, 3) uint8, with equal leading dimensions and equally many pixels.

    Returns
    -------
    numpy.ndarray
        (...) float32, in the units of :func:`separate`; 0 for a tile and its flips.

    Raises
    ------
    InputError
        If the tiles differ in number or in pixels.
    """
    pair = []
    for rgb in (a, b):
        stains = separate(rgb)[..., :2]
        pair.append(np.sort(stains.reshape(*stains.shape[:-3], -1, 2), axis=-2))
    if pair[0].shape != pair[1].shape:
        raise InputError(f"tiles of shapes {a.shape} and {b.shape} cannot be compared one by one.")
    return np.abs(pair[0] - pair[1]).mean(axis=(-2, -1))


def jitter_map(scale: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of the stains, as an affine map of optical densities.

    Parameters
    ----------
    scale, shift
        (..., 3) factor of each stain, and what is added to it in natural optical density.

    Returns
    -------
    tuple
        (..., 3, 3) and (..., 3): density -> density @ first + second.
    """
    back = np.linalg.inv(HED_TO_OD)
    return (back * scale[..., None, :]) @ HED_TO_OD, shift @ HED_TO_OD


def hed_jitter(
    rgb: np.ndarray, generator: np.random.Generator, strength: float = 0.05
) -> np.ndarray:
    """Another laboratory's stains: each is scaled and shifted at random, once a tile.

    Parameters
    ----------
    rgb
        (..., height, width, 3) uint8.
    generator
        Where factors, uniform in 1 - strength to 1 + strength, and shifts of the optical density,
        uniform in -strength to strength, are drawn from.
    strength
        0 changes nothing; 0.05 is light, 0.2 strong.

    Returns
    -------
    numpy.ndarray
        Of the same shape, uint8.

    References
    ----------
    Tellez et al. (2018), IEEE Trans. Med. Imaging 37:2126.
    """
    lead = _checked(rgb).shape[:-3]
    scale = generator.uniform(1 - strength, 1 + strength, (*lead, 3))
    shift = generator.uniform(-strength, strength, (*lead, 3))
    turn, add = jitter_map(scale, shift)
    density = _OD.astype(np.float32)[rgb].reshape(*lead, -1, 3)
    changed = density @ turn.astype(np.float32) + add[..., None, :].astype(np.float32)
    light = np.rint(255 * np.exp(-np.maximum(changed, 0)))
    return light.reshape(rgb.shape).astype(np.uint8)


def _checked(rgb: np.ndarray) -> np.ndarray:
    if rgb.dtype != np.uint8 or rgb.ndim < 3 or rgb.shape[-1] != 3:
        raise InputError(
            f"expected RGB pixels, (..., height, width, 3) uint8, not {rgb.shape} {rgb.dtype}."
        )
    return rgb
