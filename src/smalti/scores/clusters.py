"""Clusters of cells in an embedding, and how well they and the embedding fit known groups."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn import metrics as sk
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph

from smalti.errors import InputError
from smalti.system.extras import need

# cells up to which Ward sees all pairs: 2 x 0.6 GB of distances there, growing as the square
WARD_EXACT = 12_000
NEIGHBOURS = 15
LEIDEN_TRIES = 30


def cluster(
    embedding: np.ndarray | None,
    n_clusters: int | None,
    *,
    by: Literal["kmeans", "ward", "leiden"] = "kmeans",
    seed: int = 0,
    graph: Any = None,
    resolution: float = 1.0,
) -> np.ndarray:
    """Sort cells into clusters, of a given number or by Leiden of a given resolution.

    Parameters
    ----------
    embedding
        (n, d), one row a cell; may be None for Leiden on a graph.
    n_clusters
        How many, 1 to n; None, for Leiden alone: as many as come out at ``resolution``.
    by
        kmeans: Lloyd's algorithm, best of ten k-means++ starts. ward: Ward's agglomeration, exact
        up to ``WARD_EXACT`` cells; above that only clusters joined by an edge of the graph of the
        15 nearest neighbours may merge (pieces that hang apart are first tied by their shortest
        link), which takes memory in proportion to n. leiden: modularity by the Leiden algorithm
        (Traag et al. 2019, Scientific Reports 9:5233) on the graph of the 15 nearest neighbours,
        an edge weighing the share of neighbours its two ends have in common (Jaccard; PhenoGraph,
        Levine et al. 2015, Cell 162:184), with the resolution found by bisection.
    seed
        Of kmeans and leiden; ward draws nothing.
    graph
        leiden: (n, n) sparse connectivities to use instead, not negative, larger is nearer; an
        edge weighs the larger of its two directions, the diagonal is left out.
    resolution
        leiden, where ``n_clusters`` is None: of the modularity, higher for more clusters.

    Returns
    -------
    np.ndarray
        (n,) int64, 0 to the number of clusters - 1. That number is ``n_clusters``; only Leiden may
        miss it, if no resolution in ``LEIDEN_TRIES`` tries gives it: then the nearest that was
        found, and a warning. kmeans finds fewer, with scikit-learn's warning, where there are
        fewer different rows.

    Raises
    ------
    InputError
        If the algorithm is unknown, igraph is missing for Leiden, or embedding, number or graph
        does not fit.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> embedding = np.array([[0.0, 0.1], [0.2, 0.0], [5.0, 5.1], [5.2, 5.0]])
    >>> found = sm.scores.cluster(embedding, 2, by="ward")
    >>> len(set(found.tolist()))
    2
    """
    if by not in ("kmeans", "ward", "leiden"):
        raise InputError(f"by={by!r}: there are kmeans, ward and leiden.")
    if graph is not None and by != "leiden":
        raise InputError(f"by={by!r} takes no graph: leave it out, or cluster by='leiden'.")
    x = None if embedding is None else _matrix(embedding, "embedding")
    edges = None
    if graph is not None:
        edges = _symmetric(graph, None if x is None else len(x))
        n = edges.shape[0]
    elif x is not None:
        n = len(x)
    else:
        raise InputError("there is no embedding: give one, or by='leiden' with a graph.")
    if n_clusters is None:
        if by != "leiden" or not resolution > 0:
            raise InputError(
                f"by={by!r}, resolution={resolution}: give n_clusters, or a resolution above 0 and "
                "by='leiden'."
            )
        weights = _neighbour_graph(x) if edges is None else edges
        igraph = need("igraph", "leiden")
        with _igraph_draws(igraph, seed):
            return _communities(_network(igraph, weights), resolution)
    if n_clusters != int(n_clusters) or not 1 <= n_clusters <= n:
        raise InputError(f"n_clusters={n_clusters} for {n} cells: give 1 to {n}.")
    if n_clusters == 1:
        return np.zeros(n, np.int64)
    if by == "leiden":
        return _leiden(_neighbour_graph(x) if edges is None else edges, int(n_clusters), seed)
    assert x is not None
    if by == "ward":
        return _ward(x, int(n_clusters))
    return KMeans(int(n_clusters), n_init=10, random_state=seed).fit_predict(x).astype(np.int64)


def cluster_scores(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Agreement of clusters with known groups, by scikit-learn.

    Parameters
    ----------
    truth, found
        (n,) groups and clusters of the same cells; their names do not matter.

    Returns
    -------
    dict
        ari: adjusted Rand index (Hubert and Arabie 1985), 0 by chance. fmi: index of Fowlkes and
        Mallows (1983). nmi: mutual information over the arithmetic mean of the entropies. All 1
        for the same partition.

    Raises
    ------
    InputError
        If the lengths differ, or a value is missing.

    Examples
    --------
    >>> import smalti as sm
    >>> found = sm.scores.cluster_scores(["T", "T", "B", "B"], [1, 1, 0, 0])
    >>> {name: round(value, 3) for name, value in found.items()}
    {'ari': 1.0, 'fmi': 1.0, 'nmi': 1.0}
    """
    a = _codes(truth, "truth")
    b = _codes(found, "found", len(a))
    return {
        "ari": float(sk.adjusted_rand_score(a, b)),
        "fmi": float(sk.fowlkes_mallows_score(a, b)),
        "nmi": float(sk.normalized_mutual_info_score(a, b)),
    }


def shape_scores(
    embedding: np.ndarray, labels: np.ndarray, *, seed: int = 0, sample: int = 10_000
) -> dict[str, float]:
    """How compact groups lie in an embedding, and how far from one another.

    Parameters
    ----------
    embedding
        (n, d), one row a cell.
    labels
        (n,) the group of each cell.
    seed, sample
        The silhouette compares all pairs of cells: it is taken on at most ``sample`` of them,
        drawn by ``seed``.

    Returns
    -------
    dict
        silhouette: mean of (b - a) / max(a, b) over cells (Rousseeuw 1987), -1 to 1, higher is
        better. davies_bouldin: of all cells (Davies and Bouldin 1979), 0 or more, lower is better.
        NaN with fewer than 2 groups (among those drawn), or as many groups as cells.

    Raises
    ------
    InputError
        If the sizes differ, or embedding or labels miss values.
    """
    x = _matrix(embedding, "embedding")
    groups = _codes(labels, "labels", len(x))
    drawn = np.arange(len(x))
    if len(x) > sample:
        drawn = np.sort(np.random.default_rng(seed).choice(len(x), sample, replace=False))
    return {
        "silhouette": _shape(sk.silhouette_score, x[drawn], groups[drawn]),
        "davies_bouldin": _shape(sk.davies_bouldin_score, x, groups),
    }


def label_transfer(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    k: int = 15,
) -> dict[str, float]:
    """Label test cells by a vote of their k nearest training cells, and score the labels.

    Parameters
    ----------
    train, test
        (n, d) and (m, d) embeddings.
    train_labels, test_labels
        (n,) and (m,) groups.
    k
        Voters, equal in weight; at most n.

    Returns
    -------
    dict
        transfer_accuracy: share of test cells that are right. transfer_f1: mean over the groups
        among test labels and votes of the F1 score.

    Raises
    ------
    InputError
        If sizes do not fit, or a value is missing.
    """
    a, b = _matrix(train, "train"), _matrix(test, "test")
    if a.shape[1] != b.shape[1]:
        raise InputError(f"train has {a.shape[1]} columns, test {b.shape[1]}: give the same ones.")
    for labels, x, name in ((train_labels, a, "train_labels"), (test_labels, b, "test_labels")):
        _codes(labels, name, len(x))
    if not 1 <= k <= len(a):
        raise InputError(f"k={k} of {len(a)} training cells: give 1 to {len(a)}.")
    # one coding of both, so that a group of the test cells alone counts as never found
    codes = pd.factorize(np.concatenate([np.asarray(train_labels), np.asarray(test_labels)]))[0]
    known, truth = codes[: len(a)], codes[len(a) :]
    votes = KNeighborsClassifier(k).fit(a, known).predict(b)
    return {
        "transfer_accuracy": float(sk.accuracy_score(truth, votes)),
        "transfer_f1": float(sk.f1_score(truth, votes, average="macro", zero_division=0)),
    }


def _ward(x: np.ndarray, n_clusters: int) -> np.ndarray:
    if len(x) <= WARD_EXACT:
        return AgglomerativeClustering(n_clusters, linkage="ward").fit_predict(x).astype(np.int64)
    edges = kneighbors_graph(x, NEIGHBOURS, include_self=False)
    ward = AgglomerativeClustering(n_clusters, linkage="ward", connectivity=edges)
    with warnings.catch_warnings():
        # pieces that hang apart are tied by their shortest links, as the docstring says
        warnings.filterwarnings("ignore", "the number of connected components", UserWarning)
        return ward.fit_predict(x).astype(np.int64)


def _leiden(weights: sparse.csr_matrix, n_clusters: int, seed: int) -> np.ndarray:
    igraph = need("igraph", "leiden")
    n_pieces, pieces = connected_components(weights, directed=False)
    if n_pieces >= n_clusters:  # no cluster spans two pieces: these are the fewest there can be
        return _nearest(pieces.astype(np.int64), n_clusters)
    network = _network(igraph, weights)
    best: np.ndarray | None = None
    low, high = 0.0, np.inf  # resolutions that gave too few and too many
    resolution = 1.0
    with _igraph_draws(igraph, seed):
        for _ in range(LEIDEN_TRIES):
            found = _communities(network, resolution)
            there = int(found.max()) + 1
            if best is None or abs(there - n_clusters) < abs(best.max() + 1 - n_clusters):
                best = found
            if there == n_clusters:
                break
            low, high = (resolution, high) if there < n_clusters else (low, resolution)
            # ratios of resolutions count: the geometric middle, once there are both ends
            if low and np.isfinite(high):
                resolution = float(np.sqrt(low * high))
            else:
                resolution = 2 * low if low else high / 2
    assert best is not None
    return _nearest(best, n_clusters)


def _network(igraph: Any, weights: sparse.csr_matrix) -> Any:
    """The graph as igraph has it, an edge for each pair."""
    edges = sparse.triu(weights, k=1).tocoo()
    pairs = np.column_stack([edges.row, edges.col])
    return igraph.Graph(weights.shape[0], pairs, edge_attrs={"weight": edges.data})


def _communities(network: Any, resolution: float) -> np.ndarray:
    """(n,) communities of the best modularity that Leiden finds."""
    found = network.community_leiden(
        objective_function="modularity", weights="weight", resolution=resolution
    )
    return np.asarray(found.membership, np.int64)


def _nearest(labels: np.ndarray, n_clusters: int) -> np.ndarray:
    there = int(labels.max()) + 1
    if there != n_clusters:
        warnings.warn(
            f"Leiden found no partition into {n_clusters} clusters: this one has {there}.",
            UserWarning,
            stacklevel=4,
        )
    return labels


def _neighbour_graph(x: np.ndarray | None) -> sparse.csr_matrix:
    """(n, n) symmetric, on the edges of nearest neighbours: Jaccard index of neighbourhoods.

    A cell belongs to its own neighbourhood, so two neighbours always share one and no edge of
    weight 0 goes missing.
    """
    assert x is not None
    n, k = len(x), min(NEIGHBOURS, len(x) - 1)
    near = kneighbors_graph(x, k, include_self=False)
    with_self = (near + sparse.identity(n)).tocsr()
    i, j = near.nonzero()
    shared = np.concatenate([  # in parts: two copies of the neighbourhoods of all edges are large
        np.asarray(with_self[i[part]].multiply(with_self[j[part]]).sum(1)).ravel()
        for part in np.array_split(np.arange(len(i)), len(i) // 1_000_000 + 1)
    ])  # fmt: skip
    jaccard = sparse.csr_matrix((shared / (2 * (k + 1) - shared), (i, j)), shape=(n, n))
    return jaccard.maximum(jaccard.T).tocsr()


def _symmetric(graph: Any, n: int | None) -> sparse.csr_matrix:
    given = sparse.csr_matrix(graph, dtype=np.float64)
    if given.shape[0] != given.shape[1] or (n is not None and given.shape[0] != n):
        raise InputError(f"graph has shape {given.shape}: give one row and one column a cell.")
    if not np.isfinite(given.data).all() or (given.data < 0).any():
        raise InputError("graph has weights that are negative or not finite: larger is nearer.")
    both = given.maximum(given.T)
    out = (both - sparse.diags(both.diagonal())).tocsr()
    out.eliminate_zeros()
    return out


@contextmanager
def _igraph_draws(igraph: Any, seed: int) -> Iterator[None]:
    """Draws of igraph from a private generator; afterwards from Python's own, its default."""
    igraph.set_random_number_generator(random.Random(seed))
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)


def _shape(metric: Any, x: np.ndarray, groups: np.ndarray) -> float:
    return float(metric(x, groups)) if 2 <= len(np.unique(groups)) < len(x) else float("nan")


def _matrix(x: Any, name: str) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or not x.size or x.dtype.kind not in "biuf":
        raise InputError(f"{name} has shape {x.shape} and type {x.dtype}: give (n, d) numbers.")
    if not np.isfinite(x).all():
        raise InputError(f"{name} holds NaN or infinite values: mend or drop those cells.")
    return x


def _codes(values: np.ndarray, name: str, n: int | None = None) -> np.ndarray:
    """0, 1, ... for each different value; refuses what is missing."""
    values = np.asarray(values)
    if values.ndim != 1 or not len(values) or (n is not None and len(values) != n):
        raise InputError(f"{name} has shape {values.shape}: give one value a cell, {n or 'some'}.")
    codes = pd.factorize(values, sort=False)[0]
    if (codes < 0).any():
        raise InputError(f"{name} misses {(codes < 0).sum()} values: leave those cells out.")
    return codes
