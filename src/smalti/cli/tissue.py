"""``smalti tissue``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options
from smalti.cli.say import answer
from smalti.cli.words import read_here, tell


def tissue(
    slides: Annotated[
        Path, typer.Argument(help="A folder of slides, or one (.svs, .tif, .png, ...).")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder to write: masks/ (.png), outlines/ (.geojson, for QuPath and --tissue), "
            "overview/ (.jpg) and tissue.csv."
        ),
    ],
    um_per_px: Annotated[
        float | None, typer.Option(help="µm per pixel, where the slides do not say so.")
    ] = None,
    px: Annotated[int, typer.Option(min=16, help="Pixels of a mask's longer edge.")] = 2048,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first slide that cannot be read.")
    ] = False,
    jobs: options.Jobs = 1,
    overwrite: options.Overwrite = False,
) -> None:
    """Find the tissue of slides; what was made before is not made again."""
    from smalti.io.tissue_files import write_tissue
    from smalti.system.files import check_free

    check_free(out, overwrite=True, inputs=read_here("out"))
    table, failed = write_tissue(slides, out, um_per_px=um_per_px, px=px, strict=strict,
                                 n_jobs=jobs, overwrite=overwrite)  # fmt: skip
    for slide, why in failed.items():
        tell(f"slide {slide!r} is passed over: {why}")

    def show() -> None:
        for row in table.itertuples():
            area = "" if row.area_mm2 is None or row.area_mm2 != row.area_mm2 else \
                f", {row.area_mm2:,.2f} mm²"  # fmt: skip
            typer.echo(f"{row.slide}: {row.share:.1%} tissue{area}, {row.pieces} pieces")
        typer.echo(f"{len(table)} slides, {len(failed)} passed over: {out}")

    answer({"slides": table, "passed_over": failed, "out": out}, show)
