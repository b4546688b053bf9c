"""Pictures that are decoded as a whole, arrays, and whole-slide formats."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.tiles.image import Recent, SlideImage, damaged

DECODED = Recent(2)  # whole pictures, shared by all: 10,000 x 10,000 px are 0.4 GB
_GUARD = threading.Lock()


class FlatImage(SlideImage):
    """JPG, PNG or BMP: has no parts, so it is decoded as a whole and kept for a while."""

    def __init__(self, path: Path, um_per_px: float | None = None) -> None:
        with _opened(path) as image:
            width, height = image.size
        super().__init__(path, width, height, um_per_px)

    def _decode(self) -> Any:
        with _opened(self.path) as image:
            image.load()
            return image

    def whole(self) -> np.ndarray:
        """All of it; past the cache, whose lock would let one thread decode at a time."""
        return pil_rgb(self._decode(), self.path)

    def _key(self) -> tuple[str, int, int]:
        stat = self.path.stat()
        return (str(self.path.resolve()), stat.st_size, stat.st_mtime_ns)

    def _read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        whole = DECODED.get(self._key(), self._decode)
        return pil_rgb(whole.crop((x, y, x + width, y + height)), self.path)

    def _small(self, size: tuple[int, int]) -> np.ndarray:
        with _opened(self.path) as image:
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                image.draft(image.mode, size)  # decodes 1/2, 1/4 or 1/8: fast, little memory
                return pil_rgb(image, self.path)
        return super()._small(size)


class ArrayImage(SlideImage):
    """A picture held by an array: NumPy, or Dask of which parts are computed.

    Parameters
    ----------
    pixels
        (channels, height, width), one, three or four channels.
    name
        What errors call it.
    um_per_px
        µm per pixel.

    Raises
    ------
    InputError
        If the array is none of these, or ``um_per_px`` is not positive.
    """

    def __init__(self, pixels: Any, name: str, um_per_px: float | None = None) -> None:
        if len(pixels.shape) != 3 or pixels.shape[0] not in (1, 3, 4):
            raise InputError(
                f"image {name!r} has shape {pixels.shape}: expected (1, 3 or 4 channels, height, "
                "width)."
            )
        super().__init__(Path(name), int(pixels.shape[2]), int(pixels.shape[1]), um_per_px)
        self.pixels = pixels

    def _read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        part = np.asarray(self.pixels[:, y : y + height, x : x + width])
        return array_rgb(part.transpose(1, 2, 0), self.path)

    def digest(self) -> str:
        """Of the thumbnail."""
        return hashlib.sha256(self.thumbnail(512)[0].tobytes()).hexdigest()


class WholeSlide(SlideImage):
    """A whole-slide format, read by OpenSlide."""

    def __init__(self, path: Path, um_per_px: float | None = None) -> None:
        openslide = need("openslide", extra="wsi")
        try:
            self._slide = openslide.OpenSlide(str(path))
        except (openslide.OpenSlideError, OSError) as error:
            raise damaged(path, error) from error
        said = self._slide.properties.get("openslide.mpp-x")
        width, height = self._slide.dimensions
        super().__init__(path, width, height, um_per_px or (float(said) if said else None))

    def _read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        openslide = need("openslide", extra="wsi")
        try:
            part = self._slide.read_region((x, y), 0, (width, height))
        except openslide.OpenSlideError as error:
            raise damaged(self.path, error) from error
        return pil_rgb(part, self.path)

    def _small(self, size: tuple[int, int]) -> np.ndarray:
        return pil_rgb(self._slide.get_thumbnail(size), self.path)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file open in Pillow; whatever its decoder dies of is one error."""
    image = need("PIL.Image", extra="slides")
    try:
        with _GUARD:  # threads would put back what another set
            before = image.MAX_IMAGE_PIXELS
            try:
                image.MAX_IMAGE_PIXELS = None  # slides are larger than what Pillow calls an attack
                opened = image.open(path)
            finally:
                image.MAX_IMAGE_PIXELS = before
        with opened:
            yield opened
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        if isinstance(error, InputError):
            raise
        raise damaged(path, error) from error


def pil_rgb(image: Any, path: Path) -> np.ndarray:
    """A Pillow image of any mode as (height, width, 3) uint8 RGB."""
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode.startswith("I"):
        return array_rgb(np.asarray(image).astype(np.uint16)[..., None], path)
    if image.mode in ("LA", "PA", "P", "RGBA", "La", "RGBa"):
        return array_rgb(np.asarray(image.convert("RGBA")), path)
    return np.asarray(image.convert("RGB"))


def array_rgb(pixels: np.ndarray, path: Path) -> np.ndarray:
    """(height, width, channels) of 8 or 16 bits or floats of 0..1, as uint8 RGB.

    One channel is grey, a second or fourth is opacity over white.

    Raises
    ------
    InputError
        If the type or the number of channels is another.
    """
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype.kind == "f":
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    elif pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype != np.uint8:
        raise InputError(f"{path} holds {pixels.dtype}: save it with 8 or 16 bits per channel.")
    channels = pixels.shape[2]
    if channels in (2, 4):
        opacity = pixels[..., -1:].astype(np.uint16)
        over = pixels[..., :-1] * opacity + 255 * (255 - opacity)
        pixels = ((over + 127) // 255).astype(np.uint8)
    elif channels not in (1, 3):
        raise InputError(f"{path} has {channels} channels: expected grey, RGB or RGBA.")
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
