"""Sphinx settings, and one page per method, written from the class itself."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import smalti
from smalti.core.estimator import Estimator
from smalti.core.registry import ROOMS, methods
from smalti.expression.base import ExpressionMethod
from smalti.expression.network import NetworkExpression
from smalti.expression.zero_shot import ZeroShotMethod
from smalti.expression.zero_shot_network import NetworkZeroShot
from smalti.integrate.base import Integration
from smalti.integrate.network import NetworkIntegration
from smalti.mil.base import Method, NetworkMethod

HERE = Path(__file__).parent
BASES = {
    "mil": (Method, NetworkMethod), "integrate": (Integration, NetworkIntegration),
    "expression": (ExpressionMethod, NetworkExpression, NetworkZeroShot),
}  # fmt: skip

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
        if issubclass(base, Estimator):
            for line in inspect.getsource(base).splitlines():
                match = re.match(r"    (\w+): .*?=.*?#\s*(.*)", line)
                if match and not match[2].startswith(("noqa", "type:")):
                    found[match[1]] = match[2]
    return found


def fields(*classes: type) -> set[str]:
    """Names of the settings of any of these."""
    return {f.name for cls in classes for f in dataclasses.fields(cls)}


def page(cls: type[Any], room: str) -> str:
    """One method as Markdown: what, settings, reference."""
    base, *networks = BASES[room]
    shared, trained = fields(base), fields(*networks) - fields(ZeroShotMethod)
    said = comments(cls)
    # the docstring is reStructuredText; its roles and literals become plain code
    doc = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(cls.__doc__ or ""))
    doc = doc.replace("``", "`")
    # an example, from its first prompt to the empty line after it, is code and no quotation
    doc = re.sub(r"(?m)^>>> (?:.+\n?)+", lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", doc)
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
    if cls.presets:
        lines += ["## Presets", ""]
        lines += [f"- `{cls.name}:{name}`: " + ", ".join(f"`{k}={v!r}`" for k, v in own.items())
                  for name, own in cls.presets.items()]  # fmt: skip
        lines += [""]
    about = {"mil": ("Targets", _targets), "integrate": ("Cells", _cells),
             "expression": ("Tiles", _tiles)}[room]  # fmt: skip
    parts = {about[0]: [about[1](cls)]}
    parts["Reference"] = [cls.reference]
    given = "vectors=vectors" if issubclass(cls, ZeroShotMethod) else ""
    parts["In code"] = ["```python", f"sm.{room}.{cls.__name__}({given}).fit(bags)", "```"]
    for title, part in parts.items():
        lines += [f"## {title}", "", *part, ""]
    return "\n".join(lines)


def _targets(cls: type[Method]) -> str:
    """What a method for bags can learn."""
    return ", ".join(cls.kinds)


def _tiles(cls: type[ExpressionMethod]) -> str:
    """What a method of expression reads."""
    if cls.oracle:
        return "A control: looks at the measured expression of the slides that it predicts."
    reads = "Reads the tiles themselves." if cls.images else "Reads features of the tiles."
    new = " Predicts genes that were not in training." if issubclass(cls, ZeroShotMethod) else ""
    return reads + (" Each tile sees its slide." if cls.slides else " No tile sees another.") + new


def _cells(cls: type[Integration]) -> str:
    """What an integration can do."""
    new = (
        "Embeds the cells that it was fitted on only." if cls.transductive else "Embeds new cells."
    )
    gaps = "Takes cells that lack a modality." if cls.missing else "Needs every modality of a cell."
    back = "Reconstructs the modalities." if cls.reconstructs else "Reconstructs nothing."
    return f"{new} {gaps} {back}"


def write_pages(*_: Any) -> None:
    """Write docs/methods/*.md, which git ignores."""
    folder = HERE / "methods"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    for room in ROOMS:
        for name, cls in methods(room).items():
            (folder / f"{name}.md").write_text(page(cls, room), encoding="utf-8")


def setup(app: Any) -> None:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", write_pages)
