"""Agreement of two fits against SciPy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from smalti.explain.agreement import agreement


def test_it_is_spearman_of_each_bag_and_of_several_columns_their_mean():
    rng = np.random.default_rng(0)
    offsets = np.array([0, 10, 30, 32, 40])
    one = {"score": rng.normal(size=(40, 1)), "attention": rng.integers(4, size=(40, 2)) * 1.0}
    two = {k: v + rng.normal(size=v.shape) for k, v in one.items()}
    one["score"][30:] = 1.0  # constant
    found = agreement(one, two, offsets)
    for i, (start, stop) in enumerate(((0, 10), (10, 30))):
        rows = slice(start, stop)
        assert found[i, 0] == pytest.approx(spearmanr(one["score"][rows], two["score"][rows])[0])
        each = [spearmanr(one["attention"][rows, c], two["attention"][rows, c])[0] for c in (0, 1)]
        assert found[i, 1] == pytest.approx(np.mean(each))
    assert np.isnan(found[2:, 0]).all()  # two instances, and equal scores
    assert np.isnan(agreement(one, {}, offsets)).all()
