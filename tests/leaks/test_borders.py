"""A cut has nobody on its other side; populations that overlap do, and of a gap nothing is said."""

import numpy as np
import pytest

from smalti.leaks.borders import Border, borders


def populations(far, n=3000, d=4, tail="normal", seed=0):
    rng = np.random.default_rng(seed)
    groups = rng.integers(2, size=n)
    noise = {"normal": rng.normal(size=(n, d)), "heavy": rng.standard_t(3, size=(n, d)),
             "skewed": rng.gamma(2, size=(n, d))}[tail]  # fmt: skip
    noise[:, 0] += far * groups
    return noise, groups, rng


@pytest.mark.slow
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("tail", ["normal", "heavy", "skewed"])
@pytest.mark.parametrize("far", [1.0, 3.0])
def test_populations_overlap(planes, tail, far):
    x, groups, rng = populations(far, tail=tail)
    assert all(b.p > 1e-3 for b in borders(x, groups, rng, planes=planes))


@pytest.mark.parametrize("planes", [False, True])
def test_a_cut_through_one_population_is_sharp(planes):
    x, _, rng = populations(0.0)
    groups = (x[:, 1] > 0.3).astype(int)
    (found,) = borders(x, groups, rng, planes=planes)
    assert found.p < 1e-20
    assert found.axis == (-1 if planes else 1)
    assert found.wrong < 0.1 * found.expected
    noisy = np.where(rng.random(len(x)) < 0.05, 1 - groups, groups)
    assert min(b.p for b in borders(x, noisy, rng)) < 1e-6


def test_of_groups_that_a_gap_parts_nothing_is_said():
    x, groups, rng = populations(12.0)
    assert not borders(x, groups, rng)


def test_steps_of_counts_are_no_borders():
    rng = np.random.default_rng(0)
    x = rng.poisson(1.0, size=(3000, 3)).astype(float)
    assert not borders(x, (x[:, 0] > 0).astype(int), rng)


def test_numbers_of_a_border():
    border = Border((0, 1), 2, 100, 0)
    assert border.expected == pytest.approx(37.99, abs=0.01)  # 1 - ln((1 + e) / 2)
    assert border.p == pytest.approx(0.752**100, rel=0.5)
