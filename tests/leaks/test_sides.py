"""What lies on both sides of a split of tiles."""

import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.comparison.splits import expression_folds


@pytest.fixture(scope="module")
def slides():
    """Six slides of three donors, 36 tiles each, 100 px apart."""
    return sm.datasets.planted_slides(6, 36, n_genes=12, seed=0)


@pytest.mark.parametrize(("by", "kinds"), [
    ("donor", set()), ("slide", {"donors on both sides"}),
    ("tile", {"tiles beside training tiles"}),
])  # fmt: skip
def test_what_folds_have_on_both_sides(slides, by, kinds):
    assert sm.audit(slides, splits=expression_folds(slides, by=by)).kinds == kinds


@pytest.mark.parametrize(("gap", "width", "overlap", "beside"), [
    (1, 100, 0, 6), (1, 150, 6, 6), (2, 150, 0, 0), (2, 250, 6, 0),
])  # fmt: skip
def test_strips_with_a_gap_overlap_by_the_width_of_tiles(slides, gap, width, overlap, beside):
    one = dataclasses.replace(slides, bag=slides.bag.assign(tile_um=width))[[0]]
    column = one.instance["x_um"].rank(method="dense").to_numpy()
    split = (np.flatnonzero(column >= 1 + gap), np.flatnonzero(column <= 1))
    (found,) = sm.audit(one, splits=[split])
    assert (found.evidence["overlap"], found.evidence["beside"]) == (overlap, beside)


def test_slides_as_donors(slides):
    alone = dataclasses.replace(slides, donor="bag")
    found = {f.kind: f.severity for f in sm.audit(alone, splits=expression_folds(alone))}
    assert found == {"donors on both sides": "doubt", "donors of samples": "leak"}
