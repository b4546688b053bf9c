"""Sequences of steps: from a text, on several views, fitted one after another, saved.

Design:

- One language for what users write, what tables print and what model files keep: :func:`steps_of`
  reads it, :func:`spec_of` writes it, and what it writes makes the same steps again.
- A text is about the first view. A mapping from view to steps is about several. A list holds both,
  in order. A step that no text can name, such as an integration, is a mapping of its name and its
  ``settings``.
- What was fitted is kept in two parts, as a model file has two: arrays and what JSON can hold. Both
  are found by the position of the step, as a sequence may have two of a kind.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.names import meant
from smalti.preprocess.fitted_once import shared_fit
from smalti.preprocess.on import On
from smalti.preprocess.step import ELSEWHERE, STEPS, Step, step_named
from smalti.system.memory import room
from smalti.views import View, is_made, is_shared, leaf, stored_bytes, whole

_NARROW = 8  # how many times smaller than the cohort is what each worker may have of its own
_log = logging.getLogger("smalti")


def steps_of(spec: Any) -> list[Step]:
    """Steps from a text, a step, a mapping from view to steps, or a sequence of these.

    Raises
    ------
    InputError
        For a step that is not known, or a number that is none.

    Examples
    --------
    >>> import smalti as sm
    >>> sm.preprocess.steps_of("normalize,log1p,genes=2000,pca=50")
    [Normalize(), Log1p(), SelectGenes(), PCA()]
    """
    if spec is None:
        return []
    if isinstance(spec, Step):
        return [spec]
    if isinstance(spec, str):
        return [_step(word) for word in filter(None, (w.strip() for w in spec.split(",")))]
    if isinstance(spec, Mapping):
        # a view may be called as a step is: it is a step where "settings" stands beside it
        named = [name for name in spec if step_named(str(name))]
        if len(named) == 1 and set(spec) == {named[0], "settings"}:  # as a model file has it
            return [STEPS[named[0]].from_spec(spec)]
        return [On(view, step) for view, steps in spec.items() for step in steps_of(steps)]
    try:
        return [step for part in spec for step in steps_of(part)]
    except TypeError as error:
        raise InputError(
            f"preprocess={spec!r}: a text, steps of smalti.preprocess, or a mapping from view to "
            "these."
        ) from error


def _step(word: str) -> Step:
    """One step from ``"scale"`` or ``"pca=50"``."""
    name, equals, text = (part.strip() for part in word.partition("="))
    cls = step_named(name)
    if cls is None or not _by_word(cls):
        named = [k for k in {**STEPS, **ELSEWHERE} if k not in STEPS or _by_word(STEPS[k])]
        raise InputError(f"no step {name!r}; there are {', '.join(named)}.{meant(name, named)}")
    setting, kind = cls.argument or (None, float)
    if not equals:
        try:
            return cls()
        except TypeError as error:  # it has no default
            raise InputError(f"step {word!r} needs {setting}: {name}=NAME.") from error
    if kind is str and setting is not None:
        return cls(**{setting: text})
    try:
        number = kind(float(text))  # by way of float: "2e4" is a whole number too
        if setting is None or number <= 0:
            raise ValueError
    except ValueError as error:
        wanted = "takes no number" if setting is None else f"needs {setting} over 0"
        raise InputError(f"step {word!r}: {name} {wanted}.") from error
    return cls(**{setting: number})


def _by_word(cls: type[Step]) -> bool:
    """Whether a word can say it: one that writes itself otherwise (on) needs a mapping."""
    return cls.argument is not None or cls.spec is Step.spec


def spec_of(steps: Sequence[Step]) -> Any:
    """What makes the same steps again, as JSON has it: a text, where all are on the first view."""
    parts: list[Any] = []
    for step in steps:
        spec = step.spec()
        # what is done to one view does not change another: steps on views may be told view by view,
        # in one mapping; but not across a text, whose view may be one of them
        if isinstance(step, On):
            before = parts[-1] if parts and isinstance(parts[-1], dict) else None
            # with "settings" it is a step that reads all views, and no mapping from views
            if before is None or "settings" in before:
                parts.append(before := {})
            before[step.view] = _joined(before.get(step.view), spec[step.view])
        elif isinstance(spec, str) and parts and isinstance(parts[-1], str):
            parts[-1] += f",{spec}"
        else:
            parts.append(spec)
    if not parts:
        return ""
    return parts[0] if len(parts) == 1 else parts


def _joined(before: Any, spec: Any) -> Any:
    """What makes the steps of one view and one more: a text where texts can say it, else a list."""
    if before is None:
        return spec
    if isinstance(before, str) and isinstance(spec, str):
        return f"{before},{spec}"
    return [*(before if isinstance(before, list) else [before]), spec]


def spec_text(steps: Sequence[Step]) -> str:
    """:func:`spec_of` as a text, for tables and AnnData."""
    spec = spec_of(steps)
    return spec if isinstance(spec, str) else json.dumps(spec, default=str)


def at_hand(spec: Any) -> list[str]:
    """Names of the steps that take no other cells than those of their fit; "auto" has none."""
    steps = [] if isinstance(spec, str) and spec == "auto" else steps_of(spec)
    return list(dict.fromkeys(_inner(step).name for step in steps if step.transductive))


def by_company(spec: Any) -> list[str]:
    """Names of the steps of which what comes out for a new cell may hang on which others came."""
    steps = [] if isinstance(spec, str) and spec == "auto" else steps_of(spec)
    return list(dict.fromkeys(_inner(step).name for step in steps if step.by_company))


def _inner(step: Step) -> Step:
    return step.step if isinstance(step, On) else step


def fit_steps(steps: Sequence[Step], bags: Bags) -> tuple[list[Step], Bags]:
    """Clones of the steps, fitted one after another; and the bags after the last.

    In a comparison those that another method had on the same bags (see
    :mod:`smalti.preprocess.fitted_once`).
    """
    return shared_fit(steps, spec_text(steps), bags, lambda: _fit_steps(steps, bags))


def _fit_steps(steps: Sequence[Step], bags: Bags) -> tuple[list[Step], Bags]:
    fitted = []
    for step in steps:
        # clones: the same steps are fitted anew in every fold, each on what the last one made
        fitted.append(clone(step).fit(bags))
        if found := fitted[-1].finding():
            _log.info("%s.", found)
        bags = fitted[-1].transform(bags)
    return fitted, held(bags)


def held(bags: Bags) -> Bags:
    """Bags whose tables are in memory where they are small: what follows reads them often.

    Tables that are unpacked, or go through steps, whenever they are read; and up to a third of what
    is free. What steps make on the way is never held: each of them would be there twice.
    """
    small = {name: whole(view) for name, view in bags.x.items()
             if is_made(view) and _is_small(view)}  # fmt: skip
    return dataclasses.replace(bags, x={**bags.x, **small}) if small else bags


def _is_small(view: View) -> bool:
    size = stored_bytes(view)
    # a cohort that workers share would else be there once more in each of them
    small = not is_shared(view) or _NARROW * size <= stored_bytes(leaf(view))
    return small and 3 * size <= room()


def apply_steps(steps: Sequence[Step], bags: Bags) -> Bags:
    """Bags after fitted steps."""
    for step in steps:
        bags = step.transform(bags)
    return held(bags)


def state_of(steps: Sequence[Step]) -> dict[str, np.ndarray]:
    """Fitted arrays of the steps, by position and name, such as "1/mean": (n_features,)."""
    return {f"{i}/{name}": values for i, s in enumerate(steps)
            for name, values in s.arrays().items()}  # fmt: skip


def names_of(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What else each step was fitted to, as JSON has it."""
    return [s.note() for s in steps]


def from_state(
    spec: Any, arrays: dict[str, np.ndarray], names: Sequence[dict[str, Any]]
) -> list[Step]:
    """Fitted steps, from what :func:`spec_of`, :func:`state_of` and :func:`names_of` gave.

    The arrays may have any shape.
    """
    steps = steps_of(spec)
    for i, (step, known) in enumerate(zip(steps, names, strict=True)):
        # the slash ends the number: "1/" is no beginning of "10/mean"
        own = {k.removeprefix(f"{i}/"): v for k, v in arrays.items() if k.startswith(f"{i}/")}
        step.restore(own, known)
    return steps
