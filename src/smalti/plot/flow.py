"""The way into a comparison, as boxes: found, left out, compared, by class."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import COLOURS, GREY, INK, PALE, bare, one_panel, short, styled

_UNITS = (("donors", "donor"), ("bags", "bag"), ("instances", "instance"))
_WIDTH = 7.0  # inches
_LINE = 0.17  # inches of a line of text
_MAIN, _SIDE = (0.02, 0.40), (0.50, 0.98)  # where the boxes lie, from left to right
_CLASSES = 4  # side by side; of more the table says all


@styled
def plot_flow(flow: pd.DataFrame, *, part: str | None = None, ax: Axes | None = None) -> Axes:
    """Boxes from what was found to what was compared, and beside them what was left out.

    Parameters
    ----------
    flow
        ``comparison.flow``.
    part
        Of an external validation: "training" or "test"; the first when left out.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        As in the diagrams of CONSORT and STARD: donors, bags and instances in each box.

    Raises
    ------
    InputError
        If there is no such part.
    """
    parts = list(flow["part"].unique())
    part = parts[0] if part is None and parts else part
    rows = flow[flow["part"] == part]
    if rows.empty:
        raise InputError(f"no part {part!r} in the flow; there are {', '.join(parts)}.")
    boxes = _boxes(rows)
    high = sum(len(text) * _LINE + 0.16 + gap for text, _, gap in boxes)
    classes = rows[rows["step"] == "of them"]
    more = (0.6 + 4 * _LINE) if len(classes) else 0.0
    axes = one_panel(ax, _WIDTH, high + more)
    axes.set(xlim=(0, 1), ylim=(high + more, -0.03))
    bare(axes)
    y = start = 0.0
    for i, (lines, side, gap) in enumerate(boxes):
        tall = len(lines) * _LINE + 0.12
        _box(axes, *(_SIDE if side else _MAIN), y, tall, lines, side)
        middle = np.mean(_MAIN)
        if side:
            axes.annotate("", (_SIDE[0], y + tall / 2), (middle, y + tall / 2),
                          arrowprops=_arrow())  # fmt: skip
        if i and not side:
            axes.annotate("", (middle, y), (middle, start), arrowprops=_arrow())
        if not side:
            start = y + tall
        y += tall + gap
    if len(classes):
        _split(axes, classes, start, high + more)
    return axes


def _arrow() -> dict[str, Any]:
    return {"arrowstyle": "-|>", "color": GREY, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}


def _boxes(rows: pd.DataFrame) -> list[tuple[list[str], bool, float]]:
    """Lines, whether it stands at the side, and the gap below."""
    out = []
    for row in rows.to_dict("records"):
        if row["step"] == "left out":
            text = textwrap.wrap(short(row["what"], 160), 52)
            numbers = _numbers(row)
            out.append(
                ([*text, *([f"left out: {', '.join(numbers)}"] if numbers else [])], True, 0.12)
            )
        elif row["step"] in ("found", "compared"):
            out.append(([row["what"].capitalize(), *_numbers(row)], False, 0.2))
    return out


def _numbers(row: dict[str, Any]) -> list[str]:
    known = [(row[u], name) for u, name in _UNITS if pd.notna(row[u]) and row[u]]
    return [f"{n:,.0f} {name}{'s' * (n != 1)}" for n, name in known]


def _box(
    axes: Any, left: float, right: float, top: float, tall: float, lines: list[str], side: bool
) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour = PALE if side else "white"
    axes.add_patch(FancyBboxPatch((left, top), right - left, tall, boxstyle="square,pad=0",
                                  fc=colour, ec=GREY if side else INK, lw=0.9))  # fmt: skip
    for i, line in enumerate(lines):
        bold = i == 0 and not side
        axes.text(left + 0.012 if side else (left + right) / 2, top + 0.06 + (i + 0.5) * _LINE,
                  line, ha="left" if side else "center", va="center",
                  fontsize=8.5 if side else 9, fontweight="bold" if bold else "normal")  # fmt: skip


def _split(axes: Any, classes: pd.DataFrame, top: float, bottom: float) -> None:
    """Boxes of the classes, side by side."""
    shown = classes.head(_CLASSES).to_dict("records")
    wide = 0.96 / max(len(shown), 2)
    y = bottom - 4 * _LINE - 0.2
    middle = np.mean(_MAIN)
    bend = (top + y) / 2
    centres = [0.02 + wide * (i + 0.5) for i in range(len(shown))]
    axes.plot([middle, middle], [top, bend], color=GREY, lw=0.9)
    axes.plot([min(*centres, middle), max(*centres, middle)], [bend, bend], color=GREY, lw=0.9)
    for i, (row, x) in enumerate(zip(shown, centres, strict=True)):
        axes.annotate("", (x, y), (x, bend), arrowprops=_arrow())
        lines = [short(row["what"], int(26 * wide / 0.24)), *_numbers(row)]
        _box(axes, x - 0.45 * wide, x + 0.45 * wide, y, len(lines) * _LINE + 0.12, lines, False)
        axes.plot([x - 0.45 * wide, x + 0.45 * wide], [y, y], lw=3, color=COLOURS[i % len(COLOURS)],
                  solid_capstyle="butt")  # fmt: skip
    if len(classes) > len(shown):
        axes.text(0.98, bottom, f"{len(classes) - len(shown)} more classes in the table",
                  ha="right", va="bottom", fontsize=8, color=GREY)  # fmt: skip
