"""A comparison on the terminal: as many metrics as a line of 80 characters holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from smalti.cli.say import answer, quiet, say
from smalti.cli.words import here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smalti.leaks.finding import Finding
    from smalti.scores.table import Scores

_SHOWN = 3
_WIDE = 15  # of a column of a metric


def show(comparison: Scores, out: Path | None = None) -> None:
    """Give the table, what it says, where it comes from, and the notes; ``out`` has its page."""
    page = None if out is None else out / "report.html"
    answer(lambda: _facts(comparison, page), lambda: _print(comparison))
    if page is not None:
        say(f"report: {page}")


def _facts(comparison: Scores, page: Path | None) -> dict[str, Any]:
    return {
        "summary": comparison.summary(),
        "said": list(comparison.said()),
        "digest": comparison.digest,
        "fits": comparison.n_fits,
        "notes": list(map(here, comparison.notes)),
        "audit": [here(str(finding)) for finding in comparison.audit or ()],
        "report": page,
    }


def _print(comparison: Scores) -> None:
    import pandas as pd
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from smalti.scores.metrics import LOWER_IS_BETTER, NOT_RANKED, named

    summary = comparison.summary()
    console = Console(highlight=False)
    rows = [f"{m} {comparison.role(m)} {comparison.lost(m)}" for m in summary["method"].unique()]
    room = (console.width - min(max(map(len, rows)) + 2, console.width // 2)) // _WIDE
    names = [m for m in comparison.metrics if m in set(summary["metric"])]
    names = names[: max(1, min(_SHOWN, room))]  # names of methods are whole on a narrow terminal
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("method", no_wrap=True)
    for name in names:
        table.add_column(named(name), min_width=_WIDE - 2)
    means = summary.pivot_table(index="method", columns="metric", values="mean", sort=False)
    for method in summary["method"].drop_duplicates():
        part = summary[summary["method"] == method].set_index("metric")
        cells = []
        for m in names:
            if pd.isna(part.loc[m, "mean"]):
                cells.append("–")
                continue
            raced = means.loc[[comparison.races(n) for n in means.index], m]
            best = raced.min() if m in LOWER_IS_BETTER else raced.max()
            text = f"{part.loc[m, 'mean']:.3f}"
            bold = text == f"{best:.3f}" and m not in NOT_RANKED
            text = text.replace("-", "−")
            text = f"[bold]{text}[/bold]" if bold else text
            sd = part.loc[m, "sd_folds"]
            cells.append(text if pd.isna(sd) else f"{text} [dim]± {sd:.3f}[/dim]")
        role = f" [dim]{comparison.role(method)}[/dim]" if comparison.role(method) else ""
        lost = (
            f" [red]{escape(comparison.lost(method).strip())}[/red]"
            if comparison.lost(method)
            else ""
        )
        table.add_row(escape(method) + role + lost, *cells)
    console.print()
    console.print(table)
    console.print()
    for sentence in comparison.said():
        console.print(f"{escape(sentence)}.")
    console.print(
        f"[dim]mean ± s.d. over {comparison.n_fits} {comparison.unit}; digest {comparison.digest}"
        "[/dim]"
    )
    console.print(f"[dim]{escape(' '.join(comparison.terms()))}[/dim]\n")
    for note in () if quiet() else comparison.notes:
        console.print(f"[yellow]note: {escape(here(note))}[/yellow]")
    say_audit(comparison.audit or ())


def say_plan(plan: Any, out: Path) -> None:
    """Give what a comparison would do."""
    facts = {"about": plan.about, "protocol": plan.protocol, "splits": plan.splits,
             "fits": plan.fits, "memory": plan.memory, "out": out}  # fmt: skip
    answer(facts, lambda: typer.echo(f"{plan}\nwould be written: {out}, with report.html"))


def say_audit(findings: Iterable[Finding], words: Callable[[str], str] = here) -> None:
    """Print findings of an audit, leaks in red and doubts in yellow, in the words of a verb."""
    from rich.console import Console
    from rich.markup import escape

    for finding in findings:
        colour = "red" if finding.severity == "leak" else "yellow"
        text = f"[{colour}]audit, {escape(words(str(finding)))}[/{colour}]"
        Console(highlight=False).print(text)
