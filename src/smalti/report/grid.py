"""A table as a page shows it: rounded, the ends of an interval beside its value."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from smalti.report.section import Table

_FEW = (
    "p",
    "p_holm",
    "p_equal",
    "q",
    "fdr",
    "seconds",
)  # two digits that count, not three decimals
_AROUND = ("_low", "_high", "_sd")
_WORD = 20  # letters; a longer word is broken where a column is narrow, a shorter one never
_HEADS = {"p_holm": "p (Holm)"}


@dataclasses.dataclass(frozen=True)
class Head:
    """The head of a column: its words, its name in the frame, and whether it holds numbers."""

    words: str
    column: str
    number: bool

    @property
    def long(self) -> bool:
        """Whether it holds a word that no column is wide enough for."""
        return _long(self.words)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell: its text, what stands small beside it, whether it is bold, and how it breaks."""

    text: str
    small: str = ""
    best: bool = False
    number: bool = False

    @property
    def long(self) -> bool:
        """Whether it holds a word that no column is wide enough for."""
        return _long(self.text)


@dataclasses.dataclass(frozen=True)
class Row:
    """The cells of a row, and the words beside the first."""

    cells: tuple[Cell, ...]
    mark: str = ""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Heads and rows, all text."""

    heads: tuple[Head, ...]
    rows: tuple[Row, ...]


def grid(table: Table) -> Grid:
    """The cells of a table."""
    frame = table.frame.reset_index(drop=True)
    columns = [c for c in frame if not _beside(c, frame)]
    words = {c: _HEADS.get(str(c), str(c).replace("_", " ")) for c in columns}
    heads = tuple(Head(table.heads.get(str(c), words[c]), str(c), _numbers(frame[c]))
                  for c in columns)  # fmt: skip
    records = frame.to_dict("records")
    rows = tuple(
        Row(tuple(_cell(record, c, head.number, best=(i, str(c)) in table.best)
                  for c, head in zip(columns, heads, strict=True)), table.marks.get(i, ""))
        for i, record in enumerate(records)
    )  # fmt: skip
    return Grid(heads, rows)


def _cell(record: dict[Hashable, Any], column: Hashable, is_number: bool, *, best: bool) -> Cell:
    # with an interval a column of such a name is no p value
    name = "" if column in _FEW and f"{column}_low" in record else str(column)
    return Cell(number(record[column], name), _small(record, column), best, is_number)


def _beside(column: Hashable, frame: pd.DataFrame) -> bool:
    """Whether a column is shown in the cell of another: an end of an interval, a spread."""
    name = str(column)
    return any(name.endswith(end) and name.removesuffix(end) in frame for end in _AROUND)


def _long(text: str) -> bool:
    return any(len(word) > _WORD for word in text.split())


def _numbers(column: pd.Series) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _small(record: dict[Hashable, Any], column: Hashable) -> str:
    low, high, spread = (record.get(f"{column}{end}") for end in _AROUND)
    if pd.isna(record[column]):
        return ""
    if low is not None and high is not None and not (pd.isna(low) or pd.isna(high)):
        signed = str(column) if column == "difference" else ""
        return f"({number(low, signed, 2)} to {number(high, signed, 2)})"
    return "" if spread is None or pd.isna(spread) else f"± {number(spread)}"


def number(value: Any, column: str = "", digits: int = 3) -> str:
    """A value as text: three decimals, large ones fewer, a dash where it is missing."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "–"
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if not isinstance(value, float):
        return f"{value:,}".replace("-", "−")
    plus = "+" if column == "difference" and value >= 0 else ""
    form = ".2g" if column in _FEW else f",.{digits if abs(value) < 100 else 1}f"
    text = format(value, form)
    text = text.replace("-", "−") if float(text.replace(",", "")) else text.replace("-", "")
    return plus + text
