"""Scores of expression against SciPy, scikit-learn and Scanpy in plain loops."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from smalti.errors import InputError
from smalti.scores.expression_metrics import (
    expression_scores,
    gene_correlation_error,
    morans_i,
    pcc_beyond,
    pcc_fold,
    pcc_h_optimistic,
    pcc_slide,
    pcc_tile,
    pearson_genes,
    pearson_slides,
    pearson_tiles,
    r2_genes,
    reliability_ceiling,
    spatial_graph,
)

N, G = 60, 23


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    slide = rng.permutation(np.repeat(["c", "a", "b"], [30, 20, 10]))
    true = rng.poisson(3, size=(N, G)).astype(float)  # ties, for the ranks
    return true + rng.normal(size=(N, G)), true, slide


@pytest.mark.parametrize(("rank", "scipy"), [(False, pearsonr), (True, spearmanr)])
def test_correlations_equal_scipy(data, rank, scipy):
    pred, true, slide = data
    whole = [scipy(pred[:, g], true[:, g])[0] for g in range(G)]
    np.testing.assert_allclose(pearson_genes(pred, true, rank=rank), whole, rtol=1e-12)
    parts = [[scipy(pred[slide == s, g], true[slide == s, g])[0] for g in range(G)] for s in "abc"]
    np.testing.assert_allclose(pearson_slides(pred, true, slide, rank=rank), parts, rtol=1e-11)
    tiles = [scipy(pred[i], true[i])[0] for i in range(N)]
    np.testing.assert_allclose(pearson_tiles(pred, true, rank=rank), tiles, rtol=1e-12)
    assert pcc_fold(pred, true, rank=rank) == pytest.approx(np.mean(whole))
    assert pcc_slide(pred, true, slide, rank=rank) == pytest.approx(np.mean(parts))
    assert pcc_tile(pred, true, rank=rank) == pytest.approx(np.mean(tiles))


def test_blocks_sparse_and_single_precision_agree(data, monkeypatch):
    pred, true, slide = data
    want = expression_scores(pred, true, slide, chosen=[1, 5])
    for module in ("gene_correlations", "expression_metrics"):
        monkeypatch.setattr(f"smalti.scores.{module}.BLOCK", 3 * N)
    for p, y in ((pred, true), (pred, sp.csr_matrix(true)), (pred.astype(np.float32), true)):
        got = expression_scores(p, y, slide, chosen=[1, 5])
        assert got == pytest.approx(want, rel=1e-5)


def test_a_large_mean_costs_no_digits(data):
    pred, true, _ = data
    np.testing.assert_allclose(
        pearson_genes(pred + 1e6, true + 1e6), pearson_genes(pred, true), rtol=1e-7
    )


def test_the_three_forms_are_far_apart():
    """Three slides whose means are right, with nothing right inside: skill of the fold form."""
    rng = np.random.default_rng(1)
    slide = np.repeat([0, 1, 2], 50)
    offset = np.array([0.0, 5.0, 10.0])[slide][:, None]
    level = 30 * rng.random(8)  # of the genes: skill of the tile form
    true = offset + level + rng.normal(size=(150, 8))
    pred = offset + level + rng.normal(size=(150, 8))
    assert abs(pcc_slide(pred, true, slide)) < 0.1
    assert pcc_fold(pred, true) > 0.9
    assert pcc_tile(pred, true) > 0.9
    assert pcc_tile(pred - level, true) < 0.2
    # by hand: two slides, perfect inside each, wrong between them
    true = np.array([[0.0], [1], [10], [11]])
    pred = np.array([[10.0], [11], [0], [1]])
    assert pcc_slide(pred, true, [0, 0, 1, 1]) == pytest.approx(1)
    assert pcc_fold(pred, true) == pytest.approx(-99 / 101)


def test_errors_equal_scikit_learn(data):
    pred, true, slide = data
    got = expression_scores(pred, true, slide)
    assert got["mse"] == pytest.approx(sk.mean_squared_error(true, pred))
    assert got["mae"] == pytest.approx(sk.mean_absolute_error(true, pred))
    each = sk.r2_score(true, pred, multioutput="raw_values")
    np.testing.assert_allclose(r2_genes(pred, true), each)
    assert got["r2"] == pytest.approx(each.mean())


def test_what_a_constant_gene_counts(data):
    pred, true, slide = data
    pred[:, 2], true[:, 4] = 0.1, 7.7
    true[slide == "b", 6] = 0.0  # in one slide only
    live = [g for g in range(G) if g not in (2, 4)]
    each = pearson_genes(pred, true)
    assert np.isnan(each[[2, 4]]).all()
    assert np.isfinite(each[live]).all()
    assert np.isnan(pearson_genes(pred, true, rank=True)[[2, 4]]).all()
    total = sum(pearsonr(pred[:, g], true[:, g])[0] for g in live)
    assert pcc_fold(pred, true) == pytest.approx(total / len(live))
    assert pcc_fold(pred, true, nan="zero") == pytest.approx(total / G)
    assert pcc_fold(pred, true, nan="minus_one") == pytest.approx((total - 2) / G)
    both = [pearsonr(pred[slide == s, 6], true[slide == s, 6])[0] for s in "ac"]
    one = pred[:, [6]], true[:, [6]], slide
    assert pcc_slide(*one) == pytest.approx(np.mean(both))
    assert pcc_slide(*one, nan="zero") == pytest.approx(sum(both) / 3)
    assert pcc_slide(*one, nan="minus_one") == pytest.approx((sum(both) - 1) / 3)
    assert np.flatnonzero(np.isnan(r2_genes(pred, true))).tolist() == [4]
    assert expression_scores(pred, true, slide)["n_constant"] == 2


def test_rounding_of_single_precision_is_constant(data):
    pred, true, _ = data
    pred = pred.astype(np.float32)
    pred[:, 0] = np.float32(0.1)
    pred[::2, 0] = np.nextafter(np.float32(0.1), np.float32(1))
    assert np.isnan(pearson_genes(pred, true)[0])


def test_a_slide_of_one_tile_does_not_count(data):
    pred, true, slide = data
    want = pcc_slide(pred, true, slide, nan="zero")
    more = (np.r_[pred, pred[:1]], np.r_[true, true[:1]], np.r_[slide, ["z"]])
    assert pcc_slide(*more, nan="zero") == pytest.approx(want)
    assert np.isnan(pcc_slide(pred[:3], true[:3], [0, 1, 2]))
    everything = expression_scores(pred[:1], true[:1], [0])
    assert np.isnan(everything["pcc_fold"])
    assert np.isfinite(everything["pcc_tile"])


def test_quartile_median_and_the_best(data):
    pred, true, slide = data
    got = expression_scores(pred, true, slide, chosen=[0, 3, 4], top=5)
    fold = np.array([pearsonr(pred[:, g], true[:, g])[0] for g in range(G)])
    assert got["pcc_fold_quartile"] == pytest.approx(np.quantile(fold, 0.25))
    assert got["pcc_fold_median"] == pytest.approx(np.median(fold))
    assert got["pcc_fold_chosen"] == pytest.approx(fold[[0, 3, 4]].mean())
    assert got["pcc_fold_h_optimistic"] == pytest.approx(np.sort(fold)[-5:].mean())
    within = pearson_slides(pred, true, slide).mean(0)
    assert got["pcc_slide_quartile"] == pytest.approx(np.quantile(within, 0.25))
    assert got["pcc_slide_chosen"] == pytest.approx(within[[0, 3, 4]].mean())


def test_the_published_best_fifty_of_noise_is_not_zero():
    rng = np.random.default_rng(0)
    pred, true = rng.normal(size=(2, 100, 1000))
    assert abs(pcc_fold(pred, true)) < 0.02
    assert pcc_h_optimistic(pearson_genes(pred, true)) > 0.15
    assert pcc_h_optimistic(np.array([np.nan, 0.5, 0.1, 0.3]), top=2) == pytest.approx(0.4)


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_gene_correlation_error_equals_the_matrices(data, rows, monkeypatch):
    pred, true, _ = data
    monkeypatch.setattr("smalti.scores.expression_metrics.BLOCK", rows * G)
    gap = np.abs(np.corrcoef(pred.T) - np.corrcoef(true.T))[~np.eye(G, dtype=bool)]
    assert gene_correlation_error(pred, true) == pytest.approx(gap.mean(), abs=1e-6)
    more = np.c_[pred, np.ones(N)], np.c_[true, true[:, 0]]
    assert gene_correlation_error(*more) == pytest.approx(gap.mean(), abs=1e-6)
    assert np.isnan(gene_correlation_error(pred[:, :1], true[:, :1]))


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (lambda p, t, s: (p[:, 1:], t, s), r"\(60, 22\), true \(60, 23\)"),
        (lambda p, t, s: (p, t, s[1:]), "one label for each of 60 tiles"),
        (lambda p, t, s: (np.where(np.arange(G) == 7, np.nan, p), t, s), "pred .* column 7"),
        (lambda p, t, s: (p, np.where(np.arange(G) == 2, np.inf, t), s), "true .* column 2"),
        (lambda p, t, s: (p.astype(str), t, s), "pred is of type"),
        (lambda p, t, s: (p[:0], t[:0], s[:0]), "nothing to score"),
    ],
)
def test_bad_input_is_named(data, change, culprit):
    with pytest.raises(InputError, match=culprit):
        expression_scores(*change(*data))


def test_bad_settings_are_named(data):
    with pytest.raises(InputError, match="0 to 22"):
        expression_scores(*data, chosen=[23])
    with pytest.raises(InputError, match="nan='skip'"):
        expression_scores(*data, nan="skip")


# ------------------------------------------------------------------ limits


def test_ceiling_is_the_correlation_of_counts_with_their_rates():
    """Poisson counts of known rates: their correlation with the rates is what it estimates."""
    rng = np.random.default_rng(0)
    slide = np.repeat([0, 1], 2000)
    spread = np.array([0.1, 0.3, 0.8, 1.5, 0.0])
    rate = 4 * np.exp(spread * rng.normal(size=(4000, 5)))
    counts = rng.poisson(rate)
    want = np.mean([[pearsonr(counts[slide == s, g], rate[slide == s, g])[0] for g in range(4)]
                    for s in (0, 1)], axis=0)  # fmt: skip
    got = reliability_ceiling(counts, slide, normalise=False)
    np.testing.assert_allclose(got[:4], want, atol=0.03)
    assert got[4] < 0.2  # the same rate everywhere: nothing to predict
    again = reliability_ceiling(sp.csr_matrix(counts), slide, normalise=False)
    np.testing.assert_array_equal(got, again)
    assert not np.array_equal(got, reliability_ceiling(counts, slide, normalise=False, seed=1))


def test_ceiling_of_normalised_counts_constants_and_single_counts():
    rng = np.random.default_rng(0)
    counts = np.c_[rng.poisson(20 * np.exp(rng.normal(size=(300, 3)))), np.zeros((300, 2))]
    counts[7, 4] = 1
    got = reliability_ceiling(counts, np.zeros(300))
    assert (got[:3] > 0.8).all()
    assert (got[:3] <= 1).all()
    assert np.isnan(got[3])  # constant
    assert got[4] == 0  # one count is never in both halves
    counts[:2] = 0  # an empty tile, and one whose only count leaves one half empty
    counts[1, 0] = 1
    assert np.isfinite(reliability_ceiling(counts, np.zeros(300))[:3]).all()


@pytest.mark.parametrize("bad", [-1.0, 0.5])
def test_ceiling_wants_counts(bad):
    with pytest.raises(InputError, match="raw counts"):
        reliability_ceiling(np.full((4, 2), bad), np.zeros(4))


@pytest.mark.slow
def test_morans_i_equals_scanpy():
    metrics = pytest.importorskip("scanpy.metrics")
    rng = np.random.default_rng(0)
    xy = rng.random((200, 2))
    values = np.c_[xy[:, 0], np.sin(9 * xy[:, 1]), rng.normal(size=200), np.ones(200)]
    one = np.zeros(200, int)
    graph = sp.csr_matrix(spatial_graph(xy, one))
    got = morans_i(values, xy, one)
    np.testing.assert_allclose(got[:3], metrics.morans_i(graph, values[:, :3].T), rtol=1e-6)
    assert np.isnan(got[3])
    assert got[0] > 0.8
    assert abs(got[2]) < 0.15


def test_morans_i_is_taken_within_slides():
    rng = np.random.default_rng(0)
    xy = rng.random((80, 2))
    slide = np.repeat(["a", "b"], 40)
    values = rng.normal(size=(80, 3)) + 10 * (slide == "b")[:, None]
    both = morans_i(values, xy, slide)
    apart = [morans_i(values[slide == s], xy[slide == s], slide[slide == s]) for s in "ab"]
    np.testing.assert_allclose(both, np.mean(apart, axis=0))
    np.testing.assert_allclose(morans_i(sp.csr_matrix(values), xy, slide), both)
    graph = spatial_graph(xy, slide, k=4).toarray()
    assert (graph.sum(1) == 4).all()
    assert not graph[:40, 40:].any()
    # a row of four tiles, by hand: neighbours of the ends and of the middle, k = 1 or 2
    line = np.c_[[0, 1, 2.1, 3.3], np.zeros(4)]
    z = np.array([3.0, 1, -1, -3])
    edges = [(0, 1), (1, 0), (2, 1), (3, 2)]
    want = 4 / 4 * sum(z[i] * z[j] for i, j in edges) / (z**2).sum()
    assert morans_i(z[:, None], line, np.zeros(4), k=1)[0] == pytest.approx(want)


def test_graph_needs_neighbours():
    with pytest.raises(InputError, match="no slide has two tiles"):
        spatial_graph(np.zeros((2, 2)), [0, 1])
    with pytest.raises(InputError, match="positions has shape"):
        spatial_graph(np.full((2, 2), np.nan), [0, 0])


def test_what_is_left_beyond_depth_is_a_partial_correlation():
    rng = np.random.default_rng(5)
    slide, depth = np.repeat([0, 1], [30, 40]), rng.normal(size=70)
    common = depth[:, None] * rng.normal(size=3)
    own = rng.normal(size=(70, 3))
    true, pred = common + own, 2 * common + 0.5 * own + rng.normal(size=(70, 3))
    each = []
    for s in (0, 1):
        at = slide == s
        for g in range(3):
            x, y, k = pred[at, g], true[at, g], depth[at]
            xy, xk, yk = (np.corrcoef(a, b)[0, 1] for a, b in ((x, y), (x, k), (y, k)))
            each.append((xy - xk * yk) / np.sqrt((1 - xk**2) * (1 - yk**2)))
    found = pcc_beyond(pred, true, slide, depth)
    assert found == pytest.approx(np.mean(each), abs=1e-9)
    # what says no more than the depth has nothing left, however well it correlates
    line = (3 + np.outer(depth, [1.0, 0.01, -1.0])).astype(np.float32)
    assert np.isnan(pcc_beyond(line, true, slide, depth))
    assert pcc_beyond(line, true, slide, depth, nan="zero") == 0
