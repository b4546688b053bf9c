"""``--search``: which settings a method chooses inside the folds, as one text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from smalti.cli import options
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.comparison.search.own import Search

PANEL = "The search of settings"
_FORM = '"abmil:lr=1e-4..1e-2 log;widths=[32]|[64]"'

Searches: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--search",
        metavar="METHOD: NAME=VALUES",
        help="Method whose settings are chosen anew in each fold, by its training donors, as in "
        f"{_FORM}: values with |, or a range; repeatable.",
        rich_help_panel=PANEL,
    ),
]
OneSearch: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--search",
        metavar="NAME=VALUES",
        help="Settings that are chosen by inner folds of all donors, as in "
        '"lr=1e-4..1e-2 log;widths=[32]|[64]".',
        rich_help_panel=PANEL,
    ),
]
Trials: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="Settings that are tried: 20; all of a grid.", rich_help_panel=PANEL),
]
InnerFolds: TypeAlias = Annotated[
    int | None,
    typer.Option(min=2, help="Parts of the training donors: 3.", rich_help_panel=PANEL),
]
Sampler: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="random (where left out), grid, or optuna (the extra search).", rich_help_panel=PANEL
    ),
]
Budget: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Seconds after which a fit tries no other settings; what comes out then hangs on the "
        "machine.",
        rich_help_panel=PANEL,
    ),
]


def how_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """How settings are tried, of what a verb was given.

    Raises
    ------
    InputError
        If it is said how, and no search is named.
    """
    names = {"trials": "trials", "inner_folds": "folds", "sampler": "sampler", "budget": "budget"}
    how = {names[k]: given[k] for k in names if given.get(k) is not None}
    if how and not given.get("search"):
        first = next(k for k in names if given.get(k) is not None)
        raise InputError(f"{first}= is of a search of settings: name one, --search {_FORM}.")
    return how


def spaces_of(texts: list[str] | None) -> dict[str, str]:
    """Name of a method -> its space, of each ``--search``.

    Raises
    ------
    InputError
        If one names no method or no setting, or a method is named twice.
    """
    spaces: dict[str, str] = {}
    for text in texts or ():
        found = re.fullmatch(r"\s*([\w.]+(?::[\w.]+)?)\s*:\s*(\w+\s*=.*)", text, flags=re.DOTALL)
        if found is None:
            raise InputError(f"--search {text!r} is not of the form {_FORM}.")
        if found[1] in spaces:
            raise InputError(f"--search names {found[1]} twice: give it one space of settings.")
        spaces[found[1]] = found[2]
    return spaces


def searched(methods: list[Any], spaces: Mapping[str, str], how: Mapping[str, Any]) -> list[Any]:
    """Methods, the last ones of them, one a space, as searches."""
    n = len(methods) - len(spaces)
    pairs = zip(methods[n:], spaces.values(), strict=True)
    return methods[:n] + [search_of(method, space, how) for method, space in pairs]


def search_of(method: Any, text: str, how: Mapping[str, Any]) -> Search:
    """A method whose settings are chosen from a space, as ``--search`` says it.

    Raises
    ------
    InputError
        If the space cannot be read, or cannot be searched.
    """
    from smalti.comparison.search.own import Search

    search = Search(method, space_of(text), **how)
    try:
        search.check()
    except InputError as error:
        raise InputError(str(error).replace("space: ", "--search: ", 1)) from error
    return search


def space_of(text: str) -> dict[str, Any]:
    """``lr=1e-4..1e-2 log; widths=[32]|[64]`` as a mapping.

    Raises
    ------
    InputError
        If a part is not of the form NAME=VALUES, or a setting is named twice.
    """
    space: dict[str, Any] = {}
    for part in filter(str.strip, text.split(";")):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not (equals and re.fullmatch(r"\w+", name) and values):
            raise InputError(f"--search: {part.strip()!r} is not of the form NAME=VALUES.")
        if name in space:
            raise InputError(f"--search names {name!r} twice.")
        space[name] = _range(values) or [_value(v) for v in values.split("|")]
    return space


def _range(text: str) -> tuple[Any, ...] | None:
    """``1e-4..1e-2 log`` as (low, high, "log"); None of anything else."""
    number = r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    found = re.fullmatch(rf"{number}\s*\.\.\s*{number}(\s+log)?", text)
    if found is None:
        return None
    whole = all(re.fullmatch(r"-?\d+", v) for v in found.groups()[:2])
    low, high = (int(v) if whole else float(v) for v in found.groups()[:2])
    return (low, high, "log") if found[3] else (low, high)


def _value(text: str) -> Any:
    (value,) = options.settings_of([f"it={text.strip()}"]).values()
    return tuple(value) if isinstance(value, list) else value
