"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from smalti.errors import InputError

READ, TARGET, WRITE = "What is read", "The target", "What is written"
FITS, INTEGRATE = "The fits", "With --integrate"
REFERENCE = "A reference for `smalti annotate`"
"""Panels of the help."""


def _cells(more: str = "") -> Any:
    """What is read by every verb that takes cells, and what else by some."""
    return typer.Argument(
        help="Cells: .h5ad, .h5mu or .zarr (AnnData, MuData); or .h5, .mtx or folder of Cell "
        "Ranger. Several are runs; rna=FILE atac=FILE are modalities of the same cells."
        f"{more}",
        show_default=False,
    )


DataOfCells: TypeAlias = Annotated[list[Path], _cells()]
Data: TypeAlias = Annotated[
    list[Path],
    _cells(" Or a folder of .h5 feature files, or .npz with x, bag, label and donor."),
]
Obs: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Table (.csv, .tsv, .parquet) with one row per cell, by barcode: samples, donors, "
        "types. Cells that it does not name are left out.",
        rich_help_panel=READ,
    ),
]
Runs: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Names of several runs with commas; what tells their paths apart where left out. The "
        "column 'run' has them.",
        rich_help_panel=READ,
    ),
]
Backed: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--backed/--in-memory",
        help="Leave matrices in the file and read a part at a time; or read all. On disk by itself "
        "where they would take half of the memory that is free.",
        rich_help_panel=READ,
    ),
]
Sample: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Column that says which bag a row belongs to.", rich_help_panel=READ),
]
Label: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Column to predict; several with commas: a multi-label target, or a time and whether "
        "the event was seen (and from when on a bag was watched): survival.",
        rich_help_panel=TARGET,
    ),
]
Donor: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Column of donors, who must never part; 'bag' if each bag is its own donor.",
        rich_help_panel=READ,
    ),
]
Site: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Column of where a bag comes from (hospital, scanner); what it says alone is a "
        "control of comparisons.",
        rich_help_panel=READ,
    ),
]
X: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--x",
        help="Features: X, a key of obsm such as X_pca, or layers/NAME; of MuData rna or "
        "rna/X_pca; several views with commas, or named: rna=X,adt=obsm/ADT.",
        rich_help_panel=READ,
    ),
]
Kinds: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="VIEW=KIND",
        help="What a view holds where its name does not tell: surface=protein; several with "
        "commas. Kinds: rna, protein, atac, cytometry, tags, other.",
        rich_help_panel=READ,
    ),
]
Cells: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Where modalities hold different cells: intersection, or union (some cells then lack "
        "a modality).",
        rich_help_panel=READ,
    ),
]
Labels: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Table (.csv) with one row per bag: of a folder of feature files, or where the cells' "
        "own table does not say what a sample is.",
        rich_help_panel=READ,
    ),
]
Id: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--id",
        help="Column of --labels that names the feature file, or the sample.",
        rich_help_panel=READ,
    ),
]
Key: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--key", help="Dataset of features in each .h5 of a folder.", rich_help_panel=READ
    ),
]
Absent: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of slides in --labels that have no feature file: error (where left out), or drop.",
        rich_help_panel=READ,
    ),
]
CellType: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Column with the type of each cell; 'cell_type' if there is one.", rich_help_panel=READ
    ),
]
Covariates: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--covariate", help="Column of the patient, such as age; repeatable.", rich_help_panel=READ
    ),
]
Preprocess: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Steps fitted in the training donors, such as normalize,log1p,pca=50; by view as "
        """JSON, '{"rna": "normalize,log1p", "look": "pca=20"}'.""",
        rich_help_panel=FITS,
    ),
]
Views: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--views",
        help="Views that are read side by side, with commas; all of --x where left out. Of a "
        "comparison repeatable: each method with each.",
        rich_help_panel=FITS,
    ),
]
Kind: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Kind of target: binary, multiclass, multilabel, ordinal, binomial, regression, "
        "survival. "
        "Inferred (not binomial).",
        rich_help_panel=TARGET,
    ),
]
Positive: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The positive one of two labels. Where left out: the one that does not mean control "
        "(healthy, ctrl, no, ...), else the last in sorted order.",
        rich_help_panel=TARGET,
    ),
]
Order: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,C",
        help="Labels of an ordinal target with commas, the least one first.",
        rich_help_panel=TARGET,
    ),
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting of the method; repeatable.",
        rich_help_panel=FITS,
    ),
]
Epochs: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="Passes over the training data, at most.", rich_help_panel=FITS),
]
Seed: TypeAlias = Annotated[int, typer.Option(help="Of everything random.", rich_help_panel=FITS)]
Batch: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Column of batches, to score their mixing.", rich_help_panel=INTEGRATE),
]
LeaveOut: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Labels that are no group, with commas: unknown,Unknown,doublet.",
        rich_help_panel=INTEGRATE,
    ),
]
DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say the splits, fits, time and memory that are expected, and write nothing.",
        rich_help_panel=FITS,
    ),
]
KeyAdded: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Name to write under in the data; the method's own where left out.",
        rich_help_panel=WRITE,
    ),
]
Overwrite: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        "--force",
        help="Replace what is there: a file, a folder with all in it, names of another model.",
        rich_help_panel=WRITE,
    ),
]
Missing: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="What to take features for that the model reads and the data lack: zero, or mean (of "
        "training). Where left out they are an error.",
        rich_help_panel=READ,
    ),
]
Allow: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:CLASS",
        help="Method of another package that a saved model may import and run; repeatable.",
        rich_help_panel=READ,
    ),
]
Checkpoint: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="File to leave and take up the fit at: stopped or killed, the same command goes on.",
        rich_help_panel=FITS,
    ),
]
Logger: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="Log each epoch: csv, tensorboard, wandb or mlflow, into ./logs, or NAME:FOLDER. "
        "Again for another.",
        rich_help_panel=FITS,
    ),
]
Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=-1,
        help="Processes; -1: every core. Where left out: as many as make it end sooner.",
        rich_help_panel=FITS,
    ),
]
Scheduler: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler, tcp://HOST:8786, whose workers fit on other machines; reads the same "
        "paths there.",
        rich_help_panel=FITS,
    ),
]


def views_of(x: Any) -> Any:
    """Keys of ``--x``, one, several with commas, or with names (``rna=X,adt=obsm/ADT``).

    What a model has kept stays as it is.
    """
    if not isinstance(x, str):
        return x
    if "=" in x:
        return pairs_of(x, "--x", "VIEW=KEY")
    keys = [k.strip() for k in x.split(",") if k.strip()]
    return keys[0] if len(keys) == 1 else keys or None


def side_by_side(views: list[str] | None, x: str | None) -> list[tuple[str, ...]]:
    """Views of each ``--views``; where there is none all that ``--x`` names, if it names several.

    Raises
    ------
    InputError
        If a ``--views`` names none.
    """
    named = views_of(x)
    if not views:
        return [tuple(named)] if isinstance(named, (dict, list)) and len(named) > 1 else []
    found = [tuple(listed(text) or ()) for text in views]
    if not all(found):
        raise InputError("--views names none: give names with commas, of those in --x.")
    return found


def steps_by_view(text: str | None) -> Any:
    """``{"rna": "normalize,log1p"}`` as a mapping; anything else is one sequence of steps.

    Raises
    ------
    InputError
        If a text that opens with a brace is no JSON.
    """
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f'--preprocess {text!r} is no JSON ({error.msg}): write {{"rna": "normalize,log1p"}}, '
            "in quotes for the shell."
        ) from error


def listed(text: str | None) -> list[str] | None:
    """Names with commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def pairs_of(text: str, option: str, form: str) -> dict[str, str]:
    """Read ``surface=protein,blob=atac``, of the form VIEW=KIND.

    Raises
    ------
    InputError
        If a part has no equals sign.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for name, equals, _ in pairs:
        if not equals:
            raise InputError(f"{option} {text!r}: {name.strip()!r} is not of the form {form}.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def kinds_of(text: str | None) -> dict[str, str]:
    """What ``--kinds`` says of views."""
    return pairs_of(text or "", "--kinds", "VIEW=KIND")


def settings_of(pairs: list[str] | None) -> dict[str, Any]:
    """Read ``name=value`` pairs; values are JSON where they can be, text otherwise.

    Raises
    ------
    InputError
        If a pair has no name or no equals sign.
    """
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set {pair!r} is not of the form name=value.")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = {"True": True, "False": False, "None": None}.get(text, text)
        settings[name.strip().replace("-", "_")] = value
    return settings


def make_methods(names: str, settings: dict[str, Any]) -> list[Any]:
    """Methods of a list with commas; each takes those of the settings that it has.

    Raises
    ------
    InputError
        If a name is unknown, or no method has one of the settings.
    """
    from smalti.core.registry import make

    chosen, used = [], set()
    for name in filter(None, (n.strip() for n in names.split(","))):
        own = {k: v for k, v in settings.items() if k in make(name).get_params()}
        used |= set(own)
        chosen.append(make(name, **own))
    if not chosen:
        raise InputError("--methods is empty: give names with commas; see `smalti methods`.")
    unused = sorted(set(settings) - used)
    if unused:
        raise InputError(f"none of {names} has a setting {unused[0]!r}; see `smalti methods`.")
    return chosen
