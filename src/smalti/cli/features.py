"""``smalti features``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options, slide_options
from smalti.cli.say import answer
from smalti.cli.words import read_here, tell


def features(
    slides: Annotated[
        list[Path],
        typer.Argument(
            metavar="SLIDES...",
            help="A folder of slides, or slides (.svs, .tif, .png, ...); or a table (.csv) with "
            "the columns path and, where names are not those of the files, --slide.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: SLIDE.h5 for each slide.")],
    slide: slide_options.Slide = None,
    path: Annotated[
        str | None,
        typer.Option(help="Column of a table that names the file: path.",
                     rich_help_panel=options.READ),
    ] = None,
    tile_um: slide_options.TileUm = None,
    tile_px: slide_options.TilePx = None,
    um_per_px: slide_options.UmPerPx = None,
    size: slide_options.Size = None,
    tiles: Annotated[
        str, typer.Option(help="Where tiles are: grid, or nuclei.",
                          rich_help_panel=slide_options.TILES)
    ] = "grid",
    overlap: slide_options.Overlap = None,
    tissue: slide_options.Tissue = None,
    tissue_min: slide_options.TissueMin = None,
    edge: slide_options.Edge = None,
    stain: slide_options.Stain = None,
    stain_target: slide_options.StainTarget = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="efficientnet-lite0 (where left out, if it is installed), morphology (else), or a "
            "model of timm by name; A+B: both as one view.",
            rich_help_panel=slide_options.FEATURES,
        ),
    ] = None,
    dense: slide_options.Dense = None,
    weights: slide_options.Weights = None,
    flips: Annotated[
        str | None,
        typer.Option(help="Features of the eight flips of a tile: none, or mean.",
                     rich_help_panel=slide_options.FEATURES),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Of a network: 32, or bf16.", rich_help_panel=slide_options.FEATURES),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; a GPU where there is one.",
                     rich_help_panel=slide_options.FEATURES),
    ] = None,
    cache: slide_options.Cache = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first slide that cannot be read.")
    ] = False,
    jobs: options.Jobs = 1,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Make feature files of slides; what was made before is not made again."""
    given = dict(locals())
    from smalti.cli.slides import encoder_of, files_of, number_of
    from smalti.features.files import write
    from smalti.system.files import check_free

    check_free(out, overwrite=True, inputs=read_here("out", "cache"))
    asked = {k: given[k] for k in ("slide", "path", "tile_um", "tile_px", "size", "overlap",
             "tissue_min", "edge", "stain", "stain_target", "dense", "weights", "flips",
             "precision", "device", "cache") if given[k] is not None}  # fmt: skip
    table, failed = write(
        slides[0] if len(slides) == 1 else slides, out, encoder_of(encoder, None, dense),
        um_per_px=number_of(um_per_px, "--um-per-px", "SLIDE=NUMBER"), tiles=tiles,
        tissue=files_of(tissue, "--tissue"), strict=strict, n_jobs=jobs, overwrite=overwrite,
        **asked,
    )  # fmt: skip
    for name, why in failed.items():
        tell(f"slide {name!r} is passed over: {why}")

    def show() -> None:
        for row in table.itertuples():
            width = "" if row.tile_um != row.tile_um else f" of {row.tile_um:.4g} µm"
            typer.echo(f"{row.slide}: {row.tiles:,} tiles{width}{', kept' if row.kept else ''}")
        typer.echo(f"{len(table)} slides, {len(failed)} passed over: {out}")

    answer({"slides": table, "passed_over": failed, "out": out}, show)
