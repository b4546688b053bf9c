"""Tables about genes: read as they are, with the columns found by the names that are common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from smalti.errors import InputError
from smalti.system.tables import read_table, read_text

SYMBOL = ("symbol", "hgnc_symbol", "gene_symbol", "gene_name", "external_gene_name",
          "approved_symbol", "gene")  # fmt: skip
ENSEMBL = ("ensembl", "ensembl_id", "ensembl_gene", "ensembl_gene_id", "ensgene", "gene_stable_id",
           "gene_id")  # fmt: skip
ENTREZ = ("entrez", "entrez_id", "entrezgene", "entrez_gene_id", "entrezgene_id", "ncbi_gene_id",
          "geneid")  # fmt: skip
ALIASES = ("aliases", "alias", "synonyms", "synonym", "gene_synonym", "alias_symbol",
           "prev_symbol", "previous_symbols", "alias_symbols")  # fmt: skip
TEXT = ("full_name", "approved_name", "name", "description", "gene_description", "definition",
        "summary", "text")  # fmt: skip

ENDINGS = (".tsv", ".csv", ".tsv.gz", ".csv.gz", ".parquet")


def read_frame(path: Path, **options: Any) -> pd.DataFrame:
    """A table; ``options`` go to pandas for .csv and .tsv.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    if path.suffix == ".parquet":
        return read_table(path)
    if not path.name.endswith(ENDINGS):
        raise InputError(f"{path} is none of {', '.join(ENDINGS)}.")
    sep = "\t" if ".tsv" in path.suffixes else ","
    return read_text(path, sep, **options)


def columns_of(frame: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Columns called by one of the names, in their order; case and spaces do not matter."""
    found: dict[str, str] = {}
    for column in frame.columns:
        found.setdefault(re.sub(r"[\s.\-]+", "_", str(column).strip().lower()), column)
    return [found[n] for n in names if n in found]
