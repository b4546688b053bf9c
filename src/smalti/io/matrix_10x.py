"""Counts as Cell Ranger and Space Ranger write them: .h5, or a folder of .mtx; of any version."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError

_GENES = ("Gene Expression", "")  # what is a gene, among antibodies and others


def counts_file(folder: Path) -> Path | None:
    """The .h5 or folder of counts in the output of a run; None where there is none."""
    for name in ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix",
                 "raw_feature_bc_matrix.h5"):  # fmt: skip
        if (folder / name).exists():
            return folder / name
    found = sorted(folder.glob("*filtered_feature_bc_matrix.h5"))
    return found[0] if found else None


def read_counts(file: Path) -> tuple[sp.csr_matrix, list[str], list[str]]:
    """(n_spots, n_genes) counts without antibodies, symbols, and barcodes.

    Raises
    ------
    InputError
        If a file is missing or damaged; with its name.
    """
    matrix, genes, kind, barcodes = _folder(file) if file.is_dir() else _h5(file)
    if matrix.shape != (len(barcodes), len(genes)):
        raise InputError(
            f"{file} holds a matrix of {matrix.shape[1]} genes x {matrix.shape[0]} spots, but "
            f"names {len(genes)} and {len(barcodes)}: copy it again."
        )
    if not barcodes:
        raise InputError(f"{file} has no spots: copy it again.")
    keep = np.flatnonzero(np.isin(kind, _GENES))
    return matrix[:, keep], [genes[i] for i in keep], barcodes


def _h5(file: Path) -> tuple[sp.csr_matrix, list[str], np.ndarray, list[str]]:
    import h5py

    try:
        with h5py.File(file) as data:
            if "matrix" in data:
                part = data["matrix"]
                genes = part["features"]["name"].asstr()[:].tolist()
                kind = part["features"]["feature_type"].asstr()[:]
                return _matrix(part), genes, kind, part["barcodes"].asstr()[:].tolist()
            return _genomes(file, {name: data[name] for name in data})
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{file} is damaged or not of Space Ranger ({error}): copy it again.") \
            from error  # fmt: skip


def _genomes(
    file: Path, groups: dict[str, Any]
) -> tuple[sp.csr_matrix, list[str], np.ndarray, list[str]]:
    """Version 2 has one group for each genome; of several the genes stand side by side."""
    barcodes = [part["barcodes"].asstr()[:].tolist() for part in groups.values()]
    if not barcodes or any(other != barcodes[0] for other in barcodes):
        raise InputError(
            f"{file} holds {', '.join(groups) or 'nothing'}, and not a matrix, nor genomes of the "
            "same spots: copy it again, or keep one genome."
        )
    genes = [g for part in groups.values() for g in part["gene_names"].asstr()[:].tolist()]
    matrix = sp.hstack([_matrix(part) for part in groups.values()], format="csr")
    return matrix, genes, np.full(len(genes), ""), barcodes[0]


def _matrix(part: Any) -> sp.csr_matrix:
    """Counts of a group, (n_spots, n_genes)."""
    shape = tuple(part["shape"][:])
    parts = (part["data"][:], part["indices"][:], part["indptr"][:])
    return sp.csc_matrix(parts, shape).T.tocsr()


def _folder(folder: Path) -> tuple[sp.csr_matrix, list[str], np.ndarray, list[str]]:
    from scipy.io import mmread

    # version 2 called features genes, and packed none
    files = [_one(folder, *names) for names in
             (("features.tsv", "genes.tsv"), ("barcodes.tsv",), ("matrix.mtx",))]  # fmt: skip
    try:
        features = pd.read_csv(files[0], sep="\t", header=None, na_filter=False)
        barcodes = pd.read_csv(files[1], sep="\t", header=None)[0].astype(str).tolist()
        matrix = sp.csr_matrix(mmread(files[2]).T)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{folder} holds a damaged table ({error}): copy it again.") from error
    if features.shape[1] < 2:
        raise InputError(f"{files[0]} has one column: expected an id and a name of each gene.")
    kind = features[2].to_numpy() if features.shape[1] > 2 else np.full(len(features), "")
    return matrix, features[1].astype(str).tolist(), kind, barcodes


def _one(folder: Path, *stems: str) -> Path:
    """A table of a folder, packed or not."""
    for name in (f"{stem}{packed}" for stem in stems for packed in ("", ".gz")):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder} has no {stems[0]} (or {stems[0]}.gz): copy the whole folder.")
