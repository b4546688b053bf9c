"""``smalti arrange``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options
from smalti.cli.say import say


def arrange(
    data: Annotated[
        list[Path],
        typer.Argument(help=".h5ad or .zarr of AnnData; several: one after another, and the .zarr "
                            "to write last."),
    ],
    sample: Annotated[str, typer.Option(help="Column of obs to sort cells by.")],
    runs: options.Runs = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Sort cells by sample into a .zarr, out of core: once, so that all else reads it fast.

    The last name is the .zarr to write. It is read as any other AnnData.
    """
    from smalti.errors import InputError
    from smalti.io.arrange import arrange as work
    from smalti.io.open import open_table
    from smalti.system.files import check_free

    *files, out = data
    if not files or out.suffix != ".zarr":
        raise InputError("name the files to read and, last, the .zarr to write: "
                         "smalti arrange cells.h5ad cells.zarr --sample COLUMN.")  # fmt: skip
    check_free(out, overwrite=overwrite, inputs=files)
    work(files, out, sample=sample, runs=options.listed(runs), overwrite=overwrite)
    n = len(open_table(out, backed=True).names)
    say(f"{n:,} cells by {sample}: {out}")
