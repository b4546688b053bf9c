"""Features that were chosen by the labels of all donors."""

import numpy as np

import smalti as sm
from smalti.leaks.chosen import _differences


def noise(seed, chosen, n=24, genes=1500, keep=20, shift=0.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.normal(size=(n, 4, genes)) + 0.3 * rng.normal(size=(n, 1, genes))
    x += shift * y[:, None, None]
    t = np.abs(_differences(x.mean(1), y == 1))
    kept = np.argsort(-t)[:keep] if chosen else np.arange(keep)
    return sm.Bags.from_list(list(x[:, :, kept]), y, donor="bag")


def test_features_by_the_labels_of_all():
    found = [sm.audit(noise(seed, True)).kinds for seed in range(5)]
    assert found == [{"chosen by the label"}] * 5


def test_features_by_chance_or_all_shifted():
    for seed in range(5):
        assert not len(sm.audit(noise(seed, False)))
        assert not len(sm.audit(noise(seed, False, shift=1.0)))  # one shift, as of a batch
