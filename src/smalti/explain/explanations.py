"""``Explanations``: what was measured of the scores that instances are given, and in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.explain.across_donors import across_donors
from smalti.mil.results import SIGNED
from smalti.scores.headline import signed
from smalti.system.tables import write_table

POINTS = "its scores point at what it uses"
FINDS = "its scores point at what speaks for the true label"
NO_BETTER = "its scores are no better than random order"
FLAT = "its scores move the prediction by less than 0.01"
UNSURE = "its scores are not told apart from random order"
CHANCE = "its scores are chance: another seed gives another order"

MARGIN = 0.01  # a gain below it does not matter: of a probability, or a share of the scale
COLLAPSED = 1.5  # instances: fewer carry all of the attention of a bag
UNIFORM = 0.98  # of the instances: so many carry it evenly
_FEW = 5  # instances of a bag of which collapse can be told
_NIL = 0.1  # agreement that is none
_WEAK = 0.3  # and that is too little

BAG_COLUMNS = ("method", "scores", "fold", "bag", "donor", "instances", "deletion", "insertion",
               "norm", "distance", "effective", "repeats", "seeds", "permuted", "permuted_gain",
               "permuted_effective")  # fmt: skip
CURVE_COLUMNS = ("method", "scores", "order", "gone_first", "gone", "value", "low", "high")


@dataclasses.dataclass
class Explanations:
    """Whether the scores of instances mean something, by models that had not seen the bags.

    Attributes
    ----------
    bags
        One row per method, kind of scores and bag: fold, donor, instances; deletion, insertion,
        norm and distance, areas between a curve and that of random order (above 0 is better; the
        last two are the mean of both curves by an order that knows no model); effective, the number
        of instances that the scores rest on; agreement (Spearman) with the model of the next repeat
        (repeats), of another seed (seeds) and of permuted labels (permuted); gain and effective
        number of the latter. NaN what was not measured.
    curves
        Tidy, means over donors: method, scores, order (scores, norm, distance, random), gone_first
        (highest, lowest, any), gone (share), value; low and high, of random order the least and
        most of its draws.
    enriched
        As :func:`enrichment` gives it, with method, and permuted: the difference of models of
        permuted labels.
    silent
        Methods that say nothing of single instances.
    followed
        In words, what of a prediction the curves follow. Of scores with a sign it is of what the
        model predicts; of attention, which has none, of what is true (see :class:`AtHand`).
    """

    bags: pd.DataFrame
    curves: pd.DataFrame
    enriched: pd.DataFrame
    silent: tuple[str, ...] = ()
    followed: str = "the probability of that class"

    def table(self) -> pd.DataFrame:
        """One row per method and kind of scores.

        Returns
        -------
        DataFrame
            method, scores; gain, deletion and insertion (areas, means over donors) each with low
            and high; over_norm and over_distance, gain beyond those orders, with low and high;
            instances and effective (medians over bags); repeats, seeds, permuted (agreement, means
            over donors); permuted_gain; the verdict and warnings in words; donors.
        """
        parts = self.bags.groupby(["method", "scores"], sort=False)
        rows = [self._row(method, scores, part) for (method, scores), part in parts]
        return pd.DataFrame(rows)

    def _row(self, method: str, scores: str, part: pd.DataFrame) -> dict[str, Any]:
        gain = part[["deletion", "insertion"]].mean(axis=1, skipna=False)
        columns = {
            "gain": gain, "deletion": part["deletion"], "insertion": part["insertion"],
            "over_norm": gain - part["norm"], "over_distance": gain - part["distance"],
            "permuted_gain": part["permuted_gain"], "repeats": part["repeats"],
            "seeds": part["seeds"], "permuted": part["permuted"],
        }  # fmt: skip
        found = across_donors(np.column_stack(list(columns.values())), part["donor"])
        found.index = pd.Index(columns)
        row: dict[str, Any] = {"method": method, "scores": scores}
        for name, of in found.iterrows():
            row[str(name)] = of["value"]
            if name not in ("permuted_gain", "repeats", "permuted"):
                row |= {f"{name}_low": of["low"], f"{name}_high": of["high"]}
        row |= {k: float(part[k].median()) for k in ("instances", "effective")}
        row["verdict"] = _verdict(row)
        row["warnings"] = "; ".join(_warnings(row, part))
        return row | {"donors": int(found.loc["gain", "donors"])}

    def said(self, without: Iterable[str] = ()) -> list[str]:
        """What is to be known of the scores, a sentence for each kind without its full stop.

        ``without`` names methods that are passed over.
        """
        told = []
        for row in self.table().to_dict("records"):
            if np.isnan(row["gain"]) or row["method"] in without:
                continue
            ends = "" if np.isnan(row["gain_low"]) else \
                f", 95 % {signed(row['gain_low'], 3)} to {signed(row['gain_high'], 3)}"  # fmt: skip
            gain = f"area {signed(row['gain'], 3)}{ends}"
            text = f"{row['method']}, {row['scores']}: {row['verdict']} ({gain})"
            told.append(text + (f"; {row['warnings']}" if row["warnings"] else ""))
        return told

    def write_into(self, folder: Path) -> None:
        """Write the tables into a folder that is there."""
        if self.bags.empty:
            return
        write_table(self.table(), folder / "explanations.csv")
        write_table(self.curves, folder / "explanation_curves.csv")
        if len(self.enriched):
            write_table(self.enriched, folder / "enrichment.csv")


def _verdict(row: dict[str, Any]) -> str:
    """What the curves say, and whether another seed would say the same."""
    low, high = row["gain_low"], row["gain_high"]
    if row["seeds_high"] < _NIL:
        return CHANCE
    if high < MARGIN:
        return FLAT if low > 0 else NO_BETTER
    if not low > 0:
        return UNSURE
    return POINTS if row["scores"] in SIGNED else FINDS


def _warnings(row: dict[str, Any], part: pd.DataFrame) -> Iterator[str]:
    """In words what speaks against believing the scores."""
    if row["scores"] == "attention":
        yield from _collapse(part)
    if row["verdict"] in (POINTS, FINDS) and row["over_norm_high"] < MARGIN:
        yield "no better than the order by the norm of the features"
    if row["seeds_high"] >= _NIL and row["seeds"] < _WEAK:
        yield f"another seed gives another order (agreement {row['seeds']:.2f})"
    yield from _as_permuted(part)


def _collapse(part: pd.DataFrame) -> Iterator[str]:
    """Of attention on one instance, or on all alike, in most bags."""
    told = part[(part["instances"] >= _FEW) & part["effective"].notna()]
    if told.empty:
        return
    middle = f"{told['effective'].median():.1f} of {told['instances'].median():.0f} instances " \
             "carry it in the median bag"  # fmt: skip
    if (told["effective"] < COLLAPSED).mean() > 0.5:
        yield f"attention has collapsed: {middle}"
    if (told["effective"] > UNIFORM * told["instances"]).mean() > 0.5:
        yield f"attention is all but uniform: {middle}"


def _as_permuted(part: pd.DataFrame) -> Iterator[str]:
    """Where a fit of permuted labels agrees as much as one of another seed."""
    gap = part["seeds"] - part["permuted"]
    own, null = part["seeds"].mean(), part["permuted"].mean()
    if not (own >= _WEAK and np.isfinite(null)):
        return
    told = f"permuted labels (agreement {null:.2f}, of another seed {own:.2f})"
    if gap.groupby(part["fold"]).mean().max() < _NIL:
        yield f"the same with {told}"
    elif null > own / 2 and not _above(gap, part["fold"]):
        yield f"not told apart from a fit of {told}"


def _above(gap: pd.Series, fold: pd.Series) -> bool:
    """Whether a gap is above 0: there is one refit a fold, so that the fold is the unit."""
    return bool(across_donors(gap.to_numpy()[:, None], fold)["low"].iloc[0] > 0)
