"""Tables of labels, scores and predictions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from smalti.errors import InputError
from smalti.system.files import atomic_write
from smalti.system.reading import check_text, checked_size, is_gzip, plain_file, reading

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
    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.suffix in (".csv", ".tsv"):
        sep = "\t" if path.suffix == ".tsv" else ","
        return read_text(path, sep, dtype=dict.fromkeys(text, str))
    plain_file(path)
    raise InputError(f"{path} is not .csv, .tsv or .parquet.")


def read_text(path: str | Path, sep: str = ",", **options: Any) -> pd.DataFrame:
    """A table of a text file, which may be a gzip; ``options`` go to pandas.

    Raises
    ------
    InputError
        If the file is missing, damaged or no table; with the line, where it can be told.
    """
    path = Path(path)
    check_text(path, sep)
    with reading(path, mend="mend the table, or copy it again"), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a value without a column is lost
        packed = "gzip" if is_gzip(path) else None
        return pd.read_csv(path, sep=sep, compression=packed, **options)


def numbers(table: pd.DataFrame, columns: Sequence[str], where: str | Path) -> np.ndarray:
    """Columns as (n, n_columns) float64.

    Raises
    ------
    InputError
        If a value is no finite number, with its column and row, or a column is there twice.
    """
    twice = [c for c in columns if list(table.columns).count(c) > 1]
    if twice:
        raise InputError(f"{where} has several columns {twice[0]!r}: keep one.")
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0]
        raise InputError(
            f"{where}: {columns[column]} in row {row + 1} is "
            f"{table[columns[column]].iloc[row]!r}, no number ({len(wrong):,} such): mend or drop "
            "these rows."
        )
    return values


def read_parquet(path: str | Path) -> pd.DataFrame:
    """A table of a .parquet file.

    Raises
    ------
    InputError
        If the file is missing or damaged, or pyarrow is.
    """
    path = plain_file(path)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(_PARQUET) from error
    try:
        with reading(path):
            said = pq.ParquetFile(path).metadata
            columns = [said.row_group(i).column(j) for i in range(said.num_row_groups)
                       for j in range(said.num_columns)]  # fmt: skip
            size = max(8 * said.num_rows * said.num_columns,
                       sum(c.total_uncompressed_size for c in columns))  # fmt: skip
            checked_size(size, path.stat().st_size, str(path), 1032)
            return pd.read_parquet(path)
    except pa.ArrowException as error:  # most of them are Python's own errors too
        raise InputError(f"{path} is damaged ({error}): copy or download it again.") from error


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
