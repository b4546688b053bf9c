"""What a notebook shows of bags and comparisons: escaped, from nowhere else, in its own colours."""

import dataclasses
import re

import pandas as pd
import pytest
import sklearn
from packaging.version import parse

import smalti as sm
from smalti.notebook import card

NASTY = "<script>alert(1)</script> & <b>"


@pytest.fixture(scope="module")
def bags():
    found = sm.datasets.planted_bags(12, seed=0)
    return dataclasses.replace(
        found, bag=found.bag.assign(**{NASTY: 1}), notes=("a note",),
        x={"x": found.x["x"], NASTY: found.x["x"]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(bags):
    found = sm.compare(["bag_mean"], bags, folds=2, n_jobs=1, progress=False)
    return dataclasses.replace(found, notes=(*found.notes, NASTY))


def words(html):
    """Its text without its style and tags."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S))


@pytest.mark.parametrize("what", ["bags", "table"])
def test_it_is_escaped_and_fetches_and_runs_nothing(what, request):
    html = request.getfixturevalue(what)._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;b&gt;" in html
    for tag in ("<script", "<link", "<img", "src=", "href=", "url(", "@import", "<b>alert"):
        assert tag not in html


@pytest.mark.parametrize("what", ["bags", "table"])
def test_it_sets_no_colour_of_text_or_paper(what, request):
    html = request.getfixturevalue(what)._repr_html_()
    assert "background" not in html
    assert set(re.findall(r"[^-]color:([^;}]+)", html)) == {"inherit"}


def test_bags_say_what_their_line_says(bags):
    text = words(bags._repr_html_())
    assert "12 bags of 10-38 instances" in text
    assert bags.task.describe(bags.labels) in text
    assert f"{len(bags.bag.columns)} columns of bags" in text
    assert "1 note " in text
    assert words(bags[:0]._repr_html_()).split()[:3] == ["Bags", "no", "bags"]


def test_a_comparison_says_its_headline_and_its_rows(table):
    html, text = table._repr_html_(), words(table._repr_html_())
    assert table.headline().replace("'", "&#x27;") in text
    best = table.summary("roc_auc")["mean"].max()
    assert f"<b>{best:.3f} ±" in html
    assert all(m in text for m in table.folds["method"].unique())
    assert html.count('<tr class="soft">') == sum(map(bool, map(table.role, table.settings)))
    assert repr(table) == str(table)


def test_every_table_of_scores_has_it():
    for cls in (sm.Comparison, sm.IntegrationComparison, sm.ExpressionComparison,
                sm.AnnotationComparison, sm.ModalityPrediction):  # fmt: skip
        assert cls._repr_html_ is sm.scores.Scores._repr_html_
        assert cls.__repr__ is sm.scores.Scores.__repr__


def test_what_is_empty_takes_no_room():
    html = card("head", table=pd.DataFrame(), folded={"0 notes": []})
    assert words(html).split() == ["head"]


def test_a_fitted_method_is_the_diagram_of_scikit_learn(bags):
    text = words(sm.mil.BagMean(progress=False).fit(bags.only("x"))._repr_html_())
    assert "BagMean" in text
    if parse(sklearn.__version__) >= parse("1.9"):  # it shows the names that come out of it
        assert "bag_mean_0" in text
