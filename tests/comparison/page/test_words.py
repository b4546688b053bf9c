"""Sections that are words: settings, TRIPOD+AI, what to cite."""

import dataclasses
import re

import numpy as np
import pytest

import smalti as sm
from smalti.comparison.page.citation import citation
from smalti.comparison.page.settings import _plain, changed, settings
from smalti.comparison.page.tripod import HERE, PART, YOURS, answers, tripod
from smalti.datasets import planted_bags


@pytest.fixture(scope="module")
def table():
    chosen = {
        "wide": sm.mil.ABMIL(gated=True, epochs=2, class_weight="balanced"),
        "bag_mean": "bag_mean",
    }
    return sm.compare(chosen, planted_bags(24, seed=0), folds=3, n_jobs=1, progress=False,
                      preprocess="scale")  # fmt: skip


def test_settings_are_said_as_a_difference_to_the_defaults(table):
    rows = settings(table).parts[0].frame.set_index("row")["other"]
    assert set(rows["wide"].split(", ")) == {
        "gated=True", "epochs=2", "class_weight=balanced", "preprocess=scale"
    }  # fmt: skip
    assert rows["majority"] == "preprocess=scale"


def test_defaults_are_no_difference():
    own = {"method": "abmil"} | sm.mil.ABMIL().get_params(deep=False) | {"preprocess": ""}
    assert changed(own) == {}
    assert changed(own | {"seed": 3, "progress": False}) == {}
    assert changed({"method": "of nobody"}) is None


def test_a_long_list_is_said_by_its_ends():
    assert _plain(tuple(float(i) for i in range(30))) == "(0, 1, …, 29; 30 in all)"
    assert _plain((1, 2)) == "(1, 2)"


def test_just_the_methods_that_took_part_are_cited(table):
    text = citation(table).parts[1].text
    keys = re.findall(r"^@\w+\{([^,]+),", text, re.M)
    assert keys[:2] == ["smalti", "ilse2018"]
    assert "maitra2023" not in keys
    assert len(set(keys)) == len(keys)


def test_each_item_of_the_checklist_is_there_once(table):
    found = answers(table).set_index("item")
    whole = [f"{i}{s}" for i, subs in (
        (1, " "), (2, " "), (3, "abc"), (4, " "), (5, "ab"), (6, "abc"), (7, " "), (8, "abc"),
        (9, "abc"), (10, " "), (11, " "), (12, "abcdefg"), (13, " "), (14, " "), (15, " "),
        (16, " "), (17, " "), (18, "abcdef"), (19, " "), (20, "abc"), (21, " "), (22, " "),
        (23, "ab"), (24, " "), (25, " "), (26, " "), (27, "abc"),
    ) for s in subs]  # fmt: skip
    assert list(found.index) == [item.strip() for item in whole]
    assert set(found["answered"]) == {HERE, PART, YOURS}
    assert (found["answer"].str.len() > 0).all()
    assert found.loc["17", "answered"] == YOURS


def test_what_a_comparison_knows_is_answered(table):
    found = answers(table).set_index("item")["answer"]
    assert "wide" in found["13"]
    assert "weighted" in found["13"]
    assert "24 donors" in found["10"]
    assert "No site was named" in found["12d"]
    assert "donor folds" in found["12a"]
    assert found["23a"].startswith("AUROC, ")
    assert found["12f"] == "Nothing was done."
    mended = answers(dataclasses.replace(table, recalibrated="sigmoid")).set_index("item")["answer"]
    assert mended["12f"].startswith("Probabilities were recalibrated (sigmoid) inside each fold")
    assert "does not recalibrate" in mended["22"]
    words = tripod(table).parts[0].words
    assert sum(map(int, re.findall(r"\d+", words.partition("(2024)")[2]))) == len(found)


def test_of_numbers_nothing_is_said_of_thresholds():
    bags = planted_bags(24, seed=0)
    bags = sm.Bags.from_rows(
        bags.table(), bags.index, y=np.arange(24.0)[bags.index] + 0.5, donor="bag"
    )
    found = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
    told = answers(found).set_index("item")["answer"]
    assert told["15"].startswith("A number")
    assert "threshold" not in told["15"]
