"""Units of expression that know the test: vectors of genes, and genes, that its slides chose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.seen import Seen
from smalti.errors import InputError
from smalti.genes.read import as_vectors
from smalti.genes.units import gene_names, measured, most_variable
from smalti.genes.vectors import GeneVectors
from smalti.leaks.case import Case, check
from smalti.leaks.finding import Finding
from smalti.names import some

_TILES = 5000  # of which variances are
_FEWEST = 10  # genes of a list
_SHARE = 0.95  # of a list that is among the most variable


@check("units that know the test")
def units(case: Case) -> Iterator[Finding]:
    """Gene vectors made of tested donors, and lists of genes that all slides together chose."""
    by_list: dict[tuple[str, ...], list[str]] = {}
    for label, method in case.methods.items() if case.splits else ():
        yield from _vectors(case, label, getattr(method, "vectors", None))
        genes = getattr(method, "genes", None)
        if not isinstance(genes, (str, int, np.integer, type(None))) and len(genes) >= _FEWEST:
            by_list.setdefault(tuple(map(str, genes)), []).append(label)
    for genes, labels in by_list.items():
        yield from _genes(case, genes, labels)


def _vectors(case: Case, label: str, given: Any) -> Iterator[Finding]:
    if not isinstance(given, (GeneVectors, Path, str)) or given == "random":
        return
    try:
        found = as_vectors(given)
    except InputError:  # the fit says so
        return
    known = Seen(donors=found.donors).has_donors(case.bags)
    if known.any():
        donors = sorted(set(map(str, case.donors[known])))
        yield Finding(
            "units that know the test",
            f"the vectors of genes of {label} ({found.source}) were made of the expression of "
            f"{len(donors)} of these donors ({some(donors)}): they know the test.",
            "Make them of other donors, or of text.",
            evidence={"method": label, "donors": donors[:20]},
        )


def _genes(case: Case, genes: tuple[str, ...], labels: list[str]) -> Iterator[Finding]:
    """Whether a list is that of most variance over all tiles, tested ones included."""
    method, n = case.methods[labels[0]], case.bags.n_instances
    view = getattr(method, "counts", "counts")
    names = gene_names(case.bags, view) if view in case.bags.x else ()
    if not set(genes) <= set(names) or len(genes) > len(names) / 3:
        return
    rows = np.sort(case.rng.permutation(n)[:_TILES])
    share = _chosen(case, method, rows, names, genes)
    if share < _SHARE:
        return
    sides = [np.intersect1d(rows, train) for train, _ in case.splits]
    if len(sides) == 1 and _chosen(case, method, sides[0], names, genes) >= share:
        return  # the training slides of the one split chose as well
    yield Finding(
        "units that know the test",
        f"{share:.0%} of the {len(genes)} genes of {some(labels)} are those of most variance over "
        "all slides: test slides may have had a say in what is asked of them.",
        f"Have them chosen in each fold (genes={len(genes)}), or by slides of other donors.",
        "doubt", {"methods": labels[:20], "genes": len(genes), "share": share},
    )  # fmt: skip


def _chosen(
    case: Case, method: Any, rows: np.ndarray, names: tuple[str, ...], genes: tuple[str, ...]
) -> float:
    """Share of a list that is among as many genes of most variance in some tiles, (k,)."""
    values = measured(case.bags.keep(rows), view=method.counts, genes=names, units=method.units)
    top = {names[i] for i in most_variable(values, len(genes))}
    return len(top & set(genes)) / len(genes)
