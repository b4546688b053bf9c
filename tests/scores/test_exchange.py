import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from smalti.scores.exchange import Exchange

ROWS = {  # donors and labels: of one sample, of several of one label, in pairs, of both kinds
    "alone": (np.arange(7), np.array([0, 1, 0, 1, 1, 0, 1.0])),
    "one label": (np.repeat(np.arange(6), [1, 3, 2, 1, 2, 1]), np.repeat([0, 1, 0, 1, 1, 0.0],
                                                                        [1, 3, 2, 1, 2, 1])),
    "pairs": (np.repeat(np.arange(6), 2), np.tile([0.0, 1], 6)),
    "two to one": (np.repeat(np.arange(5), 3), np.tile([0.0, 0, 1], 5)),
    "mixed": (np.array([0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 5]),
              np.array([0, 1, 1, 0, 0, 0, 1, 1, 0, 1, 1.0])),
    "values": (np.array([0, 0, 0, 1, 1, 2, 3, 4]), np.array([0.1, 2, 5, 3, 1, 0.1, 7, 2])),
}  # fmt: skip


@pytest.fixture(params=ROWS)
def cohort(request):
    donor, y = ROWS[request.param]
    return np.random.default_rng(0).normal(size=(len(y), 2)) + donor[:, None], y, donor


def t_by_loop(values, y, donor):
    """Slope, and squared t with a sandwich by donor; the two kinds of donors weigh by variance."""
    arms = {(d, c): values[(donor == d) & (y == c)].mean() for d, c in zip(donor, y, strict=True)}
    several = {d for d, n in Counter(d for d, _ in arms).items() if n > 1}
    blocks = [[a for a in arms if a[0] == d] for d in several]
    alone = [a for a in arms if a[0] not in several]
    kinds = [kind for kind in (blocks, [alone]) if any(len({a[1] for a in b}) > 1 for b in kind)]
    rows = []
    for kind in kinds:
        own = [(a[0], a[1] - np.mean([c[1] for c in b]), arms[a] - np.mean([arms[c] for c in b]))
               for b in kind for a in b]  # fmt: skip
        weight = (len(own) - len(kind)) / sum(v**2 for *_, v in own)
        rows += [(*row, weight) for row in own]
    slope = sum(w * a * b for _, a, b, w in rows) / sum(w * a * a for _, a, _, w in rows)
    error = sum(
        sum(w * a * (b - slope * a) for d, a, b, w in rows if d == one) ** 2
        for one in {row[0] for row in rows}
    )
    return slope, sum(w * a * b for _, a, b, w in rows) ** 2 / error


def relabelled(y, donor):
    """All ways to hand the labels out again: within donors of several, else between donors."""
    labels = {d: sorted(set(y[donor == d])) for d in sorted(set(donor))}
    alone = [d for d, own in labels.items() if len(own) == 1]
    ways = {tuple(labels[d][0] for d in order) for order in itertools.permutations(alone)}
    several = [d for d in labels if d not in alone]
    for handed in ways:
        for orders in itertools.product(*(itertools.permutations(labels[d]) for d in several)):
            new = {(d, labels[d][0]): to for d, to in zip(alone, handed, strict=True)}
            for d, order in zip(several, orders, strict=True):
                new |= {(d, old): to for old, to in zip(labels[d], order, strict=True)}
            yield np.array([new[d, old] for d, old in zip(donor, y, strict=True)])


def test_p_is_the_share_of_all_arrangements_by_a_loop(cohort):
    values, y, donor = cohort
    found = Exchange.of(y, donor).test(values, y, n=5000)
    assert found.exact
    for k in range(values.shape[1]):
        slope, t = t_by_loop(values[:, k], y, donor)
        null = [t_by_loop(values[:, k], new, donor)[1] for new in relabelled(y, donor)]
        assert found.n_arrangements == len(null)
        assert found.slope[k] == pytest.approx(slope)
        assert found.p[k] == pytest.approx(np.mean(np.array(null) >= t * (1 - 1e-9)))


def test_p_of_pairs_is_that_of_scipy_s_sign_flips():
    rng = np.random.default_rng(1)
    before, after = rng.normal(size=(2, 9))
    theirs = stats.permutation_test(
        (before, after), lambda a, b: abs(np.mean(a - b)), permutation_type="samples",
        alternative="greater", n_resamples=np.inf,
    )  # fmt: skip
    y, donor = np.repeat([0, 1], 9), np.tile(np.arange(9), 2)
    found = Exchange.of(y, donor).test(np.r_[before, after][:, None], y)
    assert found.p[0] == pytest.approx(theirs.pvalue)
    assert found.slope[0] == pytest.approx((after - before).mean())


def test_a_difference_is_that_of_the_means_of_donors():
    donor, y = ROWS["one label"]
    values = np.random.default_rng(0).normal(size=(len(y), 1))
    mean = {d: values[donor == d].mean() for d in set(donor)}
    ill = {d for d, label in zip(donor, y, strict=True) if label}
    want = np.mean([mean[d] for d in ill]) - np.mean([mean[d] for d in mean if d not in ill])
    found = Exchange.of(y, donor).test(values, y)
    assert found.slope[0] == pytest.approx(want)
    r = stats.pearsonr([float(d in ill) for d in mean], list(mean.values())).statistic
    assert found.correlation[0] == pytest.approx(r)


@pytest.mark.parametrize("n", [5000, 19])
def test_neither_rows_nor_copies_nor_constants_change_p(cohort, n):
    values, y, donor = cohort
    want = Exchange.of(y, donor).test(values, y, n)
    assert want.exact == (n == 5000)
    order = np.random.default_rng(2).permutation(np.repeat(np.arange(len(y)), 3))
    got = Exchange.of(y[order], donor[order]).test(1e3 * values[order] + 7, y[order], n)
    np.testing.assert_array_equal(got.p, want.p)
    np.testing.assert_allclose(got.slope, 1e3 * want.slope)


@pytest.mark.parametrize("n", [5000, 50])
def test_work_in_pieces_gives_the_same_p(n, monkeypatch):
    donor, y = ROWS["mixed"]
    values = np.random.default_rng(0).normal(size=(len(y), 3))
    want = Exchange.of(y, donor).test(values, y, n)
    monkeypatch.setattr("smalti.scores.exchange._ROOM", 200)  # a few arrangements at a time
    np.testing.assert_array_equal(Exchange.of(y, donor).test(values, y, n).p, want.p)


def test_random_arrangements_keep_the_labels_of_a_block():
    donor, y = ROWS["mixed"]
    exchange = Exchange.of(y, donor)
    own = y[exchange.first]
    places, exact = exchange.arrangements(own, n=10)
    assert not exact
    assert len(places) == 11
    np.testing.assert_array_equal(places[0], own)
    for rows in exchange.members:
        assert {tuple(sorted(place)) for place in places[:, rows]} == {tuple(sorted(own[rows]))}
    assert len({tuple(place) for place in places}) > 5
    of_samples = places[:, exchange.arm]  # all samples of an arm take its new label
    for d in (3, 5):
        assert all(len(set(row)) == 1 for row in of_samples[:, donor == d])
    assert all(set(row) == {0, 1} for row in of_samples[:, donor == 1])


@pytest.mark.parametrize(("donor", "y", "least"), [
    (np.arange(6), [0, 1] * 3, 2 / 20),  # the other way round is as far
    (np.arange(6), [0, 0, 0, 0, 1, 1], 1 / 15),
    (np.repeat(np.arange(5), 2), [0, 1] * 5, 2 / 32),
    ([0, 0, 1, 2, 3], [0, 1, 0, 1, 1], 1 / 6),
    (np.arange(4), [1.0, 2.0, 3.0, 5.0], 1 / 24),
    (np.arange(5), [1.0, 2.0, 3.0, 4.0, 5.0], 2 / 120),
    (np.arange(20), [0, 1] * 10, 1 / 1000),  # random ones
    ([0, 1], [0, 1], 1),
    ([0, 0, 1], [0, 1, 1], 1),
])  # fmt: skip
def test_the_smallest_p_is_said_and_reached(donor, y, least):
    y = np.asarray(y, dtype=float)
    values = y + 1e-3 * np.sin(np.arange(len(y)))
    found = Exchange.of(y, donor).test(values[:, None], y)
    assert found.least == pytest.approx(least)
    assert found.p[0] == pytest.approx(least)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3])
@pytest.mark.parametrize("name", ROWS)
def test_constant_values_are_no_evidence(value, name):
    donor, y = ROWS[name]
    found = Exchange.of(y, donor).test(np.full((len(y), 1), value), y)
    assert (found.p[0], found.slope[0], found.correlation[0]) == (1, 0, 0)


def test_all_arrangements_where_there_are_at_most_n():
    donor, y = ROWS["pairs"]
    values = np.random.default_rng(0).normal(size=(12, 1))
    for n, exact in ((63, False), (64, True)):
        found = Exchange.of(y, donor).test(values, y, n)
        assert (found.exact, found.n_arrangements) == (exact, 64)


def test_donors_whose_labels_cannot_move_say_nothing():
    donor, y = ROWS["pairs"]
    values = np.random.default_rng(3).normal(size=(17, 1))
    want = Exchange.of(y, donor).test(values[:12], y)
    # two donors of class 2 alone, and one of classes 2 and 3: nothing to be asked of class 1
    more = Exchange.of(np.r_[y, 2, 2, 2, 2, 3], np.r_[donor, 7, 7, 8, 9, 9])
    found = more.test(
        values * np.r_[np.ones(12), np.full(5, 9)][:, None], np.r_[y == 1, [False] * 5]
    )
    for name in ("slope", "correlation", "p", "least"):
        assert getattr(found, name) == pytest.approx(getattr(want, name))


def test_what_is_permuted_is_said():
    donor, y = ROWS["mixed"]
    exchange = Exchange.of(y, donor)
    assert exchange.describe() == (
        "labels permuted within 2 donors of several labels and between 4 donors of one label"
    )
    exchange = Exchange.of([0, 1, 1], ["a", "a", "b"])
    assert exchange.describe() == (
        "labels permuted within 1 donor of several labels (1 more donor, all of one label, says "
        "nothing)"
    )


def share(design, cohorts, by_sample=False):
    """How often p is 0.05 or less on skewed noise."""
    p = np.empty(cohorts)
    for i in range(cohorts):
        rng = np.random.default_rng(i)
        donor, y = design(rng)
        values = 1.5 * rng.exponential(size=donor.max() + 1)[donor] + rng.exponential(size=len(y))
        order = rng.permutation(len(y))
        names = np.arange(len(y)) if by_sample else donor[order]
        p[i] = Exchange.of(y[order], names).test(values[order, None], y[order], 99, seed=i).p[0]
    return (p <= 0.05).mean()


def labelled(donor, rng):
    """Half of the donors are ill."""
    return donor, rng.permutation(np.arange(donor.max() + 1) % 2)[donor]


def a_third_in_pairs(rng):
    donor, y = labelled(np.repeat(np.arange(12), 2), rng)
    return np.r_[donor, 12 + np.repeat(np.arange(6), 2)], np.r_[y, np.tile([0, 1], 6)]


def ill_ones_more(rng):
    donor = np.repeat(np.arange(32), np.where(np.arange(32) < 24, 1, 5))
    return donor, (donor >= 24).astype(int)


DESIGNS = {
    "alone": lambda rng: labelled(np.arange(20), rng),
    "three": lambda rng: labelled(np.repeat(np.arange(16), 3), rng),
    "one label": lambda rng: labelled(np.repeat(np.arange(16), rng.integers(1, 6, 16)), rng),
    "pairs": lambda rng: (np.repeat(np.arange(12), 2), np.tile([0, 1], 12)),
    "a third in pairs": a_third_in_pairs,
    "ill ones more": ill_ones_more,
}


@pytest.mark.slow
@pytest.mark.parametrize("cohorts", [
    120, pytest.param(1000, marks=pytest.mark.slow)  # a thousand cohorts, to see two per cent
])  # fmt: skip
@pytest.mark.parametrize("design", DESIGNS)
def test_p_is_true_without_signal(design, cohorts):
    error = np.sqrt(0.05 * 0.95 / cohorts)
    assert abs(share(DESIGNS[design], cohorts) - 0.05) < 3 * error


def test_samples_permuted_as_donors_would_be_seen():
    six = share(lambda rng: labelled(np.repeat(np.arange(12), 6), rng), 120, by_sample=True)
    assert six > 0.05 + 4 * np.sqrt(0.05 * 0.95 / 120)


def test_pairs_are_not_drowned_by_donors_of_one_label():
    rng = np.random.default_rng(0)
    level = 20 * rng.normal(size=16)
    donor = np.r_[np.repeat(np.arange(10), 2), np.arange(10, 16)]
    y = np.r_[np.tile([0, 1], 10), np.arange(6) % 2]
    values = level[donor] + 2 * y + rng.normal(size=26)
    found = Exchange.of(y, donor).test(values[:, None], y)
    assert found.p[0] < 0.01
    assert found.slope[0] == pytest.approx(2, abs=1)
