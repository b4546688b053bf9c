"""What a comparison would do: its splits and fits, their time and memory; nothing is written."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti.bags import Bags
from smalti.comparison import expression, integration, learning, modality_prediction, phenotype
from smalti.comparison.arena import Arena
from smalti.comparison.lineup import Lineup, inner_fits, unsearched
from smalti.comparison.permuted import chosen_of
from smalti.comparison.race import Entry, entries_of, fit_one, forgetting_steps, kept_of

_EPOCHS = 5  # of a timed fit, beside one of one


@dataclasses.dataclass
class Plan:
    """What :func:`smalti.compare` of the same arguments would do.

    Attributes
    ----------
    about
        The data in one line.
    protocol
        How bags are parted.
    splits
        One row per split: repeat, fold, train_bags, train_donors, test_bags, test_donors, and
        test_CLASS, bags of each class among the test bags; of expression tiles, slides and donors,
        of integrations cells.
    fits
        One row per method: method, fits, inside (fits within each of them that choose settings, at
        most), kept (of the fits in the cache), and low and high, the seconds that those which are
        left may take, one after another, fits within them as long as they themselves, with the
        settings as given; NaN where a trial failed.
    memory
        Bytes that this process has held at most, trials included, as each worker would; 0 where
        the system does not say.
    tried
        What a timed fit was of a quarter of.
    """

    about: str
    protocol: str
    splits: pd.DataFrame
    fits: pd.DataFrame
    memory: int
    tried: str = "the donors"

    def __str__(self) -> str:
        todo = self.fits["fits"] - self.fits["kept"]
        left, inside = int(todo.sum()), int((todo * self.fits["inside"]).sum())
        within = f" and at most {inside} within them to choose settings" if inside else ""
        low, high = self.fits["low"].sum(), self.fits["high"].sum()
        failed = self.fits.loc[self.fits["high"].isna(), "method"]
        shown = self.fits.round(1).to_string(index=False, na_rep="–")
        return "\n".join([
            self.about, "", f"{self.protocol}:", self.splits.to_string(index=False), "", shown, "",
            f"{left} fits{within}, one after another {_span(low, high)}, by trials on a quarter of "
            f"{self.tried}: low if a fit takes as long, high if it grows with the instances and "
            "stops at no epoch before the last.",
            *(f"{m}: its trial failed, and it is not in the sum." for m in failed),
            f"memory of this process, trials included: {self.memory / 2**30:.1f} GiB; each worker "
            "holds the data too.",
        ])  # fmt: skip


def plan(candidates: Any, bags: Bags, *, cache: str | Path | None = None, **how: Any) -> Plan:
    """Say what a comparison would do.

    Parameters
    ----------
    candidates, bags
        As in :func:`smalti.compare`.
    cache
        Folder of kept fits, which are not made again.
    **how
        What else says how bags are parted and who takes part: folds, repeats, seed, splits, test,
        views, preprocess, attributions, explain, permutations, learning_curve.

    Raises
    ------
    InputError
        As :func:`smalti.compare` does before its first fit.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(24, seed=0)
    >>> found = sm.comparison.plan(["bag_mean"], bags, folds=3)
    >>> found.splits[["train_donors", "test_donors"]].to_numpy().tolist()
    [[16, 8], [16, 8], [16, 8]]
    """
    arena, lineup = phenotype.prepared(candidates, bags, **how)
    again = bool(how.get("permutations") or how.get("learning_curve"))
    found, each = _plan(arena, lineup, arena.protocol.name, cache, "the donors", again)
    more = pd.DataFrame(_again(arena, lineup, each, cache, how))
    return dataclasses.replace(found, fits=pd.concat([found.fits, more], ignore_index=True))


def plan_expression(
    candidates: Any, slides: Any, *, cache: str | Path | None = None, **how: Any
) -> Plan:
    """Say what a comparison of expression would do.

    Parameters
    ----------
    candidates, slides
        As in :func:`smalti.compare_expression`.
    cache
        Folder of kept fits, which are not made again.
    **how
        What else says how tiles are parted and who takes part: all but what says where fits run.

    Raises
    ------
    InputError
        As :func:`smalti.compare_expression` does before its first fit.
    """
    arena, lineup, _ = expression.prepared(candidates, slides, **how)
    return _plan(arena, lineup, f"left out in turn: {arena.by}", cache, "the training tiles")[0]


def plan_integration(
    candidates: Any, bags: Any, *, cache: str | Path | None = None, **how: Any
) -> Plan:
    """Say what a comparison of integrations would do.

    Parameters
    ----------
    candidates, bags
        As in :func:`smalti.compare_integration`.
    cache
        Folder of kept fits, which are not made again.
    **how
        What else says how cells are parted and scored: label, batch, n_clusters, by, seeds,
        leave_out.

    Raises
    ------
    InputError
        As :func:`smalti.compare_integration` does before its first fit.
    """
    arena, lineup, *_ = integration.prepared(candidates, bags, **how)
    return _plan(arena, lineup, "cells held out by each seed", cache, "the training cells")[0]


def plan_modality_prediction(
    candidates: Any, bags: Any, *, cache: str | Path | None = None, **how: Any
) -> Plan:
    """Say what a comparison of predictions of a modality would do.

    Parameters
    ----------
    candidates, bags
        As in :func:`smalti.compare_modality_prediction`.
    cache
        Folder of kept fits, which are not made again.
    **how
        target and seeds.

    Raises
    ------
    InputError
        As :func:`smalti.compare_modality_prediction` does before its first fit.
    """
    arena, lineup, _ = modality_prediction.prepared(candidates, bags, **how)
    return _plan(arena, lineup, "cells held out by each seed", cache, "the training cells")[0]


def _plan(
    arena: Arena, lineup: Lineup, protocol: str, cache: str | Path | None, of: str,
    again: bool = False,
) -> tuple[Plan, dict[str, tuple[float, float]]]:  # fmt: skip
    """The plan of a race, and low and high seconds of a fit of each method.

    ``again``: a fit is timed though all are kept, for others are to be made.
    """
    entries = entries_of(arena, lineup)
    kept = kept_of(arena, entries, cache)
    rows, each = [], {}
    for label, method in lineup.methods.items():
        own = [i for i, entry in enumerate(entries) if entry.label == label]
        there = sum(kept[i] for i in own)
        trial = there < len(own) or again  # what all fits that are kept took is not known
        with forgetting_steps():
            each[label] = _seconds(arena, entries[own[0]]) if trial else (0.0, 0.0)
        rows.append(_fits(label, len(own), there, each[label], inner_fits(method)))
    # seeds of the same tiles are one split
    splits = {(id(e.split.train), id(e.split.test)): e.split for e in reversed(entries)}
    parts = [{"repeat": s.repeat, "fold": s.fold} | arena.counted(s)
             for s in reversed(splits.values())]  # fmt: skip
    plan = Plan(arena.about, protocol, pd.DataFrame(parts), pd.DataFrame(rows), _peak(), of)
    return plan, each


def _fits(
    label: str, fits: int, kept: int, seconds: tuple[float, float], inside: int = 0
) -> dict[str, Any]:
    """A row of the plan; ``inside``: fits that a search makes before each."""
    low, high = ((fits - kept) * (1 + inside) * s if kept < fits else 0.0 for s in seconds)
    return {"method": label, "fits": fits, "inside": inside, "kept": kept, "low": low, "high": high}


def _again(
    arena: Any, lineup: Lineup, each: dict[str, tuple[float, float]], cache: Any,
    how: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """Fits of permuted labels, and of fewer donors; each takes as long as one of all at most."""
    rows, cheap = [], {label: seconds[0] for label, seconds in each.items()}
    if how.get("permutations"):
        for label, n in chosen_of(how["permutations"], lineup, cheap).items():
            rows.append(_fits(f"{label}, labels permuted", n * len(arena.parts), 0, each[label],
                              inner_fits(lineup.methods[label])))  # fmt: skip
    if how.get("learning_curve"):
        fewer = learning.smaller(arena, how["learning_curve"], how.get("seed", 0))
        few = learning.chosen(how["learning_curve"], lineup, cheap)
        entries = entries_of(fewer, few)
        kept = kept_of(fewer, entries, cache)
        for label in few.methods:
            own = [i for i, entry in enumerate(entries) if entry.label == label]
            there = sum(kept[i] for i in own)
            rows.append(_fits(f"{label}, fewer donors", len(own), there, each[label],
                              inner_fits(few.methods[label])))  # fmt: skip
    return rows


def _seconds(arena: Any, entry: Entry) -> tuple[float, float]:
    """Of one fit: as long as the trial, or as much longer as it has more instances."""
    method, train = unsearched(entry.method), entry.split.train
    small = arena.quarter(train)
    epochs = method.get_params().get("epochs") or 1
    split = dataclasses.replace(entry.split, train=small)
    trial = dataclasses.replace(entry, method=method, split=split)
    # the first imports what the others find
    taken = [_timed(arena, trial, n) for n in (1, 1, min(epochs, _EPOCHS))][1:]
    each = max(0.0, taken[1] - taken[0]) / max(1, min(epochs, _EPOCHS) - 1)
    seconds = taken[0] + each * (epochs - 1)
    return seconds, seconds * (arena.amount(train) / arena.amount(small))


def _timed(arena: Any, trial: Entry, epochs: int) -> float:
    """Seconds of a fit of so many epochs, where it has any; NaN where it fails."""
    method = clone(trial.method)
    if method.get_params().get("epochs"):
        method.set_params(epochs=epochs)
    answer = fit_one(arena, dataclasses.replace(trial, method=method))
    return np.nan if isinstance(answer, str) else answer.seconds


def _peak() -> int:
    """Bytes that this process has held at most."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _span(low: float, high: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if high >= 2 * size:
            return f"{low / size:.1f} to {high / size:.1f} {unit}"
    return f"{low:.0f} to {high:.0f} seconds"
