"""``smalti methods``."""

from __future__ import annotations


def methods() -> None:
    """List the methods."""
    from rich.console import Console
    from rich.table import Table

    from smalti.registry import methods as known

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("name", "what", "targets", "reference"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for name, cls in sorted(known().items(), key=lambda m: (m[1].baseline, m[0])):
        what = (cls.__doc__ or "").strip().splitlines()[0]
        targets = "all" if len(cls.kinds) == 5 else ", ".join(cls.kinds)
        reference = cls.reference.split(")")[0] + ")" * (")" in cls.reference)  # authors (year)
        note = " [dim](baseline)[/dim]" if cls.baseline else ""
        table.add_row(f"[bold]{name}[/bold]{note}", what, targets, f"[dim]{reference}[/dim]")
    Console().print(table)
