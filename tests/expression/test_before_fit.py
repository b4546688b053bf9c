"""Whether a gene can be predicted at all: planted genes, a loop, donors, and the null."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import spearmanr

import smalti as sm
from smalti.errors import InputError
from smalti.expression.before_fit import _turned


@pytest.fixture(scope="module")
def slides():
    return sm.datasets.planted_slides(6, 49, n_genes=24, donors=3, seed=1)


def without_positions(bags):
    return dataclasses.replace(bags, instance=bags.instance.drop(columns=["x_um", "y_um"]))


def with_counts(bags, counts, names):
    return dataclasses.replace(
        bags, x={**bags.x, "counts": sp.csr_matrix(counts)},
        features={**bags.features, "counts": tuple(names)},
    )  # fmt: skip


def test_planted_genes_are_found_and_hidden_ones_are_not(slides):
    table = sm.expression.predictable(slides)
    hidden = table["gene"].str.startswith("DDD")
    assert table["score"][~hidden].min() > table["score"][hidden].max()
    assert (table["fdr"][~hidden] < 0.05).all()
    assert (table["p"][hidden] > 0.05).all()
    assert (table["donors"][~hidden] == 3).all()
    assert (table["seen"] > 0).all()


def test_the_score_is_that_of_a_loop(slides):
    table = sm.expression.predictable(slides, k=5, units="log1p", shuffles=2)
    x = slides.table("X_planted")
    z = (x - x.mean(0)) / x.std(0)
    counts = slides.x["counts"].toarray()
    donor, slide = np.asarray(slides.donors)[slides.index], slides.index
    ranks = np.empty(counts.shape)
    for s in range(len(slides)):
        y = counts[slide == s]
        r = np.apply_along_axis(lambda v: np.argsort(np.argsort(v, kind="stable")), 0, y)
        for v in np.unique(y):  # ties share their mean rank
            for g in range(y.shape[1]):
                same = y[:, g] == v
                r[same, g] = r[same, g].mean() if same.any() else 0
        ranks[slide == s] = (r - r.mean(0)) / r.std(0)
    for g in (0, 5, 23):
        per_donor = []
        for d in np.unique(donor):
            each = []
            for s in np.unique(slide[donor == d]):
                rows = np.flatnonzero(slide == s)
                others = np.flatnonzero(donor != d)
                guess = [ranks[others[np.argsort(((z[others] - z[i]) ** 2).sum(1))[:5]], g].mean()
                         for i in rows]  # fmt: skip
                each.append(spearmanr(guess, counts[rows, g]).statistic)
            per_donor.append(np.mean(each))
        assert table["score"][g] == pytest.approx(np.mean(per_donor), abs=0.02)


def test_few_spots_make_no_score(slides):
    rng, n = np.random.default_rng(0), slides.n_instances
    counts = slides.x["counts"].toarray()
    x = slides.table("X_planted")
    three = np.zeros(n)
    three[np.argsort(x[:, 0])[-3:]] = 500  # where one feature is highest
    one_donor = np.where(np.asarray(slides.donors)[slides.index] == slides.donors[0], 5, 0)
    flat = rng.poisson(2.0, n)
    found = with_counts(slides, np.c_[counts, three, one_donor, flat],
                        [*slides.features["counts"], "three", "one_donor", "flat"])  # fmt: skip
    table = sm.expression.predictable(found, units="log1p", shuffles=100).set_index("gene")
    assert np.isnan(table["score"]["three"])
    assert np.isnan(table["p"]["one_donor"])
    assert table["p"]["flat"] > 0.01
    assert table["seen"]["three"] == 3


def test_what_the_depth_alone_tells_is_taken_out(slides):
    """A gene of a constant share, beside features that are the depth."""
    rng, n = np.random.default_rng(0), slides.n_instances
    depth = np.exp(rng.normal(0, 0.6, n))
    own = rng.normal(0, 0.6, n)
    counts = rng.poisson(np.c_[20 * depth, 20 * depth * np.exp(own), 200 * depth])
    found = with_counts(slides, counts, ["share", "own", "rest"])
    x = np.c_[np.log(depth), own].astype(np.float32)
    found = dataclasses.replace(found, x={"X": x, "counts": found.x["counts"]})
    table = sm.expression.predictable(found, units="log1p", shuffles=5).set_index("gene")
    assert table["score"]["share"] > 0.7
    assert abs(table["beyond_depth"]["share"]) < 0.25
    assert table["beyond_depth"]["own"] > 0.7


def test_neighbours_are_of_other_donors(slides):
    """Features that name the tile find its own copy where donors are not parted."""
    half = slides[[0, 1]]
    twice = sm.Bags.from_rows(
        {"X": np.r_[half.table("X_planted")] , "counts": half.x["counts"]},
        np.asarray(half.bag.index)[half.index],
        bag=half.bag.assign(own=["P", "Q"]), donor="own",
        features={"counts": half.features["counts"]},
    )  # fmt: skip
    table = sm.expression.predictable(twice, shuffles=3)
    assert table["n_donors"].eq(2).all()
    same = dataclasses.replace(twice, bag=twice.bag.assign(own="P"))
    with pytest.raises(InputError, match="there is one donor"):
        sm.expression.predictable(same)
    assert len(sm.expression.predictable(same, by="slide", shuffles=3)) == 24


def test_views_side_by_side_and_a_share_of_the_tiles(slides):
    noise = np.random.default_rng(0).normal(size=(slides.n_instances, 6)).astype(np.float32)
    both = dataclasses.replace(slides, x={**slides.x, "X_noise": noise})
    table = sm.expression.predictable(both, view=["X_planted", "X_noise"], most=150, shuffles=10)
    mean = table.groupby("view")["score"].mean()
    assert mean["X_planted"] > 0.3 > 0.15 > mean["X_noise"]
    assert (table["seen"] <= 150).all()
    alone = sm.expression.predictable(both, view="X_noise", most=150, shuffles=10)
    np.testing.assert_allclose(alone["score"], table["score"][24:])


def test_a_turned_map_keeps_neighbours_and_a_shuffled_one_does_not(slides):
    xy = slides.instance[["x_um", "y_um"]].to_numpy(float)[: slides.offsets[1]]
    to = _turned(xy, np.random.default_rng(0))
    near = np.linalg.norm(xy[:, None] - xy, axis=2)
    pairs = np.argwhere((near > 0) & (near < 110))
    moved = near[to[pairs[:, 0]], to[pairs[:, 1]]]
    assert np.median(moved) < 150
    assert (to != np.arange(len(xy))).mean() > 0.8
    wide = sm.expression.predictable(slides, shuffles=30)["null_sd"].mean()
    narrow = sm.expression.predictable(without_positions(slides), shuffles=30)["null_sd"].mean()
    assert wide > 1.5 * narrow


@pytest.mark.parametrize(("more", "says"), [
    ({"by": "tile"}, "by='tile'"), ({"k": 0}, "k=0"), ({"view": "no"}, "no view 'no'"),
    ({"genes": ["none"]}, "not in view"),
])  # fmt: skip
def test_what_cannot_be_scored(slides, more, says):
    with pytest.raises(InputError, match=says):
        sm.expression.predictable(slides, **more)


def test_slides_without_donors(slides):
    with pytest.raises(InputError, match="whose are the slides"):
        sm.expression.predictable(dataclasses.replace(slides, donor=None))
