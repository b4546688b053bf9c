"""Whether the predictions of one fitted model hang on the instances that it scores high."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.explain.curves import curves_of, effective_number
from smalti.explain.explanations import Explanations
from smalti.explain.high_scores import enrichment
from smalti.explain.instance_scores import followed_of
from smalti.explain.measured import bag_rows, curve_rows, mean_curves
from smalti.explain.training_bags import warn_of_training_bags


def faithfulness(model: Any, bags: Bags, *, draws: int = 5, seed: int = 0) -> Explanations:
    """Take instances away, those of high scores first, and see what the prediction becomes.

    Beside it the same by random order, by the norm of the features and by their distance to the
    mean of the bag; on how many instances the scores rest; and what the highest go with.

    Signed scores (contribution, score) are held against the class that is predicted, right or
    wrong. Attention speaks for no class: it is held against the true one.

    Parameters
    ----------
    model
        Fitted method of ``smalti.mil`` that says something of instances.
    bags
        Bags that it has **not** seen, with their target and their donors.
    draws, seed
        Random orders, and the seed of them.

    Returns
    -------
    Explanations

    Raises
    ------
    InputError
        If the method says nothing of instances, or has several targets at once.

    See Also
    --------
    smalti.compare : ``explain=True`` asks the models of all folds, and fits others beside them.

    Examples
    --------
    >>> import smalti as sm
    >>> train, test = (sm.datasets.planted_bags(40, seed=s) for s in (0, 1))
    >>> model = sm.mil.BagMean(progress=False).fit(train)
    >>> found = sm.explain.faithfulness(model, test)
    >>> found.table()["verdict"].tolist()
    ['its scores point at what it uses']
    """
    check_is_fitted(model)
    if model.task_.several:
        raise InputError(f"{model.name} has several targets at once, and a curve follows one: fit "
                         "it to one of them.")  # fmt: skip
    warn_of_training_bags(model, bags, "what its scores point at was fitted to these very labels")
    curves, scores = curves_of(model, bags, draws=draws, seed=seed)
    if not scores:
        raise InputError(
            f"{model.name} says nothing of single instances: take a method with attention or "
            "contributions, such as abmil or mi_net."
        )
    effective = np.column_stack([effective_number(v, bags.offsets) for v in scores.values()])
    measured = {"curves": curves.values, "random": curves.random, "gains": curves.gains(),
                "effective": effective}  # fmt: skip
    kinds = list(scores)
    return Explanations(
        bag_rows(model.name, 0, bags, kinds, measured),
        mean_curves([curve_rows(model.name, bags, kinds, measured)]),
        _enriched(model, bags, kinds), followed=followed_of(model.task_),
    )  # fmt: skip


def _enriched(model: Any, bags: Bags, kinds: list[str]) -> Any:
    frame = model.attribute(bags)
    names = [c for kind in kinds for c in frame if c == kind or c.startswith(f"{kind}_")]
    table = enrichment(bags, {c: frame[c].to_numpy() for c in names})
    table.insert(0, "method", model.name)
    return table
