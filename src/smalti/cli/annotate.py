"""``smalti annotate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.given import title_of
from smalti.cli.say import say
from smalti.cli.views import TABLES, read_views, to_embed
from smalti.cli.words import introduce, made_here, read_here, tell
from smalti.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def annotate(
    model: Annotated[
        Path, typer.Argument(help="Folder that `smalti integrate --label NAME --model` wrote.")
    ],
    data: options.DataOfCells,
    out: Annotated[
        Path,
        typer.Option(
            help="Copy of the data with labels in obs (may be the data itself); or a table (.csv, "
            ".tsv, .parquet) of the cells."
        ),
    ],
    x: options.X = None,
    cells: options.Cells = None,
    obs: options.Obs = None,
    runs: options.Runs = None,
    backed: options.Backed = None,
    sample: options.Sample = None,
    false_alarm: Annotated[
        float | None,
        typer.Option(
            help="Share of cells of known types that may count as unknown; that of the reference "
            "(0.05) where left out.",
            rich_help_panel=options.FITS,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Page (.html) of the labels.", rich_help_panel=options.WRITE),
    ] = None,
    key_added: Annotated[
        str,
        typer.Option(help="Name to write under in the data.", rich_help_panel=options.WRITE),
    ] = "annotation",
    overwrite: options.Overwrite = False,
    missing: options.Missing = None,
    allow: options.Allow = None,
) -> None:
    """Label cells by those of a reference, with how sure each label is."""
    from smalti.comparison.annotated import Annotated as Shown
    from smalti.core.load import load
    from smalti.system.files import check_free, is_same
    from smalti.system.tables import write_table

    given = to_embed(data, out, obs, runs)
    if not (isinstance(given, Path) and is_same(out, given)):
        check_free(out, overwrite=overwrite, inputs=read_here("out", "report"))
    if report is not None:  # before the work, as every other file
        check_free(report, overwrite=overwrite, inputs=read_here("out", "report"))
    known = load(model, allow=allow)
    if not hasattr(known, "annotate"):
        raise InputError(
            f"{model} holds {known.name}, which knows no cell types: make a reference, smalti "
            "integrate METHOD REFERENCE --label NAME --model FOLDER."
        )
    bags = read_views(given, x, cells, sample=sample, backed=backed,
                      runs=options.listed(runs) if isinstance(given, list) else None)  # fmt: skip
    introduce(bags)
    say(known.said())
    for note in known.notes_:
        tell(note)
    found = known.annotate(bags, missing=missing, false_alarm=false_alarm)
    if out.suffix in TABLES:
        write_table(found, out, index=True, float_format="%.6g", overwrite=overwrite)
    else:
        known.write(given, out=out, key_added=key_added, overwrite=overwrite, bags=bags,
                    found=found)  # fmt: skip
    say(f"{_counts(found)}\nwritten to {out}")
    if report is not None:
        page = Shown(known, bags, found)
        page.report(
            report, **made_here(), title=f"Cell types of {title_of(data)}", overwrite=overwrite
        )
        say(f"report: {report}")


def _counts(found: pd.DataFrame) -> str:
    """Labels with their cells, the commonest first; how sure; how many unknown."""
    count: Any = found["label"].value_counts()
    sure = found.loc[~found["unknown"], "confidence"]
    told = ", ".join(f"{n:,} {name}" for name, n in count.items())
    mean = f"; mean confidence of the labelled {sure.mean():.2f}" if len(sure) else ""
    return f"{len(found):,} cells: {told}{mean}"
