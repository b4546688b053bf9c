"""A page is a list of sections; one list gives report.html, report.json, its tables, its drawings.

Who makes a section says what it holds, never how it looks: numbers stay numbers, and the page
rounds them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, eq=False)
class Text:
    """A paragraph; a ``soft`` one explains and is grey."""

    words: str
    soft: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Note:
    """A paragraph that must not be missed; ``strong`` is its first words, in bold."""

    words: str
    strong: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """A list of short texts under a heading of its own."""

    heading: str
    points: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """Names and what they are: name -> text; ``code`` where the texts are settings or commands."""

    facts: Mapping[str, str]
    code: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table with raw numbers; the page rounds them and can sort, filter and download them.

    Attributes
    ----------
    name
        Stem of its .csv, of small letters, digits and hyphens.
    frame
        Columns as code has them. The ends of an interval, NAME_low and NAME_high, stand in the
        cell of NAME on the page. Each row begins with what it is of.
    caption
        What it shows, in a sentence or two.
    heads
        Column -> its heading on the page; its own name, underscores as spaces, when left out.
    marks
        Position of a row -> words beside its first cell ("baseline"); such rows are grey.
    best
        (position of a row, column) of the cells in bold.
    """

    name: str
    frame: pd.DataFrame
    caption: str = ""
    heads: Mapping[str, str] = dataclasses.field(default_factory=dict)
    marks: Mapping[int, str] = dataclasses.field(default_factory=dict)
    best: frozenset[tuple[int, str]] = frozenset()


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """A picture.

    Attributes
    ----------
    name
        Stem of its .svg (.jpg where it holds photographs).
    figure
        The picture, or the data address of one that was kept.
    alt
        What it shows for those who do not see it: the finding in a sentence.
    caption
        Below it: what dots, bars and bands are.
    """

    name: str
    figure: Figure | Axes | str
    alt: str
    caption: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Code:
    """A text that is copied as it is: a command, BibTeX.

    Attributes
    ----------
    name
        Of its file, with the ending.
    text
        What is in it.
    """

    name: str
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Folded:
    """What only some readers want: it opens by a click, and is printed open."""

    summary: str
    parts: tuple[Part, ...]


Part: TypeAlias = Union[Text, Note, Points, Facts, Table, Drawing, Code, Folded]  # noqa: UP007  # a ring


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """A part of the page with a heading.

    Attributes
    ----------
    name
        Its id in the page, of small letters, digits and hyphens.
    heading
        What it is about, in a few words.
    parts
        What stands in it, in order.
    folded
        Whether it opens by a click only.
    """

    name: str
    heading: str
    parts: tuple[Part, ...]
    folded: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Page:
    """All that a page says.

    Attributes
    ----------
    title, about
        Its heading, and the data in one line.
    answer
        One sentence that answers.
    text
        Paragraphs below the answer.
    notes
        Warnings below them.
    sections
        The rest, in order.
    record
        What report.json has besides: digest, settings, versions.
    """

    title: str
    about: str
    answer: str
    sections: tuple[Section, ...]
    text: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    record: Mapping[str, object] = dataclasses.field(default_factory=dict)


def flat(parts: Iterable[Part]) -> Iterator[Part]:
    """All parts, those that are folded away too."""
    for part in parts:
        yield part
        if isinstance(part, Folded):
            yield from flat(part.parts)
