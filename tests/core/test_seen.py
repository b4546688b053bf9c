import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti.core.seen import Seen, donor_names
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import BagMean


class OnDisk:
    """A view that is read row by row."""

    def __init__(self, x):
        self.x, self.shape, self.dtype = x, x.shape, x.dtype

    def read(self, start, stop):
        return self.x[start:stop]

    def digest(self):
        return "on disk"


@pytest.mark.parametrize("make", [
    lambda x: x, lambda x: x.astype(np.float64), sp.csr_matrix, OnDisk
], ids=["same", "wider", "sparse", "on disk"])  # fmt: skip
def test_bags_are_known_again_by_what_is_in_them(make):
    bags = planted_bags(12)
    again = dataclasses.replace(bags, x={"y": make(bags.x["x"])})
    seen = Seen.of(bags[:5])
    order = [7, 3, 0, 11]
    assert seen.has_bags(again[order]).tolist() == [False, True, True, False]
    assert not seen.has_bags(planted_bags(12, seed=1)).any()  # other people of the same names


@pytest.mark.parametrize("gone", [0, 1, -1])  # the first, one in the middle, the last
def test_a_bag_without_one_of_its_instances_is_another(gone):
    bags = planted_bags(4)
    kept = np.delete(np.arange(bags.n_instances), bags.offsets[1] * (gone < 0) + gone)
    assert Seen.of(bags).has_bags(bags.keep(kept)).tolist() == [False, True, True, True]
    x = bags.x["x"].copy()
    x[bags.offsets[1] * (gone < 0) + gone] += 1
    changed = dataclasses.replace(bags, x={"x": x})
    assert Seen.of(bags).has_bags(changed).tolist() == [gone == 1, True, True, True]


def test_donors_are_known_again_by_name():
    bags = planted_bags(12, bags_per_donor=3)
    seen = Seen.of(bags[[0, 4]])
    assert len(seen.donors) == 2
    assert seen.has_donors(bags).tolist() == [True] * 6 + [False] * 6
    bare = dataclasses.replace(bags, donor=None)
    assert Seen.of(bare).donors == ()
    assert not seen.has_donors(bare).any()


def test_a_saved_model_knows_its_training_bags(tmp_path):
    bags = planted_bags(12)
    model = BagMean().fit(bags[:8])
    model.save(tmp_path / "m")
    for known in (model, sm.load(tmp_path / "m")):
        assert known.seen_.has_bags(bags).tolist() == [True] * 8 + [False] * 4
        assert known.seen_.has_donors(bags).tolist() == [True] * 8 + [False] * 4
    assert "donor" not in str(model.seen_.donors)  # digests, no names


def test_names_of_donors():
    bags = planted_bags(4, bags_per_donor=2)
    assert donor_names(bags).tolist() == [0, 0, 1, 1]
    for donor in (None, "bag"):
        own = donor_names(dataclasses.replace(bags, donor=donor))
        assert own.tolist() == ["bag0", "bag1", "bag2", "bag3"]
    table = bags.bag.assign(donor=["a", None, "b", "b"])
    with pytest.raises(InputError, match="donor column 'donor' is missing for bag"):
        donor_names(dataclasses.replace(bags, bag=table))
