"""Whether bags that a model is asked about are those that it was fitted on."""

from __future__ import annotations

import warnings
from typing import Any

from smalti.bags import Bags
from smalti.core.align import view_of


def warn_of_training_bags(model: Any, bags: Bags, so: str) -> None:
    """Say so where bags, or others of their donors, made what a model says of them.

    Parameters
    ----------
    model
        Fitted.
    bags
        That it is asked about.
    so
        What is wrong with the answer then.
    """
    if hasattr(model, "seen_"):
        read = bags.only([view_of(model, bags, k) for k in model.features_])
        same = model.seen_.has_bags(read)
        named = bool(model.seen_.donors) and bags.donor not in (None, "bag")
        n = int((same | model.seen_.has_donors(bags) if named else same).sum())
    else:  # a model file from before: it knows its training bags as a whole
        n = len(bags) if model.digest_ == bags.digest else 0
    if n:
        warnings.warn(
            f"{n} of these {len(bags)} bags are among those that {model.name} was fitted on, or of "
            f"donors of the same names: {so}. Ask bags that it has not seen.", stacklevel=4,
        )  # fmt: skip
