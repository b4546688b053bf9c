"""Simulated batches: the truth is the same cells, and strength is what it says."""

import numpy as np
import pytest

import smalti as sm


def test_the_same_cells_at_any_strength():
    weak, strong = (sm.datasets.planted_batches(300, strength=s, seed=1) for s in (0, 3))
    assert weak.instance.equals(strong.instance)
    assert not np.array_equal(weak.x["rna"], strong.x["rna"])
    again = sm.datasets.planted_batches(300, strength=3, seed=1)
    np.testing.assert_array_equal(again.x["rna"], strong.x["rna"])


def test_batches_lie_the_further_apart_the_stronger():
    gaps = []
    for strength in range(4):
        cells = sm.datasets.planted_batches(1000, strength=strength, unique=0, shared=1, seed=0)
        first = (cells.instance["batch"] == "b1").to_numpy()
        mean = [np.log1p(cells.x["rna"][at].mean(0)) for at in (first, ~first)]
        gaps.append(np.abs(mean[0] - mean[1]).mean())
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.05 < gaps[1]


def test_unique_types_are_in_one_batch_and_marked():
    cells = sm.datasets.planted_batches(600, batches=3, unique=2, seed=0).instance
    batches = cells.groupby("cell_type")["batch"].nunique()
    assert (batches[batches.index.str.startswith("U")] == 1).all()
    assert (batches[batches.index.str.startswith("T")] == 3).all()
    assert (cells["unique"] == cells["cell_type"].str.startswith("U")).all()
    assert len(batches) == 5 + 6


@pytest.mark.parametrize("wrong", [{"strength": 4}, {"batches": 1}, {"shared": 0}, {"unique": 6}])
def test_what_makes_no_batches_is_refused(wrong):
    with pytest.raises(sm.InputError, match=next(iter(wrong))):
        sm.datasets.planted_batches(20, **wrong)
