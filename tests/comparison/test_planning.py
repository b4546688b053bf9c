"""What a comparison would do is said before it is done."""

import numpy as np
import pytest

import smalti as sm
from smalti.comparison import plan
from smalti.datasets import planted_bags


class Fails(sm.mil.Majority):
    name = "fails"

    def fit(self, X, y=None, *, checkpoint=None):
        raise RuntimeError("no")


def test_a_plan_says_splits_and_fits_and_knows_what_is_kept(majority_alone, tmp_path):
    bags, asked = planted_bags(12, bags_per_donor=2, seed=0), dict(folds=3, repeats=2)
    found = plan(["majority"], bags, cache=tmp_path / "cache", **asked)
    assert not (tmp_path / "cache").exists()  # nothing is written
    assert len(found.splits) == 6
    assert set(found.splits["train_donors"]) == {4}
    assert (found.splits[["test_0", "test_1"]].sum(axis=1) == found.splits["test_bags"]).all()
    assert found.fits[["method", "fits", "kept"]].to_numpy().tolist() == [["majority", 6, 0]]
    assert 0 < found.fits["low"].item() <= found.fits["high"].item() < 60
    assert "6 fits, one after another" in str(found)
    sm.compare(["majority"], bags, cache=tmp_path / "cache", n_jobs=1, progress=False, **asked)
    again = plan(["majority"], bags, cache=tmp_path / "cache", **asked)
    assert again.fits[["kept", "high"]].to_numpy().tolist() == [[6, 0]]


def test_a_trial_that_fails_is_not_guessed(majority_alone):
    found = plan([Fails()], planted_bags(12, seed=0), folds=3)
    assert np.isnan(found.fits.set_index("method").loc["fails", "high"])
    assert "fails: its trial failed, and it is not in the sum." in str(found)


@pytest.mark.slow  # a network is fitted
def test_the_time_of_a_network_lies_in_what_was_said(majority_alone):
    bags = planted_bags(40, seed=0)
    method = sm.mil.ABMIL(epochs=60, progress=False, accelerator="cpu")
    found = plan([method], bags, folds=2).fits.set_index("method").loc["abmil"]
    table = sm.compare([method], bags, folds=2, n_jobs=1, progress=False)
    took = table.folds.query("method == 'abmil'").drop_duplicates("fold")["seconds"].sum()
    assert 0.2 * took < found["high"] < 20 * took  # an early stop, and a busy machine


def test_a_plan_of_expression():
    slides = sm.datasets.planted_slides(3, 16, n_genes=5, seed=0)
    found = sm.comparison.plan_expression(["knn"], slides, by="slide", seeds=2)
    assert found.splits[["train_slides", "test_slides"]].to_numpy().tolist() == [[2, 1]] * 3
    assert found.splits["train_tiles"].sum() == 2 * slides.n_instances
    assert {"knn", "ridge"} <= set(found.fits["method"])
    assert (found.fits.set_index("method").loc["knn", ["fits", "kept"]] == [3, 0]).all()
    assert "a quarter of the training tiles" in str(found)


def test_a_plan_of_integrations():
    cells = sm.datasets.planted_modalities(100, seed=0)
    found = sm.comparison.plan_integration(["block_pca"], cells, label="kind", by="kmeans", seeds=2)
    assert found.splits[["train_cells", "test_cells"]].to_numpy().tolist() == [[80, 20]] * 2
    assert (found.fits["fits"] == 2).all()
    assert found.fits["high"].notna().all()
    assert "a quarter of the training cells" in str(found)
