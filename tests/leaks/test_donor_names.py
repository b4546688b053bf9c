"""Donors under two names, samples and instances that count as donors."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm


@pytest.mark.parametrize(("one", "other"), [
    ("P01", "p01"), ("P01", " P01 "), ("P01", "P-01"), ("P01", "P1"), ("P01", "Patient P01"),
    ("12", "12.0"), ("P01", "Ｐ01"),
])  # fmt: skip
def test_one_person_under_two_names(clean, one, other):
    bags = clean(donor=[one, other, *(f"Q{i}" for i in range(22))])
    (found,) = sm.audit(bags)
    assert found.kind == "donor names"
    assert found.evidence["names"] == [[one, other]]
    assert "column 'donor'" in found.mend


@pytest.mark.parametrize(("one", "other"), [
    ("D1", "D10"), ("S1_a", "S1_b"), ("P1_rep1", "P1_rep2"), ("patient 1", "donor 1"),
    ("P1+", "P1-"), ("case1", "control1"), ("1_0", "10"), ("A1", "1A"),
])  # fmt: skip
def test_names_of_two_people(clean, one, other):
    assert not len(sm.audit(clean(donor=[one, other, *(f"Q{i}" for i in range(22))])))


def test_samples_of_one_person_as_donors(clean):
    people = [f"P{i // 2}" for i in range(24)]
    (found,) = sm.audit(clean(patient_id=people))
    assert found.kind == "donors of samples"
    assert "donor='patient_id'" in found.mend
    assert not len(
        sm.audit(clean(donor_type=["living", "living", "dead"] * 8))
    )  # no names of people


@pytest.mark.parametrize("column", ["sample", "mouse"])
def test_every_cell_a_donor(clean, column):
    bags = clean(cells=10)
    cells = bags.instance.assign(**{column: bags.bag.index.to_numpy()[bags.index]})
    y = bags.labels[bags.index]
    loose = sm.Bags.from_rows(bags.x["x"], np.arange(len(y)), y=y, donor="bag", instance=cells)
    (found,) = [f for f in sm.audit(loose) if f.kind == "instances as donors"]
    assert f"sample={column!r}" in found.mend
    mixed = dataclasses.replace(loose, bag=pd.DataFrame({"target": np.roll(y, 7)}))
    assert "instances as donors" not in sm.audit(mixed).kinds  # labelled one by one
