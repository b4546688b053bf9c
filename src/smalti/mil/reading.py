"""Which views a method for bags reads, and the steps that bring them side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess import Join, On, Step, steps_of


def read_views(whole: Bags, views: Any, preprocess: Any) -> Bags:
    """Those that are named; else the first, where no step looks at another.

    Raises
    ------
    InputError
        If there is no such view.
    """
    if views is not None:
        return whole.only(views)
    alone = all(type(step).transform is Step.transform for step in steps_of(preprocess))
    return whole.only(next(iter(whole.x))) if alone else without_spare_tiles(whole)


def steps_for(whole: Bags, read: Bags, views: Any, preprocess: Any) -> list[Step]:
    """The steps on the views that are read of the whole bags, which then stand side by side."""
    unread = whole.x.keys() - read.x.keys()
    if views is None:
        return steps_of(preprocess)
    steps = [s for s in steps_of(preprocess) if not (isinstance(s, On) and s.view in unread)]
    return [*steps, Join()] if len(read.x) > 1 else steps


def check_read(bags: Bags, steps: Sequence[Step], name: str) -> None:
    """Refuse steps on views that are never looked at: a network reads the first.

    Raises
    ------
    InputError
        If there is such a step.
    """
    first, *others = bags.x
    idle = [step.view for step in steps if isinstance(step, On) and step.view in others]
    if idle:
        raise InputError(
            f"preprocess= names view {idle[0]!r}, and {name} reads {first!r} alone: name all that "
            f"it is to read, views={[first, *dict.fromkeys(idle)]}."
        )


def without_spare_tiles(bags: Bags) -> Bags:
    """Bags without tiles behind the features that a method reads: they would be cut for nothing."""
    first = next(iter(bags.x))
    spare = [
        k for k, v in bags.x.items() if k != first and hasattr(v, "read") and len(v.shape) == 4
    ]
    return dataclasses.replace(bags, x={k: v for k, v in bags.x.items() if k not in spare})
