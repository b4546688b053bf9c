"""What a code cannot say of a cell: types that it folds on known ones, and usual errors."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.integrate.base import Integration
from smalti.integrate.misfit import Misfit, coded, scales
from smalti.integrate.reference import Reference


def folded(n, seed, new):
    """Two modalities, whose types differ along one axis; a new one that a code of it cannot see."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3 if new else 2, size=n)
    x = {}
    for view, d in (("a", 30), ("b", 10)):
        mean = np.zeros((3, d))
        mean[1, :4] = 4.0
        mean[2] = mean[1]
        mean[2, 4:7] = 6.0
        x[view] = (mean[kind] + rng.normal(size=(n, d))).astype(np.float32)
    names = pd.DataFrame({"kind": np.array(["one", "two", "new"])[kind]})
    return sm.Bags.from_rows(x, np.arange(n) % 6, instance=names)


def annotator(**settings):
    method = sm.integrate.BlockPCA(width=1, progress=False, accelerator="cpu", **settings)
    return sm.Annotator(method, label="kind").fit(folded(600, 0, new=False))


@pytest.fixture(scope="module")
def known():
    return annotator()


def test_a_type_that_the_code_folds_on_a_known_one_is_found_by_what_is_rebuilt(known, monkeypatch):
    query = folded(900, 1, new=True)
    new = query.instance["kind"].to_numpy() == "new"
    found = known.annotate(query)
    assert roc_auc_score(new, found["novelty"]) > 0.95
    assert found["unknown"][new].mean() > 0.8
    assert found["unknown"][~new].mean() < 0.08  # of the 5 % that were asked for
    monkeypatch.setattr(sm.integrate.BlockPCA, "reconstructs", False)
    alone = annotator()
    assert alone.reference_.misfits == {}
    assert roc_auc_score(new, alone.annotate(query)["novelty"]) < 0.7  # by distance


def test_errors_that_nearly_all_known_cells_have_count_for_nothing(known):
    rng = np.random.default_rng(0)
    best, errors = rng.integers(2, size=500), rng.normal(size=(500, 2))
    errors[best == 1] += 5.0  # cells of one label are rebuilt worse: that is usual of it
    distance = rng.normal(size=500)
    misfit = Misfit.fit(best, errors, distance, 3)
    more = misfit(best, errors, distance) - distance
    assert (more > 1e-9).sum() == 10  # one of fifty
    assert (more[best == 1] > 0).mean() < 0.05
    far = misfit(np.array([0, 1]), np.full((2, 2), 5.0), np.zeros(2))
    assert far[0] > 2 * distance.std() > far[1] == 0
    left = known.reference_.left_out["a", "b"]
    assert abs((left.novelty > left.threshold(0.1)).mean() - 0.1) < 0.01


def test_errors_are_those_of_the_modalities_that_were_read(known):
    model, cells = known.model_, folded(50, 2, new=False)
    scale = scales(model, cells)
    codes, errors = coded(model, cells, ("a", "b"), scale)
    np.testing.assert_allclose(codes, model.transform(cells), rtol=1e-5)
    for i, name in enumerate(("a", "b")):
        away = (model.inputs(cells)[name] - model.reconstruct(cells)[name]) / scale[name]
        np.testing.assert_allclose(errors[:, i], np.log((away**2).mean(1)), rtol=1e-3, atol=1e-4)
    half = coded(model, cells.only("b"), ("b",), scale)
    assert half[1].shape == (50, 1)
    np.testing.assert_allclose(half[0], model.transform(cells.only("b")), rtol=1e-5)
    assert coded(model, cells, ("a", "b"), {})[1].shape == (50, 0)


def test_a_model_that_decodes_counts_or_nothing_has_no_errors(known, monkeypatch):
    monkeypatch.setattr(Integration, "takes_counts", True)
    assert scales(known.model_, folded(20, 0, new=False)) == {}


def test_a_reference_of_before_goes_by_distance(known):
    whole = known.reference_
    arrays = whole.arrays()
    back = Reference.of_arrays(arrays, list(whole.voters), 2, known.k)
    query = folded(60, 1, new=True)
    by = [next(ref.ask(known.model_, query))[2].novelty for ref in (whole, back)]
    np.testing.assert_array_equal(*by)
    old = {k: v for k, v in arrays.items() if "misfit" not in k and "scale" not in k}
    before = Reference.of_arrays(old, list(whole.voters), 2, known.k)
    assert before.misfits == before.scales == {}
    distance = next(before.ask(known.model_, query))[2].novelty
    assert (distance <= by[0]).all()
    assert (distance < by[0] - 1).any()
