"""``smalti expression fit`` and ``predict``, and where the other verbs are joined."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from smalti.cli import crew, options, slide_options
from smalti.cli.expression_before import predictable, screen
from smalti.cli.expression_compare import compare
from smalti.cli.genes import (
    GENES,
    NUnseen,
    Sets,
    Unseen,
    Vectors,
    hide,
    names_of,
)
from smalti.cli.slides import again, check_method, encoder_of, genes_of, open_slides, recipe_of
from smalti.cli.words import Verb, introduce, read_here, tell
from smalti.errors import InputError

_ALIKE = 0.9  # correlation with the mean map of all genes: little is left of the gene

app = typer.Typer(no_args_is_help=True, help="Expression of genes from tiles of slides.")


@app.command(cls=Verb)
def fit(
    method: Annotated[str, typer.Argument(help="Such as ridge or mlp:team; see `smalti methods`.")],
    slides: slide_options.Slides,
    out: Annotated[Path, typer.Option(help="Folder to save the model in.")],
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
    x: slide_options.X = None,
    encoder: slide_options.Encoder = None,
    dense: slide_options.Dense = None,
    weights: slide_options.Weights = None,
    flips: slide_options.Flips = None,
    cache: slide_options.Cache = None,
    jobs: slide_options.Jobs = None,
    genes: slide_options.Genes = None,
    vectors: Vectors = None,
    unseen: Unseen = None,
    n_unseen: NUnseen = 250,
    sets: Sets = None,
    ensemble: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Fits that each leave out a part of the genes: says what to expect.",
            rich_help_panel=options.FITS,
        ),
    ] = None,
    epochs: options.Epochs = None,
    set_: options.Settings = None,
    seed: options.Seed = 0,
    checkpoint: options.Checkpoint = None,
    logger: options.Logger = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Fit a method on slides with measured expression, and save it."""
    given = dict(locals())
    from smalti.core.checkpoint import kept_until_saved
    from smalti.core.registry import make
    from smalti.core.save import UNSEEN, is_model
    from smalti.system.files import atomic_write, check_free

    settings = options.settings_of(set_) | ({} if epochs is None else {"epochs": epochs})
    if genes is not None:
        settings["genes"] = genes_of(genes)
    if vectors is not None:
        settings["vectors"] = str(vectors)
    model = make(method, **settings, seed=seed)
    check_method(model, method)
    if model.images and weights is not None:  # of the network that reads tiles
        model.set_params(weights=weights)
    if ensemble is not None:
        model = _ensemble(model, ensemble)
    crew.join(model)
    check_free(out, overwrite=overwrite, ours=is_model, inputs=read_here("out", "checkpoint"))
    chosen = None if model.images else encoder_of(encoder, x, dense)
    recipe = recipe_of(given, encoder=chosen, weights=weights, x=x)
    bags = open_slides(slides, recipe, given)
    introduce(bags)
    hidden: tuple[str, ...] = ()
    if unseen is not None:
        model.genes, hidden = hide(model, bags, unseen, n_unseen, sets)
    with kept_until_saved():
        model.fit(
            dataclasses.replace(bags, origin={"tiles": recipe}),
            checkpoint=checkpoint,
            callbacks=logger,
        )
        crew.leave(model)
        model.save(out, overwrite=overwrite)
        if hidden:
            with atomic_write(out / UNSEEN) as temporary:
                temporary.write_text("\n".join(hidden) + "\n", encoding="utf-8")
    if hidden:
        typer.echo(f"{len(hidden):,} genes were hidden: {out / UNSEEN}")
    typer.echo(f"{len(model.genes_):,} genes, {model.n_parameters_:,} parameters: {out}")


@app.command(cls=Verb)
def predict(
    model: Annotated[Path, typer.Argument(help="Folder that `smalti expression fit` wrote.")],
    slides: slide_options.Slides,
    out: Annotated[
        Path,
        typer.Option(
            help="AnnData (.h5ad) with one row per tile, layers predicted and (where there is any) "
            "measured; or .zarr: a copy of the SpatialData with a table `predicted`."
        ),
    ],
    images: slide_options.Images = None,
    slide: slide_options.Slide = None,
    donor: options.Donor = None,
    um_per_px: slide_options.UmPerPx = None,
    pitch_um: slide_options.PitchUm = None,
    tiles: slide_options.Tiles = None,
    overlap: slide_options.Overlap = None,
    tissue: slide_options.Tissue = None,
    tissue_min: slide_options.TissueMin = None,
    edge: slide_options.Edge = None,
    xy: slide_options.Xy = None,
    counts: slide_options.Counts = None,
    unlisted: slide_options.Unlisted = None,
    bins: slide_options.Bins = None,
    only: slide_options.Only = None,
    platform: slide_options.Platform = None,
    columns: slide_options.Columns = None,
    id: slide_options.Id = None,
    path: slide_options.File = None,
    cache: slide_options.Cache = None,
    jobs: slide_options.Jobs = None,
    genes: Annotated[
        str | None,
        typer.Option(
            help="Genes to predict, seen in training or not: names with commas, or a text file "
            "with one a line. Those of training when left out.",
            rich_help_panel=GENES,
        ),
    ] = None,
    confidence: Annotated[
        Path | None,
        typer.Option(
            help="Table (.csv) of how far to believe each gene.", rich_help_panel=options.WRITE
        ),
    ] = None,
    abstain: Annotated[
        float | None,
        typer.Option(
            help="Predict nothing (NaN) for unseen genes of which a model fitted with --ensemble "
            "expects a lower correlation than this.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(
            "--features",
            help="Write the features of the tiles too, as obsm/X_NAME: `smalti compare` on that "
            "file then has both, with --x X_NAME,layers/predicted.",
            rich_help_panel=options.WRITE,
        ),
    ] = False,
    key_added: options.KeyAdded = None,
    overwrite: options.Overwrite = False,
    missing: options.Missing = None,
    allow: options.Allow = None,
) -> None:
    """Predict the expression of tiles with a saved model."""
    given = dict(locals())
    from smalti.core.load import load
    from smalti.system.files import atomic_write, check_free
    from smalti.system.tables import write_table

    if out.suffix not in (".h5ad", ".zarr") or (out.suffix == ".zarr") > (slides.suffix == ".zarr"):
        raise InputError(f"--out {out.name}: end it in .h5ad (or .zarr, where the slides do).")
    fitted = load(model, allow=allow)
    check_method(fitted, str(model))
    recipe = (fitted.origin_ or {}).get("tiles")
    if recipe is None:
        raise InputError(
            f"{model} was not fitted by `smalti expression fit`, so how its tiles were made is not "
            "known: predict in Python."
        )
    recipe = again(recipe, given)
    asked = None if genes is None else names_of(genes, "--genes")
    if confidence is not None and not hasattr(fitted, "confidence"):
        raise InputError(f"--confidence: {fitted.name} has no vectors of genes, so no confidence.")
    if abstain is not None and not hasattr(fitted, "spread"):
        raise InputError(
            f"--abstain: {fitted.name} does not know which correlation to expect: fit it with "
            "--ensemble 5."
        )
    if confidence is not None and confidence.suffix not in (".csv", ".tsv", ".parquet"):
        raise InputError(f"--confidence {confidence.name}: end it in .csv, .tsv or .parquet.")
    if out.suffix == ".zarr" and (asked, confidence, abstain, features) != (
        None,
        None,
        None,
        False,
    ):
        raise InputError("--genes, --confidence, --abstain and --features need --out FILE.h5ad.")
    if out.suffix == ".h5ad" and key_added:
        raise InputError("--key-added needs --out COPY.zarr: .h5ad is a new table.")
    for output in filter(None, (out, confidence)):
        check_free(output, overwrite=overwrite, inputs=read_here("out", "confidence"))
    bags = open_slides(slides, recipe, given, fitted)
    introduce(bags)
    if out.suffix == ".zarr":
        fitted.write(slides, bags, out=out, key_added=key_added, overwrite=overwrite,
                     missing=missing)  # fmt: skip
        return
    table = fitted.to_anndata(bags, asked, abstain=abstain, missing=missing, features=features)
    with atomic_write(out, overwrite=overwrite) as temporary:
        table.write_h5ad(temporary)
    if confidence is not None:
        write_table(table.var.reset_index(drop=True), confidence, overwrite=overwrite)
    _tell(table)
    typer.echo(f"{table.n_obs:,} tiles x {table.n_vars:,} genes: {out}")


def _tell(table: Any) -> None:
    """What the user must know of genes that were seen, or that nothing is predicted for."""
    if "seen" not in table.var or table.var["seen"].all():
        return
    if table.var["seen"].any():
        tell(f"{int(table.var['seen'].sum()):,} of the genes were in training: scores on them say "
             "nothing of unseen genes.")  # fmt: skip
    alike = table.var["shared"].abs() > _ALIKE
    if alike.mean() > 0.5:
        tell(
            f"the maps of {int(alike.sum()):,} of {table.n_vars:,} genes are nearly what all genes "
            f"of training share (correlation over {_ALIKE}): they say little of the gene."
        )
    if "abstain" in table.var and table.var["abstain"].any():
        tell(f"{int(table.var['abstain'].sum()):,} genes are not predicted (NaN): too low a "
             "correlation is to be expected.")  # fmt: skip


def _ensemble(model: Any, parts: int) -> Any:
    from smalti.core.registry import make

    if "vectors" not in model.get_params():
        raise InputError(f"--ensemble leaves out genes, which {model.name} cannot predict then.")
    shared = ("vectors", "x", "counts", "genes", "units", "preprocess", "seed", "accelerator",
              "precision")  # fmt: skip
    settings = {name: getattr(model, name) for name in shared}
    return make("gene_ensemble", method=model.set_params(preprocess=None), parts=parts, **settings)


for _verb in (compare, predictable, screen):
    app.command(cls=Verb)(_verb)
