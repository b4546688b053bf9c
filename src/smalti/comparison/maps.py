"""Heat maps of slides by the models of a comparison that were not fitted on them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from smalti.bags import Bags
from smalti.comparison.patients import one_by_one
from smalti.errors import InputError
from smalti.mil.heatmaps import signed_words, slide_rows
from smalti.report.section import Drawing
from smalti.scores.sentences import plain
from smalti.tiles.heatmap import Heatmap, place_values

_TILES = 6  # of each kind, below a map
_NOT = (
    "A map shows what the model used, right or wrong: a model that knows nothing can follow the "
    "tissue too, so read the scores first."
)


def out_of_fold(table: Any, bags: Bags, slide: str | None, method: str | None) -> Heatmap:
    """A slide as a model saw it that was not fitted on its donor (``Comparison.heatmap``).

    Raises
    ------
    InputError
        If nothing was kept, there is no such method or slide, or these are other bags.
    """
    method = _best(table) if method is None else method
    if method not in table.attributions:
        there = ", ".join(table.attributions)
        raise InputError(f"nothing of tiles was kept of {method!r}; there are {there}.")
    slide, rows, held = slide_rows(bags, slide)
    name = bags.bag.index[held]
    kept = table.attributions[method]
    own = kept[kept["bag"] == name]
    own = own[own["fold"] == own["fold"].min()]  # own splits may test a bag in several
    if len(own) != bags.lengths[held]:
        raise InputError(
            f"bag {name!r} has {bags.lengths[held]} tiles here and {len(own)} in the comparison: "
            "give the bags that were compared."
        )
    fold = int(own["fold"].iloc[0])
    values = own.drop(columns=["bag", "fold"]).dropna(axis=1, how="all")
    values = values.iloc[rows - bags.offsets[held]].reset_index(drop=True)
    target = str(table.task.column)
    judged = _judged(table, method, name, fold)
    notes = (f"the {method} of fold {fold}, which was not fitted on this donor: {judged}",)
    return place_values(bags, rows, values, slide, words=signed_words(list(values), target),
                        notes=notes)  # fmt: skip


def drawings_of_slides(table: Any, bags: Bags, n: int) -> list[Drawing]:
    """Pictures of a few slides: judged best, misjudged worst.

    Raises
    ------
    InputError
        If nothing was kept, or these are other bags.
    """
    from smalti.plot import plot_extreme_tiles, plot_heatmap

    method = _best(table)
    drawings = []
    of = _slides_of(bags)
    for i, (name, why) in enumerate(_telling(table, method, n).items(), 1):
        heat = out_of_fold(table, bags, of[name], method)
        columns = _shown(heat, table, method, name)
        heading = f"Slide {heat.name}: {why}"
        told = f"{heat.notes[0][:1].upper()}{heat.notes[0][1:]}"
        # its notes as text of the page: in the picture a phone shows them too small
        drawings.append(Drawing(
            f"slide-{i}", plot_heatmap(dataclasses.replace(heat, notes=()), columns),
            alt=f"{heading}. {told}.", caption=f"{heading}. {told}. {_NOT}"))  # fmt: skip
        if heat.picture is not None:
            tiles = f"Slide {heat.name}: tiles that stand out"
            figure = plot_extreme_tiles(heat, columns[-1], n=_TILES)
            drawings.append(Drawing(
                f"slide-{i}-tiles", figure, alt=f"{tiles}.",
                caption=f"{tiles}. Below a tile its number on the slide, and its value.",
            ))  # fmt: skip
    return drawings


def _best(table: Any) -> str:
    """The best method that says something of tiles."""
    if not table.attributions:
        raise InputError(
            "this comparison kept nothing of single tiles: compare(attributions=True), with a "
            "method that has attention or contributions, such as abmil or mi_net."
        )
    order = table.summary()["method"].drop_duplicates()
    return next(str(m) for m in order if m in table.attributions)


def _first(table: Any, method: str) -> pd.DataFrame:
    """Predictions of a method in the repeat of which the attributions are."""
    own = table.predictions[table.predictions["method"] == method]
    return own[own["repeat"] == own["repeat"].min()]


def _judged(table: Any, method: str, name: Any, fold: int) -> str:
    own = _first(table, method)
    row = own[(own["bag"] == name) & (own["fold"] == fold)].iloc[0]
    if not table.task.by_itself:
        return f"bag {name}"
    if table.task.kind == "survival":
        found = one_by_one(own, table.task, alone=table.alone).set_index("bag").loc[name]
        seen = "event at" if found["event"] else "no event until"
        others = "all" if table.alone else "its test fold"
        return f"{seen} {plain(found['time'])}, of a risk above {found['rank']:.0%} of {others}"
    if not table.task.is_classifier:
        return f"{table.task.column} is predicted {row['predicted']:.3g}, truly {row['true']:.3g}"
    p = row[f"p_{row['predicted']}"]
    return f"{table.task.column} is predicted {row['predicted']} ({p:.2f}), truly {row['true']}"


def _telling(table: Any, method: str, n: int) -> dict[Any, str]:
    """Bags to show and why, each of another donor: the best of each class, then the worst wrong."""
    own = _first(table, method)
    if not table.task.by_itself:
        return dict.fromkeys(own.drop_duplicates("donor")["bag"].tolist()[:n], "one of the first")
    own = one_by_one(own, table.task, alone=table.alone)[::-1]
    if table.task.is_classifier:
        wrong = own["true"].astype(str) != own["predicted"].astype(str)
    else:
        wrong = own["off"] > own["off"].median()
    own = own.assign(wrong=wrong)
    groups = "true" if table.task.is_classifier else "wrong"
    good = own[~own["wrong"]].groupby(groups, sort=False).head(1)
    few = max(1, n - min(n // 2, int(own["wrong"].sum())))
    best = "judged best of {}" if table.task.is_classifier else "judged best"
    worst = "misjudged worst" if table.task.is_classifier else "farthest off"
    picks = [(row["bag"], row["donor"], best.format(row.get("true")))
             for row in good.to_dict("records")][:few]  # fmt: skip
    picks += [(row.bag, row.donor, worst) for row in own[own["wrong"]][::-1].itertuples()]
    shown: dict[Any, str] = {}
    donors: set[Any] = set()
    for bag, donor, why in picks:
        if donor not in donors and len(shown) < n:
            shown[bag] = why
            donors.add(donor)
    return shown


def _slides_of(bags: Bags) -> dict[Any, str]:
    """The first slide of each bag."""
    if "slide" not in bags.instance:
        return {name: str(name) for name in bags.bag.index}
    first = bags.instance["slide"].to_numpy()[bags.offsets[:-1]]
    return dict(zip(bags.bag.index, map(str, first), strict=True))


def _shown(heat: Heatmap, table: Any, method: str, name: Any) -> list[str]:
    """Columns of no class, and those of the true and the predicted class."""
    own = _first(table, method)
    row = own[own["bag"] == name].iloc[0]
    classes = {str(table.task.positive), *(str(row[c]) for c in ("true", "predicted") if c in row)}
    of = {c: c.partition("_")[2] for c in heat.columns}
    return [c for c in heat.columns if not of[c] or of[c] in classes] or heat.columns[:3]
