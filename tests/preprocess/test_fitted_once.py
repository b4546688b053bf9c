import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.datasets import planted_modalities
from smalti.preprocess import Normalize, fit_steps, steps_of
from smalti.preprocess.fitted_once import Shared, sharing

STEPS = {"rna": "normalize,log1p,pca=5", "protein": "clr"}


@pytest.fixture
def fits(monkeypatch):
    """How often ``normalize`` was fitted."""
    done, own = [], Normalize.fit
    monkeypatch.setattr(Normalize, "fit", lambda self, *a: done.append(1) or own(self, *a))
    return done


def test_steps_are_fitted_once_for_the_same_cells(fits):
    cells = planted_modalities(60, counts=True, seed=0)
    part, again, other = cells[:40], cells[:40], cells[20:]
    alone = fit_steps(steps_of(STEPS), part)[1]
    shared = Shared()
    with sharing(shared):
        found = [fit_steps(steps_of(STEPS), bags)[1] for bags in (part, again, other)]
        assert len(fits) == 1 + 2
        assert shared.saved > 0
        fit_steps(steps_of({"rna": "normalize,log1p"}), part)  # other steps
        assert len(fits) == 4
    for name in alone.x:
        for bags in found[:2]:
            np.testing.assert_array_equal(bags.table(name), alone.table(name))
        assert not np.array_equal(found[2].table(name), alone.table(name))
    fit_steps(steps_of(STEPS), part)  # no longer shared
    assert len(fits) == 5


def test_cells_whose_features_have_other_names_are_others(fits):
    cells, shared = planted_modalities(60, counts=True, seed=0), Shared()
    names = {**cells.features, "protein": tuple(f"IgG{i}" for i in range(12))}
    renamed = dataclasses.replace(cells, features=names)
    with sharing(shared):
        for bags in (cells, renamed, renamed):
            fit_steps(steps_of(STEPS), bags)
    assert len(fits) == 2


def test_no_more_is_kept_than_a_split_needs():
    cells, shared = planted_modalities(60, counts=True, seed=0), Shared()
    with sharing(shared):
        for i in range(5):
            fit_steps(steps_of(STEPS), cells[i:])
    assert len(shared.kept) == 2


def test_methods_of_a_comparison_share_steps_and_score_as_alone(fits, monkeypatch):
    monkeypatch.setattr(
        "smalti.comparison.integration.embedding_scores",
        lambda model, z, *_: {"ari_kmeans": float(np.abs(z).mean())},
    )
    cells = planted_modalities(80, counts=True, effect=8.0, seed=0)
    asked = {"label": "kind", "by": "kmeans", "seeds": 2, "n_jobs": 1, "progress": False}
    table = sm.compare_integration(
        {str(w): sm.integrate.BlockPCA(width=w) for w in (3, 4)}, cells, **asked
    )
    # for each seed once of both modalities, and once for the control of RNA alone
    assert len(fits) == 2 * 2
    alone = sm.compare_integration([sm.integrate.BlockPCA(width=4)], cells, **asked)
    rows = [t.folds.query(f"method == '{k}' and metric == 'ari_kmeans'")["value"].tolist()
            for t, k in ((table, "4"), (alone, "block_pca"))]  # fmt: skip
    assert rows[0] == rows[1]
    assert list(dict.fromkeys(table.folds["method"]))[:2] == ["3", "4"]


def test_a_worker_holds_no_copy_of_a_cohort_that_it_shares(tmp_path, monkeypatch):
    """What steps make of it is made as it is read, unless it is far narrower: the same numbers."""
    monkeypatch.setattr("smalti.views._SHARED", 1)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(3, 2, size=(600, 40)).astype(np.float32))
    own = sm.Bags.from_rows(
        np.load(tmp_path / "x.npy"), np.arange(600) // 30, y=np.arange(600) // 30 % 2
    )
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")  # as it arrives in a worker
    shared = dataclasses.replace(own, x={"x": mapped})
    some = np.array([0, 3, 4, 7, 12, 15])
    for steps, held in (("scale", False), ("pca=4", True), ("scale,pca=20", False)):
        (_, there), (_, here) = (fit_steps(steps_of(steps), bags[some]) for bags in (shared, own))
        assert hasattr(there.x["x"], "__getitem__") == held
        assert hasattr(here.x["x"], "__getitem__")  # of memory of its own it may have a third
        np.testing.assert_array_equal(there.table(), here.table())
        assert there.digest == here.digest or not held  # a change is known by what it does
    asked = {"epochs": 2, "widths": (4,), "preprocess": "scale", "progress": False}
    models = [sm.mil.ABMIL(**asked).fit(bags[some]) for bags in (shared, own)]
    np.testing.assert_array_equal(*(m.predict_proba(own) for m in models))


def test_of_a_split_that_is_over_nothing_is_kept():
    from smalti.comparison.race import _kept_steps, _shared, forgetting_steps
    from smalti.comparison.splits import Split

    cells, none = planted_modalities(60, counts=True, seed=0), np.arange(0)
    with forgetting_steps():
        first = _shared("a", Split(0, 0, none, none))
        with sharing(first):
            fit_steps(steps_of(STEPS), cells)
        assert _shared("a", Split(0, 0, none, none)) is first
        assert not _shared("a", Split(0, 1, none, none)).kept
    assert not _kept_steps.cache_info().currsize
