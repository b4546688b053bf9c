import dataclasses
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score

import smalti as sm
from smalti.core.seen import Seen, donor_names
from smalti.datasets import planted_bags, planted_slides
from smalti.errors import InputError
from smalti.mil import BagMean

pytestmark = pytest.mark.usefixtures("one_penalty")


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


def test_predicting_training_donors_is_said_once_per_model_and_new_ones_are_not(tmp_path):
    bags = planted_bags(24, bags_per_donor=2)
    half, rest = bags[np.arange(0, 24, 2)], bags[np.arange(1, 24, 2)]  # a bag of each donor in each
    model = sm.mil.BagMean(progress=False).fit(half)
    for word in ("predict", "predict_proba", "score"):
        ask = getattr(clone(model).fit(half), word)
        with pytest.warns(UserWarning, match=r"names were in its training.*donor_split"):
            ask(rest)
    model.save(tmp_path / "m")
    with pytest.warns(UserWarning, match="donors whose names"):
        sm.load(tmp_path / "m").predict(rest)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(planted_bags(24, seed=1))  # other people of another seed
        model.attribute(half)  # what made its own predictions is asked of the training bags too
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        fresh = clone(model).fit(half)
        for part in (rest[:3], rest[3:]):
            fresh.predict(part)
    assert len(told) == 1, [f"{w.message} {w.filename}:{w.lineno}" for w in told]


def test_bags_without_named_donors_are_known_by_their_content():
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(5, 3)) for _ in range(20)]
    y = np.arange(20) % 2
    model = sm.mil.BagMean(progress=False).fit(x[:10], y[:10])
    with pytest.warns(UserWarning, match="were in its training"):
        model.predict(x[5:15])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(x[10:])


def test_slides_of_training_donors_are_said():
    slides = planted_slides(4, 9, n_genes=6, seed=0)  # two slides of each donor
    model = sm.expression.Ridge(progress=False).fit(slides[[0, 1]])
    with pytest.warns(UserWarning, match="donors whose names"):
        model.score(slides[[2]])


def test_the_splitter_keeps_donors_apart_where_scikit_learns_own_does_not():
    """Noise by donor: shuffled folds know the donor, folds by donor do not."""
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(12), 4)
    x = [rng.normal(size=(5, 40)) + mu for mu in 2 * rng.normal(size=(12, 40))[donor]]
    bags = sm.Bags.from_list(x, donor % 2, donor=donor)
    model = sm.mil.BagMean(progress=False)
    usual = StratifiedKFold(4, shuffle=True, random_state=0)
    with pytest.warns(UserWarning, match="donor_split"):
        leaking = cross_val_score(model, bags, bags.labels, cv=usual).mean()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        honest = cross_val_score(model, bags, bags.labels, cv=sm.donor_split(bags, 4)).mean()
        grouped = cross_val_score(model, bags, bags.labels, groups=bags.donors,
                                  cv=StratifiedGroupKFold(4)).mean()  # fmt: skip
    assert leaking > 0.8
    assert max(honest, grouped) < 0.7
    folds = sm.donor_split(bags, 4, repeats=2)
    assert len(folds) == 8
    for train, test in folds:
        assert not set(donor[train]) & set(donor[test])
