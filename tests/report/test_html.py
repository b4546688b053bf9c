"""Pictures and the report."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti import plot
from smalti.comparison.page.compared import compared
from smalti.errors import InputError
from smalti.report import write_report
from smalti.report.section import Drawing, Section, Table, flat

NASTY = "<script>alert(1)</script> & co"


class Page(HTMLParser):
    """Tags, text and addresses of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.words = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def comparison():
    bags = sm.datasets.planted_bags(24, n_features=4, seed=0)
    methods = {NASTY: sm.make("mean_pooling", epochs=2, widths=(8,), progress=False)}
    with pytest.MonkeyPatch.context() as patch:
        few = {"majority": sm.mil.Majority}  # of the baselines
        patch.setattr("smalti.comparison.phenotype.methods", lambda: few)
        return sm.compare(methods, bags, folds=2, n_jobs=1, progress=False)


@pytest.fixture(scope="module")
def sections(comparison):
    return comparison.sections()


@pytest.fixture(scope="module")
def page(comparison, sections, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    more = Drawing("more", plot.plot_roc(comparison.predictions), alt=NASTY, caption=NASTY)
    all_ = [*sections, Section("more-of-it", NASTY, (more,))]
    write_report(comparison, path, sections=all_, text=[NASTY])
    return path.read_text(encoding="utf-8")


def test_report_holds_table_and_figures_and_needs_nothing_else(page, comparison, sections):
    parsed = Page(page)
    parts = [p for s in sections for p in flat(s.parts)]
    tables = [p for p in parts if isinstance(p, Table)]
    assert parsed.tags.count("table") == len(tables) > 3
    assert parsed.tags.count("tr") == sum(1 + len(t.frame) for t in tables)
    pictures = [a for a in parsed.addresses if not a.startswith("#")]
    assert len(pictures) == 1 + sum(isinstance(p, Drawing) for p in parts)
    for address in pictures:
        head, data = address.split(",", 1)
        assert head == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(data)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert comparison.digest in page
    mean = comparison.summary()["mean"].iloc[0]
    assert f"{mean:.3f}" in page


def test_text_of_users_is_escaped(page):
    parsed = Page(page)
    assert "<script>alert" not in page
    # paragraph, caption, heading, contents, method
    assert sum(NASTY in words for words in parsed.words) >= 5


def test_the_best_is_bold_and_ties_share_it(page):
    first = page.split('id="scores"')[1].split("<tbody>")[1].split("</tr>")[0]
    assert "<b>" in first


@pytest.mark.slow  # draws all pictures twice
def test_same_comparison_same_page(comparison, tmp_path):
    for name in ("a", "b"):
        comparison.report(tmp_path / f"{name}.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_unwritable_folder_is_named(comparison, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        comparison.report(tmp_path / "file" / "report.html", sections=[])


def test_scores_draws_every_fold(comparison):
    axes = plot.plot_scores(comparison)
    dots = sum(len(c.get_offsets()) for c in axes.collections)
    methods = comparison.summary()["method"].nunique()
    assert dots == methods * (2 + 1)  # folds, and the mean


def test_bags_are_drawn_by_falling_attention():
    bags = sm.datasets.digit_bags(3, seed=0)
    attention = pd.DataFrame({"attention": np.linspace(0, 1, bags.n_instances)})
    figure = plot.plot_bags(bags, attention, key="key")
    images = figure.axes[0].images
    assert len(images) == bags.lengths[0]
    ink = [1 - np.asarray(image.get_array()).min() for image in images]
    assert ink == sorted(ink, reverse=True)
    assert len(plot.plot_attention(bags, attention).axes) == 3


def test_roc_area_of_a_perfect_and_a_reversed_method():
    truth = np.array([0, 0, 1, 1])
    frames = [
        pd.DataFrame({"method": m, "bag": range(4), "true": truth, "p_0": 1 - p, "p_1": p})
        for m, p in (("good", truth.astype(float)), ("bad", 1.0 - truth))
    ]
    labels = [t.get_text() for t in plot.plot_roc(pd.concat(frames)).legend_.get_texts()]
    assert labels == ["good  1.000", "bad  0.000"]


def test_pictures_name_what_is_wrong():
    bags = sm.datasets.planted_bags(4)
    with pytest.raises(InputError, match="no images"):
        plot.plot_bags(bags, pd.DataFrame({"attention": np.zeros(bags.n_instances)}))
    with pytest.raises(InputError, match="no column 'attention'"):
        plot.plot_attention(bags, pd.DataFrame({"bag": np.zeros(bags.n_instances)}))
    with pytest.raises(InputError, match="binary"):
        plot.plot_roc(pd.DataFrame({"method": ["a"], "true": [1.0]}))
    with pytest.raises(InputError, match="nothing here was trained"):
        plot.plot_history(pd.DataFrame({"stage": ["x"]}))


@pytest.mark.slow
def test_page_and_pictures_name_the_positive_class(majority_alone, one_penalty, tmp_path):
    bags = sm.datasets.planted_bags(16, n_features=4, seed=0)
    bags = bags.with_target(np.array(["ctrl", "case"])[bags.labels])
    table = sm.compare(["bag_mean"], bags, folds=2, n_jobs=1, progress=False)
    write_report(table, tmp_path / "r.html", sections=[compared(table)])
    words = " ".join(Page((tmp_path / "r.html").read_text(encoding="utf-8")).words)
    assert "positive: case" in words
    assert re.search(r"positive class\s+case", words)
    roc, *_ = [p for s in table.sections() if s.name == "curves" for p in s.parts]
    axes = roc.figure
    assert axes.get_ylabel() == "share of bags of 'case' found"
    assert axes.get_xlabel() == "share of bags of 'ctrl' called 'case'"
    axes = plot.plot_scores(table, "average_precision")
    assert "average precision of 'case'" in axes.get_xlabel()
    assert "case" not in plot.plot_scores(table, "roc_auc").get_xlabel()
