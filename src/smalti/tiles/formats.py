"""Pictures that are decoded as a whole, arrays, and whole-slide formats."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.system.reading import blocks, checked_size, is_gzip, n_bytes, plain_file, reading
from smalti.tiles.image import ORIENTATION, Recent, SlideImage, damaged
from smalti.tiles.ranges import Range, of_values, to_8_bits, usual

DECODED = Recent(2)  # whole pictures, shared by all: 10,000 x 10,000 px are 0.4 GB
_GUARD = threading.Lock()


class FlatImage(SlideImage):
    """JPG, PNG or BMP: has no parts, so it is decoded as a whole and kept for a while."""

    def __init__(self, path: Path, um_per_px: float | None = None) -> None:
        with opened_picture(path) as image:
            width, height = image.size
            self.turned = image.getexif().get(ORIENTATION, 1) > 1
            self.mode = f"{image.mode};16" if image.format == "PNG" and _depth(path) == 16 \
                else image.mode  # fmt: skip
        super().__init__(path, width, height, um_per_px)

    @property
    def whole_bytes(self) -> bool:
        """Whether values are 8 bits, all of which are used: nothing is to be found out."""
        return not self.mode.startswith("I") and not self.mode.endswith(";16")

    def _range(self) -> Range:
        if self.whole_bytes:
            return Range()
        bands = self._decode().getextrema()
        least, most = bands if self.mode.startswith("I") else np.array(bands)[:3].T
        if self.mode.startswith("I"):
            return of_values(np.dtype(np.uint16), float(least), float(most), self.path)
        # of colours Pillow keeps the upper 8 of 16 bits: what lies below is gone
        if np.max(most) < 2**6:
            raise InputError(
                f"{self.path} holds 16-bit colours of which few bits are used: save it with 8 bits "
                "per channel, or as a TIFF."
            )
        return Range()

    def _decode(self) -> Any:
        with opened_picture(self.path) as image:
            image.load()
            return image

    def whole(self) -> np.ndarray:
        """All of it; past the cache, whose lock would let one thread decode at a time."""
        return pil_rgb(self._decode(), self.path, self.range.full)

    def _key(self) -> tuple[str, int, int]:
        stat = self.path.stat()
        return (str(self.path.resolve()), stat.st_size, stat.st_mtime_ns)

    def _read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        whole = DECODED.get(self._key(), self._decode)
        return pil_rgb(whole.crop((x, y, x + width, y + height)), self.path, self.range.full)

    def _small(self, size: tuple[int, int]) -> np.ndarray:
        with opened_picture(self.path) as image:
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
        with reading(self.path, f"({x}, {y}) px"):  # Dask reads now
            part = np.asarray(self.pixels[:, y : y + height, x : x + width])
        return array_rgb(part.transpose(1, 2, 0), self.path, self.range.full)

    def _range(self) -> Range:
        dtype = np.dtype(self.pixels.dtype)
        if dtype.kind not in "fu" or dtype == np.uint8:
            return Range(usual(dtype))
        with reading(self.path):
            least, most = (float(np.asarray(v)) for v in (self.pixels.min(), self.pixels.max()))
        return of_values(dtype, least, most, self.path)

    def digest(self) -> str:
        """Of the thumbnail."""
        return hashlib.sha256(self.thumbnail(512)[0].tobytes()).hexdigest()


class WholeSlide(SlideImage):
    """A whole-slide format, read by OpenSlide."""

    def __init__(self, path: Path, um_per_px: float | None = None) -> None:
        openslide = need("openslide", extra="wsi")
        plain_file(path)
        try:
            self._slide = openslide.OpenSlide(str(path))
        except (openslide.OpenSlideError, OSError) as error:
            raise damaged(path, error) from error
        found = [self._slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
        said = [float(um) for um in found if um]
        width, height = self._slide.dimensions
        super().__init__(path, width, height, um_per_px, (said[0], said[-1]) if said else None)

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
def opened_picture(path: Path) -> Iterator[Any]:
    """A file open in Pillow; whatever its decoder dies of is one error.

    Raises
    ------
    InputError
        If it is no plain file, is damaged, or says to be far larger than it can be.
    """
    image = need("PIL.Image", extra="slides")
    size = plain_file(path).stat().st_size
    with reading(path):
        with _GUARD:  # threads would put back what another set
            before = image.MAX_IMAGE_PIXELS
            try:
                image.MAX_IMAGE_PIXELS = None  # slides are larger than what Pillow calls an attack
                opened = image.open(io.BytesIO(b"".join(blocks(path))) if is_gzip(path) else path)
            finally:
                image.MAX_IMAGE_PIXELS = before
        with opened:
            checked_size(n_bytes(opened.size, len(opened.getbands())), size, str(path))
            yield opened


def _depth(png: Path) -> int:
    """Bits of a sample, by the header."""
    return next(blocks(png))[24]


def pil_rgb(image: Any, path: Path, full: float = 255) -> np.ndarray:
    """A Pillow image of any mode as (height, width, 3) uint8 RGB; ``full`` is of 16-bit grey."""
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode.startswith("I"):
        return array_rgb(np.asarray(image).astype(np.uint16)[..., None], path, full)
    if image.mode in ("LA", "PA", "P", "RGBA", "La", "RGBa"):
        return array_rgb(np.asarray(image.convert("RGBA")), path)
    return np.asarray(image.convert("RGB"))


def array_rgb(pixels: np.ndarray, path: Path, full: float = 255) -> np.ndarray:
    """(height, width, channels) of 8 or 16 bits or floats, ``full`` at most, as uint8 RGB.

    One channel is grey, a second or fourth is opacity over white.

    Raises
    ------
    InputError
        If the type or the number of channels is another.
    """
    pixels = to_8_bits(pixels, full, path)
    channels = pixels.shape[2]
    if channels in (2, 4):
        opacity = pixels[..., -1:].astype(np.uint16)
        over = pixels[..., :-1] * opacity + 255 * (255 - opacity)
        pixels = ((over + 127) // 255).astype(np.uint8)
    elif channels not in (1, 3):
        raise InputError(f"{path} has {channels} channels: expected grey, RGB or RGBA.")
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
