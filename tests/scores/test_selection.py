"""The best of many, on what it was not chosen by."""

import numpy as np
import pytest

from smalti.scores import chosen_gap


def naive(methods, rivals, groups, draws, seed):
    """One draw at a time, folds by name."""
    rng = np.random.default_rng([seed, 41])
    of_repeat = []
    for g in np.unique(groups):
        rows = np.flatnonzero(groups == g)
        gaps = []
        for counts in rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), draws):
            drawn = np.repeat(rows, counts)
            left = [r for r in rows if r not in drawn]
            if left:
                best = np.argmax(methods[drawn].mean(0))
                rival = np.argmax(rivals[drawn].mean(0))
                gaps.append(methods[left, best].mean() - rivals[left, rival].mean())
        of_repeat.append(np.mean(gaps))
    return np.mean(of_repeat)


def test_by_hand():
    rng = np.random.default_rng(0)
    methods, rivals = rng.normal(size=(10, 4)), rng.normal(size=(10, 2))
    groups = np.repeat([0, 1], 5)
    found = chosen_gap(methods, rivals, groups, draws=50, seed=3)
    assert found == pytest.approx(naive(methods, rivals, groups, 50, 3))
    down = chosen_gap(-methods, -rivals, groups, draws=50, seed=3, lower_is_better=True)
    assert down == pytest.approx(-found)


def test_luck_is_taken_off_and_merit_is_left():
    rng = np.random.default_rng(1)
    lucky, merit, naive = [], [], []
    for seed in range(60):
        scores = rng.normal(size=(8, 21))
        naive.append((scores[:, :20].mean(0)).max() - scores[:, 20].mean())
        lucky.append(chosen_gap(scores[:, :20], scores[:, 20:], np.zeros(8), draws=100, seed=seed))
        scores[:, 3] += 5
        merit.append(chosen_gap(scores[:, :20], scores[:, 20:], np.zeros(8), draws=100, seed=seed))
    assert np.mean(naive) > 0.5
    assert abs(np.mean(lucky)) < 3 * np.std(lucky) / np.sqrt(60) + 0.05
    assert np.mean(merit) == pytest.approx(5, abs=0.3)


def test_one_part_says_nothing():
    assert np.isnan(chosen_gap(np.ones((1, 2)), np.ones((1, 1)), np.zeros(1)))
    missing = np.array([[np.nan, 1.0], [1.0, 1.0]])
    assert np.isnan(chosen_gap(missing, np.ones((2, 1)), np.zeros(2)))
