"""Tables of labels, scores and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from smalti.errors import InputError
from smalti.system.files import atomic_write

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
    frame: pd.DataFrame, path: str | Path, *, index: bool = False, overwrite: bool = False
) -> None:
    """Write .csv, .tsv or .parquet, whole or not at all.

    Parameters
    ----------
    frame
        The table.
    path
        The file; its ending says the kind.
    index
        Write the names of the rows too.
    overwrite
        Replace a file that is there.

    Raises
    ------
    InputError
        If the ending is another one, parquet is asked for without pyarrow, or the file is there
        already or cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".tsv", ".parquet"):
        raise InputError(f"{path} is not .csv, .tsv or .parquet.")
    with atomic_write(path, overwrite=overwrite) as temporary:
        if path.suffix == ".parquet":
            try:
                frame.to_parquet(temporary, index=index)
            except ImportError as error:
                raise InputError(_PARQUET) from error
        else:
            frame.to_csv(temporary, sep="\t" if path.suffix == ".tsv" else ",", index=index)
