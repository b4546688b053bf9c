import numpy as np
import pytest

from smalti.solve.fuzzy_graph import directed, fuzzy_union, smooth_distances


def test_one_cell_by_hand():
    # of 4 neighbours the first counts as near whatever it is; log2(4) = 2 = 1 + e^-1/s + e^-2/s
    first, scale = smooth_distances(np.array([[1.0, 1.0, 2.0, 3.0]]))
    x = (np.sqrt(5) - 1) / 2
    assert first == 1
    assert scale == pytest.approx(-1 / np.log(x), rel=1e-4)


@pytest.mark.slow  # umap-learn compiles for seconds
def test_it_is_what_umap_learn_makes_of_the_same_neighbours():
    umap = pytest.importorskip("umap.umap_")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    x[1] = x[0]  # distance 0
    x[2] += 5  # far from all
    far = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(far, np.inf)
    index = np.argsort(far, axis=1, kind="stable")[:, :15]
    apart = np.take_along_axis(far, index, 1)
    theirs, *_ = umap.fuzzy_simplicial_set(x, 15, None, None, knn_indices=index, knn_dists=apart)
    there = directed(index, apart, *smooth_distances(apart), 200)
    ours = fuzzy_union(there, there.T.tocsr())
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-6)
