"""The figures of docs/results, drawn from the tables that stand there.

    python tools/result_figures.py          # all
    python tools/result_figures.py kidneys  # some, by name

A figure has no numbers of its own: it reads a table of its page as text, so that it cannot say
anything else. Which table it was drawn from it keeps as a digest; a test asks whether that is the
table that stands there now.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import matplotlib as mpl

from smalti.plot.style import COLOURS, GREY, INK, PALE, Sheet, sheet_of, styled

RESULTS = Path(__file__).parents[1] / "docs" / "results"
FOLDER = RESULTS / "figures"
NUMBER = r"[−+-]?\d+(?:\.\d+)?"
CELL = re.compile(
    rf"(?:(?P<word>[a-z ]+): )?(?P<value>{NUMBER})(?: ± (?P<spread>{NUMBER}))?"
    rf"(?: \((?:(?P<low>{NUMBER}) to (?P<high>{NUMBER})|(?P<plain>\d*\.\d+)|\d+)\))?"
    r"(?:[,:]? (?P<verdict>[a-z ]+))?"
)
OF = {"better": COLOURS[2], "more": COLOURS[2], "worse": COLOURS[1], "less": COLOURS[1]}
TOLD = {"better": "^", "more": "^", "worse": "v", "less": "v"}  # and forms, for who sees no colours


class Dot(NamedTuple):
    """A number of a table, what its bar spans, and what is said of it."""

    value: float
    low: float
    high: float
    verdict: str


class Figure(NamedTuple):
    """What is drawn of which table."""

    page: str
    heading: str
    panels: dict[str, str]  # column -> title
    says: str  # what a number is, and its bar
    nth: int = 0  # of the tables of that section
    names: int = 1  # columns that say what a row is
    beside: str = ""  # what the column at the right of each panel's has, drawn hollow


FIGURES = {
    "classical": Figure(
        "phenotype", "Classical sets",
        {"Musk1 (10 repeats)": "Musk1", "Elephant (5)": "Elephant", "Fox (2)": "Fox"},
        "accuracy; bars: s.d. over repeats; hollow: as published", beside="published",
    ),
    "kidneys": Figure(
        "phenotype", "Real cohorts",
        {"spearman": "Spearman", "less `bag_mean + covariates`, 95 % interval":
         "less that of bag_mean + covariates"},
        "634 kidney biopsies, donors left out; bars: s.d. over folds (left), 95 % (right)", nth=2,
    ),
    "glas-tiles": Figure(
        "phenotype", "GlaS: images of colon glands as bags of tiles",
        {"lite0": "lite0", "lite0 dense": "lite0, dense",
         "lite0 than morphology": "lite0 less morphology"},
        "AUROC, patients left out; bars: 95 %",
    ),
    "musk1": Figure(
        "slide-methods", "Musk1", {"AUROC": "AUROC", "less `abmil`": "less that of abmil"},
        "Musk1, donors left out; bars: 95 %",
    ),
    "glas": Figure(
        "slide-methods", "GlaS: colon glands",
        {"AUROC": "AUROC", "less `abmil`": "less that of abmil"},
        "GlaS, patients left out; bars: 95 %",
    ),
    "planted": Figure(
        "slide-methods", "Planted bags: one piece in twelve tells",
        {"AUROC": "AUROC", "less `abmil`": "less that of abmil"},
        "planted bags, donors left out; bars: 95 %",
    ),
    "survival": Figure(
        "survival", "198 patients, from the command line to the page",
        {"Harrell's C (95 %)": "Harrell's C",
         "less the best baseline (95 %)": "less that of the best baseline"},
        "198 patients, left out; bars: 95 %",
    ),
    "sets": Figure(
        "integration", "Sets beside one another",
        {"citeseq": "CITE-seq", "snare": "SNARE-seq", "snare:0.5": "half lack a modality"},
        "ARI by the clusters that a method is meant for; beside block_pca",
    ),
    "citeseq": Figure(
        "integration", "RNA and protein: PBMC, CITE-seq",
        {"each by its own": "ARI", "against `block_pca`": "less that of block_pca"},
        "clusters that a method is meant for; bars: 95 %",
    ),
    "mixing": Figure(
        "batches", "Differences",
        {"strength 0": "no batches", "strength 2": "middle", "strength 3": "strong"},
        "difference; bars: 95 %",
    ),
    "her2": Figure(
        "expression", "HER2+ breast cancer sections",
        {"within a slide": "Pearson within a slide", "of a tile": "Pearson of a tile"},
        "across donors; bars: s.d. over folds",
    ),
    "unseen": Figure(
        "unseen-genes", "HER2+ sections",
        {"within a slide": "Pearson within a slide", "beyond depth": "beyond depth"},
        "genes that were not in training, across donors; bars: s.d. over folds",
    ),
    "annotation": Figure(
        "annotation", "Simulated donors", {"macro F1": "macro F1"},
        "beside: effect; donors left out; bars: least and most of three seeds", names=2,
    ),
    "explanations": Figure(
        "explanations", "Explanations, tested",
        {"area (95 %)": "area of removal", "cells": "AUROC of the planted cells"},
        "left-out donors; area: less that of random order; bars: 95 %",
    ),
    "search": Figure(
        "search", "Where there is something to find",
        {"optimism": "inner score less that of new donors", "gain": "gain on new donors"},
        "AUROC; bars: 95 %", names=2,
    ),
}  # fmt: skip


def table_of(figure: Figure) -> list[str]:
    """Lines of the table.

    Raises
    ------
    LookupError
        If it is not there.
    """
    text = (RESULTS / f"{figure.page}.md").read_text("utf-8")
    for section in re.split(r"^(?=#{1,4} )", text, flags=re.M):
        if section.lstrip("# ").startswith(figure.heading):
            tables: list[str] = re.findall(r"(?:^\|.*\n)+", section, re.M)
            return tables[figure.nth].splitlines()
    raise LookupError(f"{figure.page}.md has no section {figure.heading!r}.")


def digest_of(figure: Figure) -> str:
    """Of the table and of what is drawn of it."""
    return hashlib.sha256(repr((table_of(figure), figure)).encode()).hexdigest()[:16]


def cells(line: str) -> list[str]:
    """Those of a row."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def dot(cell: str) -> Dot | None:
    """What a cell says; None where it says no number.

    Raises
    ------
    ValueError
        If it says something that is not understood.
    """
    if not re.search(r"\d", cell):
        return None
    found = CELL.fullmatch(cell)
    if found is None:
        raise ValueError(f"not understood: {cell!r}")
    value = number(found["value"])
    verdict = (found["word"] or found["verdict"] or "").strip()
    if found["low"]:
        return Dot(value, number(found["low"]), number(found["high"]), verdict)
    spread = number(found["plain"] or found["spread"] or "nan")
    return Dot(value, value - spread, value + spread, verdict)


def number(text: str) -> float:
    """With either sign of minus."""
    return float(text.replace("−", "-"))


@styled
def draw(figure: Figure) -> Sheet:
    """One panel for each column, one line for each row of the table."""
    head, _, *rows = map(cells, table_of(figure))
    rows = [row for row in rows if any(dot(row[head.index(c)]) for c in figure.panels)]
    names = [re.sub("`", "", ", ".join(row[: figure.names])) for row in rows]
    sheet, panels = sheet_of(None, 8.2, 0.21 * len(rows) + 1.0, ncols=len(figure.panels),
                             sharey=True, squeeze=False)  # fmt: skip
    for axes, (column, title) in zip(panels[0], figure.panels.items(), strict=True):
        at = head.index(column)
        signed = any(re.match(r"([a-z ]+: )?[+−-]\d", row[at]) for row in rows)  # differences
        if signed:
            axes.axvline(0, color=GREY, lw=0.8, zorder=0)
        for y, row in enumerate(rows):
            if figure.beside and (other := dot(row[at + 1])):
                axes.scatter(other.value, y, s=30, fc="white", ec=GREY, lw=1.1, zorder=2)
            if not (one := dot(row[at])):
                continue
            plain = signed or one.verdict or re.search("baseline|oracle", row[0])
            colour = OF.get(one.verdict, GREY if plain else COLOURS[0])
            axes.plot([one.low, one.high], [y, y], color=colour, lw=1.8, zorder=3)
            axes.scatter(one.value, y, s=30, color=colour, marker=TOLD.get(one.verdict, "o"),
                         ec="white", lw=0.6, zorder=4)  # fmt: skip
        axes.set_title(fill(title, 66 // len(figure.panels)), fontsize=9.5)
        axes.grid(axis="x", color=PALE, lw=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4 if len(figure.panels) > 2 else 6)
    panels[0, 0].set_yticks(range(len(rows)), names, fontsize=8.5)
    panels[0, 0].set_ylim(len(rows) - 0.4, -0.6)
    told = {one.verdict for row in rows for c in figure.panels if (one := dot(row[head.index(c)]))}
    signs = "; ▲ better, ▼ worse, ● neither" if told & {"better", "worse"} else ""
    signs = "; ▲ more, ▼ less, ● neither" if told & {"more", "less"} else signs
    sheet.supxlabel(figure.says + signs, x=0.99, ha="right", fontsize=8.5, color=INK)
    return sheet


def main() -> None:
    """Draw the figures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*FIGURES, []])
    asked = parser.parse_args().names or list(FIGURES)
    FOLDER.mkdir(exist_ok=True)
    for name in asked:
        sheet = draw(FIGURES[name])
        about = {"Date": None, "Creator": None, "Description": digest_of(FIGURES[name])}
        # letters as letters: a fifth of the size, and other sans serifs are narrower than this one
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "smalti"}):
            sheet.figure.savefig(FOLDER / f"{name}.svg", metadata=about, facecolor="white")
        print(f"{name}: {FOLDER / name}.svg")


if __name__ == "__main__":
    main()
