"""``smalti cells``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options, slide_options
from smalti.cli.say import say
from smalti.cli.words import introduce, read_here
from smalti.errors import InputError


def cells(
    data: slide_options.Slides,
    out: Annotated[Path, typer.Option(help="The .h5ad to write, one row per cell.")],
    images: slide_options.Images = None,
    slide: slide_options.Slide = None,
    labels: options.Labels = None,
    counts: slide_options.Counts = None,
    xy: slide_options.Xy = None,
    bins: slide_options.Bins = None,
    only: slide_options.Only = None,
    platform: slide_options.Platform = None,
    unlisted: slide_options.Unlisted = None,
    tile_um: slide_options.TileUm = None,
    tile_px: slide_options.TilePx = None,
    um_per_px: slide_options.UmPerPx = None,
    pitch_um: slide_options.PitchUm = None,
    size: slide_options.Size = None,
    tiles: slide_options.Tiles = None,
    overlap: slide_options.Overlap = None,
    tissue: slide_options.Tissue = None,
    tissue_min: slide_options.TissueMin = None,
    edge: slide_options.Edge = None,
    stain: slide_options.Stain = None,
    stain_target: slide_options.StainTarget = None,
    encoder: slide_options.Encoder = None,
    flips: slide_options.Flips = None,
    dense: slide_options.Dense = None,
    weights: slide_options.Weights = None,
    neighbours: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Put the mean counts of so many nearest cells beside, obsm counts_neighbours.",
            rich_help_panel=slide_options.FEATURES,
        ),
    ] = None,
    cache: slide_options.Cache = None,
    jobs: slide_options.Jobs = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Read cells (or spots) of slides into one table: counts, places, and features of the picture.

    `smalti fit`, `compare` and `predict` read it with --sample slide.
    """
    given = dict(locals()) | {"donor": None, "columns": None, "id": None, "path": None}
    from smalti.cli.slides import encoder_of, open_slides, recipe_of
    from smalti.features.surroundings import neighbours as surrounded
    from smalti.io.cells import to_anndata
    from smalti.system.files import atomic_write, check_free

    if out.suffix != ".h5ad":
        raise InputError(f"--out {out}: end the name in .h5ad.")
    check_free(out, overwrite=overwrite, inputs=read_here("out", "cache"))
    asked = recipe_of(given, encoder=encoder_of(encoder, None, dense), weights=weights)
    bags = open_slides(data, asked, given)
    if neighbours is not None:
        bags = surrounded(bags, k=neighbours)
    introduce(bags)
    with atomic_write(out, overwrite=overwrite) as temporary:
        to_anndata(bags).write_h5ad(temporary)
    say(f"{bags.n_instances:,} rows of {len(bags)} slides: {out}")
