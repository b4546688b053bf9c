"""The overall reconstruction score against the n x n matrices it never makes."""

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from smalti.errors import InputError
from smalti.scores import reconstruction
from smalti.scores.reconstruction import overall_reconstruction_score, reconstruction_score


def naive(x, y):
    d, e = cdist(x, x, "sqeuclidean").ravel(), cdist(y, y, "sqeuclidean").ravel()
    return np.corrcoef(d, e)[0, 1]


def pair(n=120, d=30, e=20, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 5))
    x = z @ rng.standard_normal((5, d)) + rng.standard_normal((n, d)) + offset
    y = z @ rng.standard_normal((5, e)) + rng.standard_normal((n, e)) - offset
    x[rng.random((n, d)) < 0.6] = 0
    return x, y


@pytest.mark.parametrize("n", [2, 30, 120], ids=["two", "few cells", "few columns"])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_equals_the_correlation_of_all_entries(n, offset):
    x, y = pair(n=n, offset=offset)
    want = naive(x, y)
    assert reconstruction_score(x, y) == pytest.approx(want, abs=1e-9)
    assert reconstruction_score(sparse.csr_matrix(x), y) == pytest.approx(want, abs=1e-9)
    both = reconstruction_score(sparse.csc_matrix(x), sparse.csr_array(y))
    assert both == pytest.approx(want, abs=1e-9)


def test_counts_and_mixed_types_are_double():
    x = np.random.default_rng(0).poisson(0.3, (80, 10))
    y = (x + np.random.default_rng(1).standard_normal(x.shape)).astype(np.float32)
    assert reconstruction_score(x, y) == pytest.approx(naive(x, y.astype(float)), abs=1e-9)


@pytest.mark.parametrize("n", [40, 200])
def test_single_precision_is_close(n):
    x, y = (v.astype(np.float32) for v in pair(n=n, offset=20.0))
    want = naive(x.astype(float), y.astype(float))
    assert reconstruction_score(x, y) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("n", [40, 120])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_chunks_do_not_matter(monkeypatch, n, rows):
    x, y = pair(n=n)
    whole = reconstruction_score(x, y)
    monkeypatch.setattr(reconstruction, "CHUNK_VALUES", rows * 50)
    assert reconstruction_score(sparse.csr_matrix(x), y) == pytest.approx(whole, abs=1e-12)


def test_sane():
    x, _ = pair()
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(x.shape)
    scores = [reconstruction_score(x, x + s * noise) for s in (0.0, 1.0, 3.0, 10.0)]
    assert scores[0] == pytest.approx(1.0, abs=1e-12)
    assert scores == sorted(scores, reverse=True)
    # the diagonal is zero on both sides, so even noise correlates somewhat: about 1 / n
    far = rng.standard_normal((2000, 30)), rng.standard_normal((2000, 30))
    assert abs(reconstruction_score(*far)) < 0.1
    # distances know neither place, scale nor rotation
    turn = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    assert reconstruction_score(x, 3 * x @ turn + 7) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_modality_is_left_out_of_the_mean(value):
    x, y = pair()
    out = overall_reconstruction_score(
        {"rna": x, "atac": np.full((120, 4), value)}, {"rna": y, "atac": y}
    )
    assert np.isnan(out["atac"])
    assert out["ors"] == out["rna"] == pytest.approx(naive(x, y), abs=1e-9)
    assert np.isnan(reconstruction_score(x, np.full((120, 4), value, np.float32)))
    assert np.isnan(overall_reconstruction_score({"a": x[:1]}, {"a": y[:1]})["ors"])


def test_modalities_are_scored_where_present_and_averaged():
    x, y = pair()
    here = np.arange(120) % 3 > 0
    out = overall_reconstruction_score(
        {"rna": sparse.csr_matrix(x), "adt": y}, {"rna": x, "adt": x}, {"adt": here}
    )
    assert out["rna"] == pytest.approx(1.0, abs=1e-9)
    assert out["adt"] == pytest.approx(naive(y[here], x[here]), abs=1e-9)
    assert out["ors"] == pytest.approx((out["rna"] + out["adt"]) / 2)


def test_errors_name_the_culprit():
    x, y = pair()
    with pytest.raises(InputError, match="x has 120 rows, y 119"):
        reconstruction_score(x, y[1:])
    broken = y.copy()
    broken[100, 3] = np.nan
    with pytest.raises(InputError, match="y holds NaN"):
        reconstruction_score(x, broken)
    with pytest.raises(InputError, match="x has shape"):
        reconstruction_score(x[0], y)
    with pytest.raises(InputError, match="'rna'.*y holds NaN"):
        overall_reconstruction_score({"rna": x}, {"rna": broken})
    with pytest.raises(InputError, match="same ones"):
        overall_reconstruction_score({"rna": x}, {"adt": y})
    with pytest.raises(InputError, match="rename"):
        overall_reconstruction_score({"ors": x}, {"ors": y})
    with pytest.raises(InputError, match="no such modality"):
        overall_reconstruction_score({"rna": x}, {"rna": y}, {"adt": np.ones(120, bool)})
    with pytest.raises(InputError, match="one True or False a row"):
        overall_reconstruction_score({"rna": x}, {"rna": y}, {"rna": np.ones(120)})
