"""A map of terms (GO, pathways) by how alike they are, and the groups of genes it gives.

Terms are laid out in the plane by multidimensional scaling of 1 - similarity, grouped there, and
each gene goes to the group that most of its terms are in.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.manifold import smacof

from smalti.errors import InputError
from smalti.genes.groups import OTHER
from smalti.genes.pathways import pathway_membership, shared_genes
from smalti.genes.sets import GeneSets
from smalti.system.extras import need

FROM_SETS = ("jaccard", "overlap", "cosine")
FROM_ONTOLOGY = ("lin", "resnik")
_GO = re.compile(r"GO:\d{7}")


class TermMap(NamedTuple):
    """Map of terms, see :func:`term_map`.

    Attributes
    ----------
    terms
        A row a term: ``term``, ``x``, ``y``, ``group`` (name), ``size`` (of the user's genes).
    genes
        Gene to name of its group, "other" for genes in no term of the map.
    stress
        Normalised stress of the map (Kruskal's stress-1): 0 exact, over 0.2 poor.
    """

    terms: pd.DataFrame
    genes: pd.Series
    stress: float

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Name to positions of genes, (k,) int64, "other" the last.

        A partition, as :func:`smalti.genes.gene_groups` gives it.
        """
        names = [*dict.fromkeys(self.terms["group"]), OTHER]
        found = {n: np.flatnonzero(self.genes.to_numpy() == n) for n in names}
        return {n: where for n, where in found.items() if len(where)}


def term_map(
    sets: GeneSets,
    genes: Sequence[str],
    *,
    similarity: str = "jaccard",
    obo: str | Path | None = None,
    min_size: int = 10,
    max_size: int = 500,
    most: int = 300,
    n_groups: int = 8,
    by: str = "kmeans",
    ignore_case: bool = False,
    seed: int = 0,
) -> TermMap:
    """Lay out terms in the plane, group them, and the genes by them.

    Parameters
    ----------
    sets
        Terms and their genes.
    genes
        The user's genes.
    similarity, obo
        As in :func:`term_similarity`.
    min_size, max_size
        Number of the user's genes in a term; others are left out.
    most
        Terms on the map, those with most genes: time and memory grow as the square. Of terms with
        the same genes the first is kept.
    n_groups
        Groups of terms.
    by
        kmeans or ward, on the map.
    ignore_case
        As in :func:`smalti.genes.match`.
    seed
        Of kmeans. The map starts from classical scaling and draws nothing.

    Returns
    -------
    TermMap
        A group bears the name of its term nearest to the middle. Each gene counts its terms by
        1 / size, so that specific terms weigh more, and goes to the group with the largest sum.

    Raises
    ------
    InputError
        If fewer than 3 terms are left, ``by`` or ``similarity`` is unknown, or ``n_groups`` does
        not fit; else as :func:`smalti.genes.match` and :func:`term_similarity`.
    """
    table, names = pathway_membership(
        sets, genes, min_size=min_size, max_size=max_size, ignore_case=ignore_case
    )
    kept = _largest(table, most)
    if similarity in FROM_ONTOLOGY:
        alike, kept = _ontology(sets, [names[i] for i in kept], kept, similarity, obo)
    else:
        alike = _from_sets(sp.csr_array(table[kept]), similarity)
    if len(kept) < 3 or not 1 <= n_groups <= len(kept):
        raise InputError(
            f"{len(kept)} terms are left for {n_groups} groups: give at least 3 terms and no more "
            "groups than terms; lower min_size or raise max_size and most."
        )
    points, stress = _plane(1 - alike)
    labels = _label(points, n_groups, by, seed)
    members = sp.csr_array(table[kept])
    titles = [names[i] for i in kept]
    called = {k: titles[_middle(points, labels == k)] for k in np.unique(labels)}
    size = np.asarray(members.sum(axis=1))
    frame = pd.DataFrame({
        "term": titles, "x": points[:, 0], "y": points[:, 1],
        "group": [called[k] for k in labels], "size": size.astype(int),
    })  # fmt: skip
    onehot = sp.csr_array((1 / size, (labels, np.arange(len(kept)))))
    votes = (onehot @ members).toarray()  # (n_groups, n_genes)
    of = np.array([called[k] for k in range(len(votes))], object)[votes.argmax(0)]
    of[votes.max(0) == 0] = OTHER
    return TermMap(frame, pd.Series(of, index=[str(g) for g in genes], name="group"), stress)


def term_similarity(
    sets: GeneSets, similarity: str = "jaccard", *, obo: str | Path | None = None
) -> pd.DataFrame:
    """How alike terms are, each with each.

    Parameters
    ----------
    sets
        Terms and their genes. For lin and resnik a name must hold its id, as "... (GO:0006103)";
        terms that the ontology lacks (obsolete ones) are left out, with a warning.
    similarity
        From the genes: jaccard, shared genes over all; overlap, shared over those of the smaller;
        cosine, of 0/1 vectors whose entry for a gene in n of N terms weighs log(N / n), the
        information that the gene gives. From the ontology, with the information content
        IC = -log(share of annotated genes that a term or its descendants have): resnik, the
        highest IC of a common ancestor, over the highest IC here (Resnik 1995); lin, twice the
        ancestor's IC over the sum of both ICs (Lin 1998).
    obo
        lin, resnik: ontology in OBO format; read through goatools, is_a only.

    Returns
    -------
    DataFrame
        (n_terms, n_terms) in [0, 1], symmetric, 1 on the diagonal.

    Raises
    ------
    InputError
        If ``similarity`` is unknown, goatools or the file is missing, or no term is in it.
    """
    names = list(sets)
    if similarity in FROM_ONTOLOGY:
        alike, kept = _ontology(sets, names, np.arange(len(names)), similarity, obo)
        names = [names[i] for i in kept]
    else:
        genes = sorted({g for members in sets.values() for g in members})
        column = {g: j for j, g in enumerate(genes)}
        rows = [[column[g] for g in dict.fromkeys(members)] for members in sets.values()]
        ends = np.cumsum([0, *map(len, rows)])
        table = sp.csr_array((np.ones(ends[-1]), np.concatenate(rows), ends))
        alike = _from_sets(table, similarity)
    return pd.DataFrame(alike, index=names, columns=names)


def _largest(table: sp.csr_array, most: int) -> np.ndarray:
    """Positions of the largest different terms."""
    seen: dict[bytes, int] = {}
    for i, (start, stop) in enumerate(zip(table.indptr[:-1], table.indptr[1:], strict=True)):
        seen.setdefault(table.indices[start:stop].tobytes(), i)
    distinct = np.array(sorted(seen.values()))
    size = np.diff(table.indptr)[distinct]
    return np.sort(distinct[np.argsort(-size, kind="stable")[:most]])


def _from_sets(table: sp.csr_array, similarity: str) -> np.ndarray:
    if similarity not in FROM_SETS:
        raise InputError(f"similarity={similarity!r} is not one of {FROM_SETS + FROM_ONTOLOGY}.")
    both, size = shared_genes(table)
    shared = both.toarray()
    if similarity == "jaccard":
        alike = shared / (size[:, None] + size - shared)
    elif similarity == "overlap":
        alike = shared / np.minimum(size[:, None], size)
    else:
        count = np.asarray((table != 0).sum(axis=0))
        information = np.log(table.shape[0] / np.maximum(count, 1))
        weighted = sp.csr_array(table.astype(bool).astype(float) @ sp.diags_array(information))
        length = np.sqrt(np.asarray(weighted.power(2).sum(axis=1)))
        product = (weighted @ weighted.T).toarray()
        below = np.outer(length, length)
        alike = np.divide(product, below, out=np.zeros_like(product), where=below > 0)
    np.fill_diagonal(alike, 1)
    return alike.clip(0, 1)


def _ontology(
    sets: GeneSets, names: list[str], where: np.ndarray, similarity: str, obo: str | Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of those terms that the ontology has, and their share of ``where``."""
    dag = _read_obo(obo)
    ids = {name: m.group() for name in sets if (m := _GO.search(name)) and m.group() in dag}
    kept = [name for name in names if name in ids]
    if not kept:
        raise InputError(f"no term has an id (GO:...) that {obo} holds: {names[0]!r} has none.")
    if len(kept) < len(names):
        text = f"{len(names) - len(kept)} of {len(names)} terms are not in {obo}: left out"
        warnings.warn(text, UserWarning, stacklevel=3)
    semantic = need("goatools.semantic", extra="go")
    of_gene: dict[str, set[str]] = {}
    for name, go in ids.items():  # all terms, also those not on the map: they are the background
        for gene in sets[name]:
            of_gene.setdefault(gene, set()).add(go)
    counts = semantic.TermCounts(dag, of_gene)
    main = [dag[ids[name]].item_id for name in kept]
    above = [{go} | dag[go].get_all_parents() for go in main]
    information = {a: semantic.get_info_content(a, counts) for a in set().union(*above)}
    resnik = np.zeros((len(main), len(main)))
    for ancestor in sorted(information, key=lambda a: information[a]):  # the highest comes last
        below = [i for i, up in enumerate(above) if ancestor in up]
        resnik[np.ix_(below, below)] = information[ancestor]
    own = np.array([information[go] for go in main])
    total = own[:, None] + own if similarity == "lin" else np.full(resnik.shape, 2 * own.max())
    alike = np.divide(2 * resnik, total, out=np.zeros_like(resnik), where=total > 0)
    np.fill_diagonal(alike, 1)
    there = set(kept)
    return alike.clip(0, 1), where[[name in there for name in names]]


def _read_obo(obo: str | Path | None) -> Mapping[str, Any]:
    if obo is None:
        raise InputError("lin and resnik need an ontology: give obo, a file such as go-basic.obo.")
    if not Path(obo).is_file():
        raise InputError(f"{obo} is not there: give the path of an OBO file.")
    return need("goatools.obo_parser", extra="go").GODag(str(obo), prt=None)


def _plane(apart: np.ndarray) -> tuple[np.ndarray, float]:
    """(n, 2) metric scaling, started from classical scaling, and its normalised stress."""
    squares = apart**2
    centred = squares - squares.mean(0) - squares.mean(1, keepdims=True) + squares.mean()
    value, vector = np.linalg.eigh(-centred / 2)
    start = vector[:, -2:][:, ::-1] * np.sqrt(value[-2:][::-1].clip(0))
    start *= np.sign(start[np.abs(start).argmax(0), [0, 1]] + 1e-300)  # an axis has no sign
    points, stress = smacof(apart, n_components=2, init=start, n_init=1, normalized_stress=False)
    return points, float(np.sqrt(stress / max((squares / 2).sum(), 1e-300)))


def _label(points: np.ndarray, n_groups: int, by: str, seed: int) -> np.ndarray:
    if by == "kmeans":
        return KMeans(n_groups, n_init=10, random_state=seed).fit_predict(points)
    if by == "ward":
        return AgglomerativeClustering(n_groups).fit_predict(points)
    raise InputError(f"by={by!r} is neither 'kmeans' nor 'ward'.")


def _middle(points: np.ndarray, inside: np.ndarray) -> int:
    where = np.flatnonzero(inside)
    gap = points[where] - points[where].mean(0)
    return int(where[np.square(gap).sum(1).argmin()])
