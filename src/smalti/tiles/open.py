"""Which class reads a picture: by the ending of its name."""

from __future__ import annotations

from pathlib import Path

from smalti.errors import InputError
from smalti.system.reading import plain_file
from smalti.tiles.formats import FlatImage, WholeSlide
from smalti.tiles.image import FLAT, SUFFIXES, TIFF, WHOLE_SLIDE, SlideImage, ending
from smalti.tiles.tiff import TiffImage


def open_image(path: str | Path, *, um_per_px: float | None = None) -> SlideImage:
    """Open a picture of a slide; pixels are read when a region is asked for.

    Parameters
    ----------
    path
        JPG, PNG or BMP, also in a gzip (decoded as a whole; the last two stay in memory), TIFF or
        OME-TIFF (only the tiles or strips that a region touches are read), or a whole-slide format
        that OpenSlide reads (.svs, .ndpi, .mrxs, ...). Grey pictures become RGB, transparent ones
        lie on white, CMYK is converted. 16 bits and floats are scaled to 8 bits by the range that
        the file names, else by the fewest bits that hold all values (``range``).
    um_per_px
        µm per pixel; when left out, what the file itself says, if it does.

    Returns
    -------
    SlideImage
        With ``width``, ``height``, ``um_per_px``, ``region``, ``thumbnail`` and ``digest``.

    Raises
    ------
    InputError
        For a file that is missing, damaged, or of no such format.
    """
    path = plain_file(path)
    suffix = ending(path)
    if path.suffix.lower() == ".gz" and suffix not in FLAT:
        raise InputError(f"{path} is packed: unpack it first (gunzip), so that parts can be read.")
    if suffix in WHOLE_SLIDE:
        return WholeSlide(path, um_per_px)
    if suffix in TIFF:
        return TiffImage(path, um_per_px)
    if suffix in FLAT:
        return FlatImage(path, um_per_px)
    raise InputError(f"{path} is no image that can be read: expected one of {', '.join(SUFFIXES)}.")
