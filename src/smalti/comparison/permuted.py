"""A comparison under permuted labels: what its methods score where there is nothing to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.comparison.arena import Arena
from smalti.comparison.arranged import arrangements, exchange_of
from smalti.comparison.lineup import Lineup
from smalti.comparison.race import Outcome, race
from smalti.errors import InputError
from smalti.names import meant

LEAST = 20  # with fewer no p is below 5 %
COLUMNS = ["method", "arrangement", "metric", "value"]


def race_permuted(
    asked: int | Mapping[str, int],
    bags: Bags,
    lineup: Lineup,
    outcome: Outcome,
    arena_of: Callable[[Bags], Arena],
    *,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool | None = None,
    cache: str | Path | None = None,
    scheduler: str | None = None,
) -> tuple[pd.DataFrame, str, float]:
    """Means of methods over the folds of permuted labels.

    Parameters
    ----------
    asked
        How many permutations for the cheapest candidate; or label of a method -> how many.
    bags
        That were compared.
    lineup, outcome
        Who took part, and how the race ended.
    arena_of
        Makes the arena of bags with other labels: folds are dealt anew, as they were.
    seed
        Of the permutations.
    n_jobs, progress, cache, scheduler
        As of :func:`smalti.comparison.race.race`.

    Returns
    -------
    tuple
        Tidy: method, arrangement, metric, value (mean over the folds; NaN where a fit failed); in
        words where labels changed places; and the smallest p that the arrangements allow.
    """
    chosen = chosen_of(asked, lineup, outcome.seconds())
    exchange = exchange_of(bags)
    rows: list[dict[str, Any]] = []
    for label, n in chosen.items():
        alone = lineup.some([label])
        for i, other in enumerate(arrangements(bags, exchange, n, seed)):
            try:
                found = race(arena_of(other), alone, n_jobs=n_jobs, progress=progress, cache=cache,
                             scheduler=scheduler)  # fmt: skip
            except InputError:  # no fit came to an end
                found = outcome
            means = found.folds.groupby("metric", sort=False)["value"].mean()
            if found is outcome or len(found.failures):
                means = means * np.nan  # a mean over fewer folds is no mean over all
            about = {"method": label, "arrangement": i}
            rows += [about | {"metric": m, "value": v} for m, v in means.items()]
    seen = exchange.label.astype(float)
    least = min(exchange.least(seen, n) for n in chosen.values())
    told = f"{exchange.describe()}; the smallest possible p is {least:.2g}"
    return pd.DataFrame(rows, columns=COLUMNS), told, least


def check_asked(asked: int | Mapping[str, int], bags: Bags, lineup: Lineup) -> None:
    """Refuse before any fit what cannot be permuted.

    Raises
    ------
    InputError
        If there is no such method, too few permutations are asked, or no label can change places.
    """
    if not asked:
        return
    for n in asked.values() if isinstance(asked, Mapping) else (asked,):
        if n < LEAST:
            raise InputError(f"permutations={n}: with fewer than {LEAST} no p is below 0.05.")
    unknown = [k for k in asked if k not in lineup.methods] if isinstance(asked, Mapping) else []
    if unknown:
        there = ", ".join(lineup.methods)
        raise InputError(f"permutations of {unknown[0]!r}: no such method; there are {there}."
                         f"{meant(unknown[0], lineup.methods)}")  # fmt: skip
    if set(lineup.methods) <= lineup.baselines | lineup.controls and not isinstance(asked, Mapping):
        raise InputError("permutations are of a method, and here are baselines alone.")
    exchange_of(bags)


def chosen_of(
    asked: int | Mapping[str, int], lineup: Lineup, seconds: Mapping[str, float]
) -> dict[str, int]:
    """Method -> permutations; the cheapest candidate, one that did not fail if there is any."""
    return dict(asked) if isinstance(asked, Mapping) else {lineup.cheapest(seconds): asked}
