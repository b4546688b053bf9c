"""``smalti compare``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import complete, options, slide_options
from smalti.cli import search as searching
from smalti.cli.compare_integrations import compare_integrations
from smalti.cli.data import open_bags
from smalti.cli.given import data_of, title_of
from smalti.cli.say import say
from smalti.cli.words import keep_config, made_here, read_here
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags


def compare(
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Folder for tables and report.html.")],
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names with commas; see `smalti methods`. Where left out: abmil, or umint:fast "
            "with --integrate.",
            autocompletion=complete.listed,
        ),
    ] = None,
    sample: options.Sample = None,
    label: options.Label = None,
    donor: options.Donor = None,
    site: options.Site = None,
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
    slides: Annotated[
        Path | None,
        typer.Option(
            help="Pictures of the slides of feature files: heat maps of a few, by models that were "
            "not fitted on them, are in the report.",
            rich_help_panel=options.READ,
        ),
    ] = None,
    patches: slide_options.Patches = None,
    tile_px: slide_options.TilePx = None,
    um_per_px: slide_options.UmPerPx = None,
    kind: options.Kind = None,
    positive: options.Positive = None,
    order: options.Order = None,
    cell_type: options.CellType = None,
    covariates: options.Covariates = None,
    views: options.Views = None,
    preprocess: options.Preprocess = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Parts of the donors: 5.", rich_help_panel=options.FITS),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1, help="Times that donors are dealt anew: 1.", rich_help_panel=options.FITS
        ),
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(
            help="leave-one-donor-out, leave-one-site-out, preserved-sites (--folds of whole "
            "sites); or a column, or a .csv with bag (or donor), fold (that tests it), perhaps "
            "repeat.",
            rich_help_panel=options.FITS,
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="donor: hold the samples of each donor against each other (before and after, "
            "control and stimulated); donors of one label are left out.",
            rich_help_panel=options.FITS,
        ),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            help="Data of another source, read alike: each method is fitted once, on all of DATA, "
            "and scored on these. Repeatable, as DATA: several are runs, rna=FILE a modality.",
            rich_help_panel=options.FITS,
        ),
    ] = None,
    test_labels: Annotated[
        Path | None,
        typer.Option(
            help="Table of the bags of --test; that of --labels where left out.",
            rich_help_panel=options.READ,
        ),
    ] = None,
    test_obs: Annotated[
        Path | None,
        typer.Option(
            help="Table of the cells of --test, as --obs of DATA.", rich_help_panel=options.READ
        ),
    ] = None,
    test_runs: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Names of several runs of --test, as --runs of DATA.",
            rich_help_panel=options.READ,
        ),
    ] = None,
    permutations: Annotated[
        int | None,
        typer.Option(
            min=20,
            help="Fits of the cheapest method with permuted labels: is it above chance?",
            rich_help_panel=options.FITS,
        ),
    ] = None,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help="Fits of the cheapest method on fewer donors: would more of them help?",
            rich_help_panel=options.FITS,
        ),
    ] = False,
    attributions: Annotated[
        bool,
        typer.Option(
            "--attributions",
            help="Keep what models say of cells (or tiles) that they were not fitted on: cells by "
            "score are in the report. --slides keeps it too.",
            rich_help_panel=options.FITS,
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Do the scores of cells or tiles mean anything? Tests them, with two more fits of "
            "each method and fold: of another seed, and of permuted labels.",
            rich_help_panel=options.FITS,
        ),
    ] = False,
    recalibrate: Annotated[
        str | None,
        typer.Option(
            help="Make probabilities mean what they say, inside each fold: sigmoid or isotonic; "
            "curves of survival: cox.",
            rich_help_panel=options.FITS,
        ),
    ] = None,
    integrate: Annotated[
        bool, typer.Option("--integrate", help="Compare integrations of modalities instead.")
    ] = False,
    predict: Annotated[
        str | None,
        typer.Option(
            help="A modality to predict from the others, on held-out cells, instead of grouping "
            "cells (protein).",
            rich_help_panel=options.INTEGRATE,
        ),
    ] = None,
    batch: options.Batch = None,
    corrections: Annotated[
        str | None,
        typer.Option(
            help="Each method on each of these inputs, with commas: none, scaled, harmony, combat.",
            rich_help_panel=options.INTEGRATE,
        ),
    ] = None,
    n_clusters: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Clusters; as many as labels where left out.",
            rich_help_panel=options.INTEGRATE,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Algorithms with commas: kmeans, ward, leiden; all that can run.",
            rich_help_panel=options.INTEGRATE,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Fits of each method: 10.", rich_help_panel=options.INTEGRATE),
    ] = None,
    leave_out: options.LeaveOut = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps finished fits, to go on from.", rich_help_panel=options.FITS
        ),
    ] = None,
    search: searching.Searches = None,
    trials: searching.Trials = None,
    inner_folds: searching.InnerFolds = None,
    sampler: searching.Sampler = None,
    budget: searching.Budget = None,
    jobs: options.Jobs = None,
    scheduler: options.Scheduler = None,
    epochs: options.Epochs = None,
    dry_run: options.DryRun = False,
    set_: options.Settings = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Compare methods by cross-validation over donors; baselines always take part.

    With --integrate: embeddings of cells of several modalities, scored by the groups in --label;
    with --predict too, one modality predicted from the others.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    settings = options.settings_of(set_) | ({} if epochs is None else {"epochs": epochs})
    if integrate:
        refuse(given, OF_BAGS, "--integrate does not use {}: leave it out.")
        if predict is not None:
            refuse(given, OF_GROUPS, "--predict does not use {}: leave it out.")
        compare_integrations(
            data_of(data), out, "umint:fast" if methods is None else methods, label=label,
            predict=predict, x=x,
            cells=cells, kinds=kinds, sample=sample, donor=donor, preprocess=preprocess,
            settings=settings, obs=obs, runs=options.listed(runs), backed=backed,
            title=title_of(data),
            batch=batch, corrections=options.listed(corrections),
            n_clusters=n_clusters, by=options.listed(by),
            seeds=range(seed, seed + (seeds or (10 if predict is None else 3))), cache=cache,
            n_jobs=jobs,
            scheduler=scheduler, overwrite=overwrite, dry_run=dry_run,
            **({} if leave_out is None else {"leave_out": options.listed(leave_out)}),
        )  # fmt: skip
        return
    from sklearn.base import clone

    from smalti.comparison.lineup import name_of
    from smalti.comparison.protocols import NAMED, WHOLE

    refuse(given, OF_CELLS, "{} is for --integrate: leave it out.")
    if splits is not None:
        dealt = ("folds",) if splits != WHOLE else ()
        refuse(given, (*dealt, "repeats"), "--splits says all folds: leave {} out.")
    if test is not None:
        idle = ("folds", "repeats", "splits", "slides")
        refuse(given, idle, "--test is fitted and scored once: leave {} out.")
    else:
        refuse(given, OF_TEST, "{} says what --test is: name that too.")
    chosen: Any = _candidates(methods, settings | {"seed": seed}, search, searching.how_of(given))
    read = options.side_by_side(views, x)
    if views:
        chosen = {f"{name_of(m)} {'+'.join(names)}": clone(m).set_params(views=names)
                  for m in chosen for names in read}  # fmt: skip
    asked = dict(sample=sample, label=label, donor=donor, site=site, x=x, kind=kind,
                 positive=positive, order=order, cell_type=cell_type, covariates=covariates,
                 cells=cells, kinds=kinds, obs=obs, runs=runs, id=id, key=key, absent=absent,
                 slides=slides, patches=patches, tile_px=tile_px, um_per_px=um_per_px,
                 backed=backed)  # fmt: skip
    fold = None if splits in (None, *NAMED) or Path(str(splits)).suffix in TABLES else splits
    bags = open_bags(data_of(data), labels=labels, fold=fold, **asked)
    others = None
    if test is not None:
        of_test = asked | {"labels": test_labels or labels, "obs": test_obs, "runs": test_runs}
        with said_of(OF_TEST):
            others = open_bags(data_of(test), **of_test)
    _run(chosen, bags, title_of(data), out, folds=folds or 5, repeats=repeats or 1, seed=seed,
         splits=splits, test=others, dry_run=dry_run,
         views=max(read, key=len, default=None), preprocess=options.steps_by_view(preprocess),
         covariates=tuple(covariates or ()),
         n_jobs=jobs, cache=cache, overwrite=overwrite, scheduler=scheduler,
         permutations=permutations or 0, learning_curve=learning_curve,
         recalibrate=recalibrate, contrast=contrast,
         attributions=attributions or slides is not None, explain=explain,
         pictured=slides is not None)  # fmt: skip


OF_TEST = ("test_labels", "test_obs", "test_runs")
OF_BAGS = ("labels", "id", "key", "absent", "kind", "positive", "order", "cell_type", "covariates",
           "folds", "repeats", "splits", "test", *OF_TEST, "site", "views", "permutations",
           "learning_curve", "attributions", "explain", "recalibrate", "contrast",
           "slides", "patches", "tile_px", "um_per_px", "search", "trials", "inner_folds",
           "sampler", "budget")  # fmt: skip
TABLES = (".csv", ".tsv", ".parquet")
OF_GROUPS = ("label", "batch", "corrections", "n_clusters", "by", "leave_out")
OF_CELLS = ("predict", "batch", "corrections", "n_clusters", "by", "seeds", "leave_out")


def _candidates(
    methods: str | None, settings: dict[str, Any], search: list[str] | None, how: dict[str, Any]
) -> list[Any]:
    """The methods, and those whose settings are chosen inside the folds."""
    spaces = searching.spaces_of(search)
    names = options.listed(methods) if methods is not None else [] if spaces else ["abmil"]
    made = options.make_methods(",".join([*(names or ()), *spaces]), settings)
    return searching.searched(made, spaces, how)


@contextmanager
def said_of(options: tuple[str, ...]) -> Iterator[None]:
    """Errors that name obs= name test_obs= where that is an option.

    Raises
    ------
    InputError
        Those of what is inside.
    """
    try:
        yield
    except InputError as error:
        own = "|".join(name.removeprefix("test_") for name in options)
        raise InputError(re.sub(rf"(?<![\w-])({own})=", r"test_\1=", str(error))) from error


def refuse(given: dict[str, Any], idle: tuple[str, ...], words: str) -> None:
    """Refuse options that would change nothing.

    Raises
    ------
    InputError
        If one is given.
    """
    found = [f"{name}=" for name in idle if given.get(name)]
    if found:
        raise InputError(words.format(", ".join(found)))


def _run(
    chosen: list[Any] | dict[str, Any],
    bags: Bags,
    name: str,
    out: Path,
    *,
    overwrite: bool,
    dry_run: bool,
    pictured: bool,
    **more: Any,
) -> None:
    """The comparison, its tables and its report."""
    from smalti.cli.table import say_plan, show
    from smalti.comparison.phenotype import compare as run
    from smalti.comparison.planning import plan
    from smalti.scores.table import is_run
    from smalti.system.files import check_free

    if bags.donor is None:
        raise InputError(
            "samples of one donor on both sides of a split leak: name the column of donors, "
            "--donor NAME, or say --donor bag if each sample is its own donor."
        )
    if bags.target is None:
        raise InputError("nothing to predict: name the column, --label NAME.")
    check_free(out, overwrite=overwrite, ours=is_run, inputs=read_here("out"))
    if not dry_run:
        say(repr(bags))
    if dry_run:
        asked = {k: v for k, v in more.items() if k not in ("n_jobs", "scheduler")}
        say_plan(plan(chosen, bags, **asked), out)
        return
    result = run(chosen, bags, **more)
    result.write(out, overwrite=overwrite)
    keep_config(out)
    target = bags.target if isinstance(bags.target, str) else ", ".join(bags.target)
    result.report(out / "report.html", **made_here(), title=f"{target} from {name}",
                  slides=bags if pictured and result.attributions else None)  # fmt: skip
    show(result, out)
