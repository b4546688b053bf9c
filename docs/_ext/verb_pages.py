"""One page for each verb of the command line, written from the program itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command
from written import DOCS, toctree, written

from smalti.cli import app as program

FOLDER = DOCS / "verbs"
OPTION = re.compile(r"(?<![\w`-])(--[a-z][a-z-]*)")
SENTENCE = re.compile(r"\.(?=\s|$)")
MARK = re.compile(r"([<>*_|[\]])")


def verbs(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Each verb with its command, as ("expression fit", command)."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def slug(verb: str) -> str:
    """The name of its page."""
    return verb.replace(" ", "-")


def text(said: str) -> str:
    """Help as Markdown: options are code, and nothing in it is a mark."""
    parts = re.split(r"(`[^`]*`)", " ".join(said.split()))
    return "".join(part if i % 2 else OPTION.sub(r"`\1`", MARK.sub(r"\\\1", part))
                   for i, part in enumerate(parts))  # fmt: skip


def entry(param: Any, context: Any) -> str:
    """One option or argument: how it is typed, what it is, what it is without it."""
    typed, said = param.get_help_record(context)
    return f"`{typed.removeprefix('* ').strip()}`\n: {text(said) or '–'}\n"


def page(verb: str, command: Any) -> str:
    """What a verb does, and all that it takes, by the panels of its help."""
    context = command.make_context(verb, [], resilient_parsing=True)
    panels: dict[str, list[str]] = {}
    for param in command.params:
        if param.hidden:
            continue
        own = "Arguments" if param.param_type_name == "argument" else "Options"
        panel = getattr(param, "rich_help_panel", None) or own
        panels.setdefault(panel, []).append(entry(param, context))
    typed = " ".join(["smalti", verb, *command.collect_usage_pieces(context)])
    lines = [f"# smalti {verb}", "", text(command.help or ""), "", "```text", typed, "```", ""]
    for title, entries in panels.items():
        lines += [f"## {title}", "", *entries]
    more = "What verbs have in common, files of options, how values are written: "
    return "\n".join([*lines, f"{more}[the command line](../command-line.md).", ""])


def pages() -> dict[str, str]:
    """File -> text of all verbs, with one page that lists them."""
    found = dict(verbs(get_command(program)))
    made = {f"{slug(verb)}.md": page(verb, command) for verb, command in found.items()}
    first = {verb: text(SENTENCE.split(command.help or "")[0]) for verb, command in found.items()}
    rows = [f"| [`smalti {verb}`]({slug(verb)}.md) | {what} |" for verb, what in first.items()]
    head = ["# Verbs and their options", "", "| verb | what it does |", "|---|---|"]
    made["index.md"] = "\n".join([*head, *rows, *toctree([*map(slug, found)]), ""])
    return made


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    return written(app, FOLDER, pages)
