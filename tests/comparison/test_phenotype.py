"""Splits, metrics and comparison: laws, naive oracles, and the leak that donors prevent."""

import dataclasses
import html
import itertools
import json

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti import mil
from smalti.bags import Bags
from smalti.comparison.own_splits import given_folds
from smalti.comparison.splits import donor_folds, split_digest
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.scores.metrics import METRICS, named, score
from smalti.task import Task


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
@pytest.mark.parametrize("per_donor", [1, 3])
def test_no_donor_on_both_sides_and_each_bag_tested_once(kind, per_donor):
    bags = planted_bags(60, kind=kind, bags_per_donor=per_donor)
    splits = donor_folds(bags, folds=4, repeats=3, seed=1)
    assert len(splits) == 12
    for s in splits:
        assert not set(bags.donors[s.train]) & set(bags.donors[s.test])
        assert sorted([*s.train, *s.test]) == list(range(60))
    for r in range(3):
        tested = np.concatenate([s.test for s in splits if s.repeat == r])
        assert sorted(tested) == list(range(60))


def test_each_repeat_is_a_split_of_its_own():
    bags = planted_bags(30)
    splits = donor_folds(bags, folds=3, repeats=3, seed=4)
    assert [(s.repeat, s.fold) for s in splits] == [(r, f) for r in range(3) for f in range(3)]
    tested = [{frozenset(s.test) for s in splits if s.repeat == r} for r in range(3)]
    for one, other in itertools.combinations(tested, 2):
        assert not one & other
    first = donor_folds(bags, folds=3, seed=4)
    assert {frozenset(s.test) for s in first} == tested[0]
    # no seed deals what another one does, one repeat later
    dealt = {frozenset(s.test) for seed in range(3, 7)
             for s in donor_folds(bags, folds=3, repeats=3, seed=seed)}  # fmt: skip
    assert len(dealt) == 4 * 3 * 3
    pairs = sm.donor_split(bags, 3, repeats=3, seed=4)
    for (train, test), split in zip(pairs, splits, strict=True):
        np.testing.assert_array_equal(train, split.train)
        np.testing.assert_array_equal(test, split.test)


def test_each_fit_has_a_seed_of_its_own_and_rivals_share_it(majority_alone, monkeypatch):
    seeds, fit = [], mil.Majority.fit

    def noted(self, *args, **kwargs):
        seeds.append(self.seed)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(mil.Majority, "fit", noted)
    chosen = {"one": mil.Majority(), "two": mil.Majority(seed=7, class_weight="balanced")}
    sm.compare(chosen, small(np.arange(12) % 2), folds=3, repeats=2, n_jobs=1, progress=False)
    one, two = seeds[::2], seeds[1::2]  # split by split
    assert one == [0, 1, 2, 1000, 1001, 1002]  # tables that are published hang on them
    assert two == [7 + seed for seed in one]


def test_folds_are_stratified():
    bags = planted_bags(60, bags_per_donor=2)
    for s in donor_folds(bags, folds=5):
        assert bags.labels[s.test].mean() == pytest.approx(0.5, abs=0.2)


def test_digest_is_of_the_split_alone():
    bags = planted_bags(30)
    one = split_digest(donor_folds(bags, seed=0), bags)
    assert one == split_digest(donor_folds(planted_bags(30, effect=9), seed=0), bags)
    assert one != split_digest(donor_folds(bags, seed=1), bags)


def test_split_errors():
    bags = planted_bags(30)
    homeless = Bags.from_list([np.ones((2, 2))] * 4, [0, 1] * 2)
    with pytest.raises(InputError, match="no donor"):
        donor_folds(homeless, folds=2)
    with pytest.raises(InputError, match="class 1 has 3 donors, fewer than 5 folds: use folds=3"):
        donor_folds(bags[np.r_[0:30:2, 1, 3, 5]])
    with pytest.raises(InputError, match="at least 2"):
        donor_folds(bags, folds=1)
    pairs = planted_bags(30, bags_per_donor=2)
    with pytest.raises(InputError, match="donor 0 is on both sides of split 0"):
        given_folds(pairs, [(np.arange(0, 30, 2), np.arange(1, 30, 2))])
    with pytest.raises(InputError, match="split 0 has an empty side"):
        given_folds(pairs, [(np.arange(30), np.array([], int))])


# ---------------------------------------------------------------- metrics


def binary(seed=0, n=40):
    rng = np.random.default_rng(seed)
    y = np.array(["no", "yes"])[rng.integers(2, size=n)]
    p = rng.random(n).round(2)  # with ties
    return y, p, Task.infer(y)


def test_binary_metrics_are_their_definitions():
    y, p, task = binary()
    t = y == "yes"
    predicted = np.where(p > 0.5, "yes", "no")
    got = score(task, y, predicted, np.column_stack([1 - p, p]))
    pairs = p[t][:, None] - p[~t][None]
    assert got["roc_auc"] == pytest.approx((pairs > 0).mean() + 0.5 * (pairs == 0).mean())
    assert got["brier"] == pytest.approx(((p - t) ** 2).mean())
    q = np.clip(np.where(t, p, 1 - p), 1e-15, 1)
    assert got["log_loss"] == pytest.approx(-np.log(q).mean())
    assert got["accuracy"] == pytest.approx(((p > 0.5) == t).mean())
    recalls = [((p > 0.5) == t)[t == v].mean() for v in (False, True)]
    assert got["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert tuple(got) == METRICS["binary"]


def test_a_fold_of_one_class_has_no_auroc_but_an_accuracy():
    _, p, task = binary(n=6)
    got = score(task, np.array(["yes"] * 6), np.array(["yes"] * 6), np.column_stack([1 - p, p]))
    assert np.isnan(got["roc_auc"])
    assert got["accuracy"] == 1


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "ordinal", "regression"])
def test_perfect_predictions_score_perfectly(kind):
    bags = planted_bags(30, kind=kind)
    task, y = bags.task, bags.labels
    p = None
    if kind == "multilabel":
        p = y.astype(float)
    elif kind != "regression":
        p = np.eye(3)[task.encode(y)]
    got = score(task, y, y, p)
    assert tuple(got) == METRICS[kind]
    for name, value in got.items():
        zero = name in ("log_loss", "brier", "mean_absolute_error", "root_mean_squared_error")
        assert value == pytest.approx(0 if zero else 1, abs=1e-9), name


# ---------------------------------------------------------------- compare


def test_compare_holds_the_baselines_and_is_tidy(one_penalty, tmp_path):
    bags = planted_bags(40, bags_per_donor=2, effect=4)
    short = mil.ABMIL.example().set_params(epochs=3)
    found = sm.compare([short], bags, folds=2, repeats=2, progress=False)
    baselines = {"bag_mean", "bag_statistics", "majority", "type_composition", "type_pseudobulk"}
    assert set(found.folds["method"]) == {"abmil", *baselines}
    assert len(found.folds) == 6 * 4 * len(METRICS["binary"])
    summary = found.summary("roc_auc").set_index("method")
    values = found.folds.query("method == 'bag_mean' and metric == 'roc_auc'")["value"]
    assert summary.loc["bag_mean", "mean"] == pytest.approx(values.mean())
    assert summary.loc["majority", "mean"] == 0.5
    assert found.digest in str(found)
    assert "(baseline)" in str(found)
    tests = found.against("majority").set_index("method")
    assert tests.loc["bag_mean", "difference"] == pytest.approx(values.mean() - 0.5)
    found.write(tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "folds.csv", "summary.csv", "predictions.csv", "cohort.csv", "flow.csv", "split.json",
    }  # fmt: skip
    found.save_table(tmp_path / "folds.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "folds.parquet"), found.folds)


@pytest.mark.slow
def test_a_killed_comparison_goes_on_from_its_cache(one_penalty, tmp_path, monkeypatch):
    bags = planted_bags(24, effect=4)
    settings = dict(folds=2, progress=False, cache=tmp_path)
    whole = sm.compare(["mifv"], bags, **settings)
    assert len(list(tmp_path.iterdir())) == 6 * 2  # a file a fit: the method and five baselines
    monkeypatch.setattr(mil.Majority, "fit", lambda *_: pytest.fail("fitted again"))
    again = sm.compare(["mifv"], bags, **settings)
    pd.testing.assert_frame_equal(again.folds, whole.folds)


def test_compare_refuses_without_a_donor_or_target():
    x = [np.random.default_rng(i).normal(size=(3, 2)) for i in range(12)]
    with pytest.raises(InputError, match="no donor.*leak"):
        sm.compare(["bag_mean"], Bags.from_list(x, [0, 1] * 6))
    with pytest.raises(InputError, match="no target"):
        sm.compare(["bag_mean"], Bags.from_list(x, donor=range(12)))
    with pytest.raises(InputError, match="no method 'abmill'; there are abmil"):
        sm.compare(["abmill"], planted_bags(20))


def test_one_failing_method_does_not_lose_the_others(majority_alone):
    bags = planted_bags(24)
    found = sm.compare([mil.ABMIL(lr=1e30, optimizer="sgd", epochs=2)], bags, folds=3)
    assert any("abmil: 3 of 3 fits failed, so it is not ranked" in n for n in found.notes)
    table = found.summary("roc_auc")
    assert table["method"].iloc[-1] == "abmil"
    assert np.isnan(table["mean"].iloc[-1])
    assert "abmil (3 of 3 fits failed)" in str(found)


@pytest.mark.slow  # a dozen comparisons; that no donor is on both sides is above
def test_splitting_by_donor_prevents_the_leak(majority_alone):
    """Donors with a fingerprint and labels at random: only a split by donor sees nothing."""
    auc = {"honest": [], "naive": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        donor = np.repeat(np.arange(20), 3)
        finger = rng.normal(size=(20, 30)) * 6
        y = rng.permutation(np.arange(20) % 2)[donor]
        x = [finger[d] + rng.normal(size=(5, 30)) for d in donor]
        for name, by in (("honest", donor), ("naive", "bag")):
            bags = Bags.from_list(x, y, donor=by)
            found = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
            summary = found.summary("roc_auc").set_index("method")
            auc[name].append(summary.loc["bag_mean", "mean"])
    assert np.mean(auc["honest"]) == pytest.approx(0.5, abs=0.2)
    assert np.mean(auc["naive"]) > 0.9


# ---------------------------------------------------------------- what may go wrong


def small(y, **kwargs):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(3, 2)) for _ in y]
    return Bags.from_list(x, y, donor=np.arange(len(y)), **kwargs)


def test_the_kind_of_target_is_that_of_all_bags(majority_alone):
    """Whole numbers of which a fold holds 20 or fewer stay a regression there."""
    y = np.arange(24) * 2
    found = sm.compare(["majority"], small(y), folds=2, progress=False)
    assert found.task.kind == "regression"
    for split in donor_folds(small(y), folds=2):
        mean = y[split.train].mean()
        part = found.predictions.query("fold == @split.fold")
        np.testing.assert_allclose(part["predicted"], mean, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "classes", [["none", "inf"], ["01", "02"], [False, True], [1, 2], ["a", "b"]], ids=str
)
def test_the_cache_gives_back_what_was_put_in(classes, majority_alone, tmp_path):
    y = np.array(classes)[np.arange(16) % 2]
    bags = small(y)
    ids = [f"{i:02d}" for i in range(16)]
    bags = Bags.from_rows(bags.table(), np.repeat(ids, 3), target="y", donor="d", bag=pd.DataFrame(
        {"y": y, "d": ids}, index=ids))  # fmt: skip
    one, two = (
        sm.compare(["majority"], bags, folds=2, progress=False, cache=tmp_path) for _ in range(2)
    )
    pd.testing.assert_frame_equal(one.predictions, two.predictions)
    pd.testing.assert_frame_equal(one.folds, two.folds)


def test_digest_does_not_know_the_order_of_instances():
    rng = np.random.default_rng(0)
    ids, x = np.repeat(np.arange(12), 4), rng.normal(size=(48, 2))
    table = pd.DataFrame({"y": np.arange(12) % 2, "d": np.arange(12)})
    digests = set()
    for order in (np.arange(48), rng.permutation(48)):
        bags = Bags.from_rows(x[order], ids[order], target="y", donor="d", bag=table)
        bags = bags[np.argsort(bags.bag.index)]
        digests.add(split_digest(donor_folds(bags, folds=3), bags))
    assert len(digests) == 1


def test_own_splits_must_be_positions_of_bags():
    bags = small(np.arange(16) % 2)
    half = np.arange(16) < 8
    masks, places = given_folds(bags, [(half, ~half)]), [(np.arange(8), np.arange(8, 16))]
    assert split_digest(masks, bags) == split_digest(given_folds(bags, places), bags)
    left, right = places[0]
    for wrong, message in [
        ([], "splits= is empty: give"),
        ([(left, right + 1)], "split 0 has positions outside 0 to 15: there are 16 bags"),
        ([(left, right - 16)], "split 0 has positions outside 0 to 15: there are 16 bags"),
        ([(left.astype(float), right)], "split 0 must be whole positions or a mask, not float64"),
        ([(left, half[:5])], "split 0 is a mask of 5 bags, there are 16"),
        ([(left, left, right)], "split 0 has 3 parts, not"),
        ([(left, np.r_[right, 9])], "split 0 tests a bag twice"),
        ([masks[0], masks[0]], "split 1 is a second one for repeat 0, fold 0"),
    ]:
        with pytest.raises(InputError, match=message):
            given_folds(bags, wrong)


def test_the_rarest_class_says_how_many_folds_there_can_be():
    y = np.array(["a"] * 9 + ["b"] * 4 + ["c"] * 2)
    with pytest.raises(InputError, match="class 'c' has 2 donors, fewer than 5 folds: use folds=2"):
        donor_folds(small(y))
    with pytest.raises(InputError, match="class 'c' has 1 donor, fewer than 5 folds: merge"):
        donor_folds(small(y[:14]))
    with pytest.raises(InputError, match="repeats=0"):
        donor_folds(small(y), folds=2, repeats=0)


def test_a_metric_that_no_fold_can_have_is_shown_as_a_dash(majority_alone):
    y = np.random.default_rng(0).normal(size=8)
    leave_one_out = [(np.delete(np.arange(8), i), np.array([i])) for i in range(8)]
    found = sm.compare(["majority"], small(y), splits=leave_one_out, progress=False)
    assert found.summary("r2")["n_folds"].tolist() == [0]
    assert "–" in str(found)
    assert "nan" not in str(found)
    pair = sm.compare([mil.MeanPooling(epochs=1)], small(y), folds=2, progress=False)
    assert np.isnan(pair.against("majority", "spearman")["p"]).all()  # a mean has no ranks
    for ask in (pair.summary, lambda m: pair.against("majority", m)):
        with pytest.raises(InputError, match="no metric 'auroc' here; there are r2"):
            ask("auroc")


class OutOfMemory(mil.Majority):
    name = "out_of_memory"

    def plan(self, shape):
        raise RuntimeError("CUDA out of memory")


def test_any_failure_of_a_fit_spares_the_others(majority_alone, monkeypatch):
    bags = small(np.arange(16) % 2)
    settings = dict(folds=2, progress=False, n_jobs=1)
    found = sm.compare([OutOfMemory()], bags, **settings)
    assert set(found.folds["method"]) == {"majority"}
    assert found.notes == ("out_of_memory: 2 of 2 fits failed, so it is not ranked: RuntimeError: "
                           "CUDA out of memory",)  # fmt: skip
    assert list(found.failures["method"]) == ["out_of_memory"] * 2
    monkeypatch.setattr("smalti.comparison.phenotype.methods", dict)
    with pytest.raises(InputError, match="no method could be run.*out of memory"):
        sm.compare([OutOfMemory()], bags, **settings)


def test_labels_and_tasks_that_cannot_be(majority_alone):
    bags = small(np.arange(16) % 2)
    with pytest.raises(InputError, match="'majority' is the name of a baseline"):
        sm.compare({"majority": mil.MeanPooling()}, bags, folds=2)
    found = sm.compare([mil.MeanPooling(task="regression")], bags, folds=2, progress=False)
    assert found.notes == ("mean_pooling has task='regression', the target is binary: left out.",)


@pytest.mark.parametrize(("y", "task"), [
    (np.arange(24) / 2, "regression"), (np.arange(24) % 2, "binary"),
    (np.arange(24) % 2, "multiclass"),  # classes all the same
])  # fmt: skip
def test_a_task_that_is_scored_alike_stays(y, task, majority_alone):
    chosen = {"own": mil.Majority(task=task, class_weight=None)}
    found = sm.compare(chosen, small(y), folds=2, n_jobs=1, progress=False)
    assert "own" in set(found.folds["method"])
    assert not found.notes


def test_a_comparison_says_which_class_is_positive(majority_alone, tmp_path):
    y = np.array(["ctrl", "case"])[np.arange(16) % 2]
    for n, positive in enumerate(("case", "ctrl"), start=1):
        table = sm.compare(["majority"], small(y, positive=positive), folds=2, progress=False,
                           cache=tmp_path)  # fmt: skip
        assert table.task.positive == positive
        assert f"positive: {positive}" in str(table)
        assert table.facts()["positive class"] == positive
        assert list(table.predictions)[-1] == f"p_{positive}"
        half = table.summary("average_precision")["mean"].iloc[0]
        assert half == pytest.approx(0.5)
        # a fit of the one is none of the other
        assert sum(p.is_file() for p in tmp_path.rglob("*")) == 2 * n
    grades = np.array(["low", "mid", "high"])[np.arange(18) % 3]
    table = sm.compare(["majority"], small(grades, order=["low", "mid", "high"]), folds=2,
                       progress=False)  # fmt: skip
    assert table.facts()["order of classes"] == "low < mid < high"
    assert "low < " in str(table)
    assert "positive class" not in table.facts()


def test_average_precision_is_of_the_positive_class(majority_alone):
    y = np.array(["ctrl", "case"])[(np.arange(16) % 4 == 0).astype(int)]
    share = {"case": 0.25, "ctrl": 0.75}
    for positive, expected in share.items():
        table = sm.compare(["majority"], small(y, positive=positive), folds=2, progress=False)
        assert table.summary("average_precision")["mean"].iloc[0] == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
def test_a_comparison_says_what_chance_gives_in_its_folds(kind, majority_alone):
    bags = planted_bags(40, kind=kind, bags_per_donor=2)
    table = sm.compare(["majority"], bags, folds=3, progress=False, n_jobs=1)
    null = table.chance()
    level = 0.0 if null["metric"] == "spearman" else 0.5
    assert null["mean"] == pytest.approx(level, abs=0.03)
    assert null["low"] < level < null["high"]
    assert null["sd"] == pytest.approx((null["high"] - null["low"]) / 3.29, rel=0.15)
    told = table.facts()[f"{named(null['metric'])} of random scores, one a donor"]
    assert told.endswith(f"from {null['low']:.2f} to {null['high']:.2f}")
    with pytest.raises(InputError, match="no metric 'pcc'"):
        table.chance("pcc")


@pytest.mark.slow
def test_views_reach_all_methods_that_name_none():
    rng = np.random.default_rng(0)
    n = 24
    y, of = np.arange(n) % 2, np.repeat(np.arange(n), 5)
    look = rng.normal(size=(5 * n, 3)) + 3 * y[of, None]
    views = {"look": look, "counts": rng.poisson(3, (5 * n, 4)), "spare": 0 * look}
    bags = sm.Bags.from_rows(views, of, y=y[of], donor="bag")
    table = sm.compare(
        {"genes": mil.BagMean(views="counts")}, bags, folds=3, views=["counts", "look"],
        preprocess={"counts": "normalize,log1p", "look": "scale", "spare": "scale"},
        progress=False, n_jobs=1,
    )  # fmt: skip
    mean = table.summary("roc_auc").set_index("method")["mean"]
    assert mean["bag_mean"] > 0.95 > 0.8 > mean["genes"]
    assert {"pseudobulk", "majority"} <= set(mean.index)  # the first view is of counts
    assert not table.failed


@pytest.mark.slow
def test_what_a_view_adds_is_said_of_methods_that_differ_in_it_alone(tmp_path):
    """The larger beside the smaller one; another learning rate or method is another question."""
    bags = planted_bags(24, effect=3)
    noise = np.random.default_rng(0).normal(size=(bags.n_instances, 3)).astype(np.float32)
    bags = dataclasses.replace(bags, x={"x": noise, "y": bags.table()}, features={})
    made = {"few": ("mean_pooling", ("x",), 4), "both": ("mean_pooling", ("x", "y"), 4),
            "longer": ("mean_pooling", ("x", "y"), 5), "max": ("max_pooling", ("y",), 4),
            "other": ("mean_pooling", ("y",), 4)}  # fmt: skip
    methods = {k: sm.make(m, views=v, epochs=e) for k, (m, v, e) in made.items()}
    table = sm.compare(methods, bags, folds=3, n_jobs=1, progress=False)
    found = table.against("few").set_index("method").loc["both"]
    said = table.additions()
    assert len(said) == 2
    assert said[0].startswith("both ")
    assert " few" in said[0]
    assert f"{found['difference']:+.3f}" in said[0]
    assert found["verdict"] in said[0]
    assert said[1].startswith(("both and other ", "both is "))
    assert all(f"{s}." in str(table) for s in said)
    table.report(tmp_path / "r.html")
    page = html.unescape((tmp_path / "r.html").read_text("utf-8"))
    assert all(f"<p>{s}.</p>" in page for s in said)


@pytest.mark.slow
def test_the_audit_is_in_print_page_and_folder(majority_alone, tmp_path):
    bags = planted_bags(24)
    x = bags.x["x"] - bags.x["x"].mean(0)
    for name, views, kinds in (("clean", bags.x, set()),
                               ("fitted", {"x": x}, {"fitted on the cohort"})):  # fmt: skip
        table = sm.compare(["majority"], dataclasses.replace(bags, x=views), folds=2, n_jobs=1,
                           progress=False)  # fmt: skip
        assert table.audit.kinds == kinds
        assert ("Audit, leak (fitted on the cohort)" in str(table)) == bool(kinds)
        table.write(tmp_path / name)
        note = json.loads((tmp_path / name / "split.json").read_text())["audit"]
        assert {f["kind"] for f in note["findings"]} == kinds
        table.report(tmp_path / name / "report.html")
        page = html.unescape((tmp_path / name / "report.html").read_text())
        assert ("leak: fitted on the cohort." in page) == bool(kinds)
        assert ("Nothing was found" in page) != bool(kinds)


@pytest.mark.slow
def test_the_audit_knows_what_methods_read():
    bags = planted_bags(24)
    mine = {"mine": mil.Covariates(covariates=("target",))}
    table = sm.compare(mine, bags, folds=2, n_jobs=1, progress=False)
    assert "column is the label" in table.audit.kinds


@pytest.mark.slow
def test_how_bags_were_made_is_a_row_of_its_own(majority_alone):
    bags = planted_bags(24)
    y = bags.labels.astype(int)
    made = {
        "batch": np.where(y, "run1", "run2"),
        "site": "one",
        "date": [*"abcdefghijklmnopqrstuvwx"],
    }
    bags = dataclasses.replace(bags, bag=bags.bag.assign(**made))
    table = sm.compare(["majority"], bags, folds=3, n_jobs=1, progress=False)
    # not what is one, or anew in each bag; and no baseline, which the headline looks at
    assert (table.baselines, table.controls) == (("majority",), ("batch alone",))
    assert table.best_baseline() == "majority"
    assert any(s.startswith("A control, batch alone, has AUROC 1.00") for s in table.said())
    assert table.of("batch alone")["roc_auc"]["mean"] == 1.0
    assert table.audit.kinds == {"confounded"}


def test_patients_whose_batch_is_scaled_by_who_came_with_it_are_told(majority_alone):
    bags = planted_bags(24, seed=0)
    bags = bags.with_instance({"run": np.arange(len(bags))[bags.index] % 3})
    methods = {"scaled": mil.BagMean(preprocess="scale_batch=run"), "plain": mil.BagMean()}
    table = sm.compare(methods, bags, folds=3, n_jobs=1, progress=False)
    said = [note for note in table.notes if "scale_batch scales a batch" in note]
    assert len(said) == 1
    assert said[0].startswith("scaled: ")
