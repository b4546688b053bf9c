"""Sections of the pages: which there are, in order, and that they say what the numbers say."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.page.order import EXPRESSION, INTEGRATION, made, phenotype
from smalti.report.section import Drawing, Table, flat

pytestmark = pytest.mark.slow  # draws every picture of a page
QUIET = {"n_jobs": 1, "progress": False}


def parts(section, kind):
    return {p.name: p for p in flat(section.parts) if isinstance(p, kind)}


@pytest.fixture(scope="module")
def binary():
    bags = sm.datasets.planted_bags(24, n_features=4, seed=0)
    site = np.where(np.arange(24) % 3, "Brno", "Praha")
    bags = dataclasses.replace(bags, bag=bags.bag.assign(site=site), site="site")
    with pytest.MonkeyPatch.context() as patch:
        few = {"majority": sm.mil.Majority, "bag_mean": sm.mil.BagMean}
        patch.setattr("smalti.comparison.phenotype.methods", lambda: few)
        return sm.compare(["mifv"], bags, folds=3, **QUIET)


@pytest.fixture(scope="module")
def sections(binary):
    return {s.name: s for s in made(binary, phenotype())}


def test_the_order_of_a_page(sections):
    order = ["cohort", "scores", "curves", "calibration", "thresholds", "net-benefit", "groups",
             "learning", "patients", "cells", "slides", "explanations", "audit", "compared",
             "search", "settings", "citation", "tripod"]  # fmt: skip
    assert list(sections) == [name for name in order if name in sections]
    assert {"cohort", "scores", "curves", "thresholds", "patients", "audit"} <= set(sections)


def test_the_table_has_intervals_tests_and_roles(binary, sections):
    table = parts(sections["scores"], Table)["scores"]
    frame = table.frame.set_index("method")
    for row in binary.intervals().itertuples():
        assert frame.loc[row.method, "roc_auc"] == row.value
        assert frame.loc[row.method, "roc_auc_low"] == pytest.approx(row.value_low, nan_ok=True)
    rival = binary.best_baseline()
    assert frame.loc[rival, "verdict"] == "the reference"
    against = binary.against(rival).set_index("method")
    assert frame.loc["mifv", "difference"] == against.loc["mifv", "difference"]
    said = {table.frame["method"][i]: words for i, words in table.marks.items()}
    assert said == {"bag_mean": "baseline", "majority": "baseline", "site alone": "control"}
    assert all(table.frame["method"][i] != "site alone" for i, _ in table.best)


def test_pictures_say_what_they_find(binary, sections):
    drawn = {k: p for s in sections.values() for k, p in parts(s, Drawing).items()}
    means = binary.summary("roc_auc").set_index("method")["mean"]
    assert f"{means[['mifv', 'bag_mean']].max():.2f}" in drawn["roc"].alt
    assert drawn["scores-roc-auc"].alt == f"{binary.headline()}."
    assert "is worth more than treating everyone or nobody" in drawn["net-benefit"].alt
    assert all(p.alt.endswith(".") and len(p.alt) > 20 for p in drawn.values())
    legend = drawn["roc"].figure.get_legend().get_texts()
    assert legend[0].get_text() == f"mifv  {means['mifv']:.3f}"  # one AUROC, that of the table


def test_a_page_of_expression_draws_the_best_the_median_and_the_worst_gene():
    slides = sm.datasets.planted_slides(4, 16, n_genes=12, seed=0)
    table = sm.compare_expression(["knn"], slides, **QUIET)
    kept = table.maps
    own = table.genes[table.genes["method"] == kept.method].groupby("gene")["pcc_slide"].mean()
    assert kept.genes[0] == own.idxmax()
    assert kept.genes[-1] == own.idxmin()
    assert kept.scores == tuple(own[list(kept.genes)])
    assert kept.true.shape == kept.predicted.shape == (kept.slide.n_instances, 3)
    here = slides.bag.index.get_loc(kept.slide.bag.index[0])
    rows = np.flatnonzero(slides.index == here)
    columns = [table.gene_names.index(g) for g in kept.genes]
    wanted = table.predictions[kept.method][np.ix_(rows, columns)]
    np.testing.assert_array_equal(kept.predicted, wanted)
    found = {s.name: s for s in made(table, EXPRESSION)}
    assert {"scores", "genes", "pearson"} <= set(found)
    assert len(parts(found["genes"], Table)["genes"].frame) == 12
    assert kept.genes[1] in parts(found["genes"], Drawing)["gene-maps"].alt
    assert dataclasses.replace(table, maps=None).sections()


def test_a_page_of_integration_has_every_metric_and_what_was_left_out(monkeypatch):
    monkeypatch.setattr("smalti.comparison.page.embeddings.absent", lambda name, _: name)
    names = (*sm.IntegrationComparison.order, "ors_rna")
    rows = [{"method": m, "repeat": seed, "fold": 0, "metric": k, "value": 0.1 * seed + len(m) / 9,
             "n_train": 80, "n_test": 20, "seconds": 1.0}
            for m in ("mine", "pca") for k in names for seed in (0, 1)]  # fmt: skip
    table = sm.IntegrationComparison(
        folds=pd.DataFrame(rows), digest="d", settings={}, baselines=("pca",), notes=(), about="",
        embeddings={}, labels=np.array(list("ab")), cells=np.arange(2),
        unscored={"unknown": 7, "": 1},
    )  # fmt: skip
    facts = table.facts()
    assert facts["embedded and not scored"] == "unknown 7, without a label 1"
    assert (facts["cells embedded"], facts["cells scored"]) == ("10", "2")
    found = {s.name: s for s in made(table, INTEGRATION)}
    shown = {c for s in ("clusters", "halves", "mixing") for t in parts(found[s], Table).values()
             for c in t.frame if not c.endswith("_sd")}  # fmt: skip
    assert shown == {"method", *names}
    few = dataclasses.replace(table, folds=table.folds[table.folds["metric"] == "ari_kmeans"])
    assert "mixing" not in {s.name for s in made(few, INTEGRATION)}


def test_curves_say_how_few_of_a_class_a_fold_has(binary, sections):
    counts = binary.predictions.query("method == 'mifv'").groupby(["repeat", "fold", "true"]).size()
    told = sections["curves"].parts[-1].words
    assert f"as few as {counts.min()} of a class" in told
    assert "Shown are 2 of 4 rows" in told
