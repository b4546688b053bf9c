"""Tables of labels, scores and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from smalti.errors import InputError
from smalti.system.files import atomic_write

ENDINGS = (".csv", ".tsv", ".parquet")
_PARQUET = 'parquet needs pyarrow: pip install "smalti[parquet]", or name a .csv file.'


def read_table(path: str | Path, *, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read .csv, .tsv or .parquet.

    Parameters
    ----------
    path
        The file.
    text
        Columns of names, kept as written: "007" stays "007". Those that are not there are passed
        over.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no file {path}.")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix in (".csv", ".tsv"):
            sep = "\t" if path.suffix == ".tsv" else ","
            return pd.read_csv(path, sep=sep, dtype=dict.fromkeys(text, str))
    except ImportError as error:
        raise InputError(_PARQUET) from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    raise InputError(f"{path} is not .csv, .tsv or .parquet.")


def write_table(
    frame: pd.DataFrame,
    path: str | Path,
    *,
    index: bool = False,
    float_format: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write .csv, .tsv or .parquet, whole or not at all.

    In a .csv or .tsv, a text that a spreadsheet would run (``=1+1``) gets an apostrophe in front.

    Parameters
    ----------
    frame
        The table.
    path
        The file; its ending says the kind.
    index
        Write the names of the rows too.
    float_format
        Of numbers in text: "%.6g". All digits where left out.
    overwrite
        Replace a file that is there.

    Raises
    ------
    InputError
        If the ending is another one, parquet is asked for without pyarrow, or the file is there
        already or cannot be written.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise InputError(f"{path} is not .csv, .tsv or .parquet.")
    with atomic_write(path, overwrite=overwrite) as temporary:
        if path.suffix == ".parquet":
            try:
                frame.to_parquet(temporary, index=index)
            except ImportError as error:
                raise InputError(_PARQUET) from error
        else:
            as_text(frame, "\t" if path.suffix == ".tsv" else ",", temporary,
                    index=index, float_format=float_format)  # fmt: skip


def as_text(frame: pd.DataFrame, sep: str, path: Path, **kwargs: Any) -> None:
    """Write a table of text in which no cell is a formula."""
    safe = frame.set_axis([_inert(c) for c in frame.columns], axis=1)
    for i, kind in enumerate(frame.dtypes):
        if isinstance(kind, pd.CategoricalDtype) or not is_numeric_dtype(kind):
            safe.isetitem(i, frame.iloc[:, i].astype(object).map(_inert))
    safe.index = frame.index.map(_inert) if len(frame) else frame.index
    safe.to_csv(path, sep=sep, **kwargs)


def _inert(value: Any) -> Any:
    """A text that would be run as a formula, made one that is shown."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value
