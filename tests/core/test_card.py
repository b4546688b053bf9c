"""The card of a model says what the model is, and no names of its cohort."""

import dataclasses
import re

import pytest
import yaml

import smalti as sm
from smalti.core.card import card
from smalti.core.registry import methods

BAGS = sm.datasets.planted_bags(40, bags_per_donor=2, seed=0)


def named(bags):
    """Bags with names that would be seen."""
    donor = [f"Jane Doe {d}" for d in bags.bag["donor"]]
    table = bags.bag.assign(donor=donor).set_axis([f"slide-{i}" for i in range(len(bags))])
    return dataclasses.replace(bags, bag=table)


def tables(text):
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, re.M))


def test_it_says_what_the_model_is():
    model = sm.mil.ABMIL(epochs=3, lr=0.01, validation=0.2, progress=False).fit(named(BAGS))
    text = model.card(licence="cc-by-4.0", repo="lab/one")
    told = tables(text)
    assert told["method"] == "abmil (ABMIL)"
    assert told["kind of target"] == "binary"
    assert told["classes"] == "0, 1"
    assert told["parameters"] == f"{model.n_parameters_:,}"
    assert told["digest of the training data"] == model.digest_
    assert told["donors"] == "20"
    assert told["bags that it was trained on"] == "32"  # without those held out
    assert {k: told[f"`{k}`"] for k in ("epochs", "lr", "validation")} == {
        "epochs": "3", "lr": "0.01", "validation": "0.2"}  # fmt: skip
    assert "`dropout`" not in told  # as it always is
    assert "8 of 8 features" in text
    assert 'sm.load("hf://lab/one")' in text
    assert "@inproceedings{ilse2018," in text
    assert "\n# one\n" in text
    assert "no pickle" in text


def test_it_names_nobody():
    text = sm.mil.BagMean(progress=False).fit(named(BAGS)).card()
    assert "Jane" not in text
    assert "slide-" not in text


def test_a_path_among_the_settings_is_a_file_name():
    from smalti.core.card import _plain

    assert _plain("/home/jane/sets/hallmark.gmt") == "hallmark.gmt"
    assert _plain(r"C:\Users\jane\hallmark.gmt") == "hallmark.gmt"
    assert _plain("mlp") == "mlp"


def test_its_head_is_yaml_and_the_licence_is_the_users():
    model = sm.mil.BagMean(progress=False).fit(BAGS)
    head = yaml.safe_load(model.card(licence="other: mine").split("---")[1])
    assert head["license"] == "other: mine"
    assert head["library_name"] == "smalti"
    without = model.card()
    assert "license" not in yaml.safe_load(without.split("---")[1])
    assert "ask before you use it" in without


def test_names_of_classes_stay_in_their_cell():
    labels = ["a|b <script>" if v else "no\nway" for v in BAGS.labels]
    text = sm.mil.BagMean(progress=False).fit(BAGS.with_target(labels)).card()
    (row,) = [line for line in text.splitlines() if line.startswith("| classes")]
    assert re.search(r"a\\\|b &lt;script>", row)
    assert "no way" in row
    assert "<script" not in text


def test_scores_are_those_of_its_row_with_their_interval():
    model = sm.mil.BagMean(progress=False)
    hard = sm.datasets.planted_bags(40, bags_per_donor=2, effect=1.0, seed=0)
    table = sm.compare([model], hard, folds=3, n_jobs=1, progress=False)
    text = model.fit(hard).card(scores=table)
    (row,) = table.intervals("roc_auc").query("method == 'bag_mean'").to_dict("records")
    told = re.search(r"^\| roc_auc \| (\S+) \| (.+) \| 3 \|$", text, re.M)
    assert told[1] == f"{row['value']:.3f}"
    assert told[2] == f"{row['value_low']:.3f} to {row['value_high']:.3f}"
    other = sm.mil.ABMIL(epochs=1, progress=False).fit(hard)
    with pytest.raises(sm.InputError, match="no row of this comparison has the settings"):
        other.card(scores=table)
    assert "None. A score of the data that it was fitted on says nothing" in other.card()


def test_a_search_says_that_its_score_is_too_good():
    search = sm.Search(sm.mil.ABMIL(progress=False, epochs=2), {"lr": [0.1, 0.01]}, folds=2)
    text = search.fit(BAGS).card()
    assert re.search(
        r"chosen of 2 by \S+ on inner folds, where they had [01]\.\d{3}: too good", text
    )


def test_the_other_kinds_have_one():
    cells = sm.datasets.planted_modalities(40, seed=0)
    text = sm.make("umint", epochs=1, progress=False).fit(cells).card()
    assert f"Embeds cells by {', '.join(cells.x)}; no labels were looked at." in text
    assert tables(text)["cells that it was trained on"] == "40"
    slides = sm.datasets.planted_slides(3, seed=0)
    model = sm.expression.MLP.example().set_params(epochs=1, progress=False).fit(slides)
    text = model.card()
    assert f"expression of {len(model.genes_)} genes from tiles" in text
    assert tables(text)["units"] == "log1p_cp10k"


def test_a_loaded_model_has_the_same_card(tmp_path):
    model = sm.mil.ABMIL(epochs=1, progress=False, preprocess="pca=3").fit(BAGS)
    model.save(tmp_path / "model")
    assert sm.load(tmp_path / "model").card() == model.card()
    assert tables(model.card())["`preprocess`"] == "pca=3"


def test_a_model_that_is_not_fitted_has_none():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        card(sm.mil.BagMean())


@pytest.mark.parametrize("room", ["mil", "integrate", "expression"])
def test_every_method_can_be_made_with_its_defaults(room):
    """What differs from them is told."""
    for name in methods(room):
        sm.make(name)


def test_an_annotator_says_its_labels_and_how_right_it_was():
    cells = sm.datasets.planted_modalities(200, n_bags=6, effect=8.0, seed=0)
    method = sm.integrate.BlockPCA(width=4, progress=False)
    annotator = sm.Annotator(method, label="kind").fit(cells)
    text = annotator.card(repo="lab/reference")
    told = tables(text)
    assert told["labels"] == "0/0, 0/1, 1/0, 1/1"
    assert told["how right"] == annotator.said()
    assert told["method"] == "block_pca (BlockPCA)"
    assert told["`width`"] == "4"
    assert "model.annotate(cells)" in text
    assert "sm.compare_annotation" in text
    assert "cell-type-annotation" in yaml.safe_load(text.split("---")[1])["tags"]
    scores = sm.compare_annotation(method, cells, label="kind", progress=False)
    with pytest.raises(sm.InputError, match="which row of the comparison is this annotator"):
        annotator.card(scores=scores)
    scored = annotator.card(scores=scores, label="block_pca")
    assert "| transfer_f1 |" in scored
