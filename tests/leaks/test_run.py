"""The audit as a whole: what is clean stays so, findings have mends, a check is one function."""

import json

import numpy as np
import pytest

import smalti as sm
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.leaks.case import CHECKS, check
from smalti.leaks.finding import Audit, Finding


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
@pytest.mark.parametrize("per_donor", [1, 3])
def test_nothing_is_said_of_planted_bags(kind, per_donor):
    assert str(sm.audit(planted_bags(40, kind=kind, bags_per_donor=per_donor))).startswith(
        "Audit: no finding (looked for: "
    )


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_said_of_a_clean_cohort(clean, seed):
    n = 24
    rng = np.random.default_rng(seed)
    names = [[f"S{i // 2}_{'ab'[i % 2]}" for i in range(n)], [f"D{i}" for i in range(n)],
             [f"P{i // 3}_rep{i % 3}" for i in range(n)], list(range(n)),
             [f"{('donor', 'patient')[i % 2]}_{i // 2}" for i in range(n)]][seed]  # fmt: skip
    bags = clean(seed, donor=names, sex=rng.choice(["f", "m"], n), batch=rng.integers(3, size=n),
                 date=[f"2024-01-{d:02}" for d in rng.integers(1, 29, n)])  # fmt: skip
    assert sm.audit(bags).kinds == set()


def test_bags_without_target_and_donor_are_looked_at_too(clean):
    x = clean().x["x"]
    bags = sm.Bags.from_rows(x - x.mean(0), np.arange(len(x)) % 20)
    assert sm.audit(bags).kinds == {"fitted on the cohort"}


def test_a_finding_needs_a_mend():
    with pytest.raises(InputError, match="'copies' without a mend"):
        Finding("copies", "Two are one.", " ")
    with pytest.raises(InputError, match="severity 'bad' is not one of leak, doubt"):
        Finding("copies", "Two are one.", "Leave one out.", "bad")


def test_a_check_is_one_function(clean):
    @check("of a test")
    def look(case):
        yield Finding("of a test", f"{len(case.bags)} bags.", "Take more.", "doubt")

    try:
        found = sm.audit(clean())
    finally:
        del CHECKS["of a test"]
    assert str(found).endswith("doubt (of a test): 24 bags. Take more.")
    assert json.loads(json.dumps(found.record()))["findings"][0]["mend"] == "Take more."


def test_leaks_come_before_doubts(clean, change):
    bags = clean(batch=["a", "b"] * 12)
    bags = change(bags, x=bags.x["x"] - bags.x["x"].mean(0))
    assert [f.severity for f in sm.audit(bags)] == ["leak", "doubt"]
    assert len(Audit()) == 0


def test_a_view_that_no_method_can_read_is_passed_over(clean, change):
    bags = clean()
    x = bags.x["x"] - bags.x["x"].mean(0)
    assert len(sm.audit(change(bags, x=x)))
    x[3, 1] = np.nan  # a comparison of other views must not fail by it
    assert not len(sm.audit(change(bags, x=x)))


def test_cells_that_were_not_measured_are_no_copies(clean, change):
    bags = clean(d=60)
    x = bags.x["x"].copy()
    x[np.random.default_rng(0).random(len(x)) < 0.3] = 0
    assert not len(sm.audit(change(bags, x=x)))
