"""Which encoder predicts best on donors that are left out, by hand and beside noise."""

import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.scores.gene_correlations import pearson_slides
from smalti.solve.ridge import ALPHAS, ridge_path


@pytest.fixture(scope="module")
def slides():
    bags = sm.datasets.planted_slides(6, 25, n_genes=12, donors=3, seed=2)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(bags.n_instances, 5)).astype(np.float32)
    weak = bags.table("X_planted")[:, :4] + 3 * rng.normal(size=(bags.n_instances, 4))
    return dataclasses.replace(bags, x={**bags.x, "X_noise": noise, "X_weak": weak})


def test_the_planted_view_is_best_and_noise_is_behind(slides):
    found = sm.features.screen_backbones(slides, ["X_noise", "X_planted", "X_weak"])
    assert found.best == "X_planted"
    assert found.left_out == "donor"
    table = found.summary().set_index("view")
    assert list(table.index) == ["X_planted", "X_weak", "X_noise"]
    assert table["behind"]["X_planted"] == 0
    assert table["low"]["X_noise"] > 0
    assert len(found.folds) == 9
    assert set(found.folds["n_tiles"]) == {50}


def test_the_score_is_that_of_a_refit(slides):
    y = sm.genes.units.measured(slides)
    donors = np.asarray(slides.donors)[slides.index]
    best = {}
    for alpha in ALPHAS:
        guess, error = np.empty(y.shape), 0
        for donor in np.unique(donors):
            out = donors == donor
            w, b = ridge_path(slides.table("X_weak")[~out], y[~out]).solution(alpha)
            guess[out] = slides.table("X_weak")[out] @ w + b
        error = (((guess - y) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)).mean()
        best[alpha] = (error, pearson_slides(guess, y, slides.index))
    each = min(best.values(), key=lambda pair: pair[0])[1]
    found = sm.features.screen_backbones(slides, ["X_noise", "X_weak"], genes=None)
    own = found.folds[found.folds["view"] == "X_weak"].set_index("left_out")["pcc_slide"]
    for donor in np.unique(slides.donors):
        want = each[np.asarray(slides.donors) == donor].mean()
        assert own[str(donor)] == pytest.approx(want, abs=1e-4)


def test_one_donor_and_one_slide(slides):
    two = slides[[0, 3]] if slides.donors[0] == slides.donors[3] else slides[[0, 1]]
    one = dataclasses.replace(two, bag=two.bag.assign(own="P"), donor="own")
    assert sm.features.screen_backbones(one, ["X_noise", "X_planted"]).left_out == "slide"
    found = sm.features.screen_backbones(slides[[0]], ["X_noise", "X_planted"], genes=3)
    assert found.left_out == "strip of the slide"
    assert len(found.genes) == 3
    assert found.folds["pcc_slide"].nunique() == 10


@pytest.mark.parametrize("encoders", [["X_planted"], "X_planted", ["X_planted", "X_planted"]])
def test_one_encoder_is_no_choice(slides, encoders):
    with pytest.raises(InputError, match="two or more"):
        sm.features.screen_backbones(slides, encoders)
