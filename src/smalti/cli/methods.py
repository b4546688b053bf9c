"""``smalti methods``."""

from __future__ import annotations

from typing import Any


def methods() -> None:
    """List the methods."""
    from rich.console import Console

    from smalti.core.registry import methods as known

    console = Console()
    console.print("[bold]Bags to phenotype[/bold]  (smalti fit, smalti compare)")
    table = _table("targets")
    for name, cls in _sorted(known("mil")):
        targets = "all" if len(cls.kinds) == 5 else ", ".join(cls.kinds)
        table.add_row(*_start(name, cls), targets, _reference(cls))
    console.print(table)
    head = "[bold]Modalities to embedding[/bold]  (smalti integrate, smalti compare --integrate)"
    console.print(f"\n{head}")
    table = _table("notes")
    for name, cls in _sorted(known("integrate")):
        notes = [f"{name}:{preset}" for preset in cls.presets if preset == "fast"]
        notes += ["" if cls.missing else "no gaps", "no new cells" if cls.transductive else ""]
        notes += [cls.unavailable() or ""]
        table.add_row(*_start(name, cls), ", ".join(filter(None, notes)), _reference(cls))
    console.print(table)
    head = "[bold]Tiles to genes[/bold]  (smalti expression fit, smalti expression compare)"
    console.print(f"\n{head}")
    table = _table("notes")
    for name, cls in _sorted(known("expression")):
        notes = [f"{name}:{preset}" for preset in cls.presets]
        unseen = "unseen genes" if "vectors" in cls().get_params() else ""
        notes += [cls.unavailable() or ""]
        notes += ["reads tiles" if cls.images else "", "oracle" if cls.oracle else "", unseen]
        table.add_row(*_start(name, cls), ", ".join(filter(None, notes)), _reference(cls))
    console.print(table)


def _table(third: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("name", "what", third, "reference"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    return table


def _sorted(classes: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(classes.items(), key=lambda m: (m[1].baseline, m[0]))


def _start(name: str, cls: Any) -> tuple[str, str]:
    from rich.markup import escape

    from smalti.core.registry import known

    found = known(name)
    source = found.source if found else ""
    note = " [dim](baseline)[/dim]" if cls.baseline else ""
    what = escape((cls.__doc__ or "").strip().partition("\n")[0])  # others may have none
    what += f" [dim](from {escape(source)})[/dim]" if source else ""
    return f"[bold]{name}[/bold]{note}", what


def _reference(cls: Any) -> str:
    """Authors (year)."""
    from rich.markup import escape

    short = f"{cls.reference.split(')')[0]}{')' * (')' in cls.reference)}"
    return f"[dim]{escape(short)}[/dim]"
