"""``Finding``: what was found before a fit, as a page says it, and the folder that keeps it."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from smalti.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FINE = 120  # dots per inch of what is no drawing
NOTE = "finding.json"
"""What a folder of a finding has beside its tables and pictures."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Attributes
    ----------
    heading, caption
        Above and below it.
    address
        The picture itself, as a data address: no file beside the page, nothing to run in it.
    """

    heading: str
    caption: str
    address: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found before a fit.

    Attributes
    ----------
    title
        What was asked.
    sentence
        What was found.
    limits
        What it cannot tell.
    shown
        Heading -> a short table, all text.
    pictures
        Name of a file -> picture, in order.
    tables
        Name of a file -> the whole table. Not kept where a finding is read from its folder.
    about
        The data in one line.
    """

    title: str
    sentence: str
    limits: tuple[str, ...]
    shown: Mapping[str, pd.DataFrame]
    pictures: Mapping[str, Picture]
    tables: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    about: str = ""

    def write_into(self, folder: Path) -> None:
        """Write tables, pictures and the words into a folder that is there."""
        from smalti.system.tables import write_table

        for name, table in self.tables.items():
            write_table(table, folder / f"{name}.csv")
        for name, picture in self.pictures.items():
            data = base64.b64decode(picture.address.partition(",")[2])
            (folder / f"{name}.svg").write_bytes(data)
        note = {
            "title": self.title, "sentence": self.sentence, "limits": self.limits,
            "about": self.about,
            "shown": {k: {"columns": list(t), "rows": t.to_numpy().tolist()}
                      for k, t in self.shown.items()},
            "pictures": {name: [p.heading, p.caption] for name, p in self.pictures.items()},
        }  # fmt: skip
        (folder / NOTE).write_text(json.dumps(note, indent=1, ensure_ascii=False), "utf-8")


def read_finding(folder: str | Path) -> Finding:
    """What :func:`smalti.report.write_finding` wrote, but for its whole tables.

    Raises
    ------
    InputError
        If the folder holds no finding, or it is damaged.
    """
    folder = Path(folder)
    if not (folder / NOTE).is_file():
        raise InputError(
            f"{folder} holds no {NOTE}: name a folder that smalti genes explore, expression screen "
            "or expression predictable wrote, or write_finding."
        )
    try:
        note = json.loads((folder / NOTE).read_text("utf-8"))
        return Finding(
            str(note["title"]), str(note["sentence"]), tuple(map(str, note["limits"])),
            {str(k): pd.DataFrame(t["rows"], columns=t["columns"]).astype(str)
             for k, t in note["shown"].items()},
            {name: Picture(str(heading), str(caption), address_of(_svg_file(folder, name)))
             for name, (heading, caption) in note["pictures"].items()},
            about=str(note["about"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder / NOTE} is damaged, or a picture beside it is gone: make the folder again "
            f"({type(error).__name__})."
        ) from error


def _svg_file(folder: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise ValueError(name)  # a file elsewhere
    return (folder / f"{name}.svg").read_bytes()


def picture_of(figure: Figure, heading: str, caption: str = "") -> Picture:
    """A figure as a picture of a page; the same figure gives the same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    drawn = [image.get_array() for axes in figure.axes for image in axes.images]
    if any(array is not None and array.ndim == 3 for array in drawn):
        # slides and tiles: in an SVG they would be lossless, and a page of some too large to mail
        figure.savefig(buffer, format="jpeg", dpi=_FINE, facecolor="white",
                       pil_kwargs={"quality": 85})  # fmt: skip
        return Picture(heading, caption, address_of(buffer.getvalue(), "jpeg"))
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "smalti"}):
        # no date inside: the same comparison gives the same page
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    return Picture(heading, caption, address_of(buffer.getvalue()))


def address_of(data: bytes, kind: str = "svg+xml") -> str:
    """Bytes of a picture as a data address."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table as a page shows it: three digits, a dash where a number is missing."""
    return table.map(_text)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
