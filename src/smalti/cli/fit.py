"""``smalti fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import crew, options
from smalti.cli import search as searching
from smalti.cli.given import data_of
from smalti.cli.words import introduce, read_here
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.mil.base import Method


def fit(
    method: Annotated[str, typer.Argument(help="Name of a method; see `smalti methods`.")],
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    sample: options.Sample = None,
    label: options.Label = None,
    donor: options.Donor = None,
    x: options.X = None,
    cells: options.Cells = None,
    kinds: options.Kinds = None,
    obs: options.Obs = None,
    runs: options.Runs = None,
    backed: options.Backed = None,
    labels: options.Labels = None,
    id: options.Id = None,
    key: options.Key = None,
    absent: options.Absent = None,
    kind: options.Kind = None,
    positive: options.Positive = None,
    order: options.Order = None,
    cell_type: options.CellType = None,
    covariates: options.Covariates = None,
    views: options.Views = None,
    preprocess: options.Preprocess = None,
    search: searching.OneSearch = None,
    trials: searching.Trials = None,
    inner_folds: searching.InnerFolds = None,
    sampler: searching.Sampler = None,
    budget: searching.Budget = None,
    epochs: options.Epochs = None,
    set_: options.Settings = None,
    seed: options.Seed = 0,
    checkpoint: options.Checkpoint = None,
    logger: options.Logger = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Fit a method on all bags of a table, and save the model."""
    how = searching.how_of(locals())
    from smalti.cli.data import open_bags
    from smalti.core.checkpoint import kept_until_saved
    from smalti.core.registry import make
    from smalti.core.save import is_model
    from smalti.system.files import check_free

    settings = options.settings_of(set_) | {"seed": seed}
    if epochs is not None:
        settings["epochs"] = epochs
    if covariates:
        settings["covariates"] = tuple(covariates)
    if preprocess is not None:
        settings["preprocess"] = options.steps_by_view(preprocess)
    read = options.side_by_side(views, x)
    if len(read) > 1:
        raise InputError("--views is given twice: a model reads one set of views, A,B.")
    if read:
        settings["views"] = read[0]
    model = make(method, **settings)
    if search is not None:
        if model.devices > 1:
            raise InputError("a search fits in one process: leave devices= out.")
        model = searching.search_of(model, search, how)
    crew.join(model)
    check_free(out, overwrite=overwrite, ours=is_model, inputs=read_here("out", "checkpoint"))
    bags = open_bags(data_of(data), sample=sample, label=label, donor=donor, x=x, labels=labels,
                     kind=kind, positive=positive, order=order, cell_type=cell_type,
                     covariates=covariates, cells=cells, kinds=kinds, obs=obs, runs=runs, id=id,
                     key=key, absent=absent, backed=backed)  # fmt: skip
    if bags.target is None:
        raise InputError("nothing to predict: name the column, --label NAME.")
    introduce(bags)
    with kept_until_saved():
        model.fit(bags, checkpoint=checkpoint, callbacks=logger)
        crew.leave(model)
        model.save(out, overwrite=overwrite)
    typer.echo(_result(model, out))


def _result(model: Method, out: Path) -> str:
    """What the fit came to, without a score: training bags cannot test a model."""
    import math

    text = f"{model.name}: {model.n_parameters_:,} parameters"
    history = model.history_
    if len(history) and math.isfinite(history["train_loss"].iloc[-1]):
        # of the last stage: a sweep that takes means and s.d. before it is no epoch
        epochs = (history["stage"] == history["stage"].iloc[-1]).sum()
        text += f", {epochs} epochs, training loss {history['train_loss'].iloc[-1]:.3f}"
    if hasattr(model, "searched_"):
        text += f"\n{_chosen(model.searched_)}"
    return f"{text}\nsaved to {out}"


def _chosen(note: dict[str, Any]) -> str:
    """What a search chose, and what its score is not."""
    from smalti.comparison.search.table import in_words
    from smalti.scores.metrics import named

    score = f"{named(note['metric'])} {note['inner']:.3f}"
    return (
        f"chosen of {note['trials']} trials, {note['failed']} of them failed: "
        f"{in_words(note['chosen'])}; {score} on {note['folds']} inner folds, which is too good, "
        "for it was chosen by it: smalti compare says how much"
    )
