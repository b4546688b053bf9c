"""``smalti genes activity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.given import data_of
from smalti.cli.say import say
from smalti.cli.views import read_views
from smalti.cli.words import introduce, read_here
from smalti.errors import InputError

PEAKS = "Peaks and genes"
"""A panel of the help."""


def activity(
    data: options.DataOfCells,
    genes: Annotated[
        Path,
        typer.Option(help="Where genes lie, of the genome of the peaks: .gtf or .bed, or .gz."),
    ],
    out: Annotated[Path, typer.Option(help="The .h5ad to write, cells x genes.")],
    x: options.X = None,
    cells: options.Cells = None,
    kinds: options.Kinds = None,
    obs: options.Obs = None,
    runs: options.Runs = None,
    backed: options.Backed = None,
    view: Annotated[
        str | None,
        typer.Option(help="The view of peaks, where several may be it.", rich_help_panel=PEAKS),
    ] = None,
    upstream: Annotated[
        int, typer.Option(help="Bases before the start of a gene.", rich_help_panel=PEAKS)
    ] = 2000,
    biotype: Annotated[
        str, typer.Option(help="Genes of a GTF to take, or all.", rich_help_panel=PEAKS)
    ] = "protein_coding",
    max_width: Annotated[
        int | None,
        typer.Option(min=1, help="Longer genes are left out, in bases.", rich_help_panel=PEAKS),
    ] = 500_000,
    overwrite: options.Overwrite = False,
) -> None:
    """Count open chromatin over each gene, as a table of its own, like one of RNA.

    The other verbs read it beside the peaks: rna=OUT atac=DATA.
    """
    from smalti.genes.activity import gene_activity
    from smalti.io.cells import view_table
    from smalti.system.extras import need
    from smalti.system.files import atomic_write, check_free

    if out.suffix != ".h5ad":
        raise InputError(f"--out {out}: end the name in .h5ad.")
    check_free(out, overwrite=overwrite, inputs=read_here("out"))
    need("bioframe", "integrate")  # before the data are read
    bags = read_views(data_of(data), x, cells, kinds=options.kinds_of(kinds), obs=obs,
                      runs=options.listed(runs), backed=backed)  # fmt: skip
    introduce(bags)
    asked: dict[str, Any] = {"biotype": None if biotype == "all" else biotype}
    found = gene_activity(bags, genes, view=view, upstream=upstream, max_width=max_width,
                          **asked)  # fmt: skip
    table = view_table(found, "gene_activity")
    with atomic_write(out, overwrite=overwrite) as temporary:
        table.write_h5ad(temporary)
    say(f"{table.n_obs:,} cells x {table.n_vars:,} genes: {out}")
