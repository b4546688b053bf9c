"""One modality of held-out cells from the others: scores, baselines, what is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import smalti as sm
from smalti.comparison.page.features import features
from smalti.comparison.page.settings import settings
from smalti.comparison.planning import plan_modality_prediction
from smalti.comparison.splits import cell_splits
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate.ae import AE
from smalti.integrate.block_pca import BlockPCA
from smalti.preprocess import apply_steps, fit_steps, steps_of


def cells(n=300, **more):
    settings = dict(counts=True, clusters=3, effect=8.0, tied=1.0) | more
    return planted_modalities(n, **settings)


def pca(**settings):
    return BlockPCA(**({"width": 8, "accelerator": "cpu"} | settings))


def run(bags=None, candidates=None, **kwargs):
    settings = dict(target="protein", seeds=2, n_jobs=1, progress=False) | kwargs
    return sm.compare_modality_prediction(
        {"mine": pca()} if candidates is None else candidates,
        cells() if bags is None else bags, **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def table():
    net = AE(epochs=1, hidden=8, width=4, accelerator="cpu")
    return run(candidates={"mine": pca(), "net": net})


def test_scores_are_of_hidden_cells(table):
    bags = cells()
    (split,), _ = cell_splits(bags, [0])
    loose = dataclasses.replace(bags, donor=None)
    train, test = loose[split.train], loose[split.test]
    model = pca(seed=0).fit(train)
    lone = dataclasses.replace(test, x={"rna": test.x["rna"]}, present={},
                               features={"rna": test.features["rna"]})  # fmt: skip
    guess = model.reconstruct(lone)["protein"]
    steps, _ = fit_steps(steps_of({"protein": "clr"}), train)
    true = apply_steps(steps, test).table("protein")
    found = table.features.query("method == 'mine' and repeat == 0").set_index("feature")
    for j in (0, 7):
        row = found.loc[f"protein_{j}"]
        assert row["pearson"] == pytest.approx(stats.pearsonr(guess[:, j], true[:, j])[0], abs=1e-4)
        rho = stats.spearmanr(guess[:, j], true[:, j])[0]
        assert row["spearman"] == pytest.approx(rho, abs=1e-4)
        error = np.sqrt(((guess[:, j] - true[:, j]) ** 2).mean())
        assert row["root_mean_squared_error"] == pytest.approx(error, rel=1e-4)
    mean = table.folds.query("method == 'mine' and repeat == 0 and metric == 'pearson'")["value"]
    assert mean.item() == pytest.approx(found["pearson"].mean())


def test_what_is_tied_is_found_and_what_is_not_is_not(table):
    mean = table.summary("pearson").set_index("method")["mean"]
    assert mean["mean"] == 0
    assert mean[["mine", "ridge", "knn"]].min() > 0.3
    free = run(cells(tied=0.0), seeds=1).summary("pearson").set_index("method")["mean"]
    assert free.abs().max() < 0.2
    error = table.summary("root_mean_squared_error").set_index("method")["mean"]
    assert error["ridge"] < error["mean"]


def test_words_and_files(table, tmp_path):
    said = " ".join(table.said())
    assert "Of the 12 features of protein, net is ahead of" in said
    assert "in predicting protein: Pearson correlation" in said or "predicts protein" in said
    assert any("protein (12 features): taken for protein" in note for note in table.notes)
    rows = settings(table).parts[0].frame.set_index("row")["other"]
    assert rows["mean"] == rows["ridge"] == "defaults"
    table.write(tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "features.csv")) == 5 * 2 * 12


@pytest.mark.slow  # draws
def test_page(table):
    part = features(table)
    assert {"net", "mean", "ridge", "knn"} <= set(part.parts[1].parts[0].frame)
    assert [s.name for s in table.sections()] == [
        "scores", "features", "compared", "settings", "citation"]  # fmt: skip


@pytest.mark.slow  # times a fit of each
def test_plan():
    plan = plan_modality_prediction({"mine": pca()}, cells(), target="protein", seeds=2)
    assert "mine" in str(plan)


def test_donors_are_left_out_and_gaps_are_not_scored():
    bags = cells(n_bags=10, missing=0.3)
    result = run(bags, seeds=1)
    (split,), _ = cell_splits(bags, [0])
    whole = np.stack(list(bags.present.values()), 1).all(1)
    assert (result.folds["n_test"] == whole[split.test].sum()).all()
    donors = bags.donors[bags.index]
    assert not set(donors[split.train]) & set(donors[split.test])


@pytest.mark.parametrize(("how", "match"), [
    ({"target": "atac"}, "target='atac' is to be predicted .*; there are rna, protein"),
    ({"candidates": ["wnn"]}, "wnn cannot predict a modality that cells lack"),
    ({"candidates": ["abmil"]}, "is no method of smalti.integrate"),
])  # fmt: skip
def test_what_cannot_be_asked(how, match):
    with pytest.raises(InputError, match=match):
        run(**how)


def test_other_units_of_the_target_are_no_race():
    other = pca(preprocess={"rna": "normalize,log1p", "protein": "log1p"})
    result = run(candidates={"other": other}, seeds=1)
    assert any("decodes 'protein' in other units" in note for note in result.notes)
