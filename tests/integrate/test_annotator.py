"""Labels of a reference for new cells: right, as sure as they say, and unknown where they must."""

import dataclasses
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.core.registry import holder
from smalti.errors import InputError
from smalti.integrate import BlockPCA
from smalti.integrate.annotator import COLUMNS
from smalti.scores import calibration


def donors(n=1500, n_bags=6, seed=0, effect=5.0, **kwargs):
    """Cells of donors, each donor with a shift of its own; four kinds, which overlap somewhat."""
    bags = sm.datasets.planted_modalities(n, n_bags=n_bags, effect=effect, seed=seed, **kwargs)
    rng = np.random.default_rng([seed, 5])
    shifted = {k: (v + rng.normal(0, 0.1, (len(bags), v.shape[1]))[bags.index]).astype(np.float32)
               for k, v in bags.x.items()}  # fmt: skip
    shifted = {k: np.where(bags.present[k][:, None], v, 0) if k in bags.present else v
               for k, v in shifted.items()}  # fmt: skip
    named = bags.bag.assign(person=[f"{seed}.{i}" for i in range(len(bags))])
    return dataclasses.replace(bags, x=shifted, bag=named, donor="person")


def method(**settings):
    return BlockPCA(**{"width": 6, "progress": False, "accelerator": "cpu"} | settings)


def annotator(**settings):
    return sm.Annotator(method(), **{"label": "kind"} | settings)


@cache
def fitted():
    return annotator().fit(donors())


@cache
def query():
    return donors(600, seed=1)


def ece(truth, p):
    """By ten bins of as many cells each."""
    order = np.argsort(p, kind="stable")
    return sum(
        len(b) * abs(p[b].mean() - truth[b].mean()) for b in np.array_split(order, 10)
    ) / len(p)


def test_labels_are_right_and_as_sure_as_they_say():
    new = donors(4000, seed=1)
    found, truth = fitted().annotate(new), new.instance["kind"].to_numpy()
    assert list(found) == list(COLUMNS)
    assert list(found.index) == list(new.instance.index)
    right = found["nearest"].to_numpy() == truth
    assert right.mean() > 0.85
    assert ece(right, found["confidence"].to_numpy()) < 0.05
    assert found["confidence"].between(0, 1, inclusive="neither").all()
    least = found["confidence"].to_numpy() < found["confidence"].median()
    assert right[least].mean() < right[~least].mean() - 0.02
    known = ~found["unknown"]
    assert (found["label"][known] == found["nearest"][known]).all()
    assert set(found["label"][found["unknown"]]) == {"unknown"}
    assert (found["second"] != found["nearest"]).all()
    assert fitted().by_ == "donor"
    assert fitted().n_by_ == 6
    assert fitted().counts_ == donors().instance["kind"].value_counts().sort_index().to_dict()


@pytest.mark.parametrize("view", ["m0", "m1"])
def test_confidence_is_that_of_the_modalities_that_a_cell_has(view):
    """One modality tells two of four kinds apart: half the labels are right, and said to be."""
    new = donors(4000, seed=1).only(view)
    found = fitted().annotate(new)
    right = (found["nearest"] == new.instance["kind"].to_numpy()).to_numpy()
    assert 0.4 < right.mean() < 0.6
    assert abs(found["confidence"].mean() - right.mean()) < 0.05
    assert ece(right, found["confidence"].to_numpy()) < 0.05


def test_cells_with_gaps_are_read_as_what_they_are():
    whole = query()
    there = {"m0": np.arange(600) % 3 != 0, "m1": np.arange(600) % 3 != 1}
    x = {k: np.where(there[k][:, None], v, 0) for k, v in whole.x.items()}
    found = fitted().annotate(dataclasses.replace(whole, x=x, present=there))
    for rows, part in ((there["m0"] & there["m1"], whole), (~there["m0"], whole.only("m1")),
                       (~there["m1"], whole.only("m0"))):  # fmt: skip
        alone = fitted().annotate(part.keep(rows))
        pd.testing.assert_frame_equal(found[rows], alone, atol=1e-4, rtol=1e-4)
    none = {k: np.arange(600) > 2 for k in there}
    with pytest.raises(InputError, match="3 cells were measured in no modality"):
        fitted().annotate(dataclasses.replace(whole, present=none))


@pytest.mark.parametrize(
    "kind",
    [
        "0/0",
        pytest.param("0/1", marks=pytest.mark.slow),  # the same of another type
        pytest.param("1/1", marks=pytest.mark.slow),
    ],
)
def test_a_type_that_the_reference_lacks_is_unknown(kind):
    """The threshold is of the reference alone: one known cell of twenty is a false alarm."""
    cells, new = donors(effect=8.0), donors(600, seed=1, effect=8.0)
    few = cells.keep(cells.instance["kind"].to_numpy() != kind)
    found = annotator().fit(few).annotate(new)
    strange = new.instance["kind"].to_numpy() == kind
    assert roc_auc_score(strange, found["novelty"]) > 0.95
    assert found["unknown"][strange].mean() > 0.9
    assert found["unknown"][~strange].mean() < 0.12
    none = annotator().fit(few).annotate(new, false_alarm=1e-6)
    assert none["unknown"].sum() < found["unknown"].sum()


def test_known_cells_of_new_donors_are_false_alarms_as_often_as_said():
    new = donors(3000, seed=2)
    for share in (0.05, 0.2):
        assert abs(fitted().annotate(new, false_alarm=share)["unknown"].mean() - share) < 0.04


def test_a_saved_annotator_says_the_same(tmp_path):
    fitted().save(tmp_path / "ref")
    assert {p.name for p in (tmp_path / "ref").iterdir()} == {"model.json", "weights.safetensors"}
    back = sm.load(tmp_path / "ref")
    assert isinstance(back, sm.Annotator)
    pd.testing.assert_frame_equal(back.annotate(query()), fitted().annotate(query()))
    pd.testing.assert_frame_equal(
        back.annotate(query().only("m0")), fitted().annotate(query().only("m0"))
    )
    assert (back.counts_, back.by_, back.notes_) == (fitted().counts_, "donor", fitted().notes_)
    note = json.loads((tmp_path / "ref" / "model.json").read_text())["annotator"]
    assert note["digest"] == donors().digest
    assert note["counts"] == list(fitted().counts_.values())
    back.save(tmp_path / "ref")  # over itself
    with pytest.raises(InputError, match="this smalti does not know"):
        holder("nothing")


def test_what_is_left_out_in_turn():
    loose = sm.datasets.planted_modalities(200, seed=0)
    by_cell = annotator().fit(loose)
    assert by_cell.by_ == "cell"
    assert any("promises too much" in note for note in by_cell.notes_)
    run = np.arange(200) % 4
    by_batch = annotator(batch="run").fit(loose.with_instance({"run": run}))
    assert (by_batch.by_, by_batch.n_by_) == ("batch", 4)
    assert by_batch.notes_ == ()
    assert "cells of batches left out (4 in 3 turns)" in by_batch.said()
    given = sm.Annotator(method().fit(loose), label="kind").fit(loose)
    assert any("were among those" in note for note in given.notes_)
    with pytest.raises(InputError, match="one batch cannot be left out"):
        annotator(batch="run").fit(loose.with_instance({"run": np.zeros(200)}))
    with pytest.raises(InputError, match="batch 'run' is missing for 1 cells"):
        annotator(batch="run").fit(loose.with_instance({"run": [None, *run[1:]]}))


def test_cells_without_a_label_do_not_vote_and_a_label_of_one_donor_is_no_false_alarm():
    cells = donors()
    kind = cells.instance["kind"].to_numpy().copy()
    kind[:40] = "unknown"
    kind[40:60] = None
    model = annotator().fit(cells.with_instance({"kind": kind}))
    assert model.n_without_ == 60
    assert set(model.labels_) == {"0/0", "0/1", "1/0", "1/1"}
    alone = np.where(cells.index == 2, "of donor 2", cells.instance["kind"])
    model = annotator().fit(cells.with_instance({"kind": alone}))
    left = model.reference_.left_out["m0", "m1"]
    assert model.labels_.index("of donor 2") not in left.truth


def test_voters_of_a_label_are_drawn_above_a_bound():
    model = annotator(per_label=50).fit(donors())
    voters = model.reference_.voters["m0", "m1"]
    assert np.bincount(voters.labels).tolist() == [50] * 4
    right = model.annotate(query())["nearest"] == query().instance["kind"].to_numpy()
    assert right.mean() > 0.8


def test_cells_of_the_reference_are_told():
    with pytest.warns(UserWarning, match="1,500 of 1,500 cells lie just where"):
        fitted().annotate(dataclasses.replace(donors(), donor=None))
    with pytest.warns(UserWarning, match="names were in its training"):
        annotator().fit(donors()).annotate(donors(600))


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"label": "nothing"}, "no column 'nothing'"),
     ({"k": 0}, "k=0: give a whole number, 1 or more"),
     ({"folds": 1}, "folds=1: give a whole number, 2 or more"),
     ({"false_alarm": 1.0}, "false_alarm=1.0"),
     ({"method": BlockPCA(preprocess={"m0": "pca=4,harmony=donor"})},
      "harmony takes only the cells"),
     ({"method": "abmil"}, "does not integrate"),
     ({"leave_out": ("0/0", "0/1", "1/0")}, "has 1 labels")],
)  # fmt: skip
def test_what_cannot_work_is_refused(settings, match):
    with pytest.raises(InputError, match=match):
        annotator().set_params(**settings).fit(donors(100))


def test_labels_are_groups_of_a_method_for_patients():
    cells = donors(600, n_bags=12, seed=3)
    bags = fitted().label_bags(cells.with_target([0, 1] * 6))
    assert "carried over from a reference of 1,500 cells" in bags.notes[-1]
    model = sm.mil.TypeComposition(group="cell_type", progress=False).fit(bags)
    assert model.predict(bags).shape == (12,)
    assert {"0/0", "1/1"} <= set(model.columns_.levels)
    own = fitted().label_bags(donors(600))
    assert "Donors of these bags are in it" in own.notes[-1]
    with pytest.raises(InputError, match="'a' has 2 values for 600 instances"):
        cells.with_instance({"a": [1, 2]})


@pytest.mark.parametrize("path", [False, True], ids=["in memory", "a file"])
def test_labels_are_written_beside_the_cells(path, tmp_path):
    cells = query()
    data = AnnData(cells.x["m0"], obs=pd.DataFrame(index=[f"c{i}" for i in range(600)]))
    data.var_names = cells.features["m0"]
    if path:
        data.write_h5ad(tmp_path / "q.h5ad")
        fitted().write(tmp_path / "q.h5ad", out=tmp_path / "out.h5ad", key_added="mine")
        import anndata

        data = anndata.read_h5ad(tmp_path / "out.h5ad")
    else:
        fitted().write(data, key_added="mine")
    found = fitted().annotate(cells.only("m0"))
    assert list(data.obs["mine_label"]) == list(found["label"])
    np.testing.assert_allclose(data.obs["mine_confidence"], found["confidence"], atol=1e-4)
    assert {f"mine_{name}" for name in COLUMNS} == set(data.obs)
    assert data.uns["mine"]["calibrated_on"] == "donor"
    assert data.uns["mine"]["false_alarm"] == 0.05
    assert list(data.uns["mine"]["missing"]) == [
        "600 of 600 cells were not measured in 'm1': of these the model read the other modalities."
    ]


def test_what_was_lacking_and_what_it_was_taken_for_is_written_down():
    cells = query()
    table = AnnData(cells.x["m0"][:, 1:], obs=pd.DataFrame(index=[f"c{i}" for i in range(600)]),
                    obsm={"m1": pd.DataFrame(cells.x["m1"], [f"c{i}" for i in range(600)],
                                             cells.features["m1"])})  # fmt: skip
    table.var_names = cells.features["m0"][1:]
    read = sm.read(table, x={"m0": "X", "m1": "obsm/m1"})
    with pytest.warns(UserWarning, match="1 of the 40 features"):
        found = fitted().annotate(read, missing="mean", false_alarm=0.2)
    fitted().write(table, bags=read, found=found)
    told = table.uns["annotation"]
    assert told["false_alarm"] == 0.2  # not that of the settings
    assert len(told["missing"]) == 1
    assert "(m0_0): they are taken for their mean in training." in told["missing"][0]
    whole = fitted().annotate(query())
    assert "missing" not in whole.attrs


def test_the_calibration_of_the_reference_is_tested_on_other_turns():
    left = fitted().reference_.left_out["m0", "m1"]
    found = calibration(left.right, left.tested())
    assert found["ece"] < 0.05
    assert np.isnan(dataclasses.replace(left, fold=np.zeros_like(left.fold)).tested()).all()
