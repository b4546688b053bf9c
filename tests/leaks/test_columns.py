"""Columns, cell types and features that are the label, and batches that go with it."""

import numpy as np
import pytest

import smalti as sm

Y = np.arange(24) % 2


@pytest.mark.parametrize("values", [np.where(Y, "case", "control"), Y, np.array(list("ABCD"))[
    Y + 2 * (np.arange(24) % 3 == 0)]], ids=["renamed", "number", "finer"])  # fmt: skip
def test_a_column_that_is_the_label(clean, values):
    (found,) = sm.audit(clean(status=values))
    assert found.kind == "column is the label"
    assert "'status'" in found.words
    assert "'status'" in found.mend


def test_columns_that_are_not(clean):
    name = [f"N{i}" for i in range(24)]  # tells each bag, and so the label, but of no other
    almost = np.where(Y, "case", "control")
    almost[0] = "case"
    assert not len(sm.audit(clean(name=name, almost=almost, age=Y + np.linspace(0, 0.5, 24))))
    few = clean(n=6, status=Y[:6])  # by chance in 2 of 20 dealings
    assert not len(sm.audit(few))


def test_methods_that_read_the_target_or_what_sorts_it(clean):
    bags = clean(age=Y + np.linspace(0, 0.5, 24))
    for column, words in (("label", "reads label, the target"), ("age", "column 'age' tells")):
        method = sm.mil.Covariates(covariates=(column,))
        (found,) = sm.audit(bags, {"mine": method})
        assert words in found.words


def test_a_column_in_the_order_of_a_real_target(clean):
    bags = clean().with_target(np.arange(24.0), kind="regression")
    bags.bag["level"] = np.arange(24.0) ** 2
    bags.bag["age"] = np.random.default_rng(0).permutation(24)
    assert [f.evidence["column"] for f in sm.audit(bags)] == ["level"]


@pytest.mark.slow
@pytest.mark.parametrize("dealt", [np.where(Y, "run1", "run2"), 10 * Y + np.arange(24) % 3,
                                   [f"202{y}-01-{i + 1:02}" for i, y in enumerate(Y)]],
                         ids=["two", "six", "dates"])  # fmt: skip
@pytest.mark.parametrize("name", ["batch", "Site ID", "date"])
def test_batches_that_go_with_the_label(clean, dealt, name):
    (found,) = sm.audit(clean(**{name: dealt}))
    assert found.kind == "confounded"
    assert found.evidence["auroc"] > 0.9
    assert found.evidence["low"] <= found.evidence["auroc"] <= found.evidence["high"]


def test_batches_that_do_not(clean):
    assert not len(sm.audit(clean(batch=np.arange(24) // 2 % 3, site=[f"s{i}" for i in range(24)])))


def test_a_batch_among_the_columns_of_the_instances(clean):
    bags = clean()
    bags.instance["batch"] = Y[bags.index]
    assert sm.audit(bags).kinds == {"confounded"}
    bags.instance["batch"] = np.arange(bags.n_instances) % 2
    assert not len(sm.audit(bags))


def test_cell_types_by_the_label(clean):
    bags = clean()
    plain = bags.instance["cell_type"].to_numpy()
    bags.instance["cell_type"] = plain + bags.labels[bags.index]
    assert sm.audit(bags).kinds == {"cell types are the label"}
    bags.instance["cell_type"] = plain + bags.bag["donor"].to_numpy()[bags.index]
    assert not len(sm.audit(bags))  # a type for each donor tells nothing of another


@pytest.mark.parametrize("sparse", [False, True])
def test_a_feature_that_is_the_label(clean, change, sparse):
    import scipy.sparse as sp

    bags = clean()
    x = bags.x["x"].copy()
    x[:, 3] = 2 * Y[bags.index]
    (found,) = sm.audit(change(bags, x=sp.csr_matrix(x) if sparse else x))
    assert (found.kind, found.evidence["features"]) == ("feature is the label", ["number 3"])


def test_a_biomarker_that_parts_patients_is_none():
    x = np.random.default_rng(0).normal(size=(24, 5))
    x[:, 2] += 9 * Y
    bags = sm.Bags.from_rows(x, np.arange(24), y=Y, donor="bag")
    assert not len(sm.audit(bags))
