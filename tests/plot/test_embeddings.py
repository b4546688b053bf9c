import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from smalti.plot import plot_embeddings
from smalti.plot.embeddings import map_of


@pytest.mark.slow  # umap-learn compiles for seconds
def test_a_supervised_map_of_noise_parts_the_labels_that_it_was_told_and_no_others():
    umap = pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    z, codes, held = rng.normal(size=(500, 20)), rng.integers(4, size=500), rng.random(500) < 0.2
    at = map_of(umap, z, codes, held, 0)
    found = KMeans(4, n_init=10, random_state=0).fit(at[~held])
    assert adjusted_rand_score(codes[~held], found.labels_) > 0.8
    assert abs(adjusted_rand_score(codes[held], found.predict(at[held]))) < 0.1


@pytest.mark.slow  # umap-learn compiles for seconds
def test_a_supervised_map_says_so():
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    figure = plot_embeddings({"pca": rng.normal(size=(80, 5))}, np.repeat(["a", "b"], 40),
                             supervised=True)  # fmt: skip
    titles = {figure.axes[0].get_title(loc=at) for at in ("left", "center")}  # as the style has it
    assert "pca, supervised" in titles
    assert 0 < len(figure.axes[0].collections[1].get_offsets()) < 40  # ringed
