"""Whether the loss was still falling: of curves that are known, and of fits."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import smalti as sm
from smalti.core.convergence import is_flat, still_falling
from smalti.core.stage import warm_cosine
from smalti.datasets import planted_bags

T = np.arange(100)
NOISE = np.random.default_rng(0).normal(size=100)


@pytest.mark.parametrize(("losses", "falling"), [
    (np.exp(-T / 100), True),  # a third is left
    (np.exp(-T / 15), False),
    (1 - T / 100, True),
    (np.full(100, 0.7), False),
    (0.7 - 1e-5 * T, False),  # hardly a fall
    (0.5 + T / 100, False),  # rises
    (np.exp(-T / 15) + 0.2 * NOISE, False),
    (0.7 + 0.05 * NOISE, False),  # noise alone
    (1 - T / 100 + 0.05 * NOISE, True),
    ([0.9], False), ([0.9, 0.8], True), ([0.9, 0.95], False), ([], False),
])  # fmt: skip
def test_curves(losses, falling):
    assert still_falling(losses) is falling


@pytest.mark.parametrize(("losses", "flat"), [
    ([1.0] * 9, False),  # not yet two windows
    ([1.0] * 10, True),
    ([2.0] * 20 + [1.0] * 5, False),
    ([5.0] * 20 + [1.0] * 10, True),  # what was before the two windows does not count
    (1 - 0.003 * np.arange(10), False),  # 0.015 less
    (1 - 0.001 * np.arange(10), True),
    (-1 - 0.003 * np.arange(10), False),  # of its size, whatever its sign
    ([1.0] * 5 + [1.5] * 5, True),
])  # fmt: skip
def test_flat_is_what_falls_by_less_than_a_share_from_one_window_to_the_next(losses, flat):
    assert is_flat(losses, 5, 0.01) is flat


def test_a_rate_that_goes_to_zero_is_no_rest():
    """The same path by steps of the learning rate: flat in epochs, not in what was walked."""
    schedule = warm_cosine(100)
    walked = np.cumsum([schedule(t + 0.5) for t in T])
    far, near = np.exp(-walked / 10), np.exp(-walked / 50)
    assert not still_falling(far, schedule)
    assert still_falling(near, schedule)
    assert not still_falling(near)  # by epochs it seems at rest


def test_a_fit_that_was_cut_off_says_so_and_one_that_was_not_does_not(tmp_path):
    bags = planted_bags(30)
    kw = {"widths": (8,), "progress": False, "accelerator": "cpu", "dropout": 0.0}
    with pytest.warns(ConvergenceWarning, match="abmil: the training loss was still falling"):
        short = sm.mil.ABMIL(epochs=12, **kw).fit(bags)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        long = sm.mil.ABMIL(epochs=150, lr=1e-2, **kw).fit(bags)
        sm.mil.BagMean(progress=False).fit(bags)
    assert (short.converged_, long.converged_) == (False, True)
    short.save(tmp_path / "m")
    assert not sm.load(tmp_path / "m").converged_


def test_a_comparison_says_it_once_with_the_number_of_fits(majority_alone, tmp_path):
    bags = planted_bags(30)
    short = sm.mil.ABMIL(epochs=12, widths=(8,), dropout=0.0)
    for _ in range(2):  # made, and kept
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            table = sm.compare([short], bags, folds=3, n_jobs=1, progress=False, cache=tmp_path)
        told = [n for n in table.notes if "still falling" in n]
        assert len(told) == 1
        assert " of 3 fits; more epochs=" in told[0]
