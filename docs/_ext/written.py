"""Pages that are made by a program, and where they go."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent
PARALLEL = {"parallel_read_safe": True, "parallel_write_safe": True}  # what Sphinx asks of setup


def written(app: Any, folder: Path, pages: Callable[[], dict[str, str]]) -> dict[str, bool]:
    """Write the pages of a folder, which git ignores, before Sphinx looks for them."""
    app.connect("builder-inited", lambda *_: put_all(folder, pages()))
    return PARALLEL


def put_all(folder: Path, pages: dict[str, str]) -> None:
    """Make these the pages of a folder; those that have not changed are not read again."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        file = folder / name
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")


def toctree(names: list[str]) -> list[str]:
    """For the bar at the side; the page itself has a table."""
    return ["", "```{toctree}", ":hidden:", "", *names, "```"] if names else []


def anchor(heading: str) -> str:
    """What a heading is linked by, as MyST makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
