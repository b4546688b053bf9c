"""Counts as Cell Ranger and Space Ranger write them: .h5, or a folder of .mtx; of any version."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.sparse import sparse_matrix
from smalti.io.stored import element, open_h5
from smalti.system.reading import blocks, check_text, checked_size, reading
from smalti.system.tables import read_text

_MEND = "copy it again, as Cell Ranger or Space Ranger wrote it"
_GENES = ("Gene Expression", "")  # what is a gene, among antibodies and others
_TABLES = ("features.tsv", "genes.tsv", "peaks.bed")  # of features; version 2 called them genes


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A matrix with its tables.

    Attributes
    ----------
    counts
        (n_barcodes, n_features), as stored: what a program has corrected is no whole number.
    features
        One row a feature: ``id``, ``name``, ``type`` ("" where that is not said), ``genome``.
    barcodes
        As they stand there.
    """

    counts: sp.csr_matrix
    features: pd.DataFrame
    barcodes: list[str]


def read_matrix(file: Path) -> Matrix:
    """A matrix of barcodes, all types of features.

    Parameters
    ----------
    file
        An .h5, a folder of .mtx, or a matrix.mtx with its tables beside it, all with one prefix.

    Raises
    ------
    InputError
        If a file is missing or damaged, or an .h5 of another kind; with its name.
    """
    if file.name.endswith(".h5.gz"):
        raise InputError(f"{file} is packed: unpack it first (gunzip).")
    if file.is_dir():
        found = _folder(file)
    elif ".mtx" in file.suffixes:
        found = _folder(file.parent, file.name.partition("matrix.mtx")[0])
    else:
        found = _h5(file)
    n_barcodes, n_features = found.counts.shape
    if (n_barcodes, n_features) != (len(found.barcodes), len(found.features)):
        raise InputError(
            f"{file} holds a matrix of {n_features} features x {n_barcodes} barcodes, but names "
            f"{len(found.features)} and {len(found.barcodes)}: copy it again."
        )
    if not found.barcodes:
        raise InputError(f"{file} has no barcodes: copy it again.")
    return found


def read_counts(file: Path) -> tuple[sp.csr_matrix, list[str], list[str]]:
    """(n_spots, n_genes) counts without antibodies, symbols, and barcodes.

    ``file`` as of :func:`read_matrix`.

    Raises
    ------
    InputError
        If a file is missing or damaged; with its name.
    """
    found = read_matrix(file)
    keep = np.flatnonzero(found.features["type"].isin(_GENES))
    return found.counts[:, keep], found.features["name"].iloc[keep].tolist(), found.barcodes


# ---------------------------------------------------------------- .h5


def _h5(file: Path) -> Matrix:
    with open_h5(file) as data:
        names = list(data)
        _refuse_others(file, names)
        with reading(file, "/", _MEND):
            groups = {name: element(data, name, file) for name in names}
        if "matrix" not in groups:
            return _genomes(file, groups)
        part = groups["matrix"]
        names, types = (_text(part, f"features/{name}", file) for name in ("name", "feature_type"))
        with reading(file, "matrix/features", _MEND):
            there = set(part["features"])
        ids = _text(part, "features/id", file) if "id" in there else names
        genome = _text(part, "features/genome", file) if "genome" in there else None
        barcodes = _text(part, "barcodes", file)
        return Matrix(_matrix(part, file), _features(file, ids, names, types, genome), barcodes)


def _refuse_others(file: Path, names: list[str]) -> None:
    """Refuse an .h5 that other programs write, by what it holds."""
    if "mod" in names or ("obs" in names and "var" in names):
        kind, ending = ("a MuData", ".h5mu") if "mod" in names else ("an AnnData", ".h5ad")
        raise InputError(f"{file} is {kind}: give it the ending {ending}.")
    if {"features", "feats"} & set(names):
        raise InputError(f"{file} holds features of tiles: give the folder of such files.")


def _features(
    file: Path, ids: list[str], names: list[str], types: list[str], genome: list[str] | None
) -> pd.DataFrame:
    columns = {"id": ids, "name": names, "type": types, "genome": genome or [""] * len(ids)}
    if len({len(values) for values in columns.values()}) > 1:
        said = ", ".join(f"{len(values)} {name}" for name, values in columns.items())
        raise InputError(f"{file}: its lists of features differ in length ({said}): {_MEND}.")
    return pd.DataFrame(columns, dtype=object)


def _genomes(file: Path, groups: dict[str, Any]) -> Matrix:
    """Version 2 has one group for each genome; of several the genes stand side by side."""
    if not groups or any("barcodes" not in part for part in groups.values()):
        raise InputError(
            f"{file} holds {', '.join(groups) or 'nothing'}, and not a matrix of Cell Ranger or "
            "Space Ranger: name filtered_feature_bc_matrix.h5."
        )
    barcodes = [_text(part, "barcodes", file) for part in groups.values()]
    if any(other != barcodes[0] for other in barcodes):
        raise InputError(
            f"{file} holds {', '.join(groups)}, and not a matrix, nor genomes of the same "
            "barcodes: copy it again, or keep one genome."
        )
    names = [g for part in groups.values() for g in _text(part, "gene_names", file)]
    ids = [g for part in groups.values()
           for g in _text(part, "genes" if "genes" in part else "gene_names", file)]  # fmt: skip
    matrices = [_matrix(part, file) for part in groups.values()]
    if any(m.shape[0] != len(barcodes[0]) for m in matrices):
        raise InputError(f"{file}: genomes have matrices of other numbers of barcodes than the "
                         f"{len(barcodes[0])} named: {_MEND}.")  # fmt: skip
    genome = [name for name, m in zip(groups, matrices, strict=True) for _ in range(m.shape[1])]
    if len(genome) != len(names):  # which is said with the numbers
        genome = [""] * len(names)
    features = _features(file, ids, names, [""] * len(names), genome)
    return Matrix(sp.hstack(matrices, format="csr"), features, barcodes[0])


def _matrix(part: Any, file: Path) -> sp.csr_matrix:
    """Counts of a group, (n_barcodes, n_features)."""
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


# ---------------------------------------------------------------- .mtx


def _folder(folder: Path, prefix: str = "") -> Matrix:
    table, cells, matrix = (_one(folder, *(prefix + n for n in names)) for names in
                            (_TABLES, ("barcodes.tsv",), ("matrix.mtx",)))  # fmt: skip
    text: dict[str, Any] = {"header": None, "na_filter": False, "dtype": str}
    found = read_text(table, "\t", comment="#" if "peaks.bed" in table.name else None, **text)
    barcodes = read_text(cells, "\t", **text)[0].tolist()
    if "peaks.bed" in table.name:
        if found.shape[1] < 3:
            raise InputError(f"{table} has {found.shape[1]} columns: expected chromosome, start "
                             "and end of each peak.")  # fmt: skip
        ids = [f"{c}:{a}-{b}" for c, a, b in found[[0, 1, 2]].itertuples(index=False)]
        features = _features(table, ids, ids, ["Peaks"] * len(ids), None)
    else:  # of one column, as CITE-seq-Count writes it, the names are all there is
        names, n = found[min(1, found.shape[1] - 1)].tolist(), len(found)
        types = found[2].tolist() if found.shape[1] > 2 else [""] * n
        features = _features(table, found[0].tolist(), names, types, None)
    return Matrix(_market(matrix, (len(features), len(barcodes))), features, barcodes)


def _market(file: Path, shape: tuple[int, int]) -> sp.csr_matrix:
    """Counts of a matrix.mtx whose rows are features, or barcodes; (n_barcodes, n_features).

    Read as a table and checked: SciPy's reader writes past its memory where such a file is damaged.
    """
    check_text(file)
    skip, (rows, columns, n) = _market_head(file)
    if (rows, columns) not in (shape, shape[::-1]):
        raise InputError(
            f"{file} holds a matrix of {rows} features x {columns} barcodes, but names "
            f"{shape[0]} and {shape[1]}: {_MEND}."
        )
    checked_size(16 * n, file.stat().st_size, str(file))
    with reading(file, mend=_MEND):
        body = read_text(file, r"\s+", header=None, skiprows=skip) if n else pd.DataFrame()
        if len(body) != n or (n and body.shape[1] != 3):
            raise ValueError(f"{len(body):,} lines of {body.shape[1]} numbers, and {n:,} of 3 said")
        i, j, values = (body[k].to_numpy() for k in range(3)) if n else [np.zeros(0, int)] * 3
        kinds = i.dtype.kind + j.dtype.kind + values.dtype.kind
        if kinds not in ("iii", "iif") or not np.isfinite(values).all():
            raise ValueError("lines that are no numbers of a row, a column and a count")
        if n and not (min(i.min(), j.min()) > 0 and i.max() <= rows and j.max() <= columns):
            raise ValueError(f"places outside {rows} x {columns}")
    stored = sp.coo_matrix((values, (i - 1, j - 1)), shape=(rows, columns))
    found = stored.T if (rows, columns) == shape else stored
    matrix = found.tocsr()
    if matrix.nnz != found.nnz:
        raise InputError(f"{file} names {found.nnz - matrix.nnz} places twice: {_MEND}.")
    return matrix


def _market_head(file: Path) -> tuple[int, tuple[int, int, int]]:
    """How many lines stand before those of the counts; and rows, columns and number of these."""
    with reading(file, mend=_MEND):
        lines = next(blocks(file)).decode(errors="replace").splitlines()
        words = lines[0].lower().split()
        if words[:1] + words[2:3] + words[4:5] != ["%%matrixmarket", "coordinate", "general"] \
                or words[3] not in ("integer", "real"):  # fmt: skip
            raise ValueError(f"its first line is {lines[0][:60]!r}")
        at = next((k for k, t in enumerate(lines) if t.strip() and not t.startswith("%")), -1)
        rows, columns, n = (int(number) for number in lines[at].split())
        if min(rows, columns, n) < 0:
            raise ValueError(f"it says {lines[at][:60]!r}")
        return at + 1, (rows, columns, n)


def _one(folder: Path, *stems: str) -> Path:
    """A table of a folder, packed or not."""
    for name in (f"{stem}{packed}" for stem in stems for packed in ("", ".gz")):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder} has no {stems[0]} (or {stems[0]}.gz): copy the whole folder.")
