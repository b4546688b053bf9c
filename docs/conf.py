"""Sphinx settings, and one page per method, written from the class itself."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import smalti
from smalti.method import Method, NetworkMethod
from smalti.registry import methods

HERE = Path(__file__).parent

project = "smalti"
author = copyright = "The smalti developers"
release = version = smalti.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"smalti {version}"
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository


def comments(cls: type) -> dict[str, str]:
    """Field -> its line comment, which is where a setting is explained."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Method):
            for line in inspect.getsource(base).splitlines():
                match = re.match(r"    (\w+): .*?=.*?#\s*(.*)", line)
                if match and not match[2].startswith(("noqa", "type:")):
                    found[match[1]] = match[2]
    return found


def page(cls: type[Method]) -> str:
    """One method as Markdown: what, settings, reference."""
    shared = {f.name for f in dataclasses.fields(Method)}  # type: ignore[arg-type]
    trained = {f.name for f in dataclasses.fields(NetworkMethod)}  # type: ignore[arg-type]
    said = comments(cls)
    # the docstring is reStructuredText; its roles and literals become plain code
    doc = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(cls.__doc__ or ""))
    doc = doc.replace("``", "`")
    groups: dict[str, list[str]] = {"Its own": [], "Of training by gradient": [], "Of all": []}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        kind = (
            "Of all"
            if field.name in shared
            else ("Of training by gradient" if field.name in trained else "Its own")
        )
        meaning = said.get(field.name, "").replace("|", "\\|")
        groups[kind].append(f"| `{field.name}` | `{field.default!r}` | {meaning} |")
    lines = [f"# {cls.__name__}", "", f"`{cls.name}`" + " (baseline)" * cls.baseline, "",
             doc, "", "## Settings", ""]  # fmt: skip
    for title, rows in groups.items():
        if rows:
            lines += [
                f"### {title}",
                "",
                "| name | default | meaning |",
                "|---|---|---|",
                *rows,
                "",
            ]
    code = ["```python", f"sm.mil.{cls.__name__}().fit(bags)", "```"]
    for title, part in (
        ("Targets", [", ".join(cls.kinds)]),
        ("Reference", [cls.reference]),
        ("In code", code),
    ):
        lines += [f"## {title}", "", *part, ""]
    return "\n".join(lines)


def write_pages(*_: Any) -> None:
    """Write docs/methods/*.md, which git ignores."""
    folder = HERE / "methods"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    for name, cls in methods().items():
        (folder / f"{name}.md").write_text(page(cls), encoding="utf-8")


def setup(app: Any) -> None:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", write_pages)
