"""``smalti integrate``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import crew, options
from smalti.cli.views import TABLES, read_views, refuse_one, say_modalities, to_embed
from smalti.cli.words import introduce, read_here, tell
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags


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
    backed: options.Backed = None,
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
    logger: options.Logger = None,
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
    if fitted and (settings or model or checkpoint or kinds or logger):
        raise InputError(f"{method} is fitted already: it takes no settings.")
    asked = {"donor": donor, "batch": batch, "leave_out": leave_out}
    _refuse_idle(label, model, checkpoint, logger, fitted, asked)
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
    bags = read_views(given, x, cells, donor=donor, kinds=options.kinds_of(kinds), backed=backed,
                      runs=options.listed(runs) if isinstance(given, list) else None)  # fmt: skip
    introduce(bags)
    with kept_until_saved():
        if not fitted:
            refuse_one(given, bags)
            with _without_lines():
                if label is None:
                    kept = chosen.fit(bags, checkpoint=checkpoint, callbacks=logger)
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


def _refuse_idle(
    label: str | None, model: Path | None, checkpoint: Path | None, logger: list[str] | None,
    fitted: bool, asked: dict[str, Any],
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
    elif logger:
        raise InputError("label= takes several fits, and callbacks= logs one: leave one out.")


def _reference(
    method: Any, bags: Bags, label: str, batch: str | None, leave_out: str | None, seed: int
) -> Any:
    """A fitted annotator; what is to be known of it is said."""
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


def _write_table(chosen: Any, bags: Bags, out: Path, missing: str | None, overwrite: bool) -> None:
    import pandas as pd

    from smalti.system.tables import write_table

    z = chosen.transform(bags, missing=missing)
    table = pd.DataFrame(z, columns=chosen.get_feature_names_out())
    table.insert(0, "cell", bags.instance.index.astype(str))
    write_table(table, out, overwrite=overwrite)
