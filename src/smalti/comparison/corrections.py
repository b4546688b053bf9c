"""Every method on every input: as it comes, scaled per batch, corrected by Harmony or ComBat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.base import clone

from smalti.bags import Bags
from smalti.comparison.lineup import Lineup
from smalti.errors import InputError
from smalti.preprocess import ComBat, Harmony, On, ScaleBatch, steps_of

STEPS = {"none": None, "scaled": ScaleBatch, "harmony": Harmony, "combat": ComBat}
"""Correction -> the step that makes it, after those of a method."""


def check_corrections(corrections: str | Sequence[str] | None, batch: str | None) -> list[str]:
    """The corrections that were asked for, none of them twice.

    Raises
    ------
    InputError
        If one is not known, or no column of batches is named.
    """
    if corrections is None:
        return []
    asked = [corrections] if isinstance(corrections, str) else list(corrections)
    odd = [name for name in asked if name not in STEPS]
    if odd or not asked:
        raise InputError(f"corrections={odd[0] if odd else ''!r}: there are {', '.join(STEPS)}.")
    if batch is None:
        raise InputError("corrections are between batches: name their column, batch=COLUMN.")
    return list(dict.fromkeys(asked))


def correct(
    lineup: Lineup, bags: Bags, batch: str, corrections: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Put each method on each input into the line-up, "umint, harmony" beside "umint".

    Returns
    -------
    dict
        Label -> label of the method as it was given, and its correction.
    """
    methods, baselines = dict(lineup.methods), set(lineup.baselines)
    lineup.methods, made, counts = {}, {}, []
    for label, method in methods.items():
        for name in corrections:
            if name != "none" and method.takes_counts:
                counts.append(label)
                continue
            own = label if name == "none" else f"{label}, {name}"
            lineup.methods[own] = method if name == "none" else _after(method, bags, name, batch)
            made[own] = (label, name)
    lineup.baselines = {k for k, (label, _) in made.items() if label in baselines}
    if counts:
        lineup.notes.append(f"{', '.join(dict.fromkeys(counts))} reads counts, and corrected "
                            "values are none: on uncorrected input only.")  # fmt: skip
    return made


def _after(method: Any, bags: Bags, name: str, batch: str) -> Any:
    """The method with the correction of every view that it reads after its own steps."""
    spec = method.steps_for(bags) if method.preprocess == "auto" else method.preprocess
    only = getattr(method, "modality", None)
    views = [view for view in bags.x if only is None or view == only]
    step = STEPS[name]
    assert step is not None
    if isinstance(spec, Mapping):
        steps: Any = {view: [*steps_of(spec.get(view)), step(batch)] for view in views}
    else:
        steps = [*steps_of(spec), *(On(view, step(batch)) for view in views)]
    return clone(method).set_params(preprocess=steps)
