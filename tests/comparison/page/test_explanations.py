"""The section of explanations: curves, answers, warnings, and what high scores go with."""

from types import SimpleNamespace

import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.page.explanations import explanations
from smalti.explain import Explanations
from smalti.mil import BagMean
from smalti.report.section import Drawing, Folded, Note, Table, Text


@pytest.fixture(scope="module")
def found():
    train, test = (sm.datasets.planted_bags(16, mean_length=8, seed=s) for s in (0, 1))
    return sm.explain.faithfulness(BagMean(progress=False).fit(train), test)


def section(found):
    table = SimpleNamespace(
        explanations=found, baselines=("bag_mean",),
        ranked=lambda: pd.DataFrame({"method": ["other", "bag_mean"]}),
    )  # fmt: skip
    return explanations(table)


def parts(found, kind):
    return [part for part in section(found).parts if isinstance(part, kind)]


def test_it_says_the_answer_in_words_in_the_picture_and_for_those_who_do_not_see_it(found):
    drawing = parts(found, Drawing)[0]
    assert drawing.alt.endswith("the scores of 1 of 1 kinds part from random order "
                                "(bag_mean contribution).")  # fmt: skip
    axes = drawing.figure.axes[0]
    assert axes.get_ylabel() == "probability of the predicted class"
    assert axes.get_xlabel() == "% of the cells taken away"
    first, second = parts(found, Table)
    assert first.frame["verdict"].tolist() == ["its scores point at what it uses"]
    assert first.frame["effective"].iloc[0].endswith(" of 9")
    assert "seeds" not in first.frame  # there were no refits
    assert first.marks == {0: "baseline"}
    assert "c" in set(second.frame["name"])
    assert "never over cells" in second.caption
    assert isinstance(section(found).parts[-1], Folded)


def test_warnings_are_not_missed_and_silent_methods_are_named(found):
    one = found.bags.assign(scores="attention", effective=1.0, instances=20)
    told = Explanations(one, found.curves, found.enriched, silent=("majority",))
    notes = parts(told, Note)
    assert [note.strong for note in notes] == ["bag_mean, attention."]
    assert notes[0].words.startswith("Attention has collapsed: 1.0 of 20 instances")
    assert any(text.words.startswith("majority: nothing") for text in parts(told, Text))


def test_of_numbers_it_says_what_is_followed(found):
    told = Explanations(found.bags, found.curves, found.enriched,
                        followed="the predicted value, in s.d. of training")  # fmt: skip
    assert parts(told, Drawing)[0].figure.axes[0].get_ylabel() == "predicted value"


def test_without_scores_there_is_no_section(found):
    assert section(None) is None
    nothing = Explanations(found.bags.iloc[:0], found.curves.iloc[:0], found.enriched.iloc[:0])
    assert section(nothing) is None
