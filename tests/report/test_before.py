"""What was found before a fit, as a page and as a part of the page of a comparison."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.report import write_finding, write_report
from smalti.report.before import finding_of

NASTY = "<script>alert(1)</script> & $x_{2}$"


@pytest.fixture(scope="module")
def slides():
    bags = sm.datasets.planted_slides(6, 25, n_genes=12, donors=3, seed=2)
    noise = np.random.default_rng(0).normal(size=(bags.n_instances, 5)).astype(np.float32)
    names = (NASTY, *bags.features["counts"][1:])
    return dataclasses.replace(bags, x={**bags.x, "X_noise": noise},
                               features={**bags.features, "counts": names})  # fmt: skip


@pytest.fixture(scope="module")
def found(slides):
    views = ["X_planted", "X_noise"]
    return {
        "screen": sm.features.screen_backbones(slides, views),
        "predictable": sm.expression.predictable(slides, view=views, shuffles=5),
        "explore": sm.genes.explore(slides, ks=(2, 4), seeds=2),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("what", "says", "files"), [
    ("screen", "X_planted has the highest mean correlation, 0.", {"folds.csv", "summary.csv"}),
    ("predictable", "tiles of other donors", {"predictable.csv"}),
    pytest.param("explore", "genes", {"genes.csv", "choice.csv", "points.svg", "choice.svg"},
                 marks=pytest.mark.slow),  # draws five pictures twice
])  # fmt: skip
def test_a_page_says_the_finding_and_what_it_cannot_tell(found, tmp_path, what, says, files):
    write_finding(found[what], tmp_path / "out", about="six slides")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert says in page
    assert "six slides" in page
    assert "What it cannot tell" in page
    assert "look at training donors only" in page
    assert not re.search(r'(src|href)="(?!data:|#)|<script>alert', page)
    assert files <= {p.name for p in (tmp_path / "out").iterdir()}
    finding = finding_of(found[what], "six slides")
    again = finding_of(tmp_path / "out")
    assert dataclasses.replace(again, shown={}) == dataclasses.replace(
        finding, shown={}, tables={})  # fmt: skip
    for name, table in finding.shown.items():
        pd.testing.assert_frame_equal(again.shown[name], table)


def test_the_sentence_is_what_the_numbers_say(found, slides):
    text = finding_of(found["screen"]).sentence
    row = found["screen"].summary().iloc[1]
    assert f"X_noise is behind by {row.behind:.3f}" in text
    assert "worse" in text
    table = found["predictable"]
    mean = table.groupby("view")["score"].mean()
    finding = finding_of(table)
    assert f"with X_planted {mean['X_planted']:.2f}, " in finding.sentence
    top = finding.shown["The highest scores"]
    assert len(top) == 15
    assert top["score"].iloc[0] == f"{table['score'].max():.3f}"
    none = finding_of(table.assign(score=np.nan))
    assert "None of 12 genes has a score" in none.sentence
    assert not none.pictures


@pytest.mark.slow
def test_groups_that_seeds_do_not_agree_on_are_no_finding(found):
    steady = found["explore"].choice.assign(seeds=1.0)
    shaky = found["explore"].choice.assign(seeds=0.2)
    said = [finding_of(dataclasses.replace(found["explore"], choice=table)).sentence
            for table in (steady, shaky)]  # fmt: skip
    assert "groups part these 12 genes best" in said[0]
    assert "Take these groups for no finding" in said[1]


def test_one_donor_says_nothing_of_others(slides):
    one = dataclasses.replace(slides, bag=slides.bag.assign(own="P"), donor="own")
    limits = finding_of(sm.features.screen_backbones(one, ["X_noise", "X_planted"])).limits
    assert any("Each slide was left out" in text for text in limits)


@pytest.mark.slow
def test_a_comparison_takes_them_in(found, tmp_path, majority_alone, one_penalty):
    bags = sm.datasets.planted_bags(16, n_features=4, seed=0)
    table = sm.compare(["bag_mean"], bags, folds=2, n_jobs=1, progress=False)
    write_finding(found["predictable"], tmp_path / "genes")
    write_report(table, tmp_path / "r.html", sections=[],
                 before=[found["screen"], tmp_path / "genes"])  # fmt: skip
    page = (tmp_path / "r.html").read_text("utf-8")
    assert page.count('<h2 id="before-') == 2
    assert finding_of(found["screen"]).sentence in page
    assert "<script>alert" not in page


def test_what_is_no_finding_is_named(found, tmp_path):
    with pytest.raises(InputError, match="a dict is nothing that is found before a fit"):
        finding_of({})
    with pytest.raises(InputError, match=r"holds no finding\.json"):
        finding_of(tmp_path)
    write_finding(found["screen"], tmp_path / "s")
    note = tmp_path / "s" / "finding.json"
    good = json.loads(note.read_text("utf-8"))
    for bad in ("{", "[]", json.dumps(good | {"pictures": {"../s/screen": ["a", "b"]}})):
        note.write_text(bad, "utf-8")
        with pytest.raises(InputError, match="is damaged"):
            finding_of(tmp_path / "s")
    with pytest.raises(InputError, match="other files"):
        write_finding(found["screen"], tmp_path / "s")
