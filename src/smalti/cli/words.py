"""What is said on the command line, in its words: ``order=['a', 'b']`` is ``--order a,b``.

Errors and notes of the functions below name their arguments. Every verb is a :class:`Verb`, which
says them as its own options; a setting of a method is ``--set NAME=VALUE``.
"""

from __future__ import annotations

import ast
import logging
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from smalti.cli import config, say
from smalti.cli.crew import hushed
from smalti.cli.given import paths_of
from smalti.errors import InputError
from smalti.names import meant
from smalti.system.files import atomic_write

if TYPE_CHECKING:
    from smalti.bags import Bags

ALSO = {"n_jobs": "jobs", "group": "cell_type", "bag_columns": "covariates", "target": "label",
        "y": "label", "sources": "text", "tokens": "words",
        "encoders": "encoder", "callbacks": "logger"}  # fmt: skip
"""Arguments that a verb has under another name, where it has none of the same name."""

_VALUE = (
    r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|'[^']*'|\"[^\"]*\"|\.\.\."
    r"|-?(?:[\d.]+e[-+]\d+|[\w.]*\w)|(?=[\s,;:)]|\.?(?:\s|$))"
)
# not after what makes it a part of something else: a step of preprocess, a path, a quoted text
_ARGUMENT = re.compile(rf"(?<!--set )(?<![\w,;:/\\'\"`.{{\[-])([a-z]\w*)=(?!=)({_VALUE})")
_log = logging.getLogger("smalti")
_told: set[str] = set()
_running: ContextVar[Any] = ContextVar("the verb that runs", default=None)


class Group(TyperGroup):
    """What holds verbs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *say.own_params()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the verb; a wrong one is answered by the nearest."""
        with _meant(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb; a wrong one is answered by the nearest."""
        name = str(args[0])
        if self.get_command(ctx, name) is None and name[:1].isalnum():
            ctx.fail(f"No verb {name!r}.{meant(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


class Verb(TyperCommand):
    """A verb whose errors name its options, not the arguments of the functions below it.

    One that has options takes them of a file too, and prints them as one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.params:
            self.params = [*self.params, *config.own_params()]
        self.params = [*self.params, *say.own_params()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options; a wrong one is answered by the nearest."""
        if ctx.resilient_parsing and args and args[-1].startswith("-"):
            args = args[:-1]  # its value is being typed, and without it nothing would be read
        with _meant(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run it.

        Raises
        ------
        InputError
            Any of those below, in its own words.
        """
        before = _running.set(ctx)
        _told.clear()
        _log.debug("%s", config.typed(ctx))
        try:
            if config.asked(ctx):
                return None
            with say.answering(ctx):
                return super().invoke(ctx)
        except InputError as error:
            raise InputError(here(str(error))) from error
        finally:
            _running.reset(before)


class Answering(Verb):
    """A verb that prints facts: for people, or with ``--json`` for programs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *say.json_param()]


@contextmanager
def _meant(ctx: Any) -> Iterator[None]:
    """An option that there is not, answered by the nearest as every other name is."""
    try:
        yield
    except Exception as error:  # a class of typer's, which has no public name
        name = getattr(error, "option_name", None)
        if name is None or not hasattr(error, "possibilities"):
            raise
        params = ctx.command.get_params(ctx)
        if name.strip("-") in [p.name for p in params if p.param_type_name == "argument"]:
            ctx.fail(f"No option {name}: write its value alone, where the usage has it.")
        known = [o for p in params for o in (*p.opts, *p.secondary_opts)]
        ctx.fail(f"No option {name}.{meant(name, [o for o in known if o.startswith('--')])}")


def tell(note: str, *, warning: bool = False) -> None:
    """Say a note on the error stream, once, in the words of the verb that runs.

    Under ``-q`` only those are said that are warnings.
    """
    text = " ".join(here(note).split())
    if say.quiet() and not warning:
        return
    if text not in _told and not hushed():  # one warning per fold and method is one too many
        _told.add(text)
        typer.secho(f"note: {text}", fg="yellow", err=True)


def introduce(bags: Bags) -> None:
    """Say what was read, and what is to be known of it."""
    say.say(repr(bags))
    for note in bags.notes:
        tell(note)


def here(text: str) -> str:
    """A text in the words of the verb that runs; paths that the user typed stay as they are."""
    ctx = _running.get()
    if ctx is None:
        return text
    values = [v for value in ctx.params.values() for v in _listed(value)]
    typed = [str(v) for v in values if isinstance(v, Path) and "=" in str(v)]
    return in_options(text, ctx.command.params, typed)


def read_here(*written: str) -> list[Path]:
    """Paths that the verb that runs was given, but for the options that it writes to."""
    params = {} if _running.get() is None else _running.get().params
    kept = {name: value for name, value in params.items() if name not in written}
    return paths_of(v for value in kept.values() for v in _listed(value) if isinstance(v, Path))


def keep_config(folder: Path) -> None:
    """Write the options of the verb that runs into the folder of its run."""
    ctx = _running.get()
    if ctx is not None:
        with atomic_write(folder / config.NAME, overwrite=True) as path:
            path.write_text(config.text(ctx), encoding="utf-8")


def made_here() -> dict[str, Any]:
    """What a page says of the verb that wrote it: its command, and the files that it read."""
    ctx = _running.get()
    return {
        "command": config.typed(ctx) if ctx else "",
        "inputs": read_here("out", "cache", "report"),
    }


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def in_options(text: str, params: Sequence[Any], typed: Collection[str] = ()) -> str:
    """An error in the words of the command line.

    Parameters
    ----------
    text
        Which names arguments, as ``order=['a', 'b']``, ``donor=...`` or ``label=``.
    params
        Those of the verb that was called.
    typed
        Texts of the user, which are no arguments even if they look so.
    """
    options = {str(p.name): p for p in params if p.opts[0].startswith("--")}

    def say(found: re.Match[str]) -> str:
        name, value = found.groups()
        option = options.get(name) or options.get(ALSO.get(name, ""))
        if option is not None:
            return _said(option, value)
        if "set_" in options and name in settings():
            return f"--set {name}={'...' if value in ('', '...') else shlex.quote(_word(value))}"
        return found.group()

    apart = re.split(f"({'|'.join(map(re.escape, typed))})", text) if typed else [text]
    out = "".join(p if p in typed else _ARGUMENT.sub(say, p) for p in apart)
    return re.sub(r"(--[\w-]+)(?:,? (?:or )?\1(?![\w-]))+", r"\1", out)  # (label=, target= or y=)


def _said(option: Any, value: str) -> str:
    """An option with its value: a list with commas, or the option again for each."""
    name = option.opts[0]
    if option.is_flag:
        return (option.secondary_opts or [f"no {name}"])[0] if value == "False" else name
    if value in ("", "..."):
        return f"{name} {value}".rstrip()
    parsed = _parsed(value)
    if option.multiple and isinstance(parsed, (list, tuple)):
        return " ".join(f"{name} {shlex.quote(str(v))}" for v in parsed)
    return f"{name} {shlex.quote(_word(value))}"


def _word(value: str) -> str:
    """A Python literal as one word: ``['a', 'b']`` is ``a,b``, ``{'a': 'b'}`` is ``a=b``."""
    parsed = _parsed(value)
    if isinstance(parsed, Mapping):
        return ",".join(f"{k}={v}" for k, v in parsed.items())
    return ",".join(map(str, parsed)) if isinstance(parsed, (list, tuple)) else str(parsed)


def _parsed(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):  # a bare word
        return value


def settings() -> set[str]:
    """Names of the settings of all methods, those of other packages too."""
    from smalti.core.registry import methods

    rooms = [methods(room).values() for room in ("mil", "integrate", "expression")]
    return {field.name for classes in rooms for cls in classes for field in fields(cls)}
