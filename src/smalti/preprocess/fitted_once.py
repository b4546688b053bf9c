"""Fitted steps that the methods of one comparison share: fitted once for each split.

Every method of a comparison is given the same training cells, and most of them the same steps;
singular vectors of 100,000 peaks take longer than many a method. What comes out is the same to the
bit: steps draw by seeds of their own, and nobody changes what they were fitted to.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from smalti.bags import Bags
from smalti.preprocess.step import Step

Fitted: TypeAlias = tuple[list[Step], Bags]

_KEPT = 2  # the last so many choices of steps and cells


@dataclasses.dataclass
class Shared:
    """What was fitted last, and the seconds that it saved since they were asked for."""

    kept: OrderedDict[Hashable, tuple[Fitted, float]] = dataclasses.field(
        default_factory=OrderedDict
    )
    saved: float = 0.0

    def fitted(self, spec: str, bags: Bags, fit: Callable[[], Fitted]) -> Fitted:
        """The steps of a spec fitted on these bags, and the bags after them."""
        # names are in no digest, and steps such as drop_controls go by them
        key = (spec, bags.asked_digest, tuple(sorted(bags.features.items())))
        if key in self.kept:
            self.kept.move_to_end(key)
            found, seconds = self.kept[key]
            self.saved += seconds
        else:
            while len(self.kept) >= _KEPT:  # before there is one more
                self.kept.popitem(last=False)
            began = time.perf_counter()
            found = fit()
            self.kept[key] = found, time.perf_counter() - began
        steps, after = found
        return list(steps), after


_NOW: ContextVar[Shared | None] = ContextVar("steps that are shared", default=None)


@contextmanager
def sharing(shared: Shared) -> Generator[None]:
    """Fit steps by what is shared, as long as this lasts."""
    token = _NOW.set(shared)
    try:
        yield
    finally:
        _NOW.reset(token)


def shared_fit(steps: Sequence[Step], spec: str, bags: Bags, fit: Callable[[], Fitted]) -> Fitted:
    """What ``fit`` gives, or what it gave before for the same steps and bags where they are shared.

    Parameters
    ----------
    steps
        To be fitted; none is not worth keeping.
    spec
        The same as a text.
    bags
        What they are fitted on.
    fit
        Fits them.
    """
    shared = _NOW.get()
    return fit() if shared is None or not steps else shared.fitted(spec, bags, fit)
