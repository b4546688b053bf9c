"""Which stored value of a picture is full brightness."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError

_BITS = (8, 10, 12, 14, 16)  # what cameras and formats have
_OVER = 2.0  # floats of 0..1 may overshoot where they were interpolated


@dataclasses.dataclass(frozen=True)
class Range:
    """The range of the values of a picture.

    Attributes
    ----------
    full
        The value of full brightness; 0 is black.
    usual
        Whether that is what the type of the values holds: 255, 65,535, or 1.0 of floats.
    note
        How it was found, where the values alone say it and it is not the usual one.
    """

    full: float = 255
    usual: bool = True
    note: str | None = None


def usual(dtype: np.dtype[Any]) -> float:
    """Full brightness by the type of the values alone."""
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def of_values(dtype: np.dtype[Any], least: float, most: float, path: Path) -> Range:
    """The range by the values of the whole picture: the fewest bits that hold them.

    Parameters
    ----------
    dtype
        Of the values.
    least, most
        Of the whole picture, or of a small version of it.
    path
        Its file, for errors.

    Returns
    -------
    Range
        Of integers 8, 10, 12, 14 or 16 bits. Floats up to 2 are of 0..1, others as integers.

    Raises
    ------
    InputError
        If values are negative, NaN, infinite or over 65,535: no brightness.
    """
    if not (np.isfinite(least) and np.isfinite(most)) or most > 2**16 - 1:
        raise InputError(
            f"{path} holds values of {least:g} to {most:g}, which are no brightness: save it with "
            "8 bits per channel."
        )
    if dtype.kind == "f" and most <= _OVER:
        full = 1.0
    else:
        full = next(2.0**bits - 1 for bits in _BITS if most <= 2**bits - 1)
    if least < -0.1 * full:
        raise InputError(
            f"{path} holds values of {least:g} to {most:g}; brightness is not negative: save it "
            "with 8 bits per channel."
        )
    if full == usual(dtype):
        return Range(full)
    kind = "floats" if dtype.kind == "f" else f"{8 * dtype.itemsize}-bit values"
    note = (
        f"its picture holds {kind} of at most {most:,.6g}: {full:,.0f} is taken for full "
        "brightness; where that is wrong, save it with 8 bits."
    )
    return Range(full, False, note)


def of_tiff(page: Any, ome: str | None, path: Path) -> Range | None:
    """The range that a TIFF names; None where it says no more than the type of its values.

    By OME's SignificantBits, BitsPerSample, and the highest value that is used: (S)MaxSampleValue.
    """
    dtype = page.dtype
    if page.photometric == 3:  # a palette's colours
        return Range()
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    said = re.search(r'SignificantBits="(\d+)"', ome or "")
    bits = min(bits, int(said[1])) if said else bits
    if dtype.kind == "u" and 0 < bits < 8 * dtype.itemsize:
        return Range(2.0**bits - 1, usual=False)
    if dtype == np.uint8 or dtype.kind == "b":
        return Range(usual(dtype))
    for name in ("SMaxSampleValue", "MaxSampleValue"):
        if name in page.tags:
            most = float(np.max(page.tags[name].value))
            if 0 < most < 2**16 - 1:
                return dataclasses.replace(of_values(dtype, 0, most, path), note=None)
    return None


def to_8_bits(pixels: np.ndarray, full: float, path: Path) -> np.ndarray:
    """Values of any shape as uint8, where ``full`` becomes 255.

    Raises
    ------
    InputError
        If they are neither whole numbers of 8 or 16 bits, nor floats.
    """
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "f":
        return np.rint(np.clip(pixels / full, 0, 1) * 255).astype(np.uint8)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path} holds {pixels.dtype}: save it with 8 or 16 bits per channel.")
    if pixels.dtype == np.uint8 and full == 255:
        return pixels
    wide = np.minimum(pixels, int(full)).astype(np.uint32)
    return ((wide * 255 + int(full) // 2) // int(full)).astype(np.uint8)
