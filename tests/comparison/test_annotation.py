"""Who labels cells of left-out donors, scored alike; and the page of labels."""

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.label_baselines import LogisticLabels, MajorityLabel
from smalti.errors import InputError


def cells(n=400, seed=0):
    return sm.datasets.planted_modalities(n, n_bags=8, effect=8.0, seed=seed)


def method():
    return sm.integrate.BlockPCA(width=4, progress=False, accelerator="cpu")


@pytest.fixture(scope="module")
def table():
    return sm.compare_annotation(
        {"mine": method()}, cells(), label="kind", folds=4, unseen=["0/1"], progress=False
    )


@pytest.mark.slow  # a dozen fits
def test_scores_are_those_of_cells_left_out_by_hand(table):
    bags = cells()
    donor = bags.index
    one = table.folds.query("method == 'mine' and fold == 0")
    assert one["n_test"].iloc[0] + one["n_train"].iloc[0] == 400
    assert list(table.folds["method"].unique()) == [
        "mine",
        "logistic regression",
        "commonest label",
    ]
    fold = next(f for f in _folds(donor) if f.sum() == one["n_test"].iloc[0])
    model = sm.Annotator(method(), label="kind").fit(bags.keep(~fold))
    found = model.annotate(bags.keep(fold))["nearest"].to_numpy()
    right = found == bags.instance["kind"].to_numpy()[fold]
    accuracy = one.set_index("metric").loc["transfer_accuracy", "value"]
    assert accuracy == pytest.approx(right.mean())
    wide = table.summary("transfer_f1").set_index("method")["mean"]
    assert wide["mine"] > 0.95 > wide["logistic regression"] > wide["commonest label"]


def _folds(donor):
    from sklearn.model_selection import GroupKFold

    for _, held in GroupKFold(4).split(donor, groups=donor):
        mask = np.zeros(len(donor), dtype=bool)
        mask[held] = True
        yield mask


@pytest.mark.slow  # the same fits, and a page
def test_a_type_left_out_is_looked_for(table, tmp_path):
    mine = table.unseen.set_index("method").loc["mine"]
    assert mine["auroc"] > 0.95
    assert mine["found"] > 0.8
    assert mine["cells"] == (cells().instance["kind"] == "0/1").sum()
    said = str(table)
    assert "mine tells 1 of 1 types that its reference lacked" in said
    assert "mine labels cells better than" in said
    table.write(tmp_path / "run")
    assert len(pd.read_csv(tmp_path / "run" / "unseen.csv")) == 3
    table.report(tmp_path / "run" / "report.html")
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Does it know what it cannot know?" in page
    assert table.left_out == ("donor", 8)


def test_baselines_read_one_modality_and_none():
    bags = cells()
    one = LogisticLabels("kind").fit(bags).annotate(bags)
    truth = bags.instance["kind"].to_numpy()
    states = np.array([k.split("/")[0] for k in one["nearest"]])
    assert (states == bags.instance["state_0"].astype(str).to_numpy()).mean() > 0.95
    assert np.allclose(one["confidence"] + one["novelty"], 1)
    common = MajorityLabel("kind", leave_out=("0/0",)).fit(bags).annotate(bags)
    assert len(set(common["nearest"])) == 1
    rest = truth[truth != "0/0"]
    assert common["confidence"].iloc[0] == pytest.approx((rest == common["nearest"].iloc[0]).mean())


def test_counts_and_samples_of_labels():
    one = sm.Annotator(method(), label="kind").fit(cells())
    new = cells(160, seed=1)
    shown = sm.comparison.Annotated(one, new, one.annotate(new))
    counts = shown.counts().set_index("label")
    assert counts["cells"].sum() == 160
    assert counts.loc["0/0", "in_reference"] == one.counts_["0/0"]
    samples = shown.samples()
    assert samples["cells"].tolist() == new.lengths.tolist()
    labels = [*one.labels_]
    np.testing.assert_allclose(samples[["unknown", *labels]].sum(axis=1), 1)
    left = shown.calibrations()
    assert left["modalities"].tolist() == ["m0 and m1", "m0", "m1"]
    assert left.loc[0, "right"] > 0.9 > left.loc[1, "right"]
    assert "160 cells were given one of 4 labels" in shown.headline()


def test_one_label_is_refused():
    with pytest.raises(InputError, match="has 1 labels"):
        sm.compare_annotation([method()], cells(), label="kind", leave_out=("0/0", "0/1", "1/0"))


def test_one_candidate_stands_by_itself_and_two_of_a_name_are_refused():
    how = {"label": "kind", "folds": 2, "unseen": False, "progress": False}
    alone, listed = (sm.compare_annotation(c, cells(120), **how) for c in (method(), [method()]))
    scores = ["method", "fold", "metric", "value"]
    f1 = [t.folds[t.folds["metric"] == "transfer_f1"] for t in (alone, listed)]
    assert f1[0][scores].equals(f1[1][scores])
    with pytest.raises(InputError, match="'block_pca' is named twice"):
        sm.compare_annotation([method(), method()], cells(120), **how)
    with pytest.raises(InputError, match="'commonest label' is the name of a baseline"):
        sm.compare_annotation({"commonest label": method()}, cells(120), **how)
