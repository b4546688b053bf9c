"""``smalti expression compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import complete, options, slide_options
from smalti.cli import search as searching
from smalti.cli.genes import NUnseen, Sets, Unseen, Vectors, protocol_of, read_sets
from smalti.cli.say import say
from smalti.cli.slides import check_method, encoder_of, genes_of, open_slides, recipe_of
from smalti.cli.words import keep_config, made_here, read_here


def compare(
    slides: slide_options.Slides,
    out: Annotated[Path, typer.Option(help="Folder for tables and report.html.")],
    methods: Annotated[
        str,
        typer.Option(
            help="Names with commas; ridge and the controls always run.",
            autocompletion=complete.listed,
        ),
    ] = "ridge,knn,mlp:team",
    images: slide_options.Images = None,
    slide: slide_options.Slide = None,
    donor: options.Donor = None,
    site: options.Site = None,
    by: Annotated[
        str,
        typer.Option(
            help="What to leave out in turn: donor, site (and its donors), slide, tile (leaks).",
            rich_help_panel=options.FITS,
        ),
    ] = "donor",
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Parts; each alone when few.", rich_help_panel=options.FITS),
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(
            help="leave-one-donor-out, leave-one-site-out; or your own folds: a column of the "
            "slides, or a .csv with columns bag (or donor) and fold; train and test: one split.",
            rich_help_panel=options.FITS,
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Fits of each method with randomness.", rich_help_panel=options.FITS
        ),
    ] = 3,
    top: Annotated[
        int,
        typer.Option(min=1, help="Genes of the scores of the best.", rich_help_panel=options.FITS),
    ] = 50,
    nan: Annotated[
        str,
        typer.Option(
            help="What a gene without a correlation counts: drop (nothing), zero or minus_one.",
            rich_help_panel=options.FITS,
        ),
    ] = "drop",
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
    x: slide_options.X = None,
    encoder: slide_options.Encoder = None,
    dense: slide_options.Dense = None,
    weights: slide_options.Weights = None,
    flips: slide_options.Flips = None,
    cache: slide_options.Cache = None,
    search: searching.Searches = None,
    trials: searching.Trials = None,
    inner_folds: searching.InnerFolds = None,
    sampler: searching.Sampler = None,
    budget: searching.Budget = None,
    jobs: options.Jobs = None,
    scheduler: options.Scheduler = None,
    genes: slide_options.Genes = None,
    vectors: Vectors = None,
    unseen: Unseen = None,
    n_unseen: NUnseen = 250,
    sets: Sets = None,
    before: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder that genes explore, expression screen or predictable wrote, to be in the "
            "report; repeatable."
        ),
    ] = None,
    epochs: options.Epochs = None,
    dry_run: options.DryRun = False,
    set_: options.Settings = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Compare methods on donors (or slides) that they were not fitted on."""
    given = dict(locals())
    from smalti.cli.table import say_plan, show
    from smalti.comparison.expression import compare_expression
    from smalti.comparison.planning import plan_expression
    from smalti.report.before import finding_of
    from smalti.scores.table import is_run
    from smalti.system.files import check_free

    settings = options.settings_of(set_) | ({} if epochs is None else {"epochs": epochs})
    spaces, how = searching.spaces_of(search), searching.how_of(given)
    labels = [*(options.listed(methods) or ()), *spaces]
    chosen = options.make_methods(",".join(labels), settings)
    for model in chosen:
        check_method(model, model.name)
        if model.images and weights is not None:  # of a network that reads tiles
            model.set_params(weights=weights)
    check_free(out, overwrite=overwrite, ours=is_run, inputs=read_here("out"))
    found = [finding_of(folder) for folder in before or ()]
    recipe = recipe_of(given, encoder=encoder_of(encoder, x, dense), weights=weights, x=x)
    bags = open_slides(slides, recipe, given)
    say(repr(bags))
    labels = [*labels[: len(labels) - len(spaces)], *(f"{name} searched" for name in spaces)]
    chosen = searching.searched(chosen, spaces, how)
    asked = dict(
        candidates=dict(zip(labels, chosen, strict=True)), slides=bags, by=by, folds=folds,
        splits=splits, genes=None if genes is None else genes_of(genes),
        seeds=range(seed, seed + seeds), top=top, nan=nan, cache=cache,
        unseen=protocol_of(unseen), n_unseen=n_unseen, sets=read_sets(sets), vectors=vectors,
    )  # fmt: skip
    if dry_run:
        say_plan(plan_expression(**asked), out)
        return
    result = compare_expression(**asked, n_jobs=jobs, scheduler=scheduler)
    result.write(out, overwrite=overwrite)
    keep_config(out)
    title = f"Expression from the tiles of {slides.name}"
    result.report(out / "report.html", **made_here(), title=title, before=found)
    show(result, out)
