"""Who a method is: its settings, whatever a table calls it and however they are written."""

import dataclasses

import anndata
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.core.identity import identity, model_digest
from smalti.datasets import planted_modalities, planted_slides
from smalti.errors import InputError

TINY = dict(epochs=2, widths=(8,), accelerator="cpu", progress=False)


def test_identity_is_of_settings_that_change_a_fit():
    plain = identity(sm.mil.ABMIL())
    assert identity(sm.mil.ABMIL(seed=3, progress=False, accelerator="cpu")) == plain
    assert identity(sm.mil.ABMIL(gated=True)) != plain
    assert identity(sm.mil.MeanPooling()) != plain
    # steps are what they do, however they are written
    steps = [sm.preprocess.Scale(), sm.preprocess.PCA(n=3)]
    assert identity(sm.mil.ABMIL(preprocess="scale,pca=3")) == identity(
        sm.mil.ABMIL(preprocess=steps)
    )
    assert identity(sm.mil.ABMIL(preprocess="scale")) != plain
    inside = identity(sm.mil.ABMIL(preprocess=sm.integrate.Embed("umint")))
    assert inside != identity(sm.mil.ABMIL(preprocess=sm.integrate.Embed("umint:fast")))
    one, two = (sm.make("ensemble", members=("ridge", m)) for m in ("knn", "pls"))
    assert identity(one) != identity(two)


pytestmark = pytest.mark.usefixtures("one_penalty")


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(24) % 2, 6)
    x = rng.normal(size=(144, 4)).astype(np.float32)
    x[::3, 0] += 2 * y[::3]
    obs = pd.DataFrame(
        {"sample": np.repeat([f"s{i}" for i in range(24)], 6), "ill": np.array(["no", "yes"])[y]},
        index=[f"c{i}" for i in range(144)],
    )
    return anndata.AnnData(np.zeros((144, 1), np.float32), obs=obs, obsm={"X_pca": x})


@pytest.fixture(scope="module")
def bags(cells):
    return sm.read(cells, sample="sample", donor="sample", x="X_pca", label="ill")


@pytest.fixture(scope="module")
def table(bags):
    chosen = [sm.mil.ABMIL(**TINY), sm.mil.ABMIL(gated=True, lr=0.5, **TINY)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smalti.comparison.phenotype.methods", dict)  # no baselines
        return sm.compare(chosen, bags, folds=2, progress=False)


def test_a_model_is_written_with_the_scores_of_its_own_row(cells, bags, table, tmp_path):
    for gated, lr in ((False, 1e-3), (True, 0.5)):
        model = sm.mil.ABMIL(gated=gated, lr=lr, **TINY).fit(bags)
        model.save(tmp_path / "model")
        for one in (model, sm.load(tmp_path / "model")):
            data = cells.copy()
            one.write(data, scores=table)
            (row,) = [k for k in table.settings if k.startswith("abmil") and
                      table.settings[k]["gated"] == gated]  # fmt: skip
            note = data.uns["abmil"]
            assert note["scores_of"] == row
            values = table.folds.query("method == @row and metric == 'roc_auc'")["value"]
            assert note["scores"]["roc_auc"]["mean"] == pytest.approx(values.mean())


def test_no_row_or_several_are_refused_and_a_label_tells(cells, bags, table, majority_alone):
    other = sm.mil.ABMIL(**TINY | {"widths": (4,)}).fit(bags)
    with pytest.raises(InputError, match="no row of this comparison has the settings.*label="):
        other.write(cells.copy(), scores=table)
    data = cells.copy()
    other.write(data, scores=table, label="abmil")
    assert data.uns["abmil"]["scores_of"] == "abmil"
    with pytest.raises(InputError, match="no method 'mine'"):
        other.write(cells.copy(), scores=table, label="mine")
    twice = sm.compare(
        {"one": sm.mil.BagMean(), "two": sm.mil.BagMean()}, bags, folds=2, progress=False
    )
    model = sm.mil.BagMean().fit(bags)
    with pytest.raises(InputError, match="one, two all have the settings.*label='NAME'"):
        model.write(cells.copy(), scores=twice)
    seeds = {"one": sm.mil.BagMean(seed=1), "two": sm.mil.BagMean(seed=2)}
    twice = sm.compare(seeds, bags, folds=2, progress=False)
    data = cells.copy()
    model.set_params(seed=2).fit(bags).write(data, scores=twice)
    assert data.uns["bag_mean"]["scores_of"] == "two"


def test_a_second_model_never_replaces_the_first_untold(cells, bags):
    data = cells.copy()
    first = sm.mil.ABMIL(**TINY).fit(bags)
    first.write(data)
    kept = data.obs["abmil_attention"].to_numpy().copy()
    first.write(data)  # the same model may
    second = sm.mil.ABMIL(gated=True, **TINY).fit(bags)
    with pytest.raises(InputError, match=r"obs\['abmil_attention'\].*not of this model.*key_added"):
        second.write(data)
    np.testing.assert_array_equal(data.obs["abmil_attention"], kept)
    second.write(data, key_added="gated")
    np.testing.assert_array_equal(data.obs["abmil_attention"], kept)
    assert data.uns["gated"]["settings"]["gated"]
    second.write(data, overwrite=True)
    assert not np.array_equal(data.obs["abmil_attention"], kept)
    mine = cells.copy()
    mine.obs["bag_mean_contribution_yes"] = 1.0  # the user's own column
    with pytest.raises(InputError, match="bag_mean_contribution"):
        sm.mil.BagMean().fit(bags).write(mine)


def test_embeddings_and_predicted_genes_keep_to_their_names(tmp_path):
    cells = planted_modalities(80, counts=True)
    data = anndata.AnnData(
        cells.x["rna"], obs=pd.DataFrame(index=[f"c{i}" for i in range(80)]),
        obsm={"protein": cells.table("protein")},
    )  # fmt: skip
    fast = dict(width=4, accelerator="cpu", progress=False)
    first, second = (sm.integrate.BlockPCA(**fast, seed=s, clip=c).fit(data)
                     for s, c in ((0, 10.0), (0, 3.0)))  # fmt: skip
    first.save(tmp_path / "model")
    first.write(data, layers=True)
    sm.load(tmp_path / "model").write(data)  # the same model, steps spelt out by its file
    with pytest.raises(InputError, match="X_block_pca.*key_added"):
        second.write(data)
    second.write(data, key_added="clipped", layers=True)
    assert {"X_block_pca", "X_clipped"} <= set(data.obsm)
    assert {"block_pca", "clipped"} <= set(data.layers)
    with pytest.raises(InputError, match=r"layers\['block_pca'\]|X_block_pca"):
        second.write(data, layers=True)
    assert list(first.embed(data, key_added="X_one").x) == ["X_one"]

    slides = planted_slides(3, 16, n_genes=4)
    names = [str(i) for i in slides.instance.index]
    table = anndata.AnnData(
        np.zeros((slides.n_instances, 4), np.float32), obs=pd.DataFrame(index=names),
        var=pd.DataFrame(index=list(slides.features["counts"])),
    )  # fmt: skip
    ridge, mean = (sm.make(n, progress=False).fit(slides) for n in ("ridge", "gene_mean"))
    ridge.write(table, slides)
    with pytest.raises(InputError, match=r"obsm\['predicted'\].*key_added"):
        mean.write(table, slides)
    mean.write(table, slides, key_added="mean")
    assert {"predicted", "measured", "mean", "mean_measured"} == set(table.obsm) - {"spatial"}
    assert {"ridge", "mean"} <= set(table.uns)
    both = mean.embed(ridge.embed(slides))
    assert list(both.x)[:2] == ["X_gene_mean", "X_ridge"]
    with pytest.raises(InputError, match="'X_ridge' already"):
        ridge.embed(both)


def test_another_target_is_another_model(cells, table):
    data = cells.copy()
    data.obs["old"] = np.repeat(["no", "yes"], 72)
    both = sm.read(data, sample="sample", donor="sample", x="X_pca", label="ill",
                   bag_columns=["old"])  # fmt: skip
    ill, old = (sm.mil.ABMIL(**TINY).fit(dataclasses.replace(both, target=c))
                for c in ("ill", "old"))  # fmt: skip
    assert ill.digest_ == old.digest_  # the same bags, features and table
    ill.write(data, scores=table)
    with pytest.raises(InputError, match="not of this model"):
        old.write(data)
    with pytest.raises(InputError, match="comparison is of 'ill', the model predicts 'old'"):
        old.write(data, key_added="old", scores=table)


def test_another_positive_class_is_another_model(cells, bags, table, tmp_path):
    data = cells.copy()
    other = sm.read(cells, sample="sample", donor="sample", x="X_pca", label="ill", positive="no")
    assert other.digest == bags.digest
    assert other.asked_digest != bags.asked_digest
    yes, no = (sm.mil.ABMIL(**TINY).fit(b) for b in (bags, other))
    assert model_digest(yes) != model_digest(no)
    yes.write(data, scores=table)
    with pytest.raises(InputError, match="not of this model"):
        no.write(data)
    with pytest.raises(InputError, match="in this comparison 'yes' is positive, in the model 'no'"):
        no.write(data, key_added="no", scores=table)
    yes.save(tmp_path / "model")
    assert model_digest(sm.load(tmp_path / "model")) == model_digest(yes)


def test_another_order_of_the_same_grades_is_another_question():
    x, y = [np.ones((2, 2)) * i for i in range(6)], ["low", "mid", "high"] * 2
    orders = ["low", "mid", "high"], ["high", "mid", "low"]
    one, two = (sm.Bags.from_list(x, y, order=o) for o in orders)
    same = sm.Bags.from_list(x, pd.Categorical(y, orders[0], ordered=True))
    assert one.asked_digest == same.asked_digest != two.asked_digest
    assert one.digest == two.digest
