"""New data laid out as the training data were: the same views, the same features in one order.

Features that the data lack are a matter of what the model makes of them: those of which it makes
nothing (a selection in the fold dropped them) need not be there, the others must be, or the user
says what to take them for.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.names import mismatch, namesakes, some
from smalti.preprocess import Trace
from smalti.views import Through, View, told_of_arrays

MISSING = ("zero", "mean")


class Fitted(Protocol):
    """What is asked of a fitted method."""

    features_: dict[str, tuple[str, ...] | None]
    inputs_: dict[str, tuple[Any, ...]]

    def reads(self) -> Trace:
        """Which features of training it makes anything of."""
        ...


def aligned(model: Fitted, bags: Bags, missing: str | None = None) -> Bags:
    """The views of the training data alone, their features in the order of training.

    Parameters
    ----------
    model
        A fitted method.
    bags
        New bags.
    missing
        What to take features for that the model reads and the bags lack: "zero", "mean" (of
        training, after the steps); None: they are an error. Notes of the result say which.

    Raises
    ------
    InputError
        If a feature that the model reads is lacking or is there twice, or the widths differ.
    """
    if missing not in (None, *MISSING):
        raise InputError(f"missing={missing!r} is neither 'zero' nor 'mean'.")
    views, present, lacking, notes = {}, {}, {}, []
    for name in model.features_:
        other = view_of(model, bags, name)
        place, note = _places(model, bags, name, other, missing)
        views[name], gone = bags.x[other], bags.lacking.get(other)
        if place is not None:
            views[name] = _columns(bags, other, place)
            gone = None if gone is None else np.where(place < 0, False, gone[place])
            if missing == "mean" and (place < 0).any():
                gone = (place < 0) | (False if gone is None else gone)
        if tuple(views[name].shape[1:]) != model.inputs_[name]:
            raise InputError(
                f"X has {views[name].shape[1]} features, but {type(model).__name__} is expecting "
                f"{model.inputs_[name][0]} features as input (view {other!r}: "
                f"{views[name].shape[1:]} against {model.inputs_[name]})."
            )
        notes += note
        if other in bags.present:
            present[name] = bags.present[other]
        if gone is not None and gone.any():
            lacking[name] = gone
    return dataclasses.replace(
        bags, x=views, features={k: v for k, v in model.features_.items() if v}, present=present,
        lacking=lacking, notes=(*bags.notes, *notes),
    ).check()  # fmt: skip


def view_of(model: Fitted, bags: Bags, name: str) -> str:
    """The view that stands for one of training: where there is one view, its name does not matter.

    Raises
    ------
    InputError
        If there is none.
    """
    return next(iter(bags.x)) if len(model.features_) == len(bags.x) == 1 else bags.view(name)[0]


def under_its_name(model: Fitted, bags: Bags) -> Bags:
    """A lone view called as the view of training that most of its features are of.

    A model of several views knows them by name, and of a file with one modality the view is "X".
    """
    name = next(iter(bags.x))
    if len(bags.x) > 1 or len(model.features_) < 2 or name in model.features_:
        return bags
    there = {*bags.features.get(name, ()), *bags.ids.get(name, ())}
    shared = {k: len(there.intersection(names or ())) for k, names in model.features_.items()}
    known = max(shared, key=lambda k: shared[k])
    if not shared[known]:
        return bags
    parts = ("x", "features", "present", "lacking", "kinds", "ids")
    of = {part: getattr(bags, part) for part in parts}
    called: dict[str, Any] = {
        part: {known: held[name]} if name in held else {} for part, held in of.items()
    }
    return dataclasses.replace(bags, **called)


def _places(
    model: Fitted, bags: Bags, name: str, other: str, missing: str | None
) -> tuple[np.ndarray | None, list[str]]:
    """(n_features,) column of each feature of training, -1: none; None: as they are. And notes."""
    names, there = model.features_[name], bags.features.get(other)
    if not names or not there or names == there:
        return None, []
    at = {feature: i for i, feature in enumerate(there)}
    # of a model that was fitted on ids, where the data are called by the symbols beside them
    at = {i: at[n] for i, n in bags.ids.get(other, {}).items() if n in at} | at
    place = np.array([at.get(feature, -1) for feature in names])
    trace = model.reads() if (place < 0).any() else None
    read = np.ones(len(names), dtype=bool) if trace is None else trace.read[name]
    _refuse_namesakes([n for n, r in zip(names, read, strict=True) if r], there, name, other)
    if trace is None:
        return place, []
    absent = [n for n, gone in zip(names, (place < 0) & read, strict=True) if gone]
    if not absent:
        return place, _smaller_sums(trace, name, other, int((place < 0).sum()), len(names))
    n = int(read.sum())
    said = f"{len(absent):,} of the {n:,} features that the model reads are not in view {other!r}"
    why = mismatch(absent, there) if len(absent) > n / 2 else None
    hint = "" if why is None else f"; of them and those of the view {why}"
    if missing is None or len(absent) == n:
        mend = "Add them, or fit without them" if why is None else "Rename or translate them first"
        or_say = "." if len(absent) == n else \
            "; or have them taken for something, missing='zero' or missing='mean'."  # fmt: skip
        raise InputError(f"{said}: {some(absent)}{hint}. {mend}{or_say}")
    note = f"{said} ({some(absent)}): they are taken for {_FOR[missing]}."
    warnings.warn(note, UserWarning, stacklevel=4)
    return place, [note]


_FOR = {"zero": "0", "mean": "their mean in training"}


def _refuse_namesakes(read: Sequence[str], there: Sequence[str], name: str, other: str) -> None:
    """Refuse names that several features have, where the model reads one of them."""
    wanted = set(read)
    twice = [n for n in namesakes(there) if n in wanted] or namesakes(read)
    if twice:
        raise InputError(
            f"{len(twice)} of the features that the model reads are in view {other!r} more than "
            f"once, or were in training: {some(twice)}. Which is which cannot be told: make the "
            "names unique, in the training data too (adata.var_names_make_unique())."
        )


def _smaller_sums(trace: Trace, name: str, other: str, n: int, of: int) -> list[str]:
    """A note where features of which nothing is made had a share in what a row was divided by."""
    steps = trace.across.get(name)
    if not steps:
        return []
    note = (
        f"{n:,} of the {of:,} features of training are not in view {other!r}; the model makes "
        f"nothing of them, but {', '.join(dict.fromkeys(steps))} divides by sums of a row, which "
        "are of those that are there."
    )
    warnings.warn(note, UserWarning, stacklevel=5)
    return [note]


def _columns(bags: Bags, name: str, place: np.ndarray) -> Any:
    """(n, len(place)) columns of a view, 0 where ``place`` is -1."""
    view: View = bags.x[name]
    if hasattr(view, "__getitem__"):
        return _laid_out(view, place)
    return Through(view, partial(_laid_out, place=place), told_of_arrays("laid out", place))


def _laid_out(table: Any, place: np.ndarray) -> Any:
    """(n, len(place)) columns of rows in memory, 0 where ``place`` is -1."""
    there = np.flatnonzero(place >= 0)
    part = table[:, place[there]]
    if len(there) == len(place):
        return part
    shape = (part.shape[0], len(place))
    if sp.issparse(part):
        part = sp.csr_matrix(part)
        return sp.csr_matrix((part.data, there[part.indices], part.indptr), shape=shape)
    out = np.zeros(shape, dtype=part.dtype)
    out[:, there] = part
    return out


def said(filled: Bags, bags: Bags, *more: str) -> dict[str, list[str]]:
    """What ``uns`` is to say of what was lacking: notes that filling in added, and more."""
    notes = [*filled.notes[len(bags.notes) :], *more]
    return {"missing": notes} if notes else {}


# ---------------------------------------------------------------- what stands for a mean


def column_means(bags: Bags) -> dict[str, np.ndarray]:
    """View -> (n_features,) float32 means, of the tables whose features have names."""
    from smalti.solve.moments import moments

    return {
        name: moments(view, bags.present.get(name))[0].astype(np.float32)
        for name, view in bags.x.items()
        if bags.features.get(name) and len(view.shape) == 2
    }


def with_means(bags: Bags, means: Mapping[str, np.ndarray]) -> Bags:
    """The bags after the steps, features that are lacking at their (n_features,) means.

    Raises
    ------
    InputError
        If the means are not known.
    """
    views = dict(bags.x)
    for name, gone in bags.lacking.items():
        if name not in means:
            raise InputError(
                "the model was saved before means of training were kept, so nothing can be taken "
                "for its mean: fit it again, or say missing='zero'."
            )
        change = partial(_with_mean, gone=gone, mean=means[name])
        here = hasattr(views[name], "__getitem__")
        told = told_of_arrays("means", gone, means[name])
        views[name] = change(views[name]) if here else Through(views[name], change, told)
    return dataclasses.replace(bags, x=views)


def _with_mean(table: Any, gone: np.ndarray, mean: np.ndarray) -> Any:
    """(n, d) rows in memory whose features that are gone, (d,) bool, are at their mean, (d,)."""
    row = np.where(gone, mean, 0).astype(np.float32)
    if not sp.issparse(table):
        return np.where(gone, row, table)
    there = sp.diags((~gone).astype(np.float32))
    rows = sp.csr_matrix(np.ones((table.shape[0], 1), np.float32)) @ sp.csr_matrix(row)
    return sp.csr_matrix(table @ there + rows)
