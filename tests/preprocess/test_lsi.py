"""Latent semantic indexing of peaks: against a dense decomposition, and against muon."""

import dataclasses
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess import (
    LSI,
    TFIDF,
    On,
    apply_steps,
    fit_steps,
    from_state,
    modalities,
    names_of,
    spec_of,
    state_of,
    steps_of,
    with_findings,
)


def counts(n=150, d=300, spread=0.6, seed=0, kinds=5):
    """Peaks of cells of some kinds, and of very different depth."""
    rng = np.random.default_rng([seed, 1])
    law = np.random.default_rng(0)
    rate = 0.3 * law.gamma(0.5, size=d) * np.where(law.random((kinds, d)) < 0.2, 5.0, 1.0)
    depth = rng.lognormal(0, spread, (n, 1)) if spread else 1.0
    return rng.poisson(rate[rng.integers(kinds, size=n)] * depth).astype(np.float32)


def cells(x, **kwargs):
    return Bags.from_rows({"atac": x}, np.arange(x.shape[0]), **kwargs)


class OnDisk:
    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def read(self, start, stop):
        return self.rows[start:stop]

    def digest(self):
        return "rows"


def by_hand(x, n):
    """(n_cells, n) scaled scores of the table after TF-IDF, and their correlation with depth."""
    weighted = TFIDF().fit(cells(x)).transform(cells(x)).table().astype(np.float64)
    _, _, axes = np.linalg.svd(weighted, full_matrices=False)
    scores = weighted @ axes[:n].T
    r = np.corrcoef(scores.T, np.log1p(x.sum(1)))[-1, :-1]
    return (scores - scores.mean(0)) / scores.std(0), r


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, OnDisk])
def test_equals_a_dense_decomposition_without_what_follows_depth(kind):
    x = counts()
    scores, r = by_hand(x, 6)
    step = LSI(6).fit(cells(kind(x)))
    np.testing.assert_allclose(np.abs(step.depth_), np.abs(r), atol=1e-6)
    kept = np.abs(r) <= 0.75
    assert 0 < kept.sum() < 6
    out = step.transform(cells(kind(x)))
    signs = np.sign((scores[:, kept] * out.table()).sum(0))
    np.testing.assert_allclose(out.table(), scores[:, kept] * signs, atol=2e-4)
    assert out.features["atac"] == tuple(f"LSI{i + 1}" for i in np.flatnonzero(kept))


def test_depth_is_found_where_it_is_and_not_taken_for_the_first():
    deep = LSI(6).fit(cells(counts()))
    assert deep.finding() == (
        "lsi left out component 1 of 6, which follows the depth of the cells "
        f"(r = {deep.depth_[0]:.2f})"
    )
    # cells of one depth, which each have half of the peaks once: nothing follows it, nothing goes
    rng = np.random.default_rng(0)
    x = rng.permuted(np.tile([0.0, 1.0], (150, 30)).astype(np.float32), axis=1)
    flat = LSI(6).fit(cells(x))
    assert flat.transform(cells(x)).table().shape == (150, 6)
    assert flat.finding().startswith("lsi left out none of 6 components: none follows")
    # whichever follows it goes, by either sign
    flat.depth_ = np.array([0.1, -0.9, 0.7, 0.8])
    assert flat.kept_components().tolist() == [True, False, True, False]
    assert flat.finding().endswith(
        "components 2, 4 of 4, which follow the depth of the cells (r = -0.90, 0.80)"
    )
    assert LSI(6, depth=1).fit(cells(counts())).transform(cells(counts())).table().shape[1] == 6
    with pytest.raises(
        InputError, match=r"(?s)all 3 components follow the depth of the cells .*LSI\(depth=1\)"
    ):
        LSI(3, depth=1e-9).fit(cells(counts()))
    with pytest.raises(InputError, match="depth=0 must be over 0"):
        LSI(3, depth=0).fit(cells(counts()))


def test_new_cells_are_placed_one_by_one_as_training_placed_them():
    train, test = counts(), counts(20, seed=1)
    step = LSI(6).fit(cells(sp.csr_matrix(train)))
    whole = step.transform(cells(sp.csr_matrix(test))).table()
    alone = [step.transform(cells(row[None])).table() for row in test]
    np.testing.assert_allclose(np.concatenate(alone), whole, atol=1e-5)
    assert np.isfinite(step.transform(cells(np.zeros_like(test))).table()).all()


@pytest.mark.parametrize("depth", [0.75, 0.9])
def test_settings_and_state_come_back(depth):
    steps = [On("atac", LSI(6, depth=depth)), On("atac", steps_of("scale")[0])]
    fitted, out = fit_steps(steps, cells(counts()))
    spec = spec_of(fitted)
    assert spec == ({"atac": "lsi=6,scale"} if depth == 0.75 else
                    {"atac": [{"lsi": 6, "settings": {"depth": 0.9}}, "scale"]})  # fmt: skip
    back = from_state(spec, state_of(fitted), names_of(fitted))
    assert back[0].step.depth == depth
    assert back[0].finding() == fitted[0].finding()
    again = apply_steps(back, cells(counts()))
    np.testing.assert_array_equal(again.x["atac"], out.x["atac"])
    assert again.features == out.features
    with pytest.raises(InputError, match="step 'lsi', settings .*deep"):
        steps_of({"lsi": 6, "settings": {"deep": 1}})


def test_the_line_of_the_modality_says_what_was_left_out():
    bags = cells(counts())
    fitted, _ = fit_steps(steps_of({"atac": "lsi=6"}), bags)
    line = str(with_findings(modalities(bags), fitted)[0])
    assert line.startswith("atac (300 features): taken for open chromatin, by its name; tfidf; ")
    assert "left out component 1 of 6" in line


def test_a_peak_that_is_taken_for_its_mean_moves_no_component():
    x = counts()
    step = LSI(6).fit(cells(x))
    lacking = np.zeros(300, dtype=bool)
    lacking[5] = True
    there = step.transform(cells(x)).table()
    gone = step.transform(dataclasses.replace(cells(x), lacking={"atac": lacking})).table()
    weighted = TFIDF().fit(cells(x)).transform(cells(x)).table()[:, 5]
    moved = np.outer(weighted - weighted.mean(), step.axes_[5] / step.scale_)
    np.testing.assert_allclose(there - gone, moved, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow  # muon takes seconds to be imported
def test_is_that_of_muon():
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        muon = pytest.importorskip("muon")
    x = counts()
    x = x[:, x.sum(0) > 0][x.sum(1) > 0]
    data = anndata.AnnData(sp.csr_matrix(x))
    muon.atac.pp.tfidf(data, scale_factor=1e4)
    muon.atac.tl.lsi(data, n_comps=6)
    theirs = np.asarray(data.obsm["X_lsi"])
    ours = LSI(6, depth=1).fit(cells(x)).transform(cells(x)).table()
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)
