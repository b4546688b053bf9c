import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax

from smalti.solve.weighted_neighbors import WeightedNeighbors


def cells(n, widths=(10, 6), seed=0):
    """Points on spheres, of which each view tells two states apart."""
    rng = np.random.default_rng(seed)
    out = []
    for d in widths:
        x = rng.normal(size=(n, d))
        x[:, 0] += 3 * rng.integers(2, size=n)
        out.append((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32))
    return out


def weights_by_hand(points, k):
    """The definition with all pairs, cell by cell."""
    ratios = []
    far = [cdist(x, x) + np.diag(np.full(len(x), np.inf)) for x in map(np.float64, points)]
    near = [np.argsort(d, axis=1)[:, :k] for d in far]
    for i, (x, d) in enumerate(zip(points, far, strict=True)):
        sets, thetas = [set(row) for row in near[i]], []
        first = d.min(1)
        width = []
        for a in range(len(x)):
            shared = [len(sets[a] & sets[b]) for b in range(len(x))]
            some = [b for b in range(len(x)) if b != a and shared[b]]
            width.append(
                np.mean([d[a, b] for b in sorted(some, key=lambda b: (shared[b], -d[a, b]))[:20]])
            )
        for other in near:
            off = np.linalg.norm(x - x[other].mean(1), axis=1)
            thetas.append(np.exp(-np.maximum(off - first, 0) / (np.array(width) - first)))
        best = np.max([t for j, t in enumerate(thetas) if j != i], axis=0)
        ratios.append(thetas[i] / (best + 1e-4))
    return softmax(np.stack(ratios, 1), axis=1)


@pytest.mark.parametrize("widths", [(10, 6), (10, 6, 8)])
def test_weights_are_their_definition(widths):
    points = cells(80, widths)
    found = WeightedNeighbors.of(points, 9, 11)
    np.testing.assert_allclose(found.weights, weights_by_hand(points, 9), atol=1e-5)
    assert found.weights.std(axis=0).min() > 0.05  # not all alike


def test_blocks_change_nothing(monkeypatch):
    points, new = cells(150), cells(40, seed=1)
    whole = WeightedNeighbors.of(points, 9, 11, 50)
    placed = whole.place(new)
    monkeypatch.setattr("smalti.solve.weighted_neighbors._HELD", 2000)
    parts = WeightedNeighbors.of(points, 9, 11, 50)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-6)
    assert abs(parts.graph - whole.graph).max() < 1e-6
    assert abs(parts.place(new).edges - placed.edges).max() < 1e-6


def test_a_cell_that_is_one_of_them_has_its_own_edges_by_the_formulae_too():
    points = cells(200)
    found = WeightedNeighbors.of(points, 9, 11, 50)
    weights, edges = found.among(points, np.arange(200))
    np.testing.assert_allclose(weights, found.weights, atol=1e-6)
    assert abs(edges - found.graph).max() < 1e-6
    placed = found.place([x[5:9] for x in points])
    np.testing.assert_array_equal(placed.own, [5, 6, 7, 8])
    np.testing.assert_array_equal(placed.edges.toarray(), found.graph[5:9].toarray())


def test_a_cell_that_was_left_out_gets_nearly_the_neighbours_that_it_would_have_had():
    points = cells(200)
    whole = WeightedNeighbors.of(points, 9, 11)
    rest = WeightedNeighbors.of([x[20:] for x in points], 9, 11)
    placed = rest.place([x[:20] for x in points])
    want = whole.graph[:20, 20:].toarray()
    assert (placed.own == -1).all()
    assert np.corrcoef(placed.edges.toarray().ravel(), want.ravel())[0, 1] > 0.9
    assert np.abs(placed.weights - whole.weights[:20]).mean() < 0.07


def test_cells_that_are_equal_and_cells_at_the_mean_are_finite():
    points = cells(60)
    for x in points:
        x[:8] = x[0]
        x[8] = 0
    found = WeightedNeighbors.of(points, 9, 11)
    assert np.isfinite(found.weights).all()
    assert np.isfinite(found.graph.data).all()
    assert np.isfinite(found.place([x[:10] for x in points]).edges.data).all()


@pytest.mark.slow  # muon compiles its distance for some 15 s
def test_it_is_what_muon_makes_of_the_same_points(monkeypatch):
    """muon with its two searches made exact, and given sorted lists of neighbours."""
    pytest.importorskip("muon")
    import anndata
    import muon
    import numba
    import scanpy

    @numba.njit
    def all_pairs(n, metric, arguments):
        out = np.empty((n, n))
        for i in range(n):
            for j in range(n):
                out[i, j] = metric(np.array([i]), np.array([j]), *arguments)
        return out

    def exact(x, n_neighbors, metric, metric_kwds, **_):
        known = callable(metric)
        far = all_pairs(len(x), metric, tuple(metric_kwds.values())) if known else cdist(x, x)
        index = np.argsort(far, axis=1, kind="stable")[:, :n_neighbors]
        return index, np.take_along_axis(far, index, 1), None

    monkeypatch.setattr("muon._core.preproc.nearest_neighbors", exact)
    points, tables = cells(150, (10, 6, 8)), {}
    for i, x in enumerate(points):
        tables[f"view{i}"] = table = anndata.AnnData(x)
        scanpy.pp.neighbors(table, n_neighbors=20, use_rep="X", transformer="sklearn")
        # as scanpy leaves it, by distance, muon's Jaccard index counts wrong
        table.obsp["distances"].sort_indices()
    both = muon.MuData(tables)
    muon.pp.neighbors(both, n_neighbors=20, n_multineighbors=100)
    found = WeightedNeighbors.of(points, 19, 21, 100)
    weights = both.obs[[f"{name}:mod_weight" for name in tables]]
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)
    np.testing.assert_allclose(
        found.graph.toarray(), both.obsp["connectivities"].toarray(), atol=1e-5
    )
