"""``smalti expression predictable`` and ``screen``: what features know of genes, before any fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from smalti.cli import options, slide_options
from smalti.cli.genes import check_folder, names_of
from smalti.cli.say import say
from smalti.cli.slides import encoder_of, genes_of, open_slides, recipe_of
from smalti.cli.words import introduce, tell

if TYPE_CHECKING:
    from smalti.bags import Bags

Encoders: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="What makes features of tiles: efficientnet-lite0 (where its weights are installed), "
        "morphology, models of timm; several with commas.",
        rich_help_panel=slide_options.FEATURES,
    ),
]
Keys: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--x",
        help="Features that the .h5ad has already, such as X_uni; several with commas.",
        rich_help_panel=slide_options.FEATURES,
    ),
]
Out: TypeAlias = Annotated[Path, typer.Option(help="Folder for report.html, tables and pictures.")]


def predictable(
    slides: slide_options.Slides,
    out: Out,
    images: slide_options.Images = None,
    slide: slide_options.Slide = None,
    donor: options.Donor = None,
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
    xy: slide_options.Xy = None,
    counts: slide_options.Counts = None,
    unlisted: slide_options.Unlisted = None,
    bins: slide_options.Bins = None,
    only: slide_options.Only = None,
    platform: slide_options.Platform = None,
    columns: slide_options.Columns = None,
    id: slide_options.Id = None,
    path: slide_options.File = None,
    x: Keys = None,
    encoder: Encoders = None,
    dense: slide_options.Dense = None,
    weights: slide_options.Weights = None,
    flips: slide_options.Flips = None,
    cache: slide_options.Cache = None,
    jobs: slide_options.Jobs = None,
    genes: Annotated[
        str | None, typer.Option(help="Names with commas or a file; all when left out.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Whose tiles are not looked at: those of the donor, or slide.")
    ] = "donor",
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours of a tile.")] = 20,
    shuffles: Annotated[int, typer.Option(min=1, help="Of the null.")] = 50,
    least: Annotated[int, typer.Option(min=1, help="Tiles that show a gene, at least.")] = 20,
    most: Annotated[int, typer.Option(min=1, help="Tiles looked at.")] = 20_000,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Say of each gene whether these features can predict it at all, without a fit."""
    given = dict(locals())
    from smalti.expression import predictable as score
    from smalti.report import write_finding

    check_folder(out, overwrite)
    bags, views = _features(given)
    table = score(bags, view=views, genes=None if genes is None else names_of(genes, "--genes"),
                  by=by, k=k, shuffles=shuffles, least=least, most=most, seed=seed)  # fmt: skip
    write_finding(table, out, about=repr(bags), overwrite=overwrite)
    for view, own in table.groupby("view", sort=False):
        highest = ", ".join(own.nlargest(5, "score")["gene"])
        say(
            f"{view}: mean score {own['score'].mean():.3f} of {own['score'].count():,} genes, "
            f"{own['beyond_depth'].mean():.3f} beyond the depth of a tile; highest: {highest}"
        )
    tell("p and fdr of the table are a guide of what to look at: they are too small where genes "
         "are tied to one another, as counts per 10,000 are.")  # fmt: skip
    say(f"report: {out / 'report.html'}")


def screen(
    slides: slide_options.Slides,
    out: Out,
    images: slide_options.Images = None,
    slide: slide_options.Slide = None,
    donor: options.Donor = None,
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
    xy: slide_options.Xy = None,
    counts: slide_options.Counts = None,
    unlisted: slide_options.Unlisted = None,
    bins: slide_options.Bins = None,
    only: slide_options.Only = None,
    platform: slide_options.Platform = None,
    columns: slide_options.Columns = None,
    id: slide_options.Id = None,
    path: slide_options.File = None,
    x: Keys = None,
    encoder: Encoders = None,
    dense: slide_options.Dense = None,
    weights: slide_options.Weights = None,
    flips: slide_options.Flips = None,
    cache: slide_options.Cache = None,
    jobs: slide_options.Jobs = None,
    genes: Annotated[
        str | None,
        typer.Option(help="A number (of most variance, 1000), names with commas, or a file."),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Say which encoder predicts best, each donor left out in turn; give training donors only."""
    given = dict(locals())
    from smalti.features import screen_backbones
    from smalti.report import write_finding

    check_folder(out, overwrite)
    bags, views = _features(given)
    found = screen_backbones(bags, views, genes=1000 if genes is None else genes_of(genes))
    write_finding(found, out, about=repr(bags), overwrite=overwrite)
    for row in found.summary().itertuples():
        gap = "" if row.view == found.best else f", behind by {row.behind:.3f}" + (
            f" ({row.low:.3f} to {row.high:.3f}), {row.verdict}" if row.low == row.low else
            ", not told apart: an interval needs three parts or more")  # fmt: skip
        say(f"{row.view}: {row.pcc_slide:.3f}{gap}")
    say(f"each {found.left_out} left out in turn, {len(found.genes):,} genes")
    say(f"report: {out / 'report.html'}")


def _features(given: dict[str, Any]) -> tuple[Bags, list[str]]:
    """Slides with the features of all encoders, or all keys, and the names of their views."""
    x, weights = given["x"], given["weights"]
    encoders = encoder_of(given["encoder"], x, given["dense"])
    recipe = recipe_of(given, encoder=encoders, weights=weights, x=x)
    bags = open_slides(given["slides"], recipe, given)
    introduce(bags)
    names = options.listed(encoders if x is None else x) or []
    return bags, list(bags.x)[: len(names)]  # features come before tiles and counts
