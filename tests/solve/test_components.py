"""Components of wide tables, against NumPy's dense decompositions."""

import numpy as np
import pytest
import scipy.sparse as sp

from smalti.solve import components as module
from smalti.solve.components import components, covariance_of_pairs, largest, signed


def table(n, d, seed=0):
    rng = np.random.default_rng(seed)
    level = rng.gamma(0.5, size=(6, d))[rng.integers(6, size=n)]
    return rng.poisson(0.1 * level * rng.lognormal(0, 0.4, (n, 1))).astype(np.float64)


@pytest.mark.parametrize("shape", [(90, 260), (260, 90)])
@pytest.mark.parametrize("about_mean", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("small", [1000, 10], ids=["products", "lanczos"])
def test_equals_the_dense_decomposition(monkeypatch, shape, about_mean, sparse, small):
    monkeypatch.setattr(module, "SMALL", small)
    x = table(*shape)
    mean = x.mean(0) if about_mean else None
    _, s, rows = np.linalg.svd(x - (x.mean(0) if about_mean else 0), full_matrices=False)
    values, vectors = components(sp.csr_matrix(x) if sparse else x, 12, mean=mean)
    np.testing.assert_allclose(values, s[:12] ** 2, rtol=1e-10)
    np.testing.assert_allclose(vectors, signed(rows[:12].T), atol=1e-9)


@pytest.mark.parametrize("made", [
    sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.asarray, lambda x: sp.csr_matrix(x, dtype="f4"),
], ids=["csr", "csc", "array", "dense", "float32"])  # fmt: skip
def test_products_are_taken_of_every_kind_of_table(monkeypatch, made):
    monkeypatch.setattr(module, "SMALL", 10)
    x = table(90, 260)
    values = components(made(x), 5)[0]
    want = np.linalg.svd(x, compute_uv=False)[:5] ** 2
    np.testing.assert_allclose(values, want, rtol=1e-10)


def test_equal_eigenvalues_and_none_left_are_found():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    for level in ([3.0] * 9 + [1.0] * 291, [2.0] * 3 + [0.0] * 297):
        matrix = turn * level @ turn.T
        values, vectors = largest(lambda v, matrix=matrix: matrix @ v, 300, 6)
        np.testing.assert_allclose(values, level[:6], atol=1e-9)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(6), atol=1e-9)
        np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-8)


def test_no_direction_where_the_table_has_none_left():
    x = np.outer(np.arange(5.0), np.ones(40))
    values, vectors = components(x, 3, mean=x.mean(0))
    assert values[0] > 1
    np.testing.assert_allclose(values[1:], 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), [1, 0, 0], atol=1e-9)


@pytest.mark.parametrize("sparse", [False, True])
def test_covariance_of_pairs_is_that_of_the_rows_that_have_both(sparse):
    x, y = table(80, 30), table(80, 20, seed=1)
    there = np.ones((80, 2))
    there[:25, 1] = 0
    there[60:, 0] = 0
    x[60:], y[:25] = 7, 9  # must not be looked at
    parts = [sp.csr_matrix(p) if sparse else p for p in (x, y)]
    multiply, mean, variance = covariance_of_pairs(parts, there)
    cov = np.concatenate([multiply(some) for some in np.split(np.eye(50), 10, 1)], axis=1)
    a, b, both = x[:60], y[25:], np.cov(np.hstack([x, y])[25:60].T, bias=True)
    expected = both.copy()
    expected[:30, :30], expected[30:, 30:] = np.cov(a.T, bias=True), np.cov(b.T, bias=True)
    np.testing.assert_allclose(cov, expected, atol=1e-12)
    np.testing.assert_allclose(variance, np.diag(expected), atol=1e-12)
    np.testing.assert_allclose(mean, np.concatenate([a.mean(0), b.mean(0)]), atol=1e-12)
    values = largest(multiply, 50, 4)[0]
    np.testing.assert_allclose(values, np.linalg.eigvalsh(expected)[::-1][:4], rtol=1e-10)
