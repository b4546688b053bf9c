"""Counts as Cell Ranger and Space Ranger write them: .h5, or a folder of .mtx; of any version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.sparse import sparse_matrix
from smalti.io.stored import element, open_h5
from smalti.system.reading import check_text, checked_size, reading
from smalti.system.tables import read_text

_MEND = "copy it again, as Space Ranger wrote it"
_GENES = ("Gene Expression", "")  # what is a gene, among antibodies and others


def read_counts(file: Path) -> tuple[sp.csr_matrix, list[str], list[str]]:
    """(n_spots, n_genes) counts without antibodies, symbols, and barcodes.

    Parameters
    ----------
    file
        An .h5, a folder of .mtx, or a matrix.mtx with its tables beside it, all with one prefix.

    Raises
    ------
    InputError
        If a file is missing or damaged; with its name.
    """
    if file.name.endswith(".h5.gz"):
        raise InputError(f"{file} is packed: unpack it first (gunzip).")
    if file.is_dir():
        matrix, genes, kind, barcodes = _folder(file)
    elif ".mtx" in file.suffixes:
        matrix, genes, kind, barcodes = _folder(file.parent, file.name.partition("matrix.mtx")[0])
    else:
        matrix, genes, kind, barcodes = _h5(file)
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
    with open_h5(file) as data:
        names = list(data)
        with reading(file, "/", _MEND):
            groups = {name: element(data, name, file) for name in names}
        if "matrix" not in groups:
            return _genomes(file, groups)
        part = groups["matrix"]
        genes, kind = (_text(part, f"features/{name}", file) for name in ("name", "feature_type"))
        return _matrix(part, file), genes, np.array(kind, object), _text(part, "barcodes", file)


def _genomes(
    file: Path, groups: dict[str, Any]
) -> tuple[sp.csr_matrix, list[str], np.ndarray, list[str]]:
    """Version 2 has one group for each genome; of several the genes stand side by side."""
    barcodes = [_text(part, "barcodes", file) for part in groups.values()]
    if not barcodes or any(other != barcodes[0] for other in barcodes):
        raise InputError(
            f"{file} holds {', '.join(groups) or 'nothing'}, and not a matrix, nor genomes of the "
            "same spots: copy it again, or keep one genome."
        )
    genes = [g for part in groups.values() for g in _text(part, "gene_names", file)]
    matrices = [_matrix(part, file) for part in groups.values()]
    if any(m.shape[0] != len(barcodes[0]) for m in matrices):
        raise InputError(f"{file}: genomes have matrices of other numbers of spots than the "
                         f"{len(barcodes[0])} barcodes: {_MEND}.")  # fmt: skip
    matrix = sp.hstack(matrices, format="csr")
    return matrix, genes, np.full(len(genes), ""), barcodes[0]


def _matrix(part: Any, file: Path) -> sp.csr_matrix:
    """Counts of a group, (n_spots, n_genes)."""
    data, indices, indptr, shape = (_values(part, k, file) for k in
                                    ("data", "indices", "indptr", "shape"))  # fmt: skip
    if shape.ndim != 1 or shape.dtype.kind not in "iu":
        raise InputError(f"{file}: {part.name}/shape is no pair of whole numbers: {_MEND}.")
    where = f"{file}: {part.name}"
    return sparse_matrix(data, indices, indptr, shape.tolist(), where, "csc").T.tocsr()


def _text(part: Any, name: str, file: Path) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v)
            for v in _values(part, name, file, "SUO").tolist()]  # fmt: skip


def _values(part: Any, name: str, file: Path, kinds: str = "iuf") -> np.ndarray:
    """A list of a group, of numbers or of text."""
    with reading(file, f"{part.name}/{name}", _MEND):
        values = np.asarray(part[name][()])
        if values.ndim != 1 or values.dtype.kind not in kinds:
            raise ValueError(f"{values.dtype} of shape {values.shape}")
        return values


def _folder(
    folder: Path, prefix: str = ""
) -> tuple[sp.csr_matrix, list[str], np.ndarray, list[str]]:
    # version 2 called features genes, and packed none
    files = [_one(folder, *(prefix + n for n in names)) for names in
             (("features.tsv", "genes.tsv"), ("barcodes.tsv",), ("matrix.mtx",))]  # fmt: skip
    features = read_text(files[0], "\t", header=None, na_filter=False)
    barcodes = read_text(files[1], "\t", header=None, na_filter=False)[0].astype(str).tolist()
    if features.shape[1] < 2:
        raise InputError(f"{files[0]} has one column: expected an id and a name of each gene.")
    kind = features[2].to_numpy() if features.shape[1] > 2 else np.full(len(features), "")
    matrix = _market(files[2], (len(features), len(barcodes)))
    return matrix, features[1].astype(str).tolist(), kind, barcodes


def _market(file: Path, shape: tuple[int, int]) -> sp.csr_matrix:
    """Counts of a matrix.mtx whose rows are genes, (n_spots, n_genes)."""
    from scipy.io import mminfo, mmread

    check_text(file)
    with reading(file, mend=_MEND):
        rows, columns, n, *_ = mminfo(file)
        if (rows, columns) != shape:
            raise InputError(
                f"{file} holds a matrix of {rows} genes x {columns} spots, but names {shape[0]} "
                f"and {shape[1]}: {_MEND}."
            )
        checked_size(16 * n, file.stat().st_size, str(file))
        found = sp.coo_matrix(mmread(file).T)
    matrix = found.tocsr()
    if matrix.nnz != found.nnz:
        raise InputError(f"{file} names {found.nnz - matrix.nnz} places twice: {_MEND}.")
    return matrix


def _one(folder: Path, *stems: str) -> Path:
    """A table of a folder, packed or not."""
    for name in (f"{stem}{packed}" for stem in stems for packed in ("", ".gz")):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder} has no {stems[0]} (or {stems[0]}.gz): copy the whole folder.")
