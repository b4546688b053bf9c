"""Explanations in a comparison: measured beside each fit, on bags that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti.bags import Bags
from smalti.comparison.arranged import arrangements, exchange_of
from smalti.comparison.cache import Answer
from smalti.comparison.splits import Split
from smalti.errors import InputError
from smalti.explain.agreement import agreement
from smalti.explain.curves import curves_of, effective_number
from smalti.explain.explanations import BAG_COLUMNS, Explanations
from smalti.explain.high_scores import enrichment
from smalti.explain.instance_scores import KINDS, followed_of, scores_of, side_of
from smalti.explain.measured import bag_rows, curve_rows, mean_curves
from smalti.task import Task
from smalti.views import slice_rows

_OTHER = 500_000  # from the seed of a fit to that of another of the same bags
_SHOWN = 200  # features of a view that a table of enrichment keeps of each kind of scores


def explain_fit(model: Any, train: Bags, test: Bags, answer: Answer, *, again: bool) -> None:
    """Add to an answer what its model's scores of the test bags are worth.

    Parameters
    ----------
    model
        Fitted on ``train``.
    train, test
        Bags of other donors.
    answer
        Gets arrays of the test bags, under "explain/".
    again
        Fit twice more, with another seed and with permuted labels.
    """
    if model.task_.several:
        return
    curves, scores = curves_of(model, test, seed=model.seed)
    answer.note["kinds"] = list(scores)
    if not scores:
        return
    found = {"curves": curves.values, "random": curves.random, "gains": curves.gains(),
             "effective": _effective(scores, test)}  # fmt: skip
    if again:
        found |= _again(model, train, test, scores)
    answer.arrays |= {f"explain/{k}": v.astype(np.float32) for k, v in found.items()}


def _again(
    model: Any, train: Bags, test: Bags, scores: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What a fit of another seed and one of permuted labels say of the same bags."""
    # both differ from the model in their seed, so that between them it is the labels alone
    other, null = (clone(model).set_params(seed=model.seed + _OTHER) for _ in range(2))
    other.fit(train)
    found = {"seeds": agreement(scores, _scores(other, test), test.offsets)}
    try:
        moved = next(arrangements(train, exchange_of(train), 1, model.seed))
    except (InputError, StopIteration):  # no label of so few donors can change places
        return found
    null.fit(moved)
    curves, theirs = curves_of(null, test, yardsticks=(), seed=model.seed)
    gains = curves.gains().mean(3)  # (2, n_bags, n_kinds)
    return found | {
        "permuted": agreement(scores, theirs, test.offsets),
        "permuted_gain": np.column_stack([gains[side_of(k), :, j] for j, k in enumerate(theirs)]),
        "permuted_effective": _effective(theirs, test),
        "permuted_scores": np.column_stack(list(theirs.values())),
    }


def _scores(model: Any, bags: Bags) -> dict[str, np.ndarray]:
    return scores_of(model, model.forward(bags)[1])


def _effective(scores: Mapping[str, np.ndarray], bags: Bags) -> np.ndarray:
    return np.column_stack([effective_number(v, bags.offsets) for v in scores.values()])


# -------------------------------------------------------------------- of all fits


def explanations_of(
    bags: Bags,
    task: Task,
    split: Mapping[tuple[int, int], Split],
    answers: Mapping[tuple[str, int, int], Answer],
) -> Explanations | None:
    """What the fits of a comparison have kept of explanations; None where none has.

    Parameters
    ----------
    bags
        Those that are tested.
    task
        Of the comparison.
    split
        (repeat, fold) -> split.
    answers
        (label, repeat, fold) -> answer.
    """
    kept = {k: a for k, a in answers.items() if "kinds" in a.note}
    if not kept:
        return None
    with_scores = {k: a for k, a in kept.items() if a.note["kinds"]}
    labels = dict.fromkeys(k[0] for k in kept)
    silent = tuple(k for k in labels if k not in {key[0] for key in with_scores})
    rows: list[pd.DataFrame] = []
    parts: list[pd.DataFrame] = []
    for (label, repeat, fold), answer in with_scores.items():
        test = bags[split[repeat, fold].test]
        measured = {k.removeprefix("explain/"): v for k, v in answer.arrays.items()}
        rows.append(bag_rows(label, fold, test, answer.note["kinds"], measured))
        parts.append(curve_rows(label, test, answer.note["kinds"], measured))
    frame = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(BAG_COLUMNS))
    frame["repeats"] = _between_repeats(frame, bags, split, answers)
    return Explanations(frame, mean_curves(parts), _enriched(bags, split, with_scores), silent,
                        followed_of(task))  # fmt: skip


def _placed(
    bags: Bags, split: Mapping[tuple[int, int], Split], answers: Mapping[tuple[int, int], Any],
    width: int,
) -> np.ndarray:  # fmt: skip
    """(n_instances, width) scores of the test bags of all folds; NaN of bags that none tested.

    Of a bag that several folds tested those of the first.
    """
    out = np.full((bags.n_instances, width), np.nan)
    for key, values in answers.items():
        rows = slice_rows(bags.offsets, split[key].test)
        empty = np.isnan(out[rows, 0])
        out[rows[empty]] = values[empty]
    return out


def _by_kind(answer: Answer) -> dict[str, list[int]]:
    """Kind of scores -> the columns of the attributions that are of it."""
    names = answer.note["attributions"]
    return {kind: own for kind in KINDS
            if (own := [i for i, c in enumerate(names) if c == kind or c.startswith(f"{kind}_")])
            }  # fmt: skip


def _between_repeats(
    frame: pd.DataFrame, bags: Bags, split: Mapping[tuple[int, int], Split],
    answers: Mapping[tuple[str, int, int], Answer],
) -> np.ndarray:  # fmt: skip
    """(n_rows,) agreement of each bag with the model of the second repeat; NaN where is none."""
    out = pd.Series(np.nan, index=frame.index)
    for label, rows in frame.groupby("method", sort=False):
        own = {k[1:]: a for k, a in answers.items() if k[0] == label and "attributions" in a.arrays}
        repeats = sorted({repeat for repeat, _ in own})
        if len(repeats) < 2:
            continue
        columns = _by_kind(next(iter(own.values())))
        width = max(max(c) for c in columns.values()) + 1
        one, two = (
            _placed(bags, split, {k: a.arrays["attributions"][:, :width] for k, a in own.items()
                                  if k[0] == repeat}, width)
            for repeat in repeats[:2]
        )  # fmt: skip
        found = agreement({k: one[:, c] for k, c in columns.items()},
                          {k: two[:, c] for k, c in columns.items()}, bags.offsets)  # fmt: skip
        place = {name: i for i, name in enumerate(bags.bag.index)}
        kinds = {kind: j for j, kind in enumerate(columns)}
        out[rows.index] = [found[place[b], kinds[k]]
                           for b, k in zip(rows["bag"], rows["scores"], strict=True)]  # fmt: skip
    return out.to_numpy()


def _enriched(
    bags: Bags, split: Mapping[tuple[int, int], Split],
    answers: Mapping[tuple[str, int, int], Answer],
) -> pd.DataFrame:  # fmt: skip
    """What high scores of each method go with, beside those of fits of permuted labels."""
    parts = []
    for label in dict.fromkeys(k[0] for k in answers):
        own = {k[1:]: a for k, a in answers.items() if k[0] == label}
        first = next(iter(own.values()))
        at = [i for columns in _by_kind(first).values() for i in columns]
        names = [first.note["attributions"][i] for i in at]
        given = {k: a.arrays["attributions"][:, at] for k, a in own.items()}
        found = _enrichment(bags, split, given, names)
        null = {k: a.arrays["explain/permuted_scores"] for k, a in own.items()
                if "explain/permuted_scores" in a.arrays}  # fmt: skip
        keys = ["scores", "what", "name"]
        if null and all(v.shape[1] == len(names) for v in null.values()):
            theirs = _enrichment(bags, split, null, names).set_index(keys)["difference"]
            found = found.join(theirs.rename("permuted"), on=keys)
        found.insert(0, "method", label)
        parts.append(found.groupby(["scores", "what"], sort=False).head(_SHOWN))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _enrichment(
    bags: Bags, split: Mapping[tuple[int, int], Split], given: Mapping[tuple[int, int], np.ndarray],
    names: list[str],
) -> pd.DataFrame:  # fmt: skip
    """Of the bags that were tested."""
    values = _placed(bags, split, given, len(names))
    there = np.isfinite(values).all(1)
    tested = bags[there[bags.offsets[:-1]]]
    return enrichment(tested, dict(zip(names, values[there].T, strict=True)))
