"""``smalti predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalti.cli import options
from smalti.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from smalti.bags import Bags
    from smalti.mil.base import Method


def predict(
    model: Annotated[Path, typer.Argument(help="Folder that `smalti fit` wrote.")],
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Table of predictions (.csv), one row per bag.")],
    sample: options.Sample = None,
    x: options.X = None,
    labels: options.Labels = None,
    attribution: Annotated[
        Path | None,
        typer.Option(
            help="Table (.csv or .parquet), one row per instance: attention and the like."
        ),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="AnnData (.h5ad) with one row per bag: embedding, prediction."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(help="Copy of the .h5ad, .h5mu or .zarr, with the attributions in obs."),
    ] = None,
    key_added: options.KeyAdded = None,
    overwrite: options.Overwrite = False,
    missing: options.Missing = None,
) -> None:
    """Predict bags with a saved model."""
    from smalti.cli.data import open_bags
    from smalti.core.load import load
    from smalti.system.files import atomic_write

    if attribution is not None and attribution.suffix not in (".csv", ".parquet"):
        raise InputError(f"--attribution {attribution}: end the name in .csv or .parquet.")
    if samples is not None and samples.suffix != ".h5ad":
        raise InputError(f"--samples {samples}: end the name in .h5ad.")
    if write is not None and data.suffix not in (".h5ad", ".h5mu", ".zarr"):
        raise InputError(f"--write needs AnnData or MuData to write into, not {data.name}.")
    fitted = load(model)
    if not hasattr(fitted, "predict"):
        raise InputError(f"{model} holds {fitted.name}, an embedding: smalti integrate {model} ...")
    origin = fitted.origin_ or {}
    sample, x = sample or origin.get("sample"), x or origin.get("x")
    known = fitted.columns_
    cell_type = origin.get("cell_type") if known.group and fitted.group_predicts else None
    covariates = [c["name"] for c in known.covariates]
    bags = open_bags(data, sample=sample, x=x, labels=labels, cell_type=cell_type,
                     covariates=covariates, cells=origin.get("cells"))  # fmt: skip
    typer.echo(repr(bags))
    read_as = bags
    if missing is not None:
        bags = fitted.complete(bags, missing)  # once for all tables
    with atomic_write(out) as temporary:
        predictions(fitted, bags).to_csv(temporary, float_format="%.6g")
    typer.echo(f"predictions of {len(bags)} bags: {out}")
    if attribution is not None:
        with atomic_write(attribution) as temporary:
            _write_frame(fitted.attribute(bags), temporary, attribution.suffix)
        typer.echo(f"attributions of {bags.n_instances:,} instances: {attribution}")
    if samples is not None:
        with atomic_write(samples) as temporary:
            fitted.samples(read_as, missing=missing).write_h5ad(temporary)
        typer.echo(f"one row per bag: {samples}")
    if write is not None:
        fitted.write(data, out=write, key_added=key_added, overwrite=overwrite, missing=missing)
        typer.echo(f"annotated copy: {write}")


def predictions(model: Method, bags: Bags) -> pd.DataFrame:
    """Table of predictions: bag, prediction, and one probability column per class."""
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
    return frame


def _write_frame(frame: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix == ".csv":
        frame.to_csv(path, float_format="%.6g")
        return
    try:
        frame.to_parquet(path)
    except ImportError as error:
        raise InputError(
            "writing .parquet needs pyarrow: pip install 'smalti[parquet]', or write .csv."
        ) from error
