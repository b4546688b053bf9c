"""Gene activity: counts of open chromatin over genes, as a modality of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess import kind_of
from smalti.system.extras import need
from smalti.views import whole

_PLACE = r"^(?P<chrom>.+?)[:_-](?P<start>\d[\d,]*)[-_](?P<end>\d[\d,]*)$"
_COLUMNS = ["chrom", "start", "end", "name", "strand"]
_GTF = ["chrom", "source", "feature", "start", "end", "score", "strand", "frame", "attributes"]


def gene_activity(
    bags: Bags,
    genes: str | Path | pd.DataFrame,
    *,
    view: str | None = None,
    name: str = "gene_activity",
    upstream: int = 2000,
    biotype: str | None = "protein_coding",
    max_width: int | None = 500_000,
) -> Bags:
    """Counts of the peaks that overlap each gene or what is upstream of it, as one more view.

    As Signac's ``GeneActivity`` (gene body and 2 kb upstream, protein-coding genes of 500 kb at
    most), but of counts in peaks: fragments outside of peaks are not in the data. A peak that
    overlaps several genes counts for each.

    Parameters
    ----------
    bags
        With a view of peaks whose names are places: chr1:100-200, chr1-100-200 or chr1_100_200.
    genes
        A GTF (its "gene" rows) or a BED file of six columns, both may end in .gz; or a table with
        chrom, start, end, name and strand, from 0 and without its end as BED has it.
    view
        Of the peaks; the one whose kind or name says open chromatin when left out.
    name
        Of the new view, which is of kind "rna": it takes the steps of counts of genes.
    upstream
        Bases before the start of a gene, by its strand; on both sides where there is none ("."), as
        is where it starts.
    biotype
        Which genes of a GTF that tells (``gene_type`` or ``gene_biotype``); None: all.
    max_width
        Longer genes are left out, in bases; None: none.

    Returns
    -------
    Bags
        With the view, (n_instances, n_genes) CSR: genes that overlap a peak, in the order of the
        annotation, those of one name as one.

    Raises
    ------
    InputError
        If bioframe is not installed, there is no view of peaks or its names are no places, the
        annotation cannot be read, or no peak lies on a gene.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> import pandas as pd
    >>> bags = sm.Bags.from_rows({"atac": np.array([[1, 2, 4], [0, 1, 0]])}, np.arange(2),
    ...     features={"atac": ["chr1:100-200", "chr1:900-990", "chr2:5-50"]})
    >>> genes = pd.DataFrame({"chrom": ["chr1"], "start": [1500], "end": [1800], "name": ["A"],
    ...     "strand": ["+"]})
    >>> sm.genes.gene_activity(bags, genes, upstream=700).x["gene_activity"].toarray()
    array([[2],
           [1]])
    """
    view = _view_of_peaks(bags) if view is None else view
    table = bags.view(view)[1]
    if name in bags.x:
        raise InputError(f"there is a view {name!r} already: name the new one with name=.")
    if upstream < 0:
        raise InputError(f"upstream={upstream} must be 0 or more bases.")
    peaks = _places(bags.features.get(view), view)
    known = _read(genes, biotype)
    if max_width is not None:
        known = known[known["end"] - known["start"] <= max_width]
    overlap, names = _overlap(peaks, _reached(known, upstream), view)
    rows = sp.csr_matrix(whole(table))
    # sums of small whole numbers must not overflow
    counts = rows @ overlap.astype(np.int64 if rows.dtype.kind in "iub" else rows.dtype)
    present = {name: bags.present[view]} if view in bags.present else {}
    return dataclasses.replace(
        bags, x={**bags.x, name: sp.csr_matrix(counts)}, features={**bags.features, name: names},
        present={**bags.present, **present}, kinds={**bags.kinds, name: "rna"},
    )  # fmt: skip


def _view_of_peaks(bags: Bags) -> str:
    found = [k for k in bags.x if bags.kinds.get(k, kind_of(k)) == "atac"]
    if len(found) != 1:
        raise InputError(
            f"{len(found) or 'none'} of the views {', '.join(map(repr, bags.x))} are of peaks: "
            "name the one with view=."
        )
    return found[0]


def _places(names: Any, view: str) -> pd.DataFrame:
    """(n_peaks,) chrom, start and end of each peak."""
    if not names:
        raise InputError(f"view {view!r} has no names of peaks, which say where they are.")
    found = pd.Series(list(names), dtype=str).str.extract(_PLACE)
    if found["chrom"].isna().any():
        at = int(found["chrom"].isna().to_numpy().argmax())
        raise InputError(
            f"view {view!r}: {int(found['chrom'].isna().sum()):,} of {len(found):,} names are no "
            f"places (first: {names[at]!r}): expected chr1:100-200, chr1-100-200 or chr1_100_200."
        )
    for end in ("start", "end"):
        found[end] = found[end].str.replace(",", "").astype(np.int64)
    return found.assign(peak=np.arange(len(found)))


def _read(genes: Any, biotype: str | None) -> pd.DataFrame:
    """Genes as chrom, start, end, name, strand; from 0, without the end."""
    if isinstance(genes, pd.DataFrame):
        lacking = [c for c in _COLUMNS if c not in genes]
        if lacking:
            raise InputError(f"genes= has no column {lacking[0]!r}: it needs {_COLUMNS}.")
        return genes[_COLUMNS]
    path = Path(genes)
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    try:
        if kind in ("gtf", "gff2"):
            return _from_gtf(path, biotype)
        if kind == "bed":
            order = ["chrom", "start", "end", "name", "score", "strand"]
            table = pd.read_csv(path, sep="\t", header=None, comment="#", names=order,
                                usecols=range(6))  # fmt: skip
            return table[_COLUMNS].astype({"start": np.int64, "end": np.int64, "chrom": str})
    except (OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as genes ({error}).") from error
    raise InputError(f"{path}: genes are read of .gtf and .bed, both may end in .gz.")


def _from_gtf(path: Path, biotype: str | None) -> pd.DataFrame:
    table = pd.read_csv(path, sep="\t", header=None, comment="#", names=_GTF, dtype={"chrom": str})
    table = table[table["feature"] == "gene"]
    if not len(table):
        raise InputError(f"{path} has no rows of feature 'gene': give an annotation that has.")
    text = table["attributes"]
    kind = text.str.extract(r'gene_(?:bio)?type "([^"]*)"')[0]
    if biotype is not None and kind.notna().any():
        if not (kind == biotype).any():
            raise InputError(f"{path} has no gene of biotype {biotype!r}; there are "
                             f"{', '.join(sorted(kind.dropna().unique())[:8])}.")  # fmt: skip
        table, text = table[kind == biotype], text[kind == biotype]
    name = text.str.extract(r'gene_name "([^"]*)"')[0]
    name = name.fillna(text.str.extract(r'gene_id "([^"]*)"')[0])
    start, end = table["start"].astype(np.int64) - 1, table["end"].astype(np.int64)
    return table.assign(start=start, end=end, name=name)[_COLUMNS]


def _reached(genes: pd.DataFrame, upstream: int) -> pd.DataFrame:
    """Genes with what is upstream of them."""
    left = np.where(genes["strand"] == "-", 0, upstream)
    right = np.where(genes["strand"] == "+", 0, upstream)
    start = np.maximum(genes["start"].to_numpy() - left, 0)
    return genes.assign(start=start, end=genes["end"].to_numpy() + right)


def _overlap(
    peaks: pd.DataFrame, genes: pd.DataFrame, view: str
) -> tuple[sp.csr_matrix, tuple[str, ...]]:
    """(n_peaks, n_genes) 1 where a peak lies on a gene, and the names of the genes."""
    both = need("bioframe", "integrate").overlap(peaks, genes, how="inner", suffixes=("", "_gene"))
    if not len(both):
        ours, theirs = sorted(set(peaks["chrom"])), sorted(set(genes["chrom"].astype(str)))
        same = "" if set(ours) & set(theirs) else " They have no name of a chromosome in common:"
        raise InputError(
            f"no peak of view {view!r} lies on a gene.{same} peaks are on {', '.join(ours[:4])}, "
            f"genes on {', '.join(theirs[:4])}; give the annotation of the genome of the peaks."
        )
    hit = set(both["name_gene"].astype(str))
    names = tuple(n for n in dict.fromkeys(genes["name"].astype(str)) if n in hit)
    column = pd.Index(names).get_indexer(both["name_gene"].astype(str))
    at = np.unique(np.stack([both["peak"].to_numpy(np.int64), column]), axis=1)  # once each
    ones = np.ones(at.shape[1], dtype=np.int8)
    return sp.csr_matrix((ones, (at[0], at[1])), shape=(len(peaks), len(names))), names
