"""Clusters of planted blobs, scores by hand, and batches that mix or do not."""

import sys
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from smalti.errors import InputError
from smalti.scores import clusters, mixing
from smalti.scores.clusters import cluster, cluster_scores, label_transfer, shape_scores
from smalti.scores.mixing import batch_mixing, mixing_within


def blobs(n=240, k=4, d=6, spread=0.5, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n) % k)
    return 6 * np.eye(k, d)[truth] + spread * rng.standard_normal((n, d)), truth


def need_igraph():
    pytest.importorskip("igraph", reason="Leiden is igraph's: pip install smalti[leiden]")


@pytest.mark.parametrize("by", ["kmeans", "ward", "leiden"])
def test_planted_blobs_are_found(by):
    if by == "leiden":
        need_igraph()
    x, truth = blobs()
    found = cluster(x, 4, by=by)
    assert found.dtype == np.int64
    assert sorted(set(found)) == [0, 1, 2, 3]
    assert cluster_scores(truth, found) == pytest.approx({"ari": 1, "fmi": 1, "nmi": 1})
    assert (found == cluster(x, 4, by=by)).all()


@pytest.mark.parametrize("by", ["kmeans", "ward", "leiden"])
@pytest.mark.parametrize("k", [1, 2, 7])
def test_the_number_is_exact(by, k):
    if by == "leiden":
        need_igraph()
    x, _ = blobs(spread=3.0)
    assert len(set(cluster(x, k, by=by))) == k


def test_ward_above_the_bound_merges_along_neighbours(monkeypatch):
    x, truth = blobs(spread=0.05)  # the neighbours' graph falls into four pieces
    exact = cluster(x, 3, by="ward")
    monkeypatch.setattr(clusters, "WARD_EXACT", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cluster_scores(truth, cluster(x, 4, by="ward"))["ari"] == 1
        assert len(set(cluster(x, 3, by="ward"))) == len(set(exact)) == 3


def test_leiden_depends_on_the_seed_only():
    need_igraph()
    import random

    import igraph

    x, _ = blobs(spread=4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        one = [cluster(x, 6, by="leiden", seed=s) for s in (0, 1, 2)]
        igraph.Graph.Erdos_Renyi(50, 0.1)
        two = [cluster(x, 6, by="leiden", seed=s) for s in (0, 1, 2)]
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert any((one[0] != other).any() for other in one[1:])
    # afterwards igraph draws from Python's generator again
    draws = []
    for _ in range(2):
        random.seed(5)
        draws.append(igraph.Graph.Erdos_Renyi(50, 0.1).get_edgelist())
    assert draws[0] == draws[1]


def test_leiden_on_a_given_graph():
    need_igraph()
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    same = truth[:, None] == truth
    dense = np.triu(same * (rng.random((90, 90)) < 0.5) + 0.02 * (rng.random((90, 90)) < 0.3))
    found = cluster(None, 3, by="leiden", graph=sparse.csr_matrix(dense))  # one direction is enough
    assert cluster_scores(truth, found)["ari"] == 1
    # the graph is used, and not the embedding beside it
    beside = cluster(rng.standard_normal((90, 2)), 3, by="leiden", graph=dense + 9 * np.eye(90))
    assert (beside == found).all()


def test_leiden_warns_where_the_number_cannot_be_had():
    need_igraph()
    pieces = sparse.block_diag([np.ones((5, 5))] * 6).tocsr()
    with pytest.warns(UserWarning, match="into 3 clusters: this one has 6"):
        found = cluster(None, 3, by="leiden", graph=pieces)
    assert len(set(found)) == 6
    # five equal cells: one cluster or five
    with pytest.warns(UserWarning, match="into 3 clusters: this one has"):
        cluster(None, 3, by="leiden", graph=sparse.csr_matrix(np.ones((40, 40))))


def test_leiden_without_igraph_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(InputError, match=r"smalti\[leiden\]"):
        cluster(blobs()[0], 4, by="leiden")


def test_neighbours_weigh_by_what_they_share():
    graph = clusters._neighbour_graph(blobs(n=60)[0])
    x = blobs(n=60)[0]
    order = np.argsort(((x[:, None] - x) ** 2).sum(-1), axis=1)[:, :16]
    sets = [set(row) for row in order]
    want = np.zeros((60, 60))
    for i in range(60):
        for j in range(60):
            if i != j and (j in sets[i] or i in sets[j]):
                want[i, j] = len(sets[i] & sets[j]) / len(sets[i] | sets[j])
    np.testing.assert_allclose(graph.toarray(), want)


def test_cluster_scores_by_hand():
    truth, found = ["a", "a", "b", "b"], [0, 0, 1, 2]
    got = cluster_scores(truth, found)
    # one pair together in both, two in truth, one in found; expected 2 * 1 / 6
    assert got["ari"] == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))
    assert got["fmi"] == pytest.approx(1 / np.sqrt(2))
    entropies = np.log(2), 1.5 * np.log(2)
    assert got["nmi"] == pytest.approx(np.log(2) / np.mean(entropies))


def test_shape_scores():
    x, truth = blobs()
    got = shape_scores(x, truth)
    assert got["silhouette"] == pytest.approx(silhouette_score(x, truth))
    assert got["silhouette"] > 0.7
    mixed = shape_scores(x, np.random.default_rng(0).permutation(truth))
    assert mixed["silhouette"] < 0.05 < got["davies_bouldin"] < mixed["davies_bouldin"]
    few = shape_scores(x, truth, sample=100)
    assert few == shape_scores(x, truth, sample=100)
    assert few["silhouette"] != got["silhouette"]
    assert few["davies_bouldin"] == got["davies_bouldin"]
    for labels in (np.zeros(240), np.arange(240)):
        assert np.isnan(list(shape_scores(x, labels).values())).all()


def test_label_transfer_by_hand():
    train, names = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]), list("aaabbb")
    test, truth = np.array([[0.0], [0.3], [4.9], [5.3]]), list("abbb")
    got = label_transfer(train, names, test, truth, k=3)  # votes: a a b b
    assert got["transfer_accuracy"] == 0.75
    assert got["transfer_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    # a group that training never saw is never found
    unseen = label_transfer(train, names, test, list("aacb"), k=3)
    assert unseen["transfer_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (dict(n_clusters=2, by="louvain"), "by='louvain'"),
        (dict(n_clusters=0), "n_clusters=0 for 240 cells"),
        (dict(n_clusters=241), "n_clusters=241"),
        (dict(n_clusters=2, graph=np.eye(240)), "takes no graph"),
        (dict(n_clusters=2, by="leiden", graph=np.eye(3)), r"graph has shape \(3, 3\)"),
        (dict(n_clusters=2, by="leiden", graph=-np.ones((240, 240))), "negative"),
        (dict(n_clusters=2, embedding=None), "no embedding"),
        (dict(n_clusters=2, embedding=np.zeros(5)), r"embedding has shape \(5,\)"),
        (dict(n_clusters=2, embedding=np.full((5, 2), np.nan)), "NaN"),
    ],
)
def test_cluster_errors(arguments, match):
    with pytest.raises(InputError, match=match):
        cluster(**({"embedding": blobs()[0]} | arguments))


def test_score_errors():
    x, truth = blobs()
    with pytest.raises(InputError, match="found has shape"):
        cluster_scores(truth, truth[1:])
    with pytest.raises(InputError, match="labels misses 1"):
        shape_scores(x, np.where(np.arange(240) == 3, np.nan, truth))
    with pytest.raises(InputError, match="k=15 of 10"):
        label_transfer(x[:10], truth[:10], x, truth)
    with pytest.raises(InputError, match="columns"):
        label_transfer(x[:, 1:], truth, x, truth)


@pytest.mark.slow  # each shape is compiled by JAX
def test_batches_that_mix_score_higher():
    pytest.importorskip("scib_metrics", reason="an optional extra: pip install smalti[batch]")
    x, truth = blobs(n=200, k=2)
    batch = np.random.default_rng(1).permutation(np.arange(200) % 2)
    shifted = x + 8 * batch[:, None]
    mixed, apart = batch_mixing(x, batch, truth), batch_mixing(shifted, batch, truth)
    assert set(mixed) == {"ilisi", "kbet", "graph_connectivity"}
    assert mixed["ilisi"] > 0.7 > 0.1 > apart["ilisi"]
    assert mixed["kbet"] > 0.5 > 0.2 > apart["kbet"]
    assert mixed["graph_connectivity"] > 0.95
    assert apart["graph_connectivity"] == pytest.approx(0.5, abs=0.15)
    plain = batch_mixing(x, np.where(batch, "new", "old"))
    assert np.isnan(plain["graph_connectivity"])
    assert plain["ilisi"] == pytest.approx(mixed["ilisi"])
    assert plain["kbet"] > 0.8


def test_types_of_one_batch_are_pure_until_they_are_mixed_with_others():
    rng = np.random.default_rng(0)
    types, batches = np.repeat([0, 1, 2], 40), np.tile([0, 1], 60)
    batches[types == 2] = 1
    x = rng.normal(size=(120, 2)) + 50 * types[:, None]
    near = NearestNeighbors(n_neighbors=30).fit(x).kneighbors(x, return_distance=False)
    assert mixing._unique_purity(near, batches, types) == {"unique_purity": 1.0}
    x[types == 2] = rng.normal(size=(40, 2))  # laid upon type 0
    near = NearestNeighbors(n_neighbors=30).fit(x).kneighbors(x, return_distance=False)
    assert 0.35 < mixing._unique_purity(near, batches, types)["unique_purity"] < 0.65
    batches[types == 2] = np.tile([0, 1], 20)
    assert mixing._unique_purity(near, batches, types) == {}


@pytest.mark.slow  # scib-metrics takes seconds to be imported
def test_batch_mixing_errors():
    pytest.importorskip("scib_metrics", reason="an optional extra: pip install smalti[batch]")
    x, _ = blobs(n=200, k=2)
    batch = np.arange(200) % 2
    with pytest.raises(InputError, match="one value only"):
        batch_mixing(x, np.zeros(200))
    with pytest.raises(InputError, match="k=300"):
        batch_mixing(x, batch, k=300)


def test_batch_mixing_without_scib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    with pytest.raises(InputError, match=r"smalti\[batch\]"):
        batch_mixing(blobs()[0], blobs()[1])


def test_mixing_within_types_by_hand():
    x, types, batch = np.arange(8.0)[:, None], np.zeros(8), np.array([0, 1, 0, 1, 0, 1, 0, 1])
    # neighbours along a line: of each cell but the ends both are of the other group
    assert mixing_within(x, batch, types, k=1) == pytest.approx(1 / (4 / 7))
    assert mixing_within(x + 50 * batch[:, None], batch, types, k=1) == 0
    rng = np.random.default_rng(0)
    z, group = rng.normal(size=(600, 3)), rng.random(600) < 0.1
    types = rng.integers(2, size=600)
    assert mixing_within(z, group, types) == pytest.approx(1, abs=0.1)
    # a type that one group alone has is not asked
    assert np.isnan(mixing_within(z, group, group.astype(int)))
    with pytest.raises(InputError, match="labels has 3 values for 600 cells"):
        mixing_within(z, group, np.zeros(3))


def test_leiden_by_resolution_finds_more_clusters_where_it_is_higher():
    pytest.importorskip("igraph")
    x = np.random.default_rng(0).normal(size=(150, 2))
    few, many = (cluster(x, None, by="leiden", resolution=r) for r in (0.3, 3.0))
    assert len(set(few.tolist())) < len(set(many.tolist()))
    with pytest.raises(InputError, match="give n_clusters, or a resolution"):
        cluster(x, None)
    with pytest.raises(InputError, match=r"resolution=0"):
        cluster(x, None, by="leiden", resolution=0)
