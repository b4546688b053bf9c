"""A comparison of a time until an event, from bags to page, and by the command line."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.comparison.phenotype import prepared
from smalti.errors import InputError


@pytest.fixture(scope="module")
def bags():
    made = sm.datasets.planted_bags(60, kind="survival", effect=4.0, seed=0)
    return dataclasses.replace(made, bag=made.bag.assign(sex=np.where(np.arange(60) % 2, "f", "m")))


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


def test_the_page_says_what_became_of_the_thirds(table):
    made = {s.name: s for s in table.sections()}
    assert {"risks", "calibration", "patients"} <= set(made)
    words = made["risks"].parts[0].words
    assert "without an event" in words
    assert "log-rank p" in words


def test_thirds_are_of_ranks_within_the_fold(table):
    found = table.risks("bag_mean")
    own = table.predictions.query("method == 'bag_mean'")
    for _, fold in own.groupby("fold"):
        ranks = (fold["predicted"].rank() - 0.5) / len(fold)
        there = found.set_index("donor").loc[fold["donor"], "rank"]
        np.testing.assert_allclose(there, ranks)
    groups = table.risk_groups("bag_mean")
    assert groups["group"].tolist() == ["low", "middle", "high"]
    assert groups["n"].sum() == 60
    assert groups["event_free"].is_monotonic_decreasing
    assert groups["p"].iloc[0] < 0.05
    one = table.risk_groups("majority")  # one risk for all is no group
    assert len(one) == 1
    assert np.isnan(one["p"].iloc[0])


def test_patients_are_judged_by_their_own_curves(table):
    found = table.patients("bag_mean")
    own = table.predictions.query("method == 'bag_mean'").set_index("bag")
    first = found.iloc[0]
    row = own.loc[first["bag"]]
    curve = row.filter(like="event_free_")
    at = [0.0, *(float(c.removeprefix("event_free_")) for c in curve.index)]
    left = np.interp(row["true_time"], at, [1.0, *curve])
    assert first["p_event"] == pytest.approx(1 - max(left, 1e-4))
    gap = first["event"] + np.log(max(left, 1e-4))
    rest = first["event"] * np.log(-np.log(max(left, 1e-4))) if first["event"] else 0.0
    assert first["residual"] == pytest.approx(np.sign(gap) * np.sqrt(-2 * (gap + rest)))
    assert found["off"].is_monotonic_decreasing


def test_groups_have_a_concordance_and_an_excess(table, bags):
    where = bags.bag
    found = table.by_group("bag_mean").query("column == 'sex'").set_index("group")
    rows = table.predictions.query("method == 'bag_mean'").set_index("bag")
    right, pairs = 0.0, 0
    for _, fold in rows[rows.index.isin(where.index[where["sex"] == "f"])].groupby("fold"):
        time, event, risk = (fold[c].to_numpy() for c in ("true_time", "true_event", "predicted"))
        for i in range(len(fold)):
            for j in range(len(fold)):
                if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                    pairs += 1
                    right += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
    assert found.loc["f", "c_index"] == pytest.approx(right / pairs)
    assert abs(found.loc["f", "excess"]) < 0.3
    assert {"verdict", "p_holm", "events"} <= set(found)


def test_true_probabilities_are_calibrated_under_censoring(table):
    rng = np.random.default_rng(0)
    n = 3000
    hazard = np.exp(rng.normal(size=n)) / 20
    life, watched = rng.exponential(1 / hazard), rng.uniform(0, 60, n)
    at = np.linspace(0, 60, 121)[1:]
    rows = pd.DataFrame({
        "method": "oracle", "repeat": 0, "fold": 0, "bag": np.arange(n), "donor": np.arange(n),
        "true_time": np.minimum(life, watched), "true_event": life <= watched, "predicted": hazard,
    })  # fmt: skip
    curves = pd.DataFrame(np.exp(-hazard[:, None] * at), columns=[f"event_free_{t:g}" for t in at])
    asked = [5, 20]
    told = dataclasses.replace(table, predictions=rows.join(curves)).calibration(times=asked)
    assert told["time"].tolist() == asked
    np.testing.assert_allclose(told["slope"], 1, atol=0.12)
    np.testing.assert_allclose(told["intercept"], 0, atol=0.12)
    assert (told["ece"] < told["ece_perfect_high"] * 1.2).all()
    # without the weights those who were lost from sight early make events look common
    plain = rows[rows["true_event"] | (rows["true_time"] > 20)]
    share = 1 - np.exp(-20 * plain["predicted"]).mean()
    assert (plain["true_time"] <= 20).mean() > share + 0.03
    curve = dataclasses.replace(table, predictions=rows.join(curves)).calibration(curve=True)
    assert set(curve["time"]) == set(told["time"]) or len(set(curve["time"])) == 3


def test_times_are_asked_of_times_only(table):
    binary = sm.compare(["bag_mean"], sm.datasets.planted_bags(24, seed=0), folds=3, n_jobs=1,
                        progress=False)  # fmt: skip
    with pytest.raises(InputError, match="no times until an event"):
        binary.risks()
    with pytest.raises(InputError, match="times= is of a survival target"):
        binary.calibration(times=[1])
    with pytest.raises(InputError, match="no probabilities of classes"):
        table.net_benefit()


def test_a_saved_model_keeps_its_baseline_and_direction(bags, tmp_path):
    model = sm.mil.BagMean().fit(bags)
    model.save(tmp_path / "model")
    again = sm.load(tmp_path / "model")
    assert again.predict_survival(bags).equals(model.predict_survival(bags))
    assert sm.scores.concordance(bags.bag["time"], bags.bag["event"], model.predict(bags)) > 0.6


def test_strata_are_columns_of_bags_and_of_a_cox_model(bags):
    where = bags.bag.assign(site=np.arange(60) % 2)
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


def test_what_covariates_say_alone_is_a_baseline_whether_methods_read_them_or_not(bags):
    _, lineup = prepared(["mifv"], bags, covariates=["trait"])
    assert {"covariates", "bag_mean", "bag_mean + covariates", "mifv"} <= set(lineup.methods)
    assert {"covariates", "bag_mean + covariates"} <= lineup.baselines
    _, lineup = prepared(["hier_mil"], bags, covariates=["trait"])  # which can read some
    assert lineup.methods["hier_mil + covariates"].covariates == ("trait",)


def test_where_donors_are_left_out_alone_ranks_are_among_all(table):
    alone = dataclasses.replace(table, protocol="leave-one-donor-out")
    own = alone.predictions.query("method == 'bag_mean'")
    ranks = (own["predicted"].rank() - 0.5) / len(own)
    found = alone.risks("bag_mean").set_index("donor")["rank"]
    np.testing.assert_allclose(found.loc[own["donor"]], ranks)
    sections = {section.name: section for section in alone.sections()}
    assert "ranks among all" in sections["risks"].parts[2].caption
    assert "among all" in sections["patients"].parts[1].caption
