"""What the labels of a target say: which are missing, of what kind they are, and their order.

The rules, each in one place:

- Missing are NaN, None, and the texts of :data:`MISSING`, which is how tables spell them.
- Of two labels one is positive: the one that was named, the last of an ordered categorical (or of
  ``order=``), else the one that does not mean control (:data:`CONTROL`); where none or both do, and
  of numbers and truth values, the last in sorted order.
- An order is that of numbers, of an ordered categorical, or one that was given; never the alphabet.
- Whole numbers of three values or more are classes where each is of two bags at least, and a
  quantity where there are more than 20; else they could be either, and the user must say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.names import meant

Kind: TypeAlias = Literal["binary", "multiclass", "multilabel", "ordinal", "binomial",
                          "regression", "survival"]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
MISSING = frozenset(("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "<NA>", "NaT", "None", "NULL",
                     "null"))  # fmt: skip
CONTROL = frozenset((
    "control", "controls", "ctrl", "ctrls", "ctl", "ctr", "cntrl", "hc", "healthy", "normal",
    "benign", "unaffected", "negative", "neg", "no", "non", "not", "none", "never", "without",
    "absent", "absence", "false", "0", "-", "wild type", "wildtype", "wt", "reference", "baseline",
    "untreated", "uninfected", "unexposed", "unstimulated", "unstim", "vehicle", "placebo", "mock",
    "sham", "dmso", "pbs", "saline", "well",
))  # fmt: skip
"""Words (and a minus at the end) that mark the negative one of two labels."""
EVENTS = frozenset(("1", "1.0", "true", "yes", "event", "dead", "deceased", "died", "death",
                    "progressed", "progression", "recurred", "recurrence", "relapsed", "relapse",
                    "recurred/progressed"))  # fmt: skip
NO_EVENTS = frozenset(("0", "0.0", "false", "no", "none", "censored", "no event", "alive", "living",
                       "diseasefree", "disease free", "progression free"))  # fmt: skip
"""How tables of studies say whether an event was seen."""
_MOST_CODES = 20  # so many different whole numbers may be classes


def check_kind(kind: str | None) -> None:
    """Refuse a kind that there is not.

    Raises
    ------
    InputError
        If it is none of :data:`KINDS`.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind={kind!r} is not one of {', '.join(KINDS)}.{meant(kind, KINDS)}")


def check_said(kind: str, positive: Any, order: Any, what: str) -> None:
    """Refuse a positive class or an order where the kind of target has none.

    Raises
    ------
    InputError
        If ``positive`` is given and it is not binary, or ``order`` and it has no order.
    """
    if positive is not None and kind != "binary":
        raise InputError(
            f"positive={positive!r}: {what} is {kind}, only a binary target has a positive class. "
            "Leave it out."
        )
    if order is not None and kind not in ("binary", "ordinal"):
        raise InputError(f"order={list(order)!r}: {what} is {kind}, which has no order of classes. "
                         "Leave it out.")  # fmt: skip


def missing(values: Any) -> np.ndarray:
    """(n,) bool: which values are missing, as NaN, None or a text that says so."""
    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        of_category = np.append(missing(series.cat.categories), True)  # code -1: no category
        return of_category[series.cat.codes.to_numpy()]
    gone = series.isna().to_numpy()
    if series.dtype.kind in "biufcmM" or pd.api.types.is_numeric_dtype(series):
        return gone
    words = [v for v in series.unique() if isinstance(v, str) and v.strip() in MISSING]
    return gone | series.isin(words).to_numpy() if words else gone


def missing_words(values: Any) -> str:
    """How the missing ones of some values are spelled: "NaN", or "'', 'NA'"."""
    series = pd.Series(values)
    gone = series[missing(series)]
    said = sorted({repr(v) for v in gone if isinstance(v, str)})
    return ", ".join([*(["NaN"] if gone.isna().any() else []), *said])


def clean(labels: Any, what: str) -> pd.Series:
    """One label per bag, none missing, all of one type.

    Raises
    ------
    InputError
        If labels are missing or infinite, or numbers stand beside texts.
    """
    series = pd.Series(labels).reset_index(drop=True)
    gone = missing(series)
    if gone.any():
        raise InputError(
            f"{what} contains {missing_words(series)} and so is missing for {int(gone.sum())} of "
            f"{len(series)} bags: drop these bags or fill it in (first: position "
            f"{int(gone.argmax())})."
        )
    if series.dtype == object:
        series = series.infer_objects()
    if is_numeric(series) and not np.isfinite(series.to_numpy(float)).all():
        raise InputError(f"{what} contains infinity.")
    return series


def is_numeric(series: pd.Series) -> bool:
    """Whether labels are numbers, and not truth values or categories."""
    return pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)


def in_order(series: pd.Series, order: Sequence[Any] | None, what: str) -> tuple[list[Any], bool]:
    """The different labels in order, and whether that was said; else they are sorted.

    Said is the order of an ordered categorical, and ``order``, which may name labels that do not
    occur.

    Raises
    ------
    InputError
        If ``order`` names a label twice or lacks one, or labels cannot be sorted.
    """
    categorical = isinstance(series.dtype, pd.CategoricalDtype)
    values = series.unique().tolist()
    if order is not None:
        named = [label_of(o, values, o) for o in _list(order)]
        twice = sorted({str(o) for o in named if named.count(o) > 1})
        lacking = [v for v in _sorted(values, what) if v not in named]
        if twice or lacking:
            wrong = f"names {', '.join(twice)} twice" if twice else f"lacks {_texts(lacking)}"
            raise InputError(f"order={list(order)!r} {wrong}: name each label of {what} once.")
        return [o for o in named if o in values], True
    if categorical and series.cat.ordered:
        return [c for c in series.cat.categories.tolist() if c in set(values)], True
    return _sorted(values, what), False


def may_be_graded(values: Sequence[Any], said: bool, what: str) -> None:
    """Refuse labels as grades that have no order but the alphabet.

    Raises
    ------
    InputError
        If they are no numbers, and no order was said.
    """
    if said or _type(values[0]) != "text":
        return
    raise InputError(
        f"{what} has no order: its labels {_texts(values)} would be sorted by the alphabet. Name "
        f"them from the least to the most, order={list(values)!r} in the right order, or make it "
        "an ordered categorical or numbers."
    )


def check_order(values: Sequence[Any], order: Sequence[Any], what: str) -> None:
    """Refuse an order that names labels which do not occur.

    Raises
    ------
    InputError
        If it does.
    """
    extra = [o for o in _list(order) if label_of(o, values, None) is None]
    if extra:
        raise InputError(
            f"order={list(order)!r} names {_texts(extra)}, which {what} does not hold; its labels "
            f"are {_texts(values)}."
        )


def kind_of(series: pd.Series, values: Sequence[Any], said: bool, what: str) -> str:
    """The kind of target that labels make, where nobody named it.

    ``values`` are the different ones, ``said`` is whether their order was.

    Raises
    ------
    InputError
        If whole numbers may be classes or a quantity.
    """
    if len(values) == 2:
        return "binary"
    if said:
        return "ordinal"
    if not is_numeric(series):
        return "multiclass"
    if len(values) > _MOST_CODES or not (series == series.round()).all():
        return "regression"
    once = series[~series.duplicated(keep=False)].tolist()
    if once:
        raise InputError(
            f"{what} holds {len(values)} different whole numbers in {len(series)} bags, "
            f"{len(once)} of them once: say kind='regression' if they are a quantity, "
            "kind='ordinal' if they are grades, kind='multiclass' if they are names of classes."
        )
    return "multiclass"


def looks_censored(labels: Any) -> bool:
    """Whether the columns of (n, 2 or 3) labels are a time, an event and perhaps an entry.

    The first holds numbers other than 0 and 1, which no label of several may; the second is 0 or 1,
    or says in words whether the event was seen.
    """
    y = np.asarray(labels)
    if y.ndim != 2 or y.shape[1] not in (2, 3) or pd.isna(y).any():
        return False
    try:
        time = y[:, 0].astype(float)
        events_of(y[:, 1], "event")
    except (TypeError, ValueError):  # InputError is one of these
        return False
    return not np.isin(time, (0, 1)).all()


def events_of(values: Any, what: str) -> np.ndarray:
    """(n,) 1.0 where an event was seen and 0.0 where not: of 0 and 1, truth values or words.

    Words are those of :data:`EVENTS` and :data:`NO_EVENTS`, also behind a number ("1:DECEASED").

    Raises
    ------
    InputError
        If there are other values, as the causes 0, 1 and 2 of competing risks.
    """
    series = pd.Series(values).reset_index(drop=True)
    known = {v: _event(v) for v in series.unique().tolist()}
    strange = sorted({repr(v) for v, event in known.items() if event is None})
    if not strange:
        return series.map(known).to_numpy(float)
    held = sorted({str(v) for v in known})
    if set(held) <= {"1", "2", "1.0", "2.0"}:
        raise InputError(f"{what!r} holds {' and '.join(held)}, as R codes censored and event: "
                         "write 0 and 1.")  # fmt: skip
    if all(_type(v) == "numbers" for v in known) and len(known) > 2:
        raise InputError(
            f"{what!r} holds {', '.join(held[:5])}: several causes compete, which one curve cannot "
            "say. Ask for one cause: 1 for its events and 0 for all others (a cause-specific "
            "hazard, whose curves are then not those of the other causes' absence)."
        )
    raise InputError(
        f"{what!r} holds {', '.join(strange[:3])}, which says neither that the event was seen nor "
        "that it was not: write 1 and 0."
    )


def _event(value: Any) -> float | None:
    """1.0, 0.0 or, of what says neither, None."""
    if isinstance(value, (bool, np.bool_)):
        return float(value)
    if isinstance(value, str):
        number, _, word = value.strip().lower().partition(":")
        word = (word or number).strip()
        return 1.0 if word in EVENTS else 0.0 if word in NO_EVENTS else None
    return float(value) if _type(value) == "numbers" and value in (0, 1) else None


def scikit_kind(y: Any) -> str | None:
    """The kind "multiclass" for whole numbers that scikit-learn takes for classes; else None."""
    values = np.asarray(y)
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        return None
    n = len(np.unique(values))
    whole = bool((values == values.round()).all())
    return "multiclass" if whole and 2 < n <= _MOST_CODES else None


def positive_last(values: Sequence[Any], positive: Any, said: bool, what: str) -> tuple[Any, Any]:
    """Two labels, the negative one first.

    ``values`` are in the order that was ``said``, or sorted; ``positive`` is the one that was
    named, or None.

    Raises
    ------
    InputError
        If ``positive`` is neither.
    """
    first, last = values
    if positive is not None:
        found = label_of(positive, values, None)
        if found is None:
            raise InputError(
                f"positive={positive!r} is no label of {what}; its labels are {_texts(values)}."
            )
        return (first, last) if found == last else (last, first)
    if said or not isinstance(last, str):
        return first, last
    controls = [_means_control(first, last), _means_control(last, first)]
    return (last, first) if controls == [False, True] else (first, last)


def label_of(name: Any, values: Sequence[Any], otherwise: Any) -> Any:
    """The label of that name: itself, or the one that reads like it ("1" for 1)."""
    for value in values:
        if type(value) is type(name) and value == name:
            return value
    return next((v for v in values if v == name or str(v) == str(name)), otherwise)


def _means_control(label: str, other: str) -> bool:
    """Whether a word of a label means control, or denies a word of the other label."""
    words, others = _words(label), _words(other)
    pairs = [" ".join(pair) for pair in pairwise(words)]
    denied = {f"{no}{word}" for no in ("non", "un") for word in others}
    return any(word in CONTROL or word in denied for word in [*words, *pairs])


def _words(label: str) -> list[str]:
    """Words of a label in small letters: at signs, digits and capitals inside ("NonResponder")."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label.strip())
    return re.findall(r"[^\W\d_]+|\d+(?:\.\d+)?|[+-]$", apart.lower())


def _sorted(values: Sequence[Any], what: str) -> list[Any]:
    """Labels in sorted order, all of one type."""
    of_type: dict[str, Any] = {}
    for value in values:
        of_type.setdefault(_type(value), value)
    if len(of_type) > 1:
        both = " and ".join(f"{k} ({v!r})" for k, v in of_type.items())
        raise InputError(f"{what} holds {both}: write all its labels in one way.")
    return sorted(values)


def _type(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "truth values"
    if isinstance(value, (int, float, np.number)):
        return "numbers"
    return "text" if isinstance(value, str) else type(value).__name__


def _list(order: Any) -> list[Any]:
    if isinstance(order, str) or not hasattr(order, "__iter__"):
        raise InputError(f"order={order!r} must be a list of labels, from the least to the most.")
    return list(order)


def _texts(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values))
