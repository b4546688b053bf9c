"""Sections of a page: what they hold, and when they are not there."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.page.cells import cells
from smalti.comparison.page.cohort import cohort
from smalti.comparison.page.learning import learning
from smalti.comparison.page.patients import patients
from smalti.datasets import planted_bags
from smalti.report.section import Drawing, Table, flat


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patch:
        few = {"majority": sm.mil.Majority, "bag_mean": sm.mil.BagMean}
        patch.setattr("smalti.comparison.phenotype.methods", lambda: few)
        patch.setattr("smalti.nn.linear.folds_by_donor", lambda *_: [])
        bags = planted_bags(30, seed=0, effect=1.0)[:26]
        return sm.compare(["bag_mean"], bags, folds=3, repeats=2, n_jobs=1, progress=False,
                          attributions=True, learning_curve=(0.5,))  # fmt: skip


def parts(section, kind):
    return {p.name: p for p in flat(section.parts) if isinstance(p, kind)}


def test_who_was_in_adds_up(table):
    section = cohort(table)
    assert section.parts[0].words.startswith("Of 30 donors, 30 bags,")
    frame = parts(section, Table)["flow"].frame.set_index("step")
    out, kept = frame.loc["left out", "bags"], frame.loc["compared", "bags"]
    assert (out + kept, kept) == (30, 26)
    assert "part" not in frame
    assert "STROBE" in parts(section, Table)["cohort"].caption
    assert not any("selection" in note for note in table.notes)  # it is in the flow


def test_those_called_wrong_stand_in_the_open(table):
    section = patients(table)
    wrong = parts(section, Table)["misjudged"].frame
    assert (wrong["predicted"] != wrong["true"]).all()
    every = parts(section, Table)["patients"].frame
    assert len(every) == 26
    assert (every["predicted"] != every["true"]).sum() == len(wrong)
    assert f"{len(wrong)} of 26 bags" in parts(section, Drawing)["patients-dots"].alt


def test_cells_by_score_and_the_curve(table):
    section = cells(table)
    assert set(parts(section, Drawing)) == {"cells-map", "types-by-score-dots"}
    assert set(parts(section, Table)["types-by-score"].frame["group"]) == {"0", "1"}
    curve = parts(learning(table), Table)["learning"].frame
    assert curve["donors"].tolist() == [8, 17]  # means of 8, 8, 9 and 17, 17, 18


@pytest.mark.slow
def test_what_was_not_asked_for_is_not_there(table):
    bare = dataclasses.replace(table, cells=None, cohort=None, learning=table.learning[:0])
    assert (cells(bare), cohort(bare), learning(bare)) == (None, None, None)
    assert len(patients(bare).parts) > 1
    names = [section.name for section in table.sections()]
    assert names.index("cohort") < names.index("scores") < names.index("patients")


def test_a_type_of_a_page_may_be_called_anything(table):
    odd = table.cells.types.assign(type=table.cells.types["type"] + " <b>&$x$")
    section = cells(dataclasses.replace(table, cells=dataclasses.replace(table.cells, types=odd)))
    assert "<b>&$x$" in section.parts[0].words


def test_page_of_numbers(majority_alone, one_penalty):
    bags = planted_bags(24, seed=0)
    bags = bags.with_target(bags.bag["trait"].to_numpy(), kind="regression")
    found = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
    section = patients(found)
    assert len(parts(section, Table)["misjudged"].frame) == 10
    assert pd.api.types.is_float_dtype(parts(section, Table)["patients"].frame["residual"])
    assert np.isfinite(found.patients()["off"]).all()
