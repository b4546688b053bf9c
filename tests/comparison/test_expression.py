"""The comparison: its splits, its honest genes, its cache, and what it writes."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.expression import compare_expression, prepared
from smalti.comparison.splits import expression_folds
from smalti.datasets import planted_slides
from smalti.errors import InputError
from smalti.expression.mlp import MLP
from smalti.scores.expression_limits import reliability_ceiling
from smalti.scores.expression_metrics import expression_scores
from smalti.solve.best_genes import best_predicted


@pytest.fixture(scope="module")
def bags():
    return planted_slides(6, 25, n_genes=20)  # three donors, two slides each


def short():
    return MLP.example().set_params(epochs=3)


@pytest.fixture(scope="module")
def result(bags):
    return compare_expression([short(), "knn"], bags, seeds=2, top=10, progress=False)


def test_folds_part_donors_slides_or_tiles(bags):
    donors = bags.donors[bags.index]
    parts = expression_folds(bags, by="donor")
    assert len(parts) == 3
    for train, test in parts:
        assert not set(donors[train]) & set(donors[test])
        assert len(train) + len(test) == bags.n_instances
    assert len(expression_folds(bags, by="slide")) == 6
    for train, test in expression_folds(bags, by="slide"):
        assert not set(bags.index[train]) & set(bags.index[test])
    tiles = expression_folds(bags, by="tile")
    assert len(tiles) == 5
    assert sorted(np.concatenate([t for _, t in tiles])) == list(range(bags.n_instances))
    two = expression_folds(bags, by="slide", folds=2)
    assert len(two) == 2


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"by": "spot"}, "by="), ({"folds": 9}, "folds=9"), ({"folds": 1}, "folds=1")], ids=str,
)  # fmt: skip
def test_folds_that_cannot_be(bags, settings, word):
    with pytest.raises(InputError, match=word):
        expression_folds(bags, **settings)


def test_one_donor_cannot_be_left_out(bags):
    with pytest.raises(InputError, match="nothing to leave out"):
        expression_folds(bags[[0, 3]], by="donor")


def test_scores_are_those_of_a_fit_by_hand(bags, result):
    train, test = (bags.keep(r) for r in expression_folds(bags, by="donor")[1])
    model = sm.make("ridge", progress=False).fit(train)
    x, y = model.predict(test), model.measured(test)
    best = best_predicted(train, "X_planted", model.measured(train), 10)
    wanted = expression_scores(x, y, test.index, chosen=best, top=10)
    own = result.folds.query("method == 'ridge' and fold == 1").set_index("metric")["value"]
    for name, value in wanted.items():
        assert own[name] == pytest.approx(value, nan_ok=True), name


@pytest.mark.slow
def test_genes_of_pcc_h_do_not_know_the_test_fold(bags):
    train, test = expression_folds(bags, by="donor")[0]
    counts = bags.table("counts").copy()
    counts[test] = counts[np.random.default_rng(0).permutation(test)]
    other = dataclasses.replace(bags, x={**bags.x, "counts": counts})
    one = compare_expression(["knn"], bags, seeds=1, top=10, progress=False)
    two = compare_expression(["knn"], other, seeds=1, top=10, progress=False)
    pick = [r.genes.query("method == 'ridge' and fold == 0 and chosen")["gene"].tolist()
            for r in (one, two)]  # fmt: skip
    assert pick[0] == pick[1]
    assert len(pick[0]) == 10
    assert len(train)


def test_all_methods_are_judged_by_the_same_genes(bags):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(bags.n_instances, 4)).astype(np.float32)
    both = dataclasses.replace(bags, x={**bags.x, "X_noise": noise})
    out = compare_expression(
        {"own": sm.make("ridge", x="X_noise")}, both, seeds=1, top=10, progress=False
    )
    chosen = out.genes.query("fold == 0 and chosen").groupby("method")["gene"].agg(frozenset)
    assert set(chosen.index) >= {"own", "ridge", "gene_mean"}
    assert chosen.nunique() == 1


def test_controls_and_ridge_always_run(result):
    names = set(result.folds["method"])
    assert {"ridge", "gene_mean", "total_count (oracle)", "neighbour_mean (oracle)"} <= names
    assert set(result.baselines) == names - {"mlp", "knn"}
    assert result.metrics[:3] == ("pcc_slide", "pcc_fold", "pcc_tile")


def test_seeds_only_where_there_is_randomness(result):
    counts = result.folds.query("metric == 'mse'").groupby("method").size()
    assert counts["mlp"] == 6
    assert counts["ridge"] == counts["knn"] == 3


def test_predictions_cover_every_tile_once(bags, result):
    for name, values in result.predictions.items():
        assert values.shape == (bags.n_instances, 20), name
        assert np.isfinite(values).all(), name
    assert result.gene_names == bags.features["counts"]


def test_ceiling_is_that_of_the_test_tiles(bags, result):
    test = bags.keep(expression_folds(bags, by="donor")[2][1])
    wanted = reliability_ceiling(test.x["counts"], test.index, repeats=2)
    np.testing.assert_allclose(result.ceiling.query("fold == 2")["ceiling"], wanted)


def test_variable_genes_are_chosen_in_each_fold(bags):
    counts = bags.table("counts").copy()
    test = expression_folds(bags, by="donor")[0][1]
    counts[test, 0] = np.arange(len(test)) * 500  # wild in the test donor alone
    other = dataclasses.replace(bags, x={**bags.x, "counts": counts})
    out = compare_expression(["knn"], other, genes=5, seeds=1, progress=False)
    genes = out.genes.query("method == 'knn'")
    assert bags.features["counts"][0] not in set(genes.query("fold == 0")["gene"])
    assert genes.groupby("fold").size().tolist() == [5, 5, 5]
    assert out.predictions == {}


@pytest.mark.slow
def test_leaking_splits_say_so(bags):
    out = compare_expression(["knn"], bags, by="tile", folds=2, seeds=1, genes=3, progress=False)
    assert out.audit.kinds == {"tiles beside training tiles"}
    assert "leaks" in out.facts()["left out in turn"]
    out = compare_expression(["knn"], bags, by="slide", folds=2, seeds=1, genes=3, progress=False)
    assert out.audit.kinds == {"donors on both sides"}
    assert "new donor is harder" in str(out)


@pytest.mark.slow
def test_a_killed_comparison_goes_on(bags, tmp_path, monkeypatch):
    first = compare_expression([short()], bags, seeds=1, cache=tmp_path, progress=False)
    monkeypatch.setattr(MLP, "fit", lambda *a, **k: pytest.fail("fitted again"))
    again = compare_expression([short()], bags, seeds=1, cache=tmp_path, progress=False)
    drop = ["seconds"]
    pd.testing.assert_frame_equal(first.folds.drop(columns=drop), again.folds.drop(columns=drop))


def test_a_method_that_fails_stays_unranked_with_its_reason(bags):
    out = compare_expression(["knn", sm.make("ridge", x="X_nope")], bags, seeds=1, progress=False)
    assert any("ridge: 3 of 3 fits failed" in n and "X_nope" in n for n in out.notes)
    assert {"knn", "ridge (default)"} <= set(out.folds["method"])
    table = out.summary().set_index("method")
    assert table.loc["ridge", "mean"].isna().all()
    assert (table.loc["ridge", "n_failed"] == 3).all()


@pytest.mark.slow
def test_two_processes_give_the_same(bags):
    chosen = {"mlp": MLP.example().set_params(accelerator="cpu"), "knn": sm.make("knn")}
    settings = dict(seeds=1, progress=False, genes=6)
    one, two = (compare_expression(chosen, bags, n_jobs=n, **settings) for n in (1, 2))
    same = one.folds.columns.drop("seconds")
    pd.testing.assert_frame_equal(one.folds[same], two.folds[same], rtol=1e-5)
    assert list(one.predictions) == list(two.predictions)


def test_what_is_no_candidate(bags):
    with pytest.raises(InputError, match=r"smalti\.expression"):
        compare_expression(["abmil"], bags)
    with pytest.raises(InputError, match="seeds"):
        compare_expression(["knn"], bags, seeds=0)
    with pytest.raises(InputError, match="read_slides"):
        compare_expression(["knn"], np.zeros((3, 3)))


@pytest.mark.slow
def test_it_writes_tables_and_a_report(result, tmp_path):
    result.write(tmp_path / "run")
    result.report(tmp_path / "run" / "report.html")
    names = {f.name for f in (tmp_path / "run").iterdir()}
    assert {"folds.csv", "summary.csv", "genes.csv", "ceiling.csv", "report.html"} <= names
    assert json.loads((tmp_path / "run" / "split.json").read_text())["digest"] == result.digest
    page = (tmp_path / "run" / "report.html").read_text()
    assert "neighbour_mean (oracle)" in page
    assert "No method beats the baseline neighbour_mean" not in page


def test_splits_by_name_and_of_a_column():
    slides = planted_slides(4, 9, n_genes=5, seed=0)
    source = pd.Series(["train", "train", "test", "test"], index=slides.bag.index)
    slides = dataclasses.replace(slides, bag=slides.bag.assign(donor=list("abcd"), source=source),
                                 donor="donor")  # fmt: skip
    arena, _, _ = prepared(["knn"], slides, splits="leave-one-donor-out")
    assert arena.by == "leave-one-donor-out"
    assert [len(np.unique(slides.index[test])) for _, test in arena.parts] == [1, 1, 1, 1]
    arena, _, _ = prepared(["knn"], slides, splits="source")
    ((train, test),) = arena.parts  # slides of another source are tested once
    assert set(slides.index[train]) == {0, 1}
    assert set(slides.index[test]) == {2, 3}
    same = dataclasses.replace(slides, bag=slides.bag.assign(donor=list("abca")))
    with pytest.raises(InputError, match="donor 'a' is on both sides"):
        prepared(["knn"], same, splits="source")
    with pytest.raises(InputError, match="splits= says all folds: leave by= and folds= out"):
        prepared(["knn"], slides, splits="source", folds=2)
