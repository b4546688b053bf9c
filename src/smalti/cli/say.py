"""How much is said, and to whom: ``-q``, ``-v`` and ``--json``.

What a verb did is said by :func:`say`, and goes under ``-q``. What it was asked for is given by
:func:`answer`, for people or, under ``--json``, for programs; all else that would be on standard
output is then on standard error.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from typing import Annotated, Any

import typer

from smalti.cli.crew import hushed
from smalti.system.progress import Progress

_log = logging.getLogger("smalti")
_JSON = "smalti.json"
_PANEL = "What is said"
_level = 0
_facts: list[Any] | None = None  # where JSON is asked for: what is to be printed


def usual() -> None:
    """A line of the log for each fit, where no bar can be shown."""
    if not sys.stderr.isatty():
        _lines(logging.INFO)


def _lines(level: int) -> None:
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    _log.setLevel(level)


@contextmanager
def as_asked() -> Iterator[None]:
    """One call of the command, after which nothing is quiet that was not before."""
    global _level
    before = _log.level, Progress.silent
    _level = 0
    try:
        yield
    finally:
        _level = 0
        _log.setLevel(before[0])
        Progress.silent = before[1]


def _quiet(value: bool) -> None:
    global _level
    if value:
        _level, Progress.silent = -1, True
        _log.setLevel(logging.WARNING)


def _verbose(value: bool) -> None:
    global _level
    if value:
        _level, Progress.silent = 1, False
        _lines(logging.DEBUG)


def _as_json(ctx: typer.Context, value: bool) -> None:
    ctx.meta[_JSON] = value


@cache
def own_params() -> tuple[Any, ...]:
    """``-q`` and ``-v``, of every verb and of what holds verbs."""

    def both(
        quiet: Annotated[
            bool,
            typer.Option(
                "--quiet", "-q", help="Warnings, errors and what was asked for; no bar, no notes.",
                callback=_quiet, expose_value=False, rich_help_panel=_PANEL,
            ),
        ] = False,
        verbose: Annotated[
            bool,
            typer.Option(
                "--verbose", "-v", help="The whole log, on standard error.",
                callback=_verbose, expose_value=False, rich_help_panel=_PANEL,
            ),
        ] = False,
    ) -> None:  # fmt: skip
        pass

    return params_of(both)


@cache
def json_param() -> tuple[Any, ...]:
    """``--json``, of verbs that answer."""

    def one(
        json: Annotated[
            bool,
            typer.Option(
                "--json", help="What is found as JSON on standard output, and nothing else there.",
                callback=_as_json, expose_value=False, rich_help_panel=_PANEL,
            ),
        ] = False,
    ) -> None:  # fmt: skip
        pass

    return params_of(one)


def params_of(function: Callable[..., None]) -> tuple[Any, ...]:
    """The options of a function as Typer makes them, for verbs that all have them."""
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return tuple(p for p in typer.main.get_command(app).params if p.name != "help")


def quiet() -> bool:
    """Whether only warnings, errors and answers are to be said."""
    return _level < 0


def say(text: str) -> None:
    """Say what was done: on standard output, and not under ``-q``."""
    if not quiet() and not hushed():
        typer.echo(text)


def answer(facts: Any, show: Callable[[], Any]) -> None:
    """Give what a verb was asked for.

    Parameters
    ----------
    facts
        For programs: what JSON has, tables (a list of rows), numbers of NumPy, paths. A function
        of no arguments is only called where they are asked for.
    show
        Prints it for people.
    """
    if _facts is None:
        show()
    else:
        _facts.append(facts() if callable(facts) else facts)


@contextmanager
def answering(ctx: Any) -> Iterator[None]:
    """A verb that may be asked for JSON: it is printed at the end, also of one that then fails."""
    global _facts
    if not ctx.meta.get(_JSON):
        yield
        return
    _facts = []
    try:
        # libraries print too, and a program reads but one thing
        with redirect_stdout(sys.stderr):
            yield
    finally:
        found, _facts = _facts, None
        for facts in found:
            typer.echo(json.dumps(plain(facts), indent=1, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:
    """A value of what JSON has: a table is a list of rows, and what is no number is null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [plain(row) for row in value.to_dict(orient="records")]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # of NumPy
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
