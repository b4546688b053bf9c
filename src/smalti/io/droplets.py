"""What is bound in empty droplets: the background of proteins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.cell_files import runs_at
from smalti.io.cells_10x import read_10x
from smalti.io.tables import Table

_FEW = 50  # droplets that give no sound standard deviation


def empty_droplets(
    raw: str | Path, cells: str | Path, *, most_rna: float = 300, least_protein: float = 30
) -> pd.DataFrame:
    """Mean and standard deviation of each protein in empty droplets, for the step ``dsb``.

    Parameters
    ----------
    raw
        Matrix of all droplets: raw_feature_bc_matrix(.h5).
    cells
        Matrix of the cells: filtered_feature_bc_matrix(.h5).
    most_rna, least_protein
        An empty droplet is one that is no cell, has fewer counts of genes than the former and more
        of proteins than the latter. Look at both totals: where the cloud of empty droplets lies,
        depends on how deeply they were sequenced.

    Returns
    -------
    pandas.DataFrame
        One row a protein: ``protein``, ``mean`` and ``sd`` of log(10 + x), ``droplets``. Write it
        by ``to_csv(FILE, index=False)`` and name it in ``dsb=FILE``.

    Raises
    ------
    InputError
        If a file is damaged, has no proteins, or fewer than 50 droplets are left.

    Examples
    --------
    >>> import smalti as sm
    >>> background = sm.empty_droplets(
    ...     "outs/raw_feature_bc_matrix.h5", "outs/filtered_feature_bc_matrix.h5"
    ... )  # doctest: +SKIP
    >>> background.to_csv("background.csv", index=False)  # doctest: +SKIP
    """
    everything, inside = _one(raw), _one(cells)
    reader = Table(str(raw), everything)
    types = reader.types("X")
    if "Antibody Capture" not in types:
        raise InputError(f"{raw} holds no Antibody Capture, but {', '.join(types) or 'genes'}.")
    proteins = reader.columns_of("X/Antibody Capture")
    counts, rna = everything.X.tocsc(), np.zeros(everything.n_obs)
    if "Gene Expression" in types:
        rna = np.asarray(counts[:, reader.columns_of("X/Gene Expression")].sum(1)).reshape(-1)
    surface = counts[:, proteins]
    total = np.asarray(surface.sum(1)).reshape(-1)
    cell = everything.obs_names.isin(inside.obs_names)
    if not cell.any():
        raise InputError(f"{raw} and {cells} have no barcode in common: are they of one run?")
    empty = ~cell & (rna < most_rna) & (total > least_protein)
    if empty.sum() < _FEW:
        raise InputError(
            f"{raw}: of {len(cell):,} droplets {int(cell.sum()):,} are cells, and only "
            f"{int(empty.sum())} others have under {most_rna:g} counts of genes and over "
            f"{least_protein:g} of proteins: give other bounds (most_rna, least_protein)."
        )
    logs = np.log(surface.tocsr()[np.flatnonzero(empty)].toarray().astype(np.float64) + 10)
    return pd.DataFrame({
        "protein": everything.var_names[proteins].astype(str), "mean": logs.mean(0),
        "sd": logs.std(0, ddof=1), "droplets": int(empty.sum()),
    })  # fmt: skip


def _one(path: str | Path) -> Any:
    found = runs_at(path)
    if len(found) > 1:
        raise InputError(f"{path} holds {len(found)} runs: name one of them.")
    return read_10x(found[0].file, droplets=True)[0]
