"""``Finding``: what was found before a fit, as a page says it, and the folder that keeps it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from smalti.errors import InputError
from smalti.report.pictures import address_of, encoded, from_address
from smalti.report.section import Drawing, Part, Points, Table, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

    def parts(self, stem: str = "", *, sentence: bool = True) -> tuple[Part, ...]:
        """What a section says of it; names of its parts begin with ``stem``."""
        own: list[Part] = [Text(self.about, soft=True)] if self.about and sentence else []
        own += [Text(self.sentence)] if sentence else []
        own += [Drawing(f"{stem}{name}", p.address, alt=f"{p.heading}. {self.sentence}",
                        caption=f"{p.heading}. {p.caption}".strip())
                for name, p in self.pictures.items()]  # fmt: skip
        own += [Table(f"{stem}table-{i}", table, f"{heading}.")
                for i, (heading, table) in enumerate(self.shown.items(), 1)]  # fmt: skip
        return (*own, Points("What it cannot tell", self.limits))

    def write_into(self, folder: Path) -> None:
        """Write tables, pictures and the words into a folder that is there."""
        from smalti.system.tables import write_table

        for name, table in self.tables.items():
            write_table(table, folder / f"{name}.csv")
        for name, picture in self.pictures.items():
            (folder / f"{name}.svg").write_bytes(from_address(picture.address)[0])
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


def picture_of(drawn: Figure | Axes, heading: str, caption: str = "") -> Picture:
    """What was drawn as a picture of a page; the same gives the same bytes."""
    return Picture(heading, caption, address_of(*encoded(drawn)))


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table as a page shows it: three digits, a dash where a number is missing."""
    return table.map(_text)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
