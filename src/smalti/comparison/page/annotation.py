"""Sections of the page of an annotation: labels, samples, and what the reference is worth."""

from __future__ import annotations

from typing import Any

from smalti.integrate.turns import several
from smalti.report.section import Drawing, Facts, Note, Part, Section, Table, Text

_SAMPLES = 40  # bars of a picture; the table has all
_SURE = (
    "Confidence is the probability that the label of the vote is right if the reference has the "
    "type at all. It was learned on cells of {by} that were left out in turn; each dot is "
    "confidence by a map of the other turns. A cell is unknown where it lies farther from the "
    "reference, or is rebuilt worse from its code, than all but {alarm:.0%} of these cells: a type "
    "that lies near another is missed."
)


def labels(table: Any) -> Section:
    """How many cells of each label."""
    frame = table.counts()
    caption = "Cells by label, beside those of the reference. Confidence is a mean over cells."
    heads = {"in_reference": "in the reference"}
    return Section("labels", "Which cells are there?",
                   (Table("labels", frame, caption, heads=heads),))  # fmt: skip


def samples(table: Any) -> Section | None:
    """Composition of each sample; None of loose cells."""
    if len(table.bags) < 2 or len(table.bags) == table.bags.n_instances:
        return None
    from smalti.plot import plot_composition

    shares, frame = table._shares, table.samples()
    at = frame["unknown"].idxmax()
    words = f"The most unknown cells are in {frame['sample'][at]}: {frame['unknown'][at]:.0%}."
    few = "" if len(shares) <= _SAMPLES else f" The first {_SAMPLES} of {len(shares):,} samples."
    drawing = Drawing("composition", plot_composition(shares.head(_SAMPLES)), alt=words,
                      caption=f"Labels of the cells of each sample.{few}")  # fmt: skip
    rows = Table("samples", frame, "Share of each label among all cells of a sample.")
    return Section("samples", "Sample by sample", (Text(words), drawing, rows))


def reference(table: Any) -> Section:
    """What the labels rest on."""
    from smalti.plot import plot_reliability

    one = table.annotator
    facts = {"cells it rests on": one.said(), "column of its labels": one.label,
             "cells without a label": f"{one.n_without_:,}", "digest of its cells": one.digest_,
             "integration": one.model_.name}  # fmt: skip
    parts: list[Part] = [Facts(facts)]
    parts += [Note(note) for note in one.notes_]
    parts.append(Text(_SURE.format(by=several(one.by_), alarm=table.false_alarm), soft=True))
    frame, curve = table.calibrations(), table.curve()
    if len(curve):
        first = frame.iloc[0]
        alt = f"Confidence is off by {first['ece']:.1%} on average, with {first['modalities']}."
        parts.append(Drawing("reliability", plot_reliability(curve), alt=alt,
                             caption="A dot is a bin of as many cells each, its bar 95 % by "
                                     "Wilson; the dashed line is perfect."))  # fmt: skip
    heads = {"right": "share right", "ece": "calibration error", "ece_perfect": "if perfect"}
    caption = "Cells of the reference that were left out, by the modalities that were read."
    parts.append(Table("left-out", frame, caption, heads=heads))
    return Section("reference", "How sure are the labels?", tuple(parts))


def unseen(table: Any) -> Section | None:
    """Types that a reference lacked; None where none was left out."""
    if not len(table.unseen):
        return None
    caption = (
        "Each type in turn was left out of the reference. AUROC of the novelty of its cells "
        "against left-out cells of known types; found and false alarms: shares of both that were "
        "called unknown. A type that lies near another is hard to find."
    )
    rows = Table("unseen", table.unseen, caption, heads={"auroc": "AUROC"})
    return Section("unseen", "Does it know what it cannot know?", (rows,))
