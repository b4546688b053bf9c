"""The reference: a page for each public name, as users type it, in groups by question.

What is public the package says itself: ``__all__`` of ``smalti`` and of the rooms that it names. So
a new name, and a new room, has its page without a line written here.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from written import DOCS, toctree, written

import smalti
from smalti.core.registry import ROOMS, methods

FOLDER = DOCS / "reference"
ROUTING = re.compile(r"set_\w+_request")  # which scikit-learn makes on every estimator
# of names of `sm`: first part of the module that a name is from -> title of its group
QUESTIONS = {
    "io": "How do my data come in and out?",
    "bags": "How do my data come in and out?",
    "task": "How do my data come in and out?",
    "errors": "How do my data come in and out?",
    "leaks": "Is something wrong with them?",
    "comparison": "What is better than what?",
}
REST = "How is a method found, fitted, kept and cited?"
# of rooms; one that is not here goes by the first line of its docstring
ROOM_TITLES = {
    "mil": "Bags to a phenotype", "integrate": "Modalities to an embedding",
    "expression": "Tiles to genes", "preprocess": "Steps before a method, fitted in the fold",
    "features": "Features of tiles", "tiles": "Pictures of slides and their tiles",
    "genes": "What genes mean", "explain": "What did it look at, and does it mean anything?",
    "heatmap": "Heat maps of slides", "scores": "Scores and tests", "plot": "Pictures",
    "datasets": "Data to try things on", "comparison": "Comparisons, in parts",
    "leaks": "The audit, in parts",
}  # fmt: skip
ORDER = [*dict.fromkeys(QUESTIONS.values()), REST]


class Name(NamedTuple):
    """A public name: how it is typed, what it is, and the group that lists it."""

    dotted: str  # smalti.mil.ABMIL
    thing: Any
    group: str


def public() -> list[Name]:
    """All public names, a thing under several names by each of them."""
    found, rooms = [], {}
    homes = homes_of_stub(Path(str(smalti.__file__)).with_suffix(".pyi"))
    for name in smalti.__all__:
        thing = getattr(smalti, name)
        if isinstance(thing, ModuleType):
            rooms[room_of(thing)] = thing  # sm.pl and sm.plot are one
        elif not name.startswith("__"):
            home = homes.get(name, "").split(".")[0]
            found.append(Name(f"smalti.{name}", thing, QUESTIONS.get(home, REST)))
    for room, module in rooms.items():
        title = ROOM_TITLES.get(room) or (module.__doc__ or room).split("\n")[0].rstrip(".")
        listed = names_of(module)
        found += [Name(f"smalti.{room}.{name}", getattr(module, name), title) for name in listed]
    return found


def room_of(module: ModuleType) -> str:
    """The name of a module behind ``smalti.``."""
    return module.__name__.removeprefix("smalti.")


def short_names() -> list[str]:
    """What is said of modules with two names."""
    modules = {n: m for n in smalti.__all__ if isinstance(m := getattr(smalti, n), ModuleType)}
    return [
        f"`sm.{n}` is `sm.{room_of(m)}` for short." for n, m in modules.items() if n != room_of(m)
    ]


def names_of(module: ModuleType) -> list[str]:
    """The public names of a room: of its stub where it has one, which lists methods too."""
    stub = Path(str(module.__file__)).with_suffix(".pyi")
    if stub.exists():
        tree = ast.parse(stub.read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return list(ast.literal_eval(node.value))
    return list(getattr(module, "__all__", []))


def homes_of_stub(stub: Path) -> dict[str, str]:
    """Name -> the module that the stub takes it from."""
    nodes = [n for n in ast.parse(stub.read_text("utf-8")).body if isinstance(n, ast.ImportFrom)]
    return {a.asname or a.name: n.module or "" for n in nodes for a in n.names}


def members(cls: type[Any]) -> list[str]:
    """Public methods and properties that we wrote, its own before inherited ones."""
    found = {}
    for base in cls.__mro__:
        if base.__module__.split(".")[0] == "smalti":
            for name, value in vars(base).items():
                thing = getattr(cls, name, None)
                if isinstance(value, property) or callable(thing):
                    found[name] = bool(not name.startswith("_") and inspect.getdoc(thing))
    return [name for name, shown in found.items() if shown and not ROUTING.fullmatch(name)]


def short(dotted: str) -> str:
    """As users type it."""
    return dotted.replace("smalti.", "sm.", 1)


def summary(thing: Any) -> str:
    """The first sentence of its docstring, or what a constant holds, as Markdown in a table."""
    if not has_page(thing):
        return ", ".join(f"`{key}`" for key in thing)
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    return text.replace("|", "\\|")


def has_page(thing: Any) -> bool:
    """A function or a class has one; constants stand in the table of their group."""
    return inspect.isclass(thing) or inspect.isroutine(thing)


def page(name: Name) -> str:
    """One thing. It is not in the bar at the side, where three hundred would hide all else."""
    head = ["---", "orphan: true", "---", "", f"# {short(name.dotted)}", ""]
    up = [f"[Reference](index.md) · [{name.group}]({slug(name.group)}.md)", ""]
    inside = members(name.thing) if inspect.isclass(name.thing) else []
    made = [f".. auto{'class' if inspect.isclass(name.thing) else 'function'}:: {name.dotted}"]
    made += [f"   :members: {', '.join(inside)}"] if inside else []
    return "\n".join([*head, *up, "```{eval-rst}", *made, "```", ""])


def slug(title: str) -> str:
    """The file of a group."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def pages() -> dict[str, str]:
    """File -> text of the whole reference."""
    # methods have pages of their own
    place = {id(cls): f"../methods/{n}.md" for room in ROOMS for n, cls in methods(room).items()}
    made: dict[str, str] = {}
    rows: dict[str, list[str]] = {title: [] for title in ORDER}
    for name in public():
        cell = f"`{short(name.dotted)}`"
        if has_page(name.thing):
            if id(name.thing) not in place:  # under its first name
                place[id(name.thing)] = f"{name.dotted}.md"
                made[f"{name.dotted}.md"] = page(name)
            cell = f"[{cell}]({place[id(name.thing)]})"
        rows.setdefault(name.group, []).append(f"| {cell} | {summary(name.thing)} |")
    for title in rows:
        head = [f"# {title}", "", "| name | what it is |", "|---|---|"]
        made[f"{slug(title)}.md"] = "\n".join([*head, *rows[title], ""])
    made["index.md"] = "\n".join([
        "# Reference", "", "Every name as it is typed after `import smalti as sm`.", "",
        *(f"- [{title}]({slug(title)}.md)" for title in rows), "",
        *short_names(), "On the shell: [the command line](../command-line.md).",
        *toctree([*map(slug, rows)]), "",
    ])  # fmt: skip
    return made


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    return written(app, FOLDER, pages)
