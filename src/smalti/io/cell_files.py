"""Where matrices of cells lie: files and folders as Cell Ranger leaves them, and as GEO has them.

One path may hold several runs: the samples of a multiplexed run, files with prefixes, or a folder
of folders. Of each run the matrix of cells is taken, and that of all droplets where there is no
other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from smalti.errors import InputError
from smalti.system.reading import plain_file

STORES = (".h5ad", ".h5mu", ".zarr")
_PACKED = (".zip", ".tar", ".tgz", ".tar.gz", ".h5.gz", ".h5ad.gz", ".h5mu.gz", ".rar", ".7z")
_OTHERS = {".loom": "a loom file", ".rds": "an R object", ".rdata": "an R object",
           ".h5seurat": "a Seurat file", ".csv": "a table of text", ".tsv": "a table of text",
           ".txt": "a table of text", ".gz": "a packed file"}  # fmt: skip
# the best first: cells before droplets, one file before several
_MATRICES = tuple(
    f"{start}{what}{end}"
    for start in ("sample_filtered_", "filtered_", "sample_raw_", "raw_")
    for what in ("feature_bc_matrix", "gene_bc_matrices", "peak_bc_matrix")
    for end in (".h5", "_h5.h5", "")
)
_BARE = ("matrix.mtx", "matrix.mtx.gz")
_INSIDE = ("", "outs", "count", "outs/count")
_JOINS = "_-. "


class Found(NamedTuple):
    """A matrix of one run."""

    name: str
    file: Path


def runs_at(path: str | Path) -> list[Found]:
    """The matrices that a path holds.

    Parameters
    ----------
    path
        An AnnData or MuData file, an .h5 or .mtx of Cell Ranger, or a folder of any of its layouts.

    Raises
    ------
    InputError
        If nothing is there, or nothing that is such a matrix.
    """
    path = Path(path)
    if path.suffix == ".zarr":
        return [Found(path.stem, path)]
    if path.is_dir():
        found = runs_in(path)
        if not found:
            raise InputError(
                f"{path} holds no matrix of cells: expected filtered_feature_bc_matrix(.h5), or "
                "matrix.mtx with barcodes.tsv and features.tsv, here or in outs/."
            )
        return found
    plain_file(path)
    name = path.name.lower()
    if name.endswith(_PACKED):
        raise InputError(f"{path} is packed: unpack it first, and name what was in it.")
    if path.suffix in (*STORES, ".h5") or name.endswith((".mtx", ".mtx.gz")):
        return [Found(_stem(path), path)]
    kind = _OTHERS.get(path.suffix.lower(), "of an unknown kind")
    raise InputError(
        f"{path} is {kind}: cells are read from .h5ad, .h5mu, .zarr, and from .h5, .mtx and "
        "folders of Cell Ranger; convert it to one of them."
    )


def runs_in(folder: Path) -> list[Found]:
    """The matrices of a folder, of its samples, or of the folders in it; none where it has none."""
    found = _one_run(folder)
    if found:
        return found
    for samples in (folder / "per_sample_outs", folder / "outs" / "per_sample_outs"):
        if samples.is_dir():
            return _of_each(samples)
    return _of_each(folder)


def _of_each(folder: Path) -> list[Found]:
    """The runs of the folders in one; a run of one matrix bears the name of its folder."""
    found = []
    for inner in sorted(p for p in folder.iterdir() if p.is_dir() and p.suffix != ".zarr"):
        own = _one_run(inner)
        found += [Found(inner.name, own[0].file)] if len(own) == 1 else own
    return found


def _one_run(folder: Path) -> list[Found]:
    for inner in _INSIDE:
        if (folder / inner).is_dir():
            found = _here(folder / inner, folder.name)
            if found:
                return found
    return []


def _here(folder: Path, name: str) -> list[Found]:
    """The best matrix of each prefix in a folder."""
    if folder.name.endswith("gene_bc_matrices"):
        return [Found(name, _genome(folder))]
    best: dict[str, tuple[int, Path]] = {}
    ranks = {n: k for k, n in enumerate((*_MATRICES, *_BARE))}
    for path in sorted(folder.iterdir()):
        kind = next((n for n in ranks if path.name == n or _prefixed(path.name, n)), None)
        if kind is None or (path.is_dir() and "." in kind):
            continue
        prefix, rank = path.name[: -len(kind)], ranks[kind]
        if kind in _BARE and not _has_tables(folder, prefix):
            continue
        if prefix not in best or rank < best[prefix][0]:
            best[prefix] = rank, path
    return [
        Found(prefix.strip(_JOINS) or name, _genome(p) if _old(p) else p)
        for prefix, (_, p) in best.items()
    ]


def _prefixed(name: str, kind: str) -> bool:
    return name.endswith(kind) and name[: -len(kind)].endswith(tuple(_JOINS))


def _has_tables(folder: Path, prefix: str) -> bool:
    """Whether barcodes are beside a matrix.mtx, which else is of something other than cells."""
    return any((folder / f"{prefix}barcodes.tsv{end}").exists() for end in ("", ".gz"))


def _old(path: Path) -> bool:
    return path.is_dir() and path.name.endswith("gene_bc_matrices")


def _genome(folder: Path) -> Path:
    """The one genome of a folder of version 2."""
    there = sorted(p for p in folder.iterdir() if p.is_dir())
    if len(there) != 1:
        raise InputError(
            f"{folder} holds {len(there)} genomes ({', '.join(p.name for p in there)}): name the "
            "folder of one."
        )
    return there[0]


# ---------------------------------------------------------------- names


def is_raw(file: Path) -> bool:
    """Whether a matrix is of all droplets, as its name or that of its folder says."""
    here = file.parent.name if file.name.endswith(_BARE) else file.name
    return re.search(r"(^|[_.-])raw_(feature|gene|peak)_bc_matri", here) is not None \
        or file.parent.name == "raw_gene_bc_matrices"  # fmt: skip


def filtered_beside(file: Path) -> Path | None:
    """The matrix of cells that stands beside one of all droplets."""
    top = file.parent if file.name.endswith(_BARE) else file
    top = top.parent if top.parent.name == "raw_gene_bc_matrices" else top
    other = top.with_name(top.name.replace("raw_", "filtered_"))
    return other if other != top and other.exists() else None


def _stem(path: Path) -> str:
    """What a file says of its run: its name without what Cell Ranger called it."""
    name = path.name
    for kind in (*_MATRICES, *_BARE):
        if name == kind or _prefixed(name, kind):
            name = name[: -len(kind)].strip(_JOINS)
            break
    else:
        name = name.removesuffix(".gz").rpartition(".")[0]
    if name:
        return name
    folders = [p for p in path.resolve().parent.parts if p not in ("outs", "count")
               and not p.endswith(("_bc_matrix", "_bc_matrices"))]  # fmt: skip
    return folders[-1] if folders else path.name


def run_names(paths: Sequence[Path | None], own: Sequence[str]) -> list[str]:
    """What tells runs apart: their own names, or the parts of their paths that differ.

    Parameters
    ----------
    paths
        Of each run; None: it is in memory.
    own
        What each is called by itself.
    """
    names = list(own)
    if len(set(names)) < len(names) and all(p is not None for p in paths):
        parts = [list(p.parts) for p in paths if p is not None]
        while all(len(p) > 1 for p in parts) and len({p[0] for p in parts}) == 1:
            parts = [p[1:] for p in parts]
        while all(len(p) > 1 for p in parts) and len({p[-1] for p in parts}) == 1:
            parts = [p[:-1] for p in parts]
        names = ["_".join(p) for p in parts]
    return _shorter(names) if len(set(names)) == len(names) else names


def _shorter(names: list[str]) -> list[str]:
    """Without a common end that begins at a join: s1_rna, s2_rna are s1, s2."""
    if len(names) < 2:
        return names
    ends = [names[0][k:] for k, letter in enumerate(names[0]) if letter in _JOINS]
    end = next((e for e in ends if all(n.endswith(e) and n != e for n in names)), "")
    return [n.removesuffix(end) for n in names]
