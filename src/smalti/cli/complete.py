"""What a shell offers while a command is typed: nothing heavy is imported, no error is said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smalti.cli import known
from smalti.cli.given import named


def methods(incomplete: str) -> list[str]:
    """Names of all methods."""
    return [n for room in known.ROOMS for n in known.names(room) if n.startswith(incomplete)]


def bag_methods(incomplete: str) -> list[str]:
    """Names of methods that fit bags."""
    return [n for n in known.names("mil") if n.startswith(incomplete)]


def integrations(incomplete: str) -> list[str]:
    """Names of methods that integrate modalities."""
    return [n for n in known.names("integrate") if n.startswith(incomplete)]


def expressions(incomplete: str) -> list[str]:
    """Names of methods that predict genes."""
    return [n for n in known.names("expression") if n.startswith(incomplete)]


def listed(ctx: Any, incomplete: str) -> list[str]:
    """Names with commas: those before the last stay."""
    before, comma, last = incomplete.rpartition(",")
    room = "expression" if "expression" in str(ctx.command_path).split() else (
        "integrate" if ctx.params.get("integrate") else "mil")  # fmt: skip
    return [f"{before}{comma}{n}" for n in known.names(room) if n.startswith(last)]


def settings(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
    """Settings of the method that was named, as NAME=, with what they mean."""
    given = ctx.params.get("method") or ctx.params.get("methods") or ""
    found: dict[str, known.Setting] = {}
    for name in str(given).split(","):
        found |= known.settings(name.strip())
    return [(f"{one.name}=", one.meaning or one.default)
            for one in found.values() if one.name.startswith(incomplete)]  # fmt: skip


def columns(ctx: Any, incomplete: str) -> list[str]:
    """Columns of obs of the .h5ad that was named."""
    return [c for c in _keys(ctx, "obs") if c.startswith(incomplete)]


def views(ctx: Any, incomplete: str) -> list[str]:
    """X, keys of obsm and layers of the .h5ad that was named."""
    found = ["X", *_keys(ctx, "obsm"), *(f"layers/{k}" for k in _keys(ctx, "layers"))]
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{k}" for k in found if k.startswith(last)]


def _keys(ctx: Any, group: str) -> Iterator[str]:
    given = ctx.params.get("data") or ctx.params.get("slides") or ()
    for word in given if isinstance(given, (list, tuple)) else (given,):
        path = named(Path(word))[1]
        if path.suffix == ".h5ad":
            with contextlib.suppress(Exception):  # a damaged file has nothing to offer
                yield from _of_file(path, group)


def _of_file(path: Path, group: str) -> list[str]:
    import h5py

    with h5py.File(path, "r") as file:
        there = file[group]
        order = [str(c) for c in there.attrs.get("column-order", ())]
        return order or [str(k) for k in there if not str(k).startswith(("_", "__"))]
