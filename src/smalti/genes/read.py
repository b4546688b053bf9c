"""Vectors of genes that others made: GenePT, ESM, node2vec, or our own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from smalti.errors import InputError
from smalti.genes.frames import ENDINGS
from smalti.genes.vector_tables import stacked, table_vectors
from smalti.genes.vectors import GeneVectors
from smalti.system.reading import plain_file, read_json
from smalti.system.tensors import is_ours, note_of, read_any

_OLD = "smalti_genes"  # in the metadata of our files before they had a checksum
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz")


def read_vectors(
    path: str | Path, *, genes: Sequence[str] | None = None, name: str | None = None
) -> GeneVectors:
    """Read vectors of genes.

    Parameters
    ----------
    path
        .safetensors: of :meth:`GeneVectors.save`; one array (n_genes, width), with the names in
        the metadata ("names", a JSON list) or in a .json file beside it (a list, or
        {"names": [...]}); or a vector per gene, under its name. .csv, .tsv (with .gz too) or
        .parquet: a row a gene, named in a column (symbol, gene, gene_name, ensembl, ...), in the
        first one or in the index; the numbers in columns of their own, or as a list in one.
    genes
        Only these, in this order.
    name
        What to call the source; None: as the file has it, or the file's name.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind or a pickle; vectors are of different
        length, not finite, or a gene is there twice; or ``genes`` lack a vector.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLES:
        raise InputError(
            f"{path.name}: {path.suffix} may run code when opened, or names no genes, so it is "
            "never read; where you trust it, write safetensors.numpy.save_file({gene: vector}, "
            "'x.safetensors'), or a table with a column gene."
        )
    plain_file(path)
    try:
        if path.suffix == ".safetensors":
            found = _of_tensors(path)
        elif path.name.endswith(ENDINGS):
            names, x, notes = table_vectors(path)
            found = GeneVectors(names, x, path.name, notes=notes)
        else:
            raise InputError(f"it is none of .safetensors, {', '.join(ENDINGS)}.")
        found = found if genes is None else found.take(genes)
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    if name is None:
        return found
    return GeneVectors.of({**found.note(), "source": name}, found.arrays())


def as_vectors(given: GeneVectors | str | Path) -> GeneVectors:
    """Vectors as they are, or those of a file."""
    return given if isinstance(given, GeneVectors) else read_vectors(given)


def _of_tensors(path: Path) -> GeneVectors:
    # as tensors of PyTorch: NumPy has no bfloat16
    tensors, meta = read_any(path, "vectors of genes")
    if is_ours(meta) or _OLD in meta:
        note = note_of(path, "gene vectors", tensors, meta)
        return GeneVectors.of(note, {k: t.numpy() for k, t in tensors.items()})
    arrays = {k: t.float().numpy() for k, t in tensors.items()}
    shapes = {a.ndim for a in arrays.values()}
    if shapes == {1}:
        return GeneVectors(tuple(arrays), stacked(list(arrays), list(arrays.values())), path.name)
    if shapes != {2} or len(arrays) != 1:
        raise InputError(
            "it holds neither one array (n_genes, width) nor a vector per gene, but "
            + ", ".join(f"{k} {a.shape}" for k, a in list(arrays.items())[:3]) + "."
        )  # fmt: skip
    return GeneVectors(_names(path, meta), next(iter(arrays.values())), path.name)


def _names(path: Path, meta: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the rows of the one array in a file."""
    beside = path.with_suffix(".json")
    try:
        key = next((k for k in ("names", "genes") if k in meta), None)
        said = json.loads(meta[key]) if key else None
        if said is None and beside.exists():
            said = read_json(beside)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the names of its genes are no JSON ({error}): mend them.") from error
    if isinstance(said, Mapping):
        said = next((said[k] for k in ("names", "genes") if k in said), None)
    if not isinstance(said, list):
        raise InputError(
            f"it does not say which genes its rows are: put a JSON list of names into {beside.name}"
            " beside it, or into the metadata as 'names'."
        )
    return tuple(map(str, said))
