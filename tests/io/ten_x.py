"""Files as Cell Ranger and others write them, of a few cells."""

import gzip
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

GENES = ["A1", "B2", "C3", "D4", "E5"]
PROTEINS = ["CD3", "CD4", "CD19"]
PEAKS = ["chr1:10-20", "chr1:50-70", "chr2:5-9"]
TYPES = {"rna": "Gene Expression", "protein": "Antibody Capture", "atac": "Peaks"}
N = 9


def barcodes(n=N, end="-1"):
    return [f"{''.join('ACGT'[(i >> s) & 3] for s in (4, 2, 0))}TTGC{end}" for i in range(n)]


def features(*kinds, more=()):
    """id, name and type of each; ``more`` are (name, type)."""
    own = {"rna": GENES, "protein": PROTEINS, "atac": PEAKS}
    rows = [(f"ENSG{i:011d}" if k == "rna" else name, name, TYPES[k])
            for k in kinds for i, name in enumerate(own[k])]  # fmt: skip
    return pd.DataFrame([*rows, *((n, n, t) for n, t in more)], columns=["id", "name", "type"])


def counts(n, width, seed=0):
    """(n, width), of which no cell is empty."""
    return np.random.default_rng(seed).poisson(3, (n, width)) + 1


def h5(path, table, cells=None, seed=0, x=None, extra=(), genome=None):
    """An .h5 of version 3 and later."""
    cells = barcodes() if cells is None else cells
    x = counts(len(cells), len(table), seed) if x is None else x
    matrix = sp.csc_matrix(x.T)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        top = file.create_group("matrix")
        top["barcodes"] = np.array(cells, "S")
        for name in ("data", "indices", "indptr"):
            top[name] = getattr(matrix, name)
        top["shape"] = np.array(matrix.shape)
        for column, name in (("id", "id"), ("name", "name"), ("type", "feature_type")):
            top[f"features/{name}"] = np.array(table[column].tolist(), "S")
        top["features/genome"] = np.array(genome or ["GRCh38"] * len(table), "S")
        for name in extra:
            file[name] = np.arange(3.0)
    return Path(path)


def old_h5(path, genomes=("GRCh38",), cells=None):
    """An .h5 of version 2: a group for each genome."""
    cells = barcodes() if cells is None else cells
    with h5py.File(path, "w") as file:
        for k, genome in enumerate(genomes):
            matrix = sp.csc_matrix(counts(len(cells), len(GENES), k).T)
            top = file.create_group(genome)
            top["barcodes"] = np.array(cells, "S")
            top["genes"] = np.array([f"ENSG{k}{i:010d}" for i in range(len(GENES))], "S")
            names = GENES if len(genomes) == 1 else [f"{genome}_{g}" for g in GENES]
            top["gene_names"] = np.array(names, "S")
            for name in ("data", "indices", "indptr"):
                top[name] = getattr(matrix, name)
            top["shape"] = np.array(matrix.shape)
    return Path(path)


def folder(path, table, cells=None, *, packed=True, prefix="", old=False, columns=3, end="\n",
           blank=False, turned=False, seed=0, x=None):  # fmt: skip
    """A folder of .mtx, packed as version 3 leaves it, or bare as version 2 does."""
    path, cells = Path(path), barcodes() if cells is None else cells
    path.mkdir(parents=True, exist_ok=True)
    x = counts(len(cells), len(table), seed) if x is None else x
    lines = ["\t".join(map(str, row[:columns])) for row in table.itertuples(index=False)]
    name = "genes.tsv" if old else "features.tsv"
    for file, text in ((name, lines), ("barcodes.tsv", cells)):
        write(path / f"{prefix}{file}", end.join(text) + end * (3 if blank else 1), packed)
    bare = path / f"{prefix}matrix.mtx"
    scipy.io.mmwrite(bare, sp.coo_matrix(x if turned else x.T))
    if packed:
        write(bare, bare.read_text(), packed)
        bare.unlink()
    return path


def write(path, text, packed):
    path = Path(f"{path}.gz") if packed else path
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
