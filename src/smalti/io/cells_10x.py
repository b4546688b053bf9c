"""Matrices of Cell Ranger as AnnData: all types of features, named as users know them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.cell_files import filtered_beside, is_raw
from smalti.io.counts import unique_names
from smalti.io.matrix_10x import read_matrix
from smalti.names import namesakes, some

_EMPTY, _MANY = 10, 20_000  # counts of a droplet without a cell; barcodes that are no mere cells


def read_10x(file: Path, *, droplets: bool = False) -> tuple[Any, list[str]]:
    """AnnData of a matrix, and notes.

    ``var`` has ``gene_ids``, ``feature_types`` and ``genome`` where they are said, under the names
    that scanpy gives them. A name that several features have is replaced by their ids.

    Parameters
    ----------
    file
        As of :func:`smalti.io.matrix_10x.read_matrix`.
    droplets
        Take a matrix of all droplets too; else it is refused.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind, names a barcode twice, or holds all
        droplets.
    """
    from anndata import AnnData

    found = read_matrix(file)
    if not droplets:
        _refuse_droplets(file, found.counts)
    barcodes = pd.Index(found.barcodes, dtype=str)
    if not barcodes.is_unique:
        raise InputError(
            f"{file} names {int(barcodes.duplicated().sum()):,} barcodes twice (first: "
            f"{barcodes[barcodes.duplicated()][0]!r}): give the runs one by one, or copy it again."
        )
    names, notes = _names(found.features)
    var = pd.DataFrame({"gene_ids": found.features["id"].to_numpy()}, index=list(names))
    for column, own in (("feature_types", "type"), ("genome", "genome")):
        if (found.features[own] != "").any():
            var[column] = found.features[own].to_numpy()
    notes += _genomes(found.features)
    counts = found.counts.astype(np.float32)
    counts.sort_indices()
    return AnnData(counts, obs=pd.DataFrame(index=barcodes), var=var), notes


def _names(features: pd.DataFrame) -> tuple[tuple[str, ...], list[str]]:
    """Unique names of features, and a note where ids had to tell some apart."""
    names = features["name"].tolist()
    twice = namesakes(names)
    if not twice:
        return tuple(names), []
    own = np.where(features["name"].isin(twice), features["id"], features["name"])
    left = namesakes(own.tolist())  # ids are the same too
    said = f"{len(twice):,} names are of several features ({some(twice)})"
    how = "which are told apart by their order" if left else "which are called by their ids"
    return unique_names(own.tolist()), [f"{said}, {how}."]


def _genomes(features: pd.DataFrame) -> list[str]:
    """A note where the features are of several genomes, as in a mixture of species."""
    found = features["genome"][features["genome"] != ""].value_counts()
    if len(found) < 2:
        return []
    told = ", ".join(f"{genome} {n:,}" for genome, n in found.items())
    return [f"features of {len(found)} genomes stand in one table ({told})."]


def _refuse_droplets(file: Path, counts: Any) -> None:
    """Refuse what is of all droplets: by its name, or because nearly all of them are empty."""
    total = np.asarray(counts.sum(1)).reshape(-1)
    empty = total < _EMPTY
    if not is_raw(file) and not (len(total) >= _MANY and empty.mean() > 0.5):
        return
    beside = filtered_beside(file)
    mend = f"read {beside.name} beside it" if beside else \
        "read the filtered matrix (filtered_feature_bc_matrix)"  # fmt: skip
    raise InputError(
        f"{file} holds all droplets, {len(total):,}, of which {int(empty.sum()):,} have fewer than "
        f"{_EMPTY} counts and most are empty: {mend}, or say which are cells, obs=TABLE."
    )
