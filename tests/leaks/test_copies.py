"""Copies across donors, whole and with noise; equal rows that mean nothing."""

import numpy as np
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti.core.seen import row_prints
from smalti.leaks.case import Case
from smalti.leaks.copies import neighbours, too_near


def planted(bags, share, noise, seed=1):
    rng = np.random.default_rng(seed)
    x = bags.x["x"].copy()
    for i in range(0, len(bags), 2):
        here, there = (np.arange(*bags.offsets[[k, k + 1]]) for k in (i, i + 1))
        n = max(1, round(share * min(len(here), len(there))))
        rows = bags.x["x"][rng.choice(here, n, replace=False)]
        x[rng.choice(there, n, replace=False)] = rows + noise * rng.normal(size=rows.shape)
    return x


@pytest.mark.parametrize(("share", "noise"), [(1, 0), (0.1, 0), (0.01, 0), (1, 0.5), (0.1, 0.1),
                                              (0.02, 0.01)])  # fmt: skip
def test_copies_are_found(clean, change, share, noise):
    bags = clean(d=20, cells=40)
    found = sm.audit(change(bags, x=planted(bags, share, noise)))
    assert found.kinds == {"copies"}
    n = bags.n_instances
    if not noise:
        assert next(iter(found)).evidence["instances"] <= 2 * max(12, share * n)


def test_copies_among_counts(clean, change):
    bags = clean(d=40)
    counts = np.random.default_rng(0).poisson(1.5, bags.x["x"].shape).astype(np.float32)
    assert not len(sm.audit(change(bags, x=sp.csr_matrix(counts))))
    bags = change(bags, x=counts)
    assert sm.audit(change(bags, x=sp.csr_matrix(planted(bags, 0.1, 0)))).kinds == {"copies"}


def test_cells_of_few_counts_are_alike_by_chance(clean, change):
    bags = clean(d=40)
    rare = np.random.default_rng(0).poisson(0.03, bags.x["x"].shape).astype(np.float32)
    assert len(np.unique(row_prints(rare))) < 0.5 * len(rare)
    assert not len(sm.audit(change(bags, x=sp.csr_matrix(rare))))


def test_counts_of_large_pools_are_near_by_chance(clean, change):
    for seed in (1, 3, 13):
        rng = np.random.default_rng(seed)
        bags = clean(seed, d=60, cells=60)
        counts = rng.poisson(np.exp(rng.normal(-2.5, 1, 60)), bags.x["x"].shape)
        assert not len(sm.audit(change(bags, x=counts)))


def test_copies_within_a_donor_are_none(clean, change):
    bags = clean()
    x = bags.x["x"].copy()
    for start, stop in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
        x[start : start + 5] = x[stop - 5 : stop]
    assert not len(sm.audit(change(bags, x=x)))


def test_neighbours_are_those_of_all_pairs(clean):
    bags = clean(n=6, cells=12, d=3)
    case = Case(bags, {})
    rows, own, others = neighbours(case, bags.x["x"])
    z = bags.x["x"] / bags.x["x"].std(0)
    far = np.linalg.norm(z[rows, None] - z[None], axis=2)
    far[np.arange(len(rows)), rows] = np.inf
    same = case.codes[rows][:, None] == case.codes[None]
    for found, hidden in ((own, ~same), (others, same)):
        expected = np.sort(np.where(hidden, np.inf, far), axis=1)[:, :2]
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_ratios_of_one_kind_are_seldom_too_near():
    rng = np.random.default_rng(0)
    draws = rng.random((200, 2, 300)) ** (1 / 8)
    assert sum(too_near(*pair) is not None for pair in draws) <= 1
    assert too_near(np.r_[draws[0, 0], [0.01] * 3], draws[0, 1]) == 3


def test_prints_of_rows():
    x = np.random.default_rng(0).poisson(0.5, (500, 6)).astype(np.float32)
    prints = row_prints(x)
    same = (x[:, None] == x[None]).all(2)
    np.testing.assert_array_equal(same, prints[:, None] == prints[None])
    np.testing.assert_array_equal(prints, row_prints(sp.csr_matrix(x)))
    np.testing.assert_array_equal(row_prints(-0.0 * x[:5]), row_prints(0 * x[:5]))
