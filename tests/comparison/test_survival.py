"""A comparison of a time until an event, from bags to page, and by the command line."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.errors import InputError


@pytest.fixture(scope="module")
def bags():
    return sm.datasets.planted_bags(60, kind="survival", effect=4.0, seed=0)


@pytest.fixture(scope="module")
def table(bags):
    return sm.compare([sm.mil.MeanPooling.example()], bags, folds=3, n_jobs=1, progress=False)


def test_a_planted_hazard_is_ranked(table):
    assert list(table.metrics)[:2] == ["c_index", "c_uno"]
    found = table.summary("c_index").set_index("method")["mean"]
    assert found["bag_mean"] > 0.6
    assert found["majority"] == pytest.approx(0.5)  # one risk for all: Kaplan and Meier
    gain = table.summary("brier_gain").set_index("method")["mean"]
    assert gain["bag_mean"] > gain["majority"]
    assert gain["majority"] == pytest.approx(0, abs=0.01)


def test_predictions_say_when_whether_and_what_was_predicted(table, bags):
    found = table.predictions.query("method == 'bag_mean'").set_index("bag")
    np.testing.assert_allclose(found.loc[bags.bag.index, "true_time"], bags.bag["time"])
    np.testing.assert_array_equal(found.loc[bags.bag.index, "true_event"], bags.bag["event"])
    curves = found.filter(like="event_free_").to_numpy()
    assert curves.shape == (60, 25)
    assert (np.diff(curves, axis=1) <= 1e-9).all()


def test_chance_is_one_half(table):
    assert table.chance()["mean"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_times_move_with_their_events(bags):
    how = {"folds": 3, "n_jobs": 1, "progress": False, "permutations": 20}
    table = sm.compare([sm.mil.MeanPooling.example()], bags, **how)
    null = table.permuted.query("metric == 'c_index'")["value"]
    assert null.mean() == pytest.approx(0.5, abs=0.1)
    assert table.above_chance()["verdict"].iloc[0] == "above chance"


def test_the_page_is_made(table, tmp_path):
    table.report(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "Harrell" in text
    assert "A risk, higher where the event comes earlier" in text


def test_what_needs_one_value_a_bag_says_so(table):
    with pytest.raises(InputError, match="survival target are not right or wrong"):
        table.patients()


def test_a_saved_model_keeps_its_baseline_and_direction(bags, tmp_path):
    model = sm.mil.BagMean().fit(bags)
    model.save(tmp_path / "model")
    again = sm.load(tmp_path / "model")
    assert again.predict_survival(bags).equals(model.predict_survival(bags))
    assert sm.scores.concordance(bags.bag["time"], bags.bag["event"], model.predict(bags)) > 0.6


def test_strata_are_columns_of_bags_and_of_a_cox_model(bags):
    where = bags.bag.assign(site=np.arange(60) % 2)
    import dataclasses

    here = dataclasses.replace(bags, bag=where)
    one = sm.mil.BagMean(strata="site").fit(here).predict(here)
    assert not np.allclose(one, sm.mil.BagMean().fit(here).predict(here))
    with pytest.raises(InputError, match="no column of the bags"):
        sm.mil.BagMean(strata="centre").fit(here)
    with pytest.raises(InputError, match="for a Cox model only"):
        sm.mil.BagMean(strata="site", survival="discrete").fit(here)


def test_bags_that_do_not_fit_into_a_step_are_told_of(bags):
    model = sm.mil.ABMIL(epochs=1, max_instances=200, progress=False)
    with pytest.warns(UserWarning, match="with those of its step only"):
        model.fit(bags)


def test_the_command_line_predicts_curves(bags, tmp_path):
    import anndata as ad

    obs = bags.instance.assign(patient=bags.bag.index.to_numpy()[bags.index])
    for name in ("time", "event", "donor"):
        obs[name] = bags.bag[name].to_numpy()[bags.index]
    obs.index = obs.index.astype(str)
    ad.AnnData(bags.table(), obs=obs).write_h5ad(tmp_path / "cells.h5ad")
    asked = ["fit", "bag_mean", tmp_path / "cells.h5ad", "--sample", "patient", "--label",
             "time,event", "--donor", "donor", "--out", tmp_path / "model"]  # fmt: skip
    done = CliRunner().invoke(app, list(map(str, asked)))
    assert done.exit_code == 0, done.output
    assert "survival" in done.output
    asked = ["predict", tmp_path / "model", tmp_path / "cells.h5ad", "--out", tmp_path / "p.csv"]
    done = CliRunner().invoke(app, list(map(str, asked)))
    assert done.exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "p.csv", index_col=0)
    assert found.columns[0] == "prediction"
    assert found.filter(like="event_free_").shape == (60, 9)
