"""``smalti methods``."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from smalti.cli import complete, known
from smalti.cli.say import answer
from smalti.errors import InputError
from smalti.names import meant

FOR = {
    "bags": ("mil", "Bags to phenotype", "smalti fit, smalti compare"),
    "modalities": ("integrate", "Modalities to embedding", "smalti integrate, smalti compare "
                   "--integrate"),
    "tiles": ("expression", "Tiles to genes", "smalti expression fit, ... compare"),
    "genes": ("expression", "Tiles to unseen genes", "smalti "
              "expression fit --vectors FILE"),
}  # fmt: skip
"""What methods are for -> their room, a title, and the verbs that take them."""


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A method, to read its page: settings, reference, what it needs.",
            autocompletion=complete.methods,
            show_default=False,
        ),
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option("--for", help="What methods are to be for: bags, modalities, tiles, genes."),
    ] = None,
) -> None:
    """List the methods, those for one kind of data, or all of one."""
    if name is not None and for_ is not None:
        raise InputError(f"--for lists methods, and {name} is one: leave one of them out.")
    if for_ is not None and for_ not in FOR:
        raise InputError(f"--for {for_}: methods are for {', '.join(FOR)}.{meant(for_, FOR)}")
    if name is not None:
        page = _page(name)
        answer(page, lambda: _show_page(page))
        return
    asked = [for_] if for_ else ["bags", "modalities", "tiles"]
    found = {what: _rows(what) for what in asked}
    answer(found, lambda: _show(found) if for_ else _names(found))


def _rows(what: str) -> list[dict[str, Any]]:
    from smalti.core.registry import methods as there

    rows = [_row(name, cls) for name, cls in there(FOR[what][0]).items()]
    rows = [row for row in rows if what != "genes" or row["unseen_genes"]]
    return sorted(rows, key=lambda row: (row["baseline"], row["name"]))


def _row(name: str, cls: Any) -> dict[str, Any]:
    from smalti.core.registry import known as found_as
    from smalti.labels import KINDS

    found = found_as(name)
    kinds = list(getattr(cls, "kinds", ()))
    lack = [kind for kind in KINDS if kind not in kinds]
    if not lack:
        targets = "all"
    elif set(kinds) == {"binary", "multiclass", "ordinal"}:
        targets = "classes"
    else:
        targets = f"no {lack[0]}" if len(lack) == 1 else ", ".join(kinds)
    fields = {f.name for f in dataclasses.fields(cls)}
    return {
        "name": name,
        "what": (cls.__doc__ or "").strip().partition("\n")[0],  # others may have none
        "room": cls.room,
        "reads": _reads(cls),
        "targets": targets if cls.room == "mil" else _gives(cls),
        "baseline": bool(cls.baseline),
        "oracle": bool(getattr(cls, "oracle", False)),
        "unseen_genes": cls.room == "expression" and "vectors" in fields,
        "presets": list(cls.presets),
        "reference": _short(cls.reference),
        "from": found.source if found else "",
        "unavailable": _unavailable(cls),
    }


def _reads(cls: Any) -> str:
    """What a method reads of a bag, in two words."""
    if cls.room == "expression":
        return "tiles" if cls.images else "measured" if cls.oracle else "features"
    if any(field.name == "group" for field in dataclasses.fields(cls)):
        return "cell types"
    return "raw counts" if cls.takes_counts else "features"


def _gives(cls: Any) -> str:
    if cls.room != "integrate":
        return "genes"
    notes = ["" if cls.missing else "no gaps", "no new cells" if cls.transductive else ""]
    return ", ".join(filter(None, notes)) or "any cells"


def _unavailable(cls: Any) -> str | None:
    """Why it cannot run here; a method of a bag needs nothing more."""
    return cls.unavailable() if hasattr(cls, "unavailable") else None


def _short(reference: str) -> str:
    """Authors (year)."""
    return f"{reference.split(')')[0]}{')' * (')' in reference)}"


# ---------------------------------------------------------------- for people


def _names(found: dict[str, list[dict[str, Any]]]) -> None:
    """All names on one screen."""
    from rich.console import Console

    console = Console(highlight=False)
    for what, rows in found.items():
        console.print(f"[bold]{FOR[what][1]}[/bold]  ({FOR[what][2]})")
        marked = []
        for row in rows:
            marked.append(f"{row['name']}{'*' * row['baseline']}")
            marked += [f"{row['name']}:{preset}" for preset in row["presets"]]
        console.print(f"{', '.join(marked)}\n")
    console.print("* a baseline. What each does: smalti methods --for bags (modalities, tiles, "
                  "genes); all of one: smalti methods NAME.")  # fmt: skip


def _show(found: dict[str, list[dict[str, Any]]]) -> None:
    """A line for each method."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    for what, rows in found.items():
        console.print(f"[bold]{FOR[what][1]}[/bold]  ({FOR[what][2]}; * a baseline)")
        last = "targets" if what == "bags" else "gives"
        lines = [
            (f"{row['name']}{'*' * row['baseline']}",
             f"{'(cannot run here) ' * bool(row['unavailable'])}{row['what']}",
             row["reads"], "oracle" if row["oracle"] else row["targets"])
            for row in rows
        ]  # fmt: skip
        heads = ("name", "what", "reads", last)
        wide = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
        # what it is gives way: the rest is typed or chosen by
        wide[1] = max(20, min(wide[1], console.width - wide[0] - wide[2] - wide[3] - 6))
        for line in (heads, *lines):
            cells = (cut(cell, n).ljust(n) for cell, n in zip(line, wide, strict=True))
            text = escape("  ".join(cells).rstrip())
            console.print(f"[bold]{text}[/bold]" if line is heads else text, no_wrap=True)


def cut(text: str, width: int) -> str:
    """A text as long as there is room for."""
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


def _page(name: str) -> dict[str, Any]:
    """What there is to know of a method, with its settings."""
    from smalti.core.registry import class_of, preset_of

    name, _, preset = name.partition(":")
    cls = class_of(name, {})
    written = known.settings(name)
    chosen = preset_of(cls, preset)
    settings = {}
    for field in dataclasses.fields(cls):
        own = written.get(field.name)
        default = field.default if field.default is not dataclasses.MISSING else (
            field.default_factory() if field.default_factory is not dataclasses.MISSING else None
        )  # fmt: skip
        settings[field.name] = {
            "default": chosen.get(field.name, default),
            "meaning": own.meaning if own else "",
        }
    first = [k for k in written if k in settings]  # its own before those of all methods
    settings = {k: settings[k] for k in [*first, *(k for k in settings if k not in first)]}
    row = _row(name, cls) | {"reference": cls.reference, "presets": dict(cls.presets)}
    return row | {"settings": settings}


def _show_page(page: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    mark = " [dim](baseline)[/dim]" if page["baseline"] else ""
    mark += " [dim](oracle)[/dim]" if page["oracle"] else ""
    console.print(f"[bold]{page['name']}[/bold]{mark}  {escape(page['what'])}")
    gives = "targets" if page["room"] == "mil" else "gives"
    console.print(f"reads {page['reads']}; {gives}: {page['targets']}")
    if page["from"]:
        console.print(f"from {escape(page['from'])}")
    console.print(f"reference: {escape(' '.join(page['reference'].split()))}")
    for preset, changed in page["presets"].items():
        said = ", ".join(f"{k}={v}" for k, v in changed.items())
        console.print(f"preset {page['name']}:{preset}  {escape(said)}")
    needs = page["unavailable"]
    console.print(f"[red]cannot run here: {escape(needs)}[/red]" if needs else "runs here")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("--set", "default", "meaning"):
        table.add_column(head, no_wrap=head == "--set", overflow="fold")
    for name, one in page["settings"].items():
        table.add_row(name, escape(str(one["default"])), escape(one["meaning"]))
    console.print()
    console.print(table)
