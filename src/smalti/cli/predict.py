"""``smalti predict``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.data import holds_cells, open_bags
from smalti.cli.given import data_of
from smalti.cli.say import answer, say
from smalti.cli.words import introduce, read_here
from smalti.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from smalti.bags import Bags
    from smalti.mil.base import Method


def predict(
    model: Annotated[Path, typer.Argument(help="Folder that `smalti fit` wrote.")],
    data: options.Data,
    out: Annotated[
        Path, typer.Option(help="Table of predictions (.csv, .tsv, .parquet), one row per bag.")
    ],
    sample: options.Sample = None,
    donor: options.Donor = None,
    x: options.X = None,
    cells: options.Cells = None,
    obs: options.Obs = None,
    runs: options.Runs = None,
    backed: options.Backed = None,
    labels: options.Labels = None,
    id: options.Id = None,
    key: options.Key = None,
    absent: options.Absent = None,
    cell_type: options.CellType = None,
    attribution: Annotated[
        Path | None,
        typer.Option(
            help="Table (.csv, .tsv, .parquet), one row per instance: attention and the like.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            help="AnnData (.h5ad) with one row per bag: embedding, prediction.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Copy of the .h5ad, .h5mu or .zarr, with the attributions in obs; may be the data "
            "itself.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    key_added: options.KeyAdded = None,
    overwrite: options.Overwrite = False,
    missing: options.Missing = None,
    allow: options.Allow = None,
) -> None:
    """Predict bags with a saved model."""
    from smalti.core.load import load
    from smalti.io.gather import is_gathered
    from smalti.io.open import to_write
    from smalti.system.files import atomic_write, check_free, is_same
    from smalti.system.tables import ENDINGS, write_table

    for option, table in (("--out", out), ("--attribution", attribution)):
        if table is not None and table.suffix not in ENDINGS:
            raise InputError(f"{option} {table}: end the name in {', '.join(ENDINGS)}.")
    if samples is not None and samples.suffix != ".h5ad":
        raise InputError(f"--samples {samples}: end the name in .h5ad.")
    given = data_of(data)
    if isinstance(given, Path) and not given.exists():
        raise InputError(f"no file or folder {given}: check the path.")
    if write is not None and not holds_cells(given):
        raise InputError(f"--write needs AnnData or MuData to write into, not {data[0].name}.")
    read = read_here("out", "attribution", "samples", "write")
    for output in filter(None, (out, attribution, samples)):
        check_free(output, overwrite=overwrite, inputs=read)
    if write is not None and not (isinstance(given, Path) and is_same(write, given)):
        check_free(write, overwrite=overwrite, inputs=read)
    fitted = load(model, allow=allow)
    if hasattr(fitted, "annotate"):
        raise InputError(f"{model} holds a reference of cell types: smalti annotate {model} ...")
    if not hasattr(fitted, "predict"):
        raise InputError(f"{model} holds {fitted.name}, an embedding: smalti integrate {model} ...")
    if write is not None and (obs is not None or is_gathered(given)):
        given, obs, runs = to_write(given, write, obs=obs, runs=options.listed(runs)), None, None
    bags = open_bags(given, donor=donor, labels=labels, id=id, key=key, absent=absent, obs=obs,
                     runs=runs, backed=backed,
                     **_as_fitted(fitted, given, sample=sample, x=x, cells=cells,
                                  cell_type=cell_type))  # fmt: skip
    introduce(bags)
    read_as = bags
    if missing is not None:
        bags = fitted.complete(bags, missing)  # once for all tables
    written: dict[str, Any] = {"index": True, "float_format": "%.6g", "overwrite": overwrite}
    table = predictions(fitted, bags)
    write_table(table, out, **written)
    answer({"predictions": table.reset_index(), "out": out},
           lambda: say(f"predictions of {len(bags)} bags: {out}"))  # fmt: skip
    if attribution is not None:
        write_table(fitted.attribute(bags), attribution, **written)
        say(f"attributions of {bags.n_instances:,} instances: {attribution}")
    if samples is not None:
        with atomic_write(samples, overwrite=overwrite) as temporary:
            fitted.samples(read_as, missing=missing).write_h5ad(temporary)
        say(f"one row per bag: {samples}")
    if write is not None:
        fitted.write(given, out=write, key_added=key_added, overwrite=overwrite, missing=missing)
        say(f"annotated copy: {write}")


def _as_fitted(fitted: Method, data: Any, **asked: Any) -> dict[str, Any]:
    """What was asked of tables; where it was not, what the model was fitted with."""
    if not holds_cells(data):
        return asked
    known, columns = dict(fitted.origin_ or {}), fitted.columns_
    if not (columns.group and fitted.group_predicts):
        known["cell_type"] = None
    asked = {name: value or known.get(name) for name, value in asked.items()}
    return asked | {"covariates": [c["name"] for c in columns.covariates]}


@functools.lru_cache(maxsize=1)
def cells_of(fitted: Method, data: Path) -> Bags:
    """A table, read as the one that a model was fitted on; the last one is kept."""
    return open_bags(data, **_as_fitted(fitted, data, sample=None, x=None, cells=None,
                                        cell_type=None))  # fmt: skip


def predictions(model: Method, bags: Bags) -> pd.DataFrame:
    """Table of predictions: bag, prediction, and a probability for each class, or of no event."""
    import pandas as pd

    index = pd.Index(bags.bag.index, name="bag")
    values = model.predict(bags)
    if values.ndim == 2:
        frame = pd.DataFrame(values, index=index, columns=[f"{c}" for c in model.task_.classes])
    else:
        frame = pd.DataFrame({"prediction": values}, index=index)
    if model.task_.is_classifier:
        p = model.task_.probabilities(model.forward(bags)[0])  # the positive class last
        frame[[f"p_{c}" for c in model.task_.classes]] = p
    if model.task_.kind == "survival":
        curves = model.predict_survival(bags)
        frame[model.task_.curve_columns(curves.columns)] = curves.to_numpy()
    return frame
