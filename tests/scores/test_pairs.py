"""Samples of a donor beside each other."""

import itertools

import numpy as np
import pytest
from scipy import stats

from smalti.scores.pairs import likelihoods, of_several, within_donors
from smalti.task import Task


def by_loop(said, codes, donors):
    """Donor -> share of the pairs of its labels in order; samples of one label by their mean."""
    shares = {}
    for donor in dict.fromkeys(donors):
        own = [i for i in range(len(donors)) if donors[i] == donor]
        arms = {c: np.mean([said[i] for i in own if codes[i] == c], axis=0)
                for c in sorted({codes[i] for i in own})}  # fmt: skip
        right = []
        for a, b in itertools.combinations(arms, 2):
            gap = arms[a][a] + arms[b][b] - arms[a][b] - arms[b][a]
            right.append(0.5 if abs(gap) < 1e-12 else float(gap > 0))
        if right:
            shares[donor] = np.mean(right)
    return shares


def drawn(seed, classes=3):
    """Donors of one to four samples, three labels, log probabilities; some are ties."""
    rng = np.random.default_rng(seed)
    donors = np.repeat([f"d{i}" for i in rng.permutation(5)], rng.integers(1, 5, 5))
    codes = rng.integers(0, classes, len(donors))
    p = rng.dirichlet(np.ones(classes), len(donors))
    p[rng.random(len(p)) < 0.2] = 1 / classes
    order = rng.permutation(len(donors))
    return np.log(p)[order], codes[order], donors[order]


@pytest.mark.parametrize("seed", range(12))
def test_shares_are_those_of_a_loop(seed):
    said, codes, donors = drawn(seed)
    want = by_loop(said, codes, donors)
    found = within_donors(said, codes, donors, draws=0)
    assert dict(zip(found.donors, found.value, strict=True)) == pytest.approx(want)
    assert set(donors[of_several(codes, donors)]) == set(want)


def test_p_is_the_share_of_all_orders_of_the_labels():
    rng = np.random.default_rng(3)
    donors, codes = np.repeat(list("abc"), 3), np.tile([0, 1, 2], 3)
    said = np.outer(rng.normal(size=9), [0, 1, 2])
    seen = np.mean(list(by_loop(said, codes, donors).values()))
    null = []
    for orders in itertools.product(itertools.permutations(range(3)), repeat=3):
        null.append(np.mean(list(by_loop(said, np.concatenate(orders), donors).values())))
    found = within_donors(said, codes, donors)
    share = np.mean(np.array(null) >= seen - 1e-12)
    assert found.p == pytest.approx(min(1, 2 * share))
    assert found.least == pytest.approx(2 / 6**3)
    free = within_donors(said, codes, donors, alike=6)  # classes without an order
    assert (free.p, free.least) == (pytest.approx(min(1, 6 * share)), pytest.approx(6 / 6**3))


@pytest.mark.parametrize(("n", "least"), [(4, 0.125), (8, 2 / 256), (20, 2e-4)])
def test_few_pairs_say_how_small_p_can_be(n, least):
    donors, codes = np.repeat(np.arange(n), 2), np.tile([0, 1], n)
    right = within_donors(np.outer(codes, [0, 1]), codes, donors)
    assert (right.mean, right.least) == (1.0, pytest.approx(least))
    assert right.p == pytest.approx(least)
    wrong = within_donors(np.outer(-codes, [0, 1]), codes, donors)
    assert (wrong.mean, wrong.p) == (0.0, 1.0)  # a model that is always wrong has found nothing
    tied = within_donors(np.zeros((2 * n, 2)), codes, donors)
    assert (tied.mean, tied.p) == (0.5, 1.0)


def test_the_level_of_a_donor_and_the_scale_of_its_model_change_nothing():
    rng = np.random.default_rng(0)
    donors, codes = np.repeat(np.arange(9), 2), np.tile([0, 1], 9)
    score = codes + rng.normal(size=18)
    moved = score * rng.uniform(1, 9, 9)[donors] + 100 * rng.normal(size=9)[donors]
    one, two = (within_donors(np.outer(s, [0, 1]), codes, donors) for s in (score, moved))
    assert np.array_equal(one.value, two.value)
    assert one.p == two.p


def test_repeats_are_averaged_and_those_that_test_no_sample_left_out():
    donors, codes = np.repeat(list("ab"), 2), np.tile([0, 1], 2)
    right, wrong = np.outer(codes, [0.0, 1.0]), np.outer(-codes, [0.0, 1.0])
    half = right.copy()
    half[:2] = np.nan  # this repeat does not test a
    found = within_donors(np.stack([right, wrong, half]), codes, donors)
    assert dict(zip(found.donors, found.value, strict=True)) == {
        "a": 0.5,
        "b": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize(("right", "n"), [(0, 4), (4, 4), (7, 8), (10, 20)])
def test_interval_of_whole_donors_is_the_exact_one_of_a_coin(right, n):
    donors, codes = np.repeat(np.arange(n), 2), np.tile([0, 1], n)
    score = np.where(donors < right, codes, -codes)
    low, high = within_donors(np.outer(score, [0, 1]), codes, donors).interval()
    want = stats.binomtest(right, n).proportion_ci(0.975, method="exact")
    assert (low, high) == pytest.approx((want.low, want.high))


def test_numbers_are_in_order_where_the_larger_one_is_predicted_larger():
    task = Task.infer([0.5, 2.5, 1.5, 3.5], kind="regression")
    said, codes = likelihoods(task, [0.5, 2.5, 1.5, 3.5], [1.0, 2.0, 5.0, 4.0], None)
    assert within_donors(said, codes, list("aabb")).value.tolist() == [1.0, 0.0]


def test_donors_of_one_label_say_nothing():
    found = within_donors(np.zeros((3, 2)), [0, 0, 1], ["a", "a", "b"])
    assert len(found.value) == 0
    assert np.isnan(found.mean)
    assert found.least == 1.0


def test_p_is_true_where_every_model_learns_from_the_others_along_one_line():
    """The worst case: a donor is right where its difference has the sign of most of the others."""
    rng = np.random.default_rng(1)
    for n, level in ((4, 0.125), (8, 0.0704), (13, 0.0225)):  # 2 x P(Binomial >= n, n - 1, n - 2)
        donors, codes, p = np.repeat(np.arange(n), 2), np.tile([0, 1], n), []
        for _ in range(400):
            sign = rng.choice([-1, 1], n)
            right = sign * np.sign(sign.sum() - sign)
            p.append(within_donors(np.outer(right[donors] * codes, [0, 1]), codes, donors).p)
        assert abs(np.mean(np.array(p) <= level) - level) < 4 * (level * (1 - level) / 400) ** 0.5


def test_p_of_models_that_do_not_know_one_another_is_true():
    rng = np.random.default_rng(5)
    donors, codes = np.repeat(np.arange(12), 2), np.tile([0, 1], 12)
    p = []
    for _ in range(400):
        score = rng.normal(size=24) + 3 * rng.normal(size=12)[donors]
        p.append(within_donors(np.outer(score, [0, 1]), codes, donors).p)
    for level in (0.05, 0.2):  # p takes few values: no more than the level, by chance 3 s.e.
        assert np.mean(np.array(p) <= level) <= level + 3 * (level * (1 - level) / 400) ** 0.5
    assert np.mean(np.array(p) <= 0.2) > 0.02  # of such models it is twice too large
