"""``smalti integrate``, and ``smalti compare --integrate``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import crew, options
from smalti.cli.given import data_of
from smalti.cli.words import here, introduce, keep_config, made_here, read_here, tell
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags

_FILES = (".h5mu", ".h5ad", ".zarr")
TABLES = (".csv", ".tsv", ".parquet")


def integrate(
    method: Annotated[
        str,
        typer.Argument(
            help="Name of a method, such as umint:fast (see `smalti methods`); or the folder of a "
            "fitted model, which then embeds new cells."
        ),
    ],
    data: options.DataOfCells,
    out: Annotated[
        Path,
        typer.Option(
            help="Copy of the data with the embedding in obsm (may be the data itself; .h5ad or "
            ".h5mu of what came otherwise); or a table (.csv, .tsv, .parquet) of the embedding "
            "alone."
        ),
    ],
    x: options.X = None,
    cells: options.Cells = None,
    kinds: options.Kinds = None,
    obs: options.Obs = None,
    runs: options.Runs = None,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Write reconstructions too.", rich_help_panel=options.WRITE),
    ] = False,
    contributions: Annotated[
        bool,
        typer.Option(
            "--contributions",
            help="Write what each modality adds to the code of each cell, NAME_adds_MODALITY in "
            "obs.",
            rich_help_panel=options.WRITE,
        ),
    ] = False,
    key_added: options.KeyAdded = None,
    overwrite: options.Overwrite = False,
    label: Annotated[
        str | None,
        typer.Option(
            help="Column of cell types: --model then is a reference, by which `smalti annotate` "
            "labels new cells.",
            rich_help_panel=options.REFERENCE,
        ),
    ] = None,
    donor: Annotated[
        str | None,
        typer.Option(
            help="Column of donors, who are left out in turn to learn how sure a label is.",
            rich_help_panel=options.REFERENCE,
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            help="Column of batches to leave out in turn instead.",
            rich_help_panel=options.REFERENCE,
        ),
    ] = None,
    leave_out: options.LeaveOut = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder to save the model in.", rich_help_panel=options.WRITE),
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            help='Steps of each modality: {"rna": "normalize,log1p", "protein": "clr"}.',
            rich_help_panel=options.FITS,
        ),
    ] = None,
    epochs: options.Epochs = None,
    set_: options.Settings = None,
    seed: options.Seed = 0,
    checkpoint: options.Checkpoint = None,
    missing: options.Missing = None,
    allow: options.Allow = None,
) -> None:
    """Embed cells of several modalities, and write the embedding back."""
    from smalti.core.checkpoint import kept_until_saved
    from smalti.core.save import is_model
    from smalti.system.files import check_free, is_same

    settings = options.settings_of(set_) | ({} if epochs is None else {"epochs": epochs})
    if preprocess is not None:
        settings["preprocess"] = options.steps_by_view(preprocess)
    fitted = Path(method).is_dir()
    if fitted and (settings or model or checkpoint or kinds):
        raise InputError(f"{method} is fitted already: it takes no settings.")
    asked = {"donor": donor, "batch": batch, "leave_out": leave_out}
    _refuse_idle(label, model, checkpoint, fitted, asked)
    chosen = _model(method, allow) if fitted else _method(method, settings | {"seed": seed})
    crew.join(chosen)
    if layers and not chosen.reconstructs:
        raise InputError(f"{method} reconstructs nothing: leave --layers out.")
    for flag, said in (("--layers", layers), ("--contributions", contributions)):
        if out.suffix in TABLES and said:
            raise InputError(f"{flag} needs a copy of the data: give --out the ending of the data.")
    given = to_embed(data, out, obs, runs)
    if model is not None:
        check_free(
            model,
            overwrite=overwrite,
            ours=is_model,
            inputs=read_here("out", "model", "checkpoint"),
        )
    if not (isinstance(given, Path) and is_same(out, given)):
        check_free(out, overwrite=overwrite, inputs=read_here("out", "model", "checkpoint"))
    bags = read_views(given, x, cells, donor=donor, kinds=options.kinds_of(kinds))
    introduce(bags)
    with kept_until_saved():
        if not fitted:
            refuse_one(given, bags)
            with _without_lines():
                if label is None:
                    kept = chosen.fit(bags, checkpoint=checkpoint)
                else:
                    kept = _reference(chosen, bags, label, batch, leave_out, seed)
                    chosen = kept.model_
            crew.leave(chosen)
            say_modalities(chosen.modalities_)
        if model is not None:
            kept.save(model, overwrite=overwrite)
        if out.suffix in TABLES:
            _write_table(chosen, bags, out, missing, overwrite)
        else:
            chosen.write(given, out=out, layers=layers, contributions=contributions,
                         key_added=key_added, overwrite=overwrite, missing=missing)  # fmt: skip
    typer.echo(f"{chosen.name}: {chosen.n_parameters_:,} parameters\nwritten to {out}")


def to_embed(data: list[Path], out: Path, obs: Path | None, runs: str | None) -> Any:
    """What is read, and what a result is written into: the file as it is, or what files come to.

    Raises
    ------
    InputError
        If ``out`` has not the ending of the data, nor that of a table.
    """
    from smalti.io.gather import is_gathered
    from smalti.io.open import holds_mudata, to_write

    if out.suffix not in (*_FILES, *TABLES):
        raise InputError(f"--out {out} is none of {', '.join((*_FILES, *TABLES))}.")
    given = data_of(data)
    if obs is not None or is_gathered(given):
        given = to_write(given, out, obs=obs, runs=options.listed(runs))
    elif runs is not None:
        raise InputError("runs= names several runs, and the data are one.")
    many = holds_mudata(given) if isinstance(given, Path) else hasattr(given, "mod")
    own = ".h5mu" if many else ".h5ad"
    if out.suffix not in (*TABLES, own, ".zarr"):
        raise InputError(f"--out {out.name} must end in {own} or .zarr, as the data does.")
    return given


def _refuse_idle(
    label: str | None, model: Path | None, checkpoint: Path | None, fitted: bool,
    asked: dict[str, Any],
) -> None:  # fmt: skip
    """Refuse what a reference needs and has not, and what is of a reference alone."""
    if label is None:
        idle = next((name for name, value in asked.items() if value is not None), None)
        if idle is not None:
            raise InputError(f"{idle}= is of a reference: name its cell types too, label='NAME'.")
    elif fitted:
        raise InputError("label= makes a reference of a method that is fitted here: name one.")
    elif model is None:
        raise InputError("label= makes a reference, and nothing says where to save it: model=...")
    elif checkpoint is not None:
        raise InputError("label= takes several fits, and checkpoint= keeps one: leave one out.")


def _reference(
    method: Any, bags: Bags, label: str, batch: str | None, leave_out: str | None, seed: int
) -> Any:
    """A fitted annotator; what is to be known of it is said."""
    from smalti.cli.words import tell
    from smalti.integrate.annotator import Annotator

    more: dict[str, Any] = (
        {} if leave_out is None else {"leave_out": tuple(options.listed(leave_out) or ())}
    )
    made = Annotator(method, label=label, batch=batch, seed=seed, **more).fit(bags)
    typer.echo(made.said())
    for note in made.notes_:
        tell(note)
    return made


def _method(name: str, settings: dict[str, Any]) -> Any:
    """A method of integration that can run here."""
    from smalti.core.registry import make
    from smalti.integrate.base import Integration

    chosen = make(name, **settings)
    if not isinstance(chosen, Integration):
        raise InputError(f"{name} does not integrate modalities; see `smalti methods`.")
    reason = chosen.unavailable()
    if reason is not None:
        raise InputError(f"{reason}.")
    return chosen


def _model(folder: str, allow: list[str] | None) -> Any:
    """A fitted integration."""
    from smalti.core.load import load
    from smalti.integrate.base import Integration

    chosen = load(folder, allow=allow)
    chosen = getattr(chosen, "model_", chosen)  # of a reference
    if not isinstance(chosen, Integration):
        raise InputError(f"{folder} holds {chosen.name}: smalti predict {folder} ...")
    return chosen


def compare_integrations(
    data: Any,
    out: Path,
    methods: str,
    *,
    label: str | None,
    predict: str | None,
    x: str | None,
    cells: str | None,
    kinds: str | None,
    obs: Path | None,
    runs: list[str] | None,
    title: str,
    sample: str | None,
    donor: str | None,
    preprocess: str | None,
    settings: dict[str, Any],
    overwrite: bool,
    dry_run: bool,
    **more: Any,
) -> None:
    """Run ``smalti compare --integrate``.

    ``more`` is for ``compare_integration``; with ``predict``, for ``compare_modality_prediction``.

    Raises
    ------
    InputError
        If no groups to score by are named, or a method is named twice.
    """
    from smalti.cli.table import show
    from smalti.comparison import integration, modality_prediction, planning
    from smalti.preprocess import given_modalities, modalities, steps_of
    from smalti.scores.table import is_run
    from smalti.system.files import check_free

    if label is None and predict is None:
        raise InputError("name the column of known groups to score by, --label NAME.")
    if preprocess is not None:
        settings["preprocess"] = options.steps_by_view(preprocess)
    names = [n.strip() for n in methods.split(",") if n.strip()]
    if len(set(names)) < len(names):
        raise InputError(f"--methods {methods} names a method twice.")
    chosen = dict(zip(names, options.make_methods(methods, settings), strict=True))
    check_free(out, overwrite=overwrite, ours=is_run, inputs=read_here("out"))
    bags = read_views(data, x, cells, sample=sample, donor=donor, kinds=options.kinds_of(kinds),
                      obs=obs, runs=runs)  # fmt: skip
    refuse_one(data, bags)
    given = settings.get("preprocess")
    say_modalities(modalities(bags) if given is None else given_modalities(bags, steps_of(given)))
    compare: Any = integration.compare_integration
    plan: Any = planning.plan_integration
    question = {"label": label} if predict is None else {"target": predict}
    if predict is not None:
        compare = modality_prediction.compare_modality_prediction
        plan = planning.plan_modality_prediction
        more = {k: more[k] for k in ("seeds", "cache", "n_jobs", "scheduler")}
    if dry_run:
        asked = {k: v for k, v in more.items() if k not in ("n_jobs", "scheduler")}
        found = plan(chosen, bags, **asked, **question)
        typer.echo(f"{found}\nwould be written: {out}, with report.html")
        return
    result = compare(chosen, bags, **more, **question)
    what = "Integration" if predict is None else f"Prediction of {predict}"
    result.write(out, overwrite=overwrite)
    keep_config(out)
    result.report(out / "report.html", **made_here(), title=f"{what} of {title}")
    show(result)
    typer.echo(f"report: {out / 'report.html'}")


@contextmanager
def _without_lines() -> Iterator[None]:
    """A fit whose log does not say the lines of modalities, which the verb says itself."""
    from smalti.preprocess import Modality

    def others(record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(arg, Modality) for arg in args)

    log = logging.getLogger("smalti")
    log.filters.insert(0, others)  # before the one that makes texts of all that is logged
    try:
        yield
    finally:
        log.removeFilter(others)


def say_modalities(taken: Iterable[Any]) -> None:
    """A line for each modality: what it was taken for, and its steps; a note where in doubt."""
    for one in taken:
        if one.doubtful:
            tell(f"{one}.")
        else:
            typer.echo(here(str(one)))


def read_views(
    data: Any,
    x: str | None,
    cells: str | None,
    *,
    sample: str | None = None,
    donor: str | None = None,
    kinds: dict[str, str] | None = None,
    obs: Path | None = None,
    runs: list[str] | None = None,
) -> Bags:
    """Cells of several modalities."""
    from smalti.io.anndata import read

    return read(data, x=options.views_of(x), cells=cells, sample=sample, donor=donor, kinds=kinds,
                obs=obs, runs=runs)  # fmt: skip


def refuse_one(data: Any, bags: Bags) -> None:
    """Refuse a file that was read as one modality, in the words of the command line.

    Raises
    ------
    InputError
        If it was.
    """
    from smalti.io.open import open_table

    if len(bags.x) < 2:
        table = open_table(data)
        keys, name = ", ".join(table.there()), table.name.rpartition("/")[2]
        raise InputError(
            f"two modalities or more are integrated, and of {name} one was read, "
            f"{next(iter(bags.x))!r}: name them, such as --x X,obsm/KEY; there are {keys}."
        )


def _write_table(chosen: Any, bags: Bags, out: Path, missing: str | None, overwrite: bool) -> None:
    import pandas as pd

    from smalti.system.tables import write_table

    z = chosen.transform(bags, missing=missing)
    names = [f"{chosen.name}_{i}" for i in range(z.shape[1])]
    table = pd.DataFrame(z, columns=names)
    table.insert(0, "cell", bags.instance.index.astype(str))
    write_table(table, out, overwrite=overwrite)
