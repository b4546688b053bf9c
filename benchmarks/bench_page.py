"""The page of docs that ``bench.py --page`` draws from what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from bench import ROWS, limit, load, rates_of, table, words_of

INTRO = """\
# Beside other packages

Rows of `benchmarks/bench.py` (`make bench-peers` once, then `make bench`), and nothing typed:
this page is drawn from [bench.json](bench.json) by `python benchmarks/bench.py --page`. One thread
each; smalti, the peer and the products of matrices that tell the machine's rate take turns. CPU
seconds of the process, medians and ranges; memory is the most that the process held, libraries and
data too. The limit is what the arithmetic of the work takes at the rate that was measured beside
it: at a share of 50 % nothing could be more than twice as fast.
"""

GROWTH = """\
## Growth

smalti alone (`python benchmarks/bench.py --growth`): seconds, the limit and peak memory by size.

![Seconds and memory by size of the work](bench-growth.svg)
"""


def write_page(kept: dict[str, Any], folder: Path) -> None:
    """``bench.md``, ``bench.json`` and the picture of growth."""
    kept["rows"] = [r | words_of(load(r["name"])) for r in kept["rows"]]  # words may be mended
    said = f"Measured on {kept['machine']['day']}: {rates_of(kept)}.\n"
    parts = [INTRO, said, table(kept["rows"]), ""]
    if left := [f"`{n}`" for n in ROWS if n not in {r["name"] for r in kept["rows"]}]:
        parts += [f"Not measured in this run: {', '.join(left)}.", ""]
    parts += ["What bounds them:", ""]
    bounds = {r["name"]: getattr(load(r["name"]), "BOUND", "") for r in kept["rows"]}
    parts += [f"- `{name}`: {words}" for name, words in bounds.items() if words] + [""]
    if kept["growth"]:
        growth(kept["growth"]).savefig(folder / "bench-growth.svg", metadata={"Date": None})
        parts.append(GROWTH)
    (folder / "bench.md").write_text("\n".join(parts))
    (folder / "bench.json").write_text(json.dumps(kept, indent=1) + "\n")


def growth(rows: list[dict[str, Any]]) -> Any:
    """A column for each work: seconds above, memory below."""
    from smalti.plot.style import sheet_of, styled

    rows = sorted((r for r in rows if r["seconds"].get("smalti")), key=lambda r: r["share"])
    works: dict[str, list] = {}
    for row in rows:
        works.setdefault(row["name"], []).append(row)

    @styled
    def draw() -> Any:
        size = dict(nrows=2, ncols=len(works), squeeze=False, sharey="row")
        sheet, axes = sheet_of(None, 1.9 * len(works), 4.2, **size)
        for column, (name, own) in zip(axes.T, works.items(), strict=True):
            draw_work(column, name, own)
        axes[0, 0].set_ylabel("CPU seconds")
        axes[1, 0].set(ylabel="peak, GiB", ylim=(0, 1.1 * max(r["peaks"]["smalti"] for r in rows)))
        return sheet.figure

    return draw()


def draw_work(axes: Any, name: str, rows: list[dict[str, Any]]) -> None:
    """Seconds, with the limit below them, and peak memory of one work."""
    from smalti.plot.style import BROKEN, COLOURS, GREY, MARKS

    words, at = dict(load(name).SIZES), [r["share"] for r in rows]
    above, below = axes
    seconds = [median(r["seconds"]["smalti"]) for r in rows]
    above.plot(at, seconds, marker=MARKS[0], color=COLOURS[0])
    least = [limit(r) for r in rows]
    if all(least):
        above.plot(at, least, color=GREY, linestyle=BROKEN)
        above.annotate("limit", (at[-1], least[-1]), (0, -10), textcoords="offset points",
                       color=GREY, fontsize=8, ha="right")  # fmt: skip
    below.plot(at, [r["peaks"]["smalti"] for r in rows], marker=MARKS[1], color=COLOURS[1])
    above.set(title=name, xscale="log", yscale="log")
    below.set(xscale="log")
    above.set_xticks(at, [])
    below.set_xticks(at, [words.get(a, f"{a:g}") for a in at], rotation=45, ha="right", fontsize=7)
    for each in axes:
        each.minorticks_off()
