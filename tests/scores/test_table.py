"""A table of scores, number by number: summaries, rows, and what is written."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from smalti._version import __version__
from smalti.errors import InputError
from smalti.scores import Scores
from smalti.scores.metrics import ends_of

VALUES = {  # method -> repeats of two folds
    "ours": [[0.9, 0.7], [0.8, 0.8]],
    "base": [[0.5, 0.6], [0.4, 0.7]],
    "none": [[np.nan, np.nan], [np.nan, np.nan]],
}


@dataclasses.dataclass(kw_only=True)
class Table(Scores):
    @property
    def metrics(self):
        return ("accuracy", "log_loss")


def table(**more):
    """Of the losses, a method has 1 less its accuracy."""
    rows = [
        {"method": m, "repeat": r, "fold": f, "metric": k, "value": v if k == "accuracy" else 1 - v,
         "n_train": 8, "n_test": 2, "seconds": 0.5}
        for m, repeats in VALUES.items() for r, folds in enumerate(repeats)
        for f, v in enumerate(folds) for k in ("accuracy", "log_loss")
    ]  # fmt: skip
    about = dict(
        folds=pd.DataFrame(rows), digest="d1", baselines=("base",), notes=("a note",),
        settings={"ours": {"seed": 1}, "base": {"seed": 0}, "none": {"seed": 2}},
        identities={"ours": "same", "base": "other", "none": "same"}, about="4 bags",
    )  # fmt: skip
    return Table(**about | more)


def failures(*methods):
    return pd.DataFrame([{"method": m, "repeat": 1, "fold": 1, "reason": "died"} for m in methods])


def test_a_summary_is_of_all_folds_and_of_the_means_of_repeats():
    rows = table().summary("accuracy").set_index("method")
    assert rows.index.tolist() == ["ours", "base", "none"]
    assert rows.loc["ours", "mean"] == pytest.approx(0.8)
    assert rows.loc["ours", "sd_folds"] == pytest.approx(np.std([0.9, 0.7, 0.8, 0.8], ddof=1))
    assert rows.loc["ours", "sd_repeats"] == pytest.approx(0.0)
    assert rows.loc["base", "sd_repeats"] == pytest.approx(0.0)
    assert rows["n_folds"].tolist() == [4, 4, 0]
    assert rows["n_failed"].tolist() == [0, 0, 0]
    assert rows["baseline"].tolist() == [False, True, False]


def test_of_a_loss_the_least_is_first():
    assert table().summary("log_loss")["method"].tolist() == ["ours", "base", "none"]
    swapped = table().folds.assign(value=lambda d: 1 - d["value"])
    assert table(folds=swapped).summary("log_loss")["method"].tolist() == ["base", "ours", "none"]
    assert table(folds=swapped).summary()["method"].iloc[0] == "base"  # by accuracy, the first
    assert set(table().summary()["metric"]) == {"accuracy", "log_loss"}


def test_methods_that_failed_are_last_and_have_no_mean():
    found = table(failures=failures("ours", "gone", "gone"))
    rows = found.summary("accuracy").set_index("method")
    assert rows.index[0] == "base"
    assert rows.loc[["ours", "gone"], ["mean", "sd_folds", "sd_repeats"]].isna().all(axis=None)
    assert rows.loc[["ours", "gone", "base"], "n_failed"].tolist() == [1, 2, 0]
    assert rows.loc["gone", "n_folds"] == 0
    assert (found.planned("ours"), found.planned("gone"), found.planned("base")) == (5, 2, 4)
    assert found.lost("ours") == " (1 of 5 fits failed)"
    assert found.lost("base") == ""
    assert found.failed == {"ours": 1, "gone": 2}
    assert (found.n_fits, len(found.summary())) == (4, 8)


def test_a_row_is_found_by_settings_and_of_namesakes_by_the_seed():
    found = table()
    assert found.find("other") == found.find("other", seed=9) == ["base"]
    assert found.find("same", seed=1) == ["ours"]
    assert found.find("same", seed=2) == ["none"]
    assert found.find("same", seed=5) == found.find("same") == ["ours", "none"]
    assert found.find("nobody") == []


def test_scores_of_one_method():
    of = table().of("ours")
    assert list(of) == ["accuracy", "log_loss"]
    assert of["accuracy"]["mean"] == pytest.approx(0.8)
    assert of["accuracy"]["sd_folds"] == pytest.approx(np.std([0.9, 0.7, 0.8, 0.8], ddof=1))
    assert of["accuracy"]["folds"].tolist() == [0.9, 0.7, 0.8, 0.8]
    with pytest.raises(InputError, match="no method 'theirs' in this comparison; there are ours, "):
        table().of("theirs")
    with pytest.raises(InputError, match="^1 of 5 fits of 'ours' failed in this comparison"):
        table(failures=failures("ours")).of("ours")


def test_what_is_written_says_where_it_came_from(tmp_path):
    table(failures=failures("ours")).write(tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "failures.csv", "folds.csv", "split.json", "summary.csv",
    ]  # fmt: skip
    told = json.loads((tmp_path / "run" / "split.json").read_text())
    assert told == {
        "smalti": __version__, "digest": "d1", "data": "4 bags", "notes": ["a note"],
        "files": ["failures.csv", "folds.csv", "summary.csv"],
        "settings": {"ours": {"seed": 1}, "base": {"seed": 0}, "none": {"seed": 2}},
    }  # fmt: skip
    folds = pd.read_csv(tmp_path / "run" / "folds.csv")
    pd.testing.assert_frame_equal(folds, table().folds)
    kept = pd.read_csv(tmp_path / "run" / "failures.csv")
    assert kept.to_dict("records") == [{"method": "ours", "repeat": 1, "fold": 1, "reason": "died"}]
    summary = pd.read_csv(tmp_path / "run" / "summary.csv")
    assert summary["method"].tolist()[:2] == ["base", "base"]


def test_a_table_as_text():
    text = str(table(failures=failures("none")))
    assert text.startswith("4 bags\n\n")
    ours, headline = [line for line in text.splitlines() if line.strip().startswith("ours")]
    assert ours.split() == ["ours", "0.800", "±", "0.082*", "0.200", "±", "0.082*"]
    assert headline.startswith(
        "ours is not told apart from the best baseline, base: accuracy 0.80 ("
    )
    assert "would tell no difference apart four times of five" in text
    [base] = [line for line in text.splitlines() if "base (baseline)" in line][:1]
    assert base.split() == ["base", "(baseline)", "0.550", "±", "0.129", "0.450", "±", "0.129"]
    [none] = [line for line in text.splitlines() if "none (1 of 5 fits failed)" in line]
    assert none.split()[-2:] == ["–", "–"]
    assert text.endswith("\nmean ± s.d. over 4 test folds; * best mean. Digest d1.\nNote: a note")


@pytest.mark.parametrize("metric", ["ari_kmeans", "r2", "pcc_slide", "mse", "ilisi", "accuracy"])
def test_no_interval_goes_beyond_what_a_metric_can_be(metric, monkeypatch):
    least, most = ends_of(metric)
    monkeypatch.setattr(Table, "metrics", (metric,))
    near = [0.99, 0.7, 0.98, 0.97] if np.isfinite(most) else [0.01, 0.3, 0.02, 0.03]
    about = {"fold": 0, "metric": metric, "n_train": 8, "n_test": 8, "seconds": 0.5}
    rows = [about | {"method": m, "repeat": r, "value": v}
            for m in ("ours", "base") for r, v in enumerate(near)]  # fmt: skip
    found = table(folds=pd.DataFrame(rows)).intervals(metric).iloc[0]
    assert least <= found["value_low"] < found["value"] < found["value_high"] <= most
    assert (found["value_high"] == 1) if np.isfinite(most) else (found["value_low"] == 0)


@pytest.mark.parametrize(("metric", "stars"), [("halves_mixing", 0), ("accuracy", 1)])
def test_no_mean_is_best_of_a_metric_that_has_no_better(metric, stars, monkeypatch):
    monkeypatch.setattr(Table, "metrics", (metric,))
    about = {"fold": 0, "metric": metric, "n_train": 8, "n_test": 8, "seconds": 0.5}
    rows = [about | {"method": m, "repeat": r, "value": v + r / 10}
            for m, v in (("ours", 1.2), ("base", 1.0)) for r in range(3)]  # fmt: skip
    lines = str(table(folds=pd.DataFrame(rows))).splitlines()
    assert sum(line.rstrip().endswith("*") for line in lines) == stars
