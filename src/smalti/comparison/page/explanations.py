"""Section: what the models looked at, and whether it means anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from smalti.explain.explanations import FINDS, POINTS, Explanations
from smalti.mil.results import SIGNED
from smalti.report.section import Drawing, Folded, Note, Part, Section, Table, Text

_MOST = 6  # names of one kind in the table of the leading method
_ALL = 400  # rows of the table of all
_WHY = (
    "Instances of a left-out bag are taken away, those of the highest scores first, and the model "
    "of its fold predicts anew. If the scores point at what the prediction hangs on, it falls "
    "sooner than where any are taken away; if the lowest go first, it stays. Contributions speak "
    "for a class and are held against the predicted one, right or wrong; attention speaks for none "
    "and is held against the true one. That a score is faithful to the model does not say that the "
    "model is right: read its own score first."
)
_CAPTION = (
    "Area: between the curves of the scores and those of random order, mean of both ways to take "
    "away, over donors; above 0 is better than random. Beyond features: the same less that of the "
    "order by the norm of the features. Rests on: so many instances of the median bag carry the "
    "scores. Agreement of the order within a bag (1: the same, 0: none) with the model of another "
    "repeat, of another seed, and of permuted labels; the last should be well below the others."
)
_HEADS = {
    "of": "scores", "over_norm": "beyond features", "effective": "rests on",
    "repeats": "other repeat", "seeds": "other seed", "permuted": "permuted labels",
}  # fmt: skip
_SHOWN = ("of", "gain", "gain_low", "gain_high", "over_norm", "over_norm_low", "over_norm_high",
          "effective", "repeats", "seeds", "permuted", "verdict")  # fmt: skip
_ENRICHED = (
    "The tenth of the instances with the highest scores beside all of their bag: difference of "
    "shares (types, and types among the nearest neighbours) or of means (features), over donors, "
    "never over cells; q is the false discovery rate. Permuted labels: the same difference of "
    "models that were fitted on labels without meaning; what is as large there is no finding."
)


def explanations(table: Any) -> Section | None:
    """Curves, their table, warnings and what high scores go with; None where nothing was kept."""
    found: Explanations | None = table.explanations
    if found is None or found.bags.empty:
        return None
    rows = found.table()
    parts: list[Part] = [Text(_WHY, soft=True), _drawing(found, rows), *_notes(rows)]
    rows.insert(0, "of", rows["method"] + ": " + rows["scores"])
    rows["effective"] = [f"{r['effective']:.1f} of {r['instances']:.0f}"
                         for r in rows.to_dict("records")]  # fmt: skip
    marks = {i: "baseline" for i, m in enumerate(rows["method"]) if m in table.baselines}
    shown = rows[[c for c in _SHOWN if not rows[c].isna().all()]]
    heads = _HEADS | {"gain": "area", "verdict": "answer"}
    parts.append(Table("explanations", shown, _CAPTION, heads=heads, marks=marks))
    if found.silent:
        parts.append(Text(f"{', '.join(found.silent)}: nothing of single instances.", soft=True))
    parts += _enriched(table, found)
    return Section("explanations", "What did they look at, and does it mean anything?",
                   tuple(parts))  # fmt: skip


def _drawing(found: Explanations, rows: pd.DataFrame) -> Drawing:
    from smalti.plot import plot_removal

    of = found.followed.removesuffix(" of that class")
    words = {"probability": ("of the predicted class", "of the true class")}
    predicted, true = words.get(of.split()[-1], ("", ""))
    height = of.removeprefix("the ").split(",")[0]
    followed = {k: f"{height} {predicted if k in SIGNED else true}".strip()
                for k in rows["scores"]}  # fmt: skip
    verdicts = {(r["method"], r["scores"]): r["verdict"] for r in rows.to_dict("records")}
    typed = len(found.enriched) and (found.enriched["what"] == "type").any()
    unit = "cells" if typed else "instances"  # only cells have a cell type
    good = rows["verdict"].isin((POINTS, FINDS))
    alt = (f"Predictions as instances are taken away: the scores of {good.sum()} of {len(rows)} "
           "kinds part from random order"
           + (f" ({', '.join(rows.loc[good, 'method'] + ' ' + rows.loc[good, 'scores'])})."
              if good.any() else "."))  # fmt: skip
    caption = (
        "Means over donors. Scores that point at what the prediction hangs on: the line of the "
        "highest falls at once and that of the lowest stays (read from the right, only the highest "
        "are there). Grey: any, with the least and the most of five random orders."
    )
    figure = plot_removal(found.curves, verdicts=verdicts, followed=followed, unit=unit)
    return Drawing("removal", figure, alt=alt, caption=caption)


def _notes(rows: pd.DataFrame) -> Iterator[Note]:
    """What speaks against believing, of each kind of scores that has such."""
    for row in rows.to_dict("records"):
        if row["warnings"]:
            words = f"{row['warnings'][:1].upper()}{row['warnings'][1:]}."
            yield Note(words, strong=f"{row['method']}, {row['scores']}.")


def _enriched(table: Any, found: Explanations) -> list[Part]:
    """The leading method's, its names of least p; and those of all, folded away."""
    whole = found.enriched
    if whole.empty:
        return []
    raced = [m for m in table.ranked()["method"] if m in set(whole["method"])]
    if not raced:
        return []
    own = whole[whole["method"] == raced[0]]
    first = own.groupby(["scores", "what"], sort=False).head(_MOST)
    heads = {"permuted": "permuted labels"}
    few = Table("high-scores", _named(first.drop(columns="method")),
                f"{raced[0]}: what its high scores go with, at most {_MOST} names of each kind. "
                f"{_ENRICHED}", heads=heads)  # fmt: skip
    every = Table("high-scores-all", _named(whole.head(_ALL)), "", heads=heads)
    return [few, Folded("What high scores go with, every method", (every,))]


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Ends of the interval as a page has them."""
    ends = {"low": "difference_low", "high": "difference_high"}
    return frame.rename(columns=ends).dropna(axis=1, how="all")
