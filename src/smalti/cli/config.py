"""``--config run.yaml``: what stands on the command line as a file, for every verb.

Its keys are the names of the options. Their types are read off the signature of the verb, so that
no list of options is kept twice.
"""

from __future__ import annotations

import inspect
import json
import shlex
import typing
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from smalti.cli.given import named
from smalti.cli.say import params_of
from smalti.errors import InputError
from smalti.names import meant
from smalti.system.files import atomic_write, check_free

NAME = "config.yaml"
"""What the folder of a run keeps it under."""
_PRINT = "smalti.print_config"
_WRITE = "smalti.write_config"
_PANEL = "A file of options"


@cache
def own_params() -> tuple[Any, ...]:
    """``--config`` and what writes such a file, as Typer makes them."""

    def all_of(
        config: Annotated[
            Path | None,
            typer.Option(
                help="YAML whose keys are the names of these options, paths as seen from it; those "
                "given beside it win.",
                callback=_read, is_eager=True, expose_value=False, rich_help_panel=_PANEL,
            ),
        ] = None,
        print_config: Annotated[
            bool,
            typer.Option(
                "--print-config", help="Print such a file of what is given, and do no more.",
                callback=_note, expose_value=False, rich_help_panel=_PANEL,
            ),
        ] = False,
        write_config: Annotated[
            Path | None,
            typer.Option(
                help="Write such a file of what is given, with whole paths, and do no more.",
                callback=_to, expose_value=False, rich_help_panel=_PANEL,
            ),
        ] = None,
    ) -> None:  # fmt: skip
        pass

    return params_of(all_of)


def _note(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[_PRINT] = value
    return value


def _to(ctx: typer.Context, value: Path | None) -> Path | None:
    ctx.meta[_WRITE] = value
    return value


def _read(ctx: typer.Context, value: Path | None) -> Path | None:
    if value is not None:
        ctx.default_map = load(ctx.command, value)
    return value


def asked(ctx: Any) -> bool:
    """Give the options of a verb as a file, where that is asked for; whether it was.

    Raises
    ------
    InputError
        If there is a file of that name, and it is not to be replaced.
    """
    file = ctx.meta.get(_WRITE)
    if file is not None:
        overwrite = bool(ctx.params.get("overwrite"))
        check_free(file, overwrite=overwrite)
        with atomic_write(file, overwrite=overwrite) as path:
            path.write_text(text(ctx), encoding="utf-8")
    if ctx.meta.get(_PRINT):
        typer.echo(text(ctx), nl=False)
    return file is not None or bool(ctx.meta.get(_PRINT))


def text(ctx: Any) -> str:
    """What a verb was given, on the command line or by a file, as YAML; paths are whole."""
    import yaml

    given = {_key(p): _plain(_placed(value, Path.cwd())) for p, value in _given(ctx)}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=10_000)


def _placed(value: Any, folder: Path) -> Any:
    """Paths as seen from a folder; those of ``rna=FILE`` too."""
    if isinstance(value, (list, tuple)):
        return [_placed(v, folder) for v in value]
    if not isinstance(value, Path):
        return value
    name, path = named(value)
    return Path(f"{name}={folder / path}") if name else folder / path


def typed(ctx: Any) -> str:
    """The same as one command."""
    words = ["smalti", *ctx.command_path.split()[1:]]
    for param, value in _given(ctx):
        name = [_option(param)] if _option(param).startswith("--") else []
        if getattr(param, "is_flag", False):
            words += name if value else param.secondary_opts[:1]
        else:
            for one in value if isinstance(value, (list, tuple)) else (value,):
                words += [*name, str(one)]
    return shlex.join(words)


def _given(ctx: Any) -> list[tuple[Any, Any]]:
    """Parameters that are not as they are when left out, and their values."""
    there = [p for p in ctx.command.params if p.name in ctx.params]
    return [(p, ctx.params[p.name]) for p in there
            if ctx.params[p.name] not in (p.get_default(ctx), [], ())]  # fmt: skip


def load(command: Any, file: Path) -> dict[str, Any]:
    """Name of argument -> value, as a file says.

    Raises
    ------
    InputError
        If it is no YAML, or an option is none of the verb's or of another kind.
    """
    given = _mapping(file)
    params = {_key(p): p for p in command.params if p.expose_value}
    unknown = [key for key in given if str(key).replace("_", "-") not in params]
    if unknown:
        raise InputError(
            f"{file.name}: no option {unknown[0]!r} here; see --help."
            f"{meant(str(unknown[0]).replace('_', '-'), params)}"
        )
    values = {str(k).replace("_", "-"): v for k, v in given.items()}
    said = {k: _as_typed(params[k], v) for k, v in values.items() if v is not None}
    return {params[k].name: v for k, v in _checked(command, params, said, file).items()}


def _checked(
    command: Any, params: dict[str, Any], said: dict[str, Any], file: Path
) -> dict[str, Any]:
    """Values of the types of the verb's own signature."""
    from pydantic import ConfigDict, Field, ValidationError, create_model

    verb = inspect.unwrap(command.callback)
    types = typing.get_type_hints(verb)
    fields: dict[str, Any] = {
        f"of_{p.name}": (types[p.name] | None, Field(default=None, alias=key))
        for key, p in params.items()
    }
    config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)
    model = create_model("Config", __config__=config, **fields)
    try:
        found = model(**said)
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][0]
        raise InputError(
            f"{file.name}: {key}: {first['msg']}, not {first['input']!r}; write it as after "
            f"{_option(params[str(key)])}, a word such as no or a date in quotes."
        ) from error
    given = {key: getattr(found, f"of_{params[key].name}") for key in said}
    return {key: _plain(_placed(value, file.absolute().parent)) for key, value in given.items()}


def _mapping(file: Path) -> dict[Any, Any]:
    """The keys of a file and their values.

    Raises
    ------
    InputError
        If it cannot be read as such, or names a key twice.
    """
    import yaml

    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config {file} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{file.name} is no YAML: {' '.join(str(error).split())}") from error
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputError(f"{file.name} must hold lines of the form NAME: VALUE.")
    keys = [key.value for key, _ in node.value]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise InputError(f"{file.name} names {twice[0]!r} twice: leave one of them out.")
    return given


def _as_typed(param: Any, value: Any) -> Any:
    """Lists are commas where an option is given once; a mapping is NAME=VALUE of each."""
    once = not getattr(param, "multiple", False) and param.nargs == 1
    if isinstance(value, dict) and not once:
        return [f"{k}={json.dumps(v)}" for k, v in value.items()]
    if isinstance(value, list) and once:
        return ",".join(map(str, value))
    return value if once or isinstance(value, list) else [value]


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _key(param: Any) -> str:
    """How a file calls an option: as the command line does, without dashes before it."""
    return str(param.name if not _option(param).startswith("--") else _option(param)[2:])


def _option(param: Any) -> str:
    return str(param.opts[0])
