"""An integration as a step of a phenotype method: fitted in each fold, saved with the model."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.base import clone

import smalti as sm
from smalti.comparison.splits import donor_folds
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate.block_pca import BlockPCA
from smalti.integrate.embed import Embed
from smalti.integrate.umint import UMINT
from smalti.mil import ABMIL, BagMean
from smalti.preprocess import (
    apply_steps,
    fit_steps,
    from_state,
    names_of,
    spec_of,
    spec_text,
    state_of,
    steps_of,
)

pytestmark = pytest.mark.usefixtures("one_penalty")


def cohort(n_cells=240, n_bags=20, seed=0, **kwargs):
    """Patients, half of them ill: with few cells of one kind."""
    bags = planted_modalities(n_cells, counts=True, n_bags=n_bags, effect=8.0, seed=seed, **kwargs)
    ill = np.arange(len(bags)) % 2
    of_kind = bags.instance["kind"].to_numpy() == "0/0"
    rng = np.random.default_rng(seed)
    keep = ~(of_kind & (ill[bags.index] == 1) & (rng.random(n_cells) < 0.9))
    names = bags.bag.index.to_numpy()
    return sm.Bags.from_rows(
        {k: v[keep] for k, v in bags.x.items()}, names[bags.index][keep],
        y=dict(zip(names, ill, strict=True)), features=bags.features, donor="bag",
        present={k: v[keep] for k, v in bags.present.items()},
    )  # fmt: skip


def umint(**settings):
    return UMINT.example().set_params(
        **{"epochs": 2, "accelerator": "cpu", "progress": False} | settings
    )


def abmil(**settings):
    return ABMIL(**{"widths": (8,), "epochs": 3, "accelerator": "cpu", "progress": False}
                 | settings)  # fmt: skip


@pytest.fixture
def fits(monkeypatch):
    """Bags and codes of every fit of UMINT, as they happen."""
    seen, fit = [], UMINT.fit

    def spy(self, X, y=None, **kwargs):
        model = fit(self, X, y, **kwargs)
        seen.append((X, model.transform(X)))
        return model

    monkeypatch.setattr(UMINT, "fit", spy)
    return seen


@pytest.mark.slow
def test_each_fold_fits_its_own_embedding(fits, majority_alone):
    bags = cohort()
    method = BagMean(preprocess=Embed(umint(seed=3)), accelerator="cpu", progress=False)
    result = sm.compare({"mine": method}, bags, folds=3, progress=False)
    parts = donor_folds(bags, folds=3, repeats=1, seed=0)
    assert len(fits) == len(parts) == 3
    for (seen, codes), part in zip(fits[:3], parts, strict=True):
        train = bags[part.train]
        assert list(seen.bag.index) == list(train.bag.index)  # no patient of the test fold
        alone = umint(seed=3).fit(train)
        np.testing.assert_array_equal(codes, alone.transform(train))
    first, second = (dict(zip(s.rows, c, strict=True)) for s, c in fits[:2])
    both = sorted(set(first) & set(second))
    assert not np.allclose([first[i] for i in both], [second[i] for i in both])
    assert '"embed": "umint"' in result.settings["mine"]["preprocess"]


def test_a_fitted_step_is_the_method_fitted_alone():
    train, test = cohort(), cohort(seed=1)
    fitted, out = fit_steps(steps_of(Embed(umint())), train)
    alone = umint().fit(train)
    assert list(out.x) == ["X_umint"]
    np.testing.assert_array_equal(out.x["X_umint"], alone.transform(train))
    ours = apply_steps(fitted, test).x["X_umint"]
    np.testing.assert_array_equal(ours, alone.transform(test))
    refit = fit_steps(steps_of(Embed(umint())), test)[1].x["X_umint"]
    assert not np.allclose(ours, refit)
    one = apply_steps(fitted, test[[2]]).x["X_umint"]
    np.testing.assert_allclose(one, ours[test.index == 2], atol=1e-5)


def test_by_name_and_in_a_row_with_other_steps(monkeypatch):
    brief = {"fast": UMINT.presets["fast"] | {"epochs": 2}}
    monkeypatch.setattr(UMINT, "presets", brief)
    bags = cohort(200)
    method = BagMean(preprocess=[{"protein": "clr"}, Embed("block_pca"), "scale,pca=3"],
                     accelerator="cpu", progress=False)  # fmt: skip
    model = method.fit(bags)
    assert model.shape_.views == {"X_block_pca": (3,)}
    p = model.predict_proba(bags)
    assert p.shape == (20, 2)
    np.testing.assert_array_equal(clone(method).fit(bags).predict_proba(bags), p)
    fast = BagMean(preprocess=Embed("umint:fast"), accelerator="cpu", progress=False)
    fast.fit(cohort(60, 8))
    assert fast.steps_[0].method_.get_params() == sm.make("umint:fast").get_params()
    with pytest.raises(InputError, match="no method 'umnt'"):
        BagMean(preprocess=Embed("umnt")).fit(bags)


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps",
    [
        Embed(umint(width=6, widths=(8, 4), seed=5)),
        Embed(umint(preprocess={"rna": "normalize,log1p,genes=30", "protein": "clr"})),
        [{"rna": "count_genes=25"}, Embed(BlockPCA(width=4, accelerator="cpu")), "scale"],
    ],
    ids=["auto", "steps", "in a row"],
)
def test_a_model_with_an_embedding_is_saved_and_loaded(tmp_path, steps):
    bags, new = cohort(), cohort(seed=1)
    model = abmil(preprocess=steps).fit(bags)
    model.save(tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.p*kl*"))
    back = sm.load(tmp_path / "model")
    for part in (bags, new):
        np.testing.assert_array_equal(back.predict_proba(part), model.predict_proba(part))
    np.testing.assert_array_equal(back.attribute(new), model.attribute(new))
    inner = next(s for s in back.steps_ if isinstance(s, Embed)).method_
    mine = next(s for s in model.steps_ if isinstance(s, Embed)).method_
    assert inner.inputs_ == mine.inputs_
    assert inner.features_ == mine.features_
    for name, value in mine.network_.state_dict().items():
        assert torch.equal(inner.network_.state_dict()[name], value), name
    back.save(tmp_path / "again")
    again = sm.load(tmp_path / "again")
    np.testing.assert_array_equal(again.predict_proba(new), model.predict_proba(new))
    refitted = clone(back).fit(bags)  # the settings it came back with are those it was given
    np.testing.assert_array_equal(refitted.predict_proba(new), model.predict_proba(new))


def test_steps_with_an_embedding_come_back():
    bags = cohort(200)
    fitted, out = fit_steps(steps_of([{"protein": "clr"}, Embed(umint())]), bags)
    back = from_state(spec_of(fitted), state_of(fitted), names_of(fitted))
    np.testing.assert_array_equal(apply_steps(back, bags).table(), out.table())
    assert '"embed": "umint"' in spec_text(fitted)


@pytest.mark.slow
def test_the_embedding_as_bags_of_a_phenotype_method(majority_alone):
    bags = cohort()
    model = umint(epochs=6).fit(bags)
    embedded = model.embed(bags)
    fitted = abmil().fit(embedded)
    assert fitted.inputs_ == {"X_umint": (16,)}
    assert list(fitted.feature_names_in_[:2]) == ["umint_0", "umint_1"]
    assert fitted.predict_proba(model.embed(cohort(seed=1))).shape == (20, 2)
    assert embedded.target == bags.target
    np.testing.assert_array_equal(embedded.labels, bags.labels)
    np.testing.assert_array_equal(embedded.offsets, bags.offsets)
    assert embedded.donor == bags.donor
    assert embedded.notes[:-1] == bags.notes
    assert "X_umint was fitted before any split" in embedded.notes[-1]
    assert "scores may be too good" in embedded.notes[-1]
    result = sm.compare({"mine": BagMean()}, embedded, folds=2, progress=False)
    assert any("X_umint was fitted before any split" in n for n in result.notes)
    in_fold = BagMean(preprocess=Embed(umint()), accelerator="cpu", progress=False)
    result = sm.compare({"mine": in_fold}, bags, folds=2, progress=False)
    assert not any("before any split" in n for n in result.notes)


def test_gaps_reach_the_embedding():
    bags = cohort(missing=0.4)
    model = BagMean(preprocess=Embed(umint()), accelerator="cpu", progress=False).fit(bags)
    assert np.isfinite(model.predict_proba(bags)).all()
    noisy = {k: np.where(bags.present[k][:, None], v, 7).astype(v.dtype)
             for k, v in bags.x.items()}  # fmt: skip
    other = dataclasses.replace(bags, x=noisy)
    np.testing.assert_allclose(model.predict_proba(other), model.predict_proba(bags), atol=1e-6)


def test_as_a_text_and_what_names_no_method_is_refused_before_any_fit():
    (step,) = steps_of("embed=umint:fast")
    assert isinstance(step, Embed)
    assert step.method == "umint:fast"
    with pytest.raises(InputError, match="step 'embed' needs method: embed=NAME"):
        steps_of("embed")
    bags = planted_modalities(120, n_bags=12, seed=0).with_target([0, 1] * 6)
    with pytest.raises(InputError, match=r"no step 'embd'.* Did you mean 'embed'"):
        sm.compare([BagMean(preprocess="embd=umint")], bags, folds=2, progress=False)
