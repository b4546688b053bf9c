"""What a setting may be: the bound stands beside the field and is checked whenever it is set.

``dropout: Part = 0.5`` says both: a number, and from 0 to below 1. Types and bounds are those of
the annotation, checked by pydantic; what is annotated ``Any`` is checked by the method itself.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import numpy as np
from annotated_types import Ge, Gt, Interval

from smalti.errors import InputError
from smalti.names import meant

Count: TypeAlias = Annotated[int, Ge(1)]  # of things that there must be: epochs, units, neighbours
Whole: TypeAlias = Annotated[int, Ge(0)]  # 0: none of it
Positive: TypeAlias = Annotated[float, Gt(0)]  # a rate, a length
Weight: TypeAlias = Annotated[float, Ge(0)]  # of a term of a loss, a penalty; 0: without it
Share: TypeAlias = Annotated[float, Interval(ge=0, le=1)]  # of a whole, all of it included
Part: TypeAlias = Annotated[float, Interval(ge=0, lt=1)]  # of what is dropped: some must be left
Inner: TypeAlias = Annotated[float, Interval(gt=0, lt=1)]  # neither nothing nor all


def check_setting(cls: type, name: str, value: Any) -> None:
    """Refuse a value that a setting cannot have.

    Parameters
    ----------
    cls
        The class of a method, a dataclass.
    name
        Of an attribute; one that is no setting is not looked at.
    value
        Python's or NumPy's number, text, list, ...

    Raises
    ------
    InputError
        If it is of another type, or out of its bounds.
    """
    check = _checks(cls).get(name)
    if check is None:
        return
    from pydantic import ValidationError

    try:
        check.validate_python(_plain(value))
    except ValidationError as error:
        found = dict.fromkeys(_in_words(e) for e in error.errors())
        whose = getattr(cls, "name", "") or cls.__name__
        raise InputError(f"{whose}: {name}={value!r} should be {' or '.join(found)}.") from None


def check_names(cls: type, given: Iterable[str]) -> None:
    """Refuse a setting that a method has not.

    Parameters
    ----------
    cls
        The class of a method, a dataclass.
    given
        Names of settings.

    Raises
    ------
    InputError
        If there is one that it has not.
    """
    known = sorted(f.name for f in dataclasses.fields(cls) if f.init)
    wrong = sorted(set(given) - set(known))
    if wrong:
        whose = getattr(cls, "name", "") or cls.__name__
        raise InputError(f"{whose} has no setting {wrong[0]!r}; it has {', '.join(known)}."
                         f"{meant(wrong[0], known)}")  # fmt: skip


# kind of error of pydantic -> what the value should be
_WORDS = {
    "int_type": "a whole number", "float_type": "a number", "bool_type": "True or False",
    "string_type": "a text", "tuple_type": "several values, as in [8, 4]",
    "greater_than_equal": "{ge:g} or more", "greater_than": "over {gt:g}",
    "less_than_equal": "{le:g} or less", "less_than": "below {lt:g}",
}  # fmt: skip


def _in_words(error: Any) -> str:
    words = _WORDS.get(error["type"])
    if words is None:
        return str(error["msg"]).removeprefix("Input should be ")
    return words.format(**error.get("ctx", {}))


@functools.cache
def _checks(cls: type) -> dict[str, Any]:
    """Setting -> what validates it; without those of type Any."""
    from pydantic import ConfigDict, TypeAdapter

    rules = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    types = setting_types(cls)
    return {name: TypeAdapter(kind, config=rules) for name, kind in types.items()
            if kind is not Any}  # fmt: skip


def setting_types(cls: type) -> dict[str, Any]:
    """Setting -> its type with its bound.

    Parameters
    ----------
    cls
        The class of a method, a dataclass. An annotation that cannot be read when the program runs,
        as of a name that is imported for type checkers only, counts as ``Any``.
    """
    found = {}
    for field in dataclasses.fields(cls):
        kind: Any = field.type
        if isinstance(kind, str):
            owner = next(c for c in cls.__mro__ if field.name in inspect.get_annotations(c))
            try:
                kind = eval(kind, vars(sys.modules[owner.__module__]))
            except NameError:
                kind = Any
        found[field.name] = kind
    return found


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, lists as tuples."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
