"""``smalti compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options
from smalti.cli.integrate import compare_integrations
from smalti.errors import InputError


def compare(
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Folder for tables and report.html.")],
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names with commas; see `smalti methods`. Where left out: abmil, or umint:fast "
            "with --integrate."
        ),
    ] = None,
    sample: options.Sample = None,
    label: options.Label = None,
    donor: options.Donor = None,
    x: options.X = None,
    labels: options.Labels = None,
    kind: options.Kind = None,
    positive: options.Positive = None,
    order: options.Order = None,
    cell_type: options.CellType = None,
    covariates: options.Covariates = None,
    preprocess: options.Preprocess = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the donors.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Times that donors are dealt anew.")] = 1,
    integrate: Annotated[
        bool, typer.Option("--integrate", help="Compare integrations of modalities instead.")
    ] = False,
    cells: options.Cells = None,
    kinds: options.Kinds = None,
    batch: Annotated[
        str | None, typer.Option(help="With --integrate: column of batches, to score their mixing.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="With --integrate: fits of each method.")] = 10,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps finished fits, to go on from.")
    ] = None,
    jobs: options.Jobs = None,
    epochs: options.Epochs = None,
    set_: options.Settings = None,
    seed: options.Seed = 0,
) -> None:
    """Compare methods by cross-validation over donors; baselines always take part.

    With --integrate: embeddings of cells of several modalities, scored by the groups in --label.
    """
    from smalti.cli.data import open_bags
    from smalti.cli.table import show
    from smalti.comparison.phenotype import compare as run

    settings = options.settings_of(set_) | ({} if epochs is None else {"epochs": epochs})
    if integrate:
        idle = {"--cell-type": cell_type, "--covariate": covariates, "--labels": labels,
                "--kind": kind, "--positive": positive, "--order": order}  # fmt: skip
        given = [name for name, value in idle.items() if value]
        if given:
            raise InputError(f"--integrate does not use {', '.join(given)}: leave it out.")
        compare_integrations(
            data, out, "umint:fast" if methods is None else methods, label=label, batch=batch,
            x=x, cells=cells, kinds=kinds, sample=sample, donor=donor,
            seeds=range(seed, seed + seeds), preprocess=preprocess, settings=settings,
            cache=cache, n_jobs=jobs,
        )  # fmt: skip
        return
    if kinds:
        raise InputError("--kinds is for --integrate: leave it out.")
    if covariates:
        settings["covariates"] = tuple(covariates)
    chosen = options.make_methods(
        "abmil" if methods is None else methods, settings | {"seed": seed}
    )
    bags = open_bags(data, sample=sample, label=label, donor=donor, x=x, labels=labels, kind=kind,
                     positive=positive, order=order, cell_type=cell_type, covariates=covariates,
                     cells=cells)  # fmt: skip
    if bags.donor is None:
        raise InputError(
            "samples of one donor on both sides of a split leak: name the column of donors, "
            "--donor NAME, or say --donor bag if each sample is its own donor."
        )
    if bags.target is None:
        raise InputError("nothing to predict: name the column, --label NAME.")
    options.may_replace(out, "split.json")
    typer.echo(repr(bags))
    result = run(chosen, bags, folds=folds, repeats=repeats, seed=seed, preprocess=preprocess,
                 n_jobs=jobs, cache=cache)  # fmt: skip
    result.write(out)
    result.report(out / "report.html", title=f"{bags.target} from {data.name}")
    show(result)
    typer.echo(f"report: {out / 'report.html'}")
