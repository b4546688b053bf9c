"""Bounds of settings: beside the field, and checked whenever one is set."""

from typing import Annotated, Any, ClassVar, get_args, get_origin

import annotated_types as at
import numpy as np
import pytest
from sklearn.base import clone

import smalti as sm
from smalti.core.settings import Count, setting_types
from smalti.errors import InputError
from smalti.mil.bag_mean import BagMean

METHODS = [m for room in ("mil", "integrate", "expression") for m in sm.methods(room).values()]


def parts(kind):
    """A type and all that it is made of."""
    yield kind
    if get_origin(kind) is not Annotated:
        for inner in get_args(kind):
            yield from parts(inner)


def bare_numbers(cls):
    """Settings that hold numbers of which no bound is known."""
    return [n for n, kind in setting_types(cls).items() if {int, float} & set(parts(kind))]


def outside(kind):
    """Values just out of the bounds of a number."""
    for rule in (
        r for m in kind.__metadata__ for r in (m if isinstance(m, at.GroupedMetadata) else [m])
    ):
        if isinstance(rule, at.Ge):
            yield rule.ge - 1
        elif isinstance(rule, at.Gt):
            yield rule.gt
        elif isinstance(rule, at.Lt):
            yield rule.lt
        elif isinstance(rule, at.Le):
            yield rule.le + 1


@pytest.mark.parametrize("cls", METHODS, ids=lambda c: c.name)
def test_every_number_has_a_bound_that_is_held(cls):
    assert not bare_numbers(cls)
    tried = 0
    for name, kind in setting_types(cls).items():
        numbers = [k for k in parts(kind) if get_origin(k) is Annotated]
        for value in (v for k in numbers for v in outside(k)):
            value = (value,) if any(get_origin(k) is tuple for k in parts(kind)) else value
            with pytest.raises(InputError, match=rf"{cls.name}: {name}=.* should be "):
                cls(**{name: value})
            tried += 1
    assert tried >= 2  # the seed and the devices at least


def test_a_number_without_a_bound_is_seen():
    class Loose(BagMean):
        name: ClassVar[str] = "loose"
        weight: float = 1.0
        sizes: tuple[int, ...] | None = None

    assert bare_numbers(Loose) == ["weight", "sizes"]


@pytest.mark.parametrize(("settings", "says"), [
    ({"dropout": 7}, "abmil: dropout=7 should be below 1"),
    ({"weight_decay": -1}, "abmil: weight_decay=-1 should be 0 or more"),
    ({"epochs": "ten"}, "abmil: epochs='ten' should be a whole number"),
    ({"epochs": 2.5}, "epochs=2.5 should be a whole number"),
    ({"epochs": True}, "epochs=True should be a whole number"),
    ({"lr": float("nan")}, "lr=nan should be a finite number"),
    ({"widths": [8, 0]}, r"widths=\[8, 0\] should be 1 or more"),
    ({"optimizer": "lion"}, "optimizer='lion' should be 'adam', 'adamw' or 'sgd'"),
    ({"task": "regresion"}, "task='regresion' should be 'binary', "),
    ({"gated": "no"}, "gated='no' should be True or False"),
])  # fmt: skip
def test_one_error_whenever_it_is_set(settings, says):
    ((name, value),) = settings.items()
    with pytest.raises(InputError, match=says):
        sm.make("abmil", **settings)
    model = sm.mil.ABMIL()
    before = model.get_params()
    with pytest.raises(InputError, match=says):
        model.set_params(**settings)
    with pytest.raises(InputError, match=says):
        setattr(model, name, value)
    assert model.get_params() == before


def test_numbers_of_numpy_and_lists_are_taken_as_they_are():
    widths = [np.int64(8)]
    model = sm.mil.ABMIL(epochs=np.int64(3), lr=np.float32(0.1), widths=widths, dropout=0)
    assert model.widths is widths
    assert clone(model).epochs == 3


def test_what_cannot_be_read_or_is_anything_is_not_checked():
    class Odd(BagMean):
        name: ClassVar[str] = "odd"
        any_of: Any = None
        other: "Nowhere" = 3  # noqa: F821
        most: Count | None = None

    assert Odd(any_of=-1, other="x").other == "x"
    with pytest.raises(InputError, match="most=0"):
        Odd(most=0)
