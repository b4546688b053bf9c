"""Figures as bytes of a picture, and as data addresses: no file beside the page is needed."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FINE = 120  # dots per inch of what is no drawing


def encoded(drawn: Figure | Axes) -> tuple[bytes, str]:
    """What was drawn as a picture and the ending of its file; the same gives the same bytes."""
    import matplotlib as mpl

    figure: Any = drawn.figure  # of a figure itself
    buffer = io.BytesIO()
    images = [image.get_array() for axes in figure.axes for image in axes.images]
    if any(array is not None and array.ndim == 3 for array in images):
        # slides and tiles: in an SVG they would be lossless, and a page of some too large to mail
        figure.savefig(buffer, format="jpeg", dpi=_FINE, facecolor="white",
                       pil_kwargs={"quality": 85})  # fmt: skip
        return buffer.getvalue(), "jpg"
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "smalti"}):
        # no date inside: the same comparison gives the same page
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    return buffer.getvalue(), "svg"


def address_of(data: bytes, ending: str = "svg") -> str:
    """Bytes of a picture as a data address."""
    kind = {"svg": "svg+xml", "jpg": "jpeg"}[ending]
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def from_address(address: str) -> tuple[bytes, str]:
    """The bytes and the ending of a data address."""
    head, _, data = address.partition(",")
    return base64.b64decode(data), "svg" if "svg" in head else "jpg"
