"""Bags and tasks: every way in, the way back, and every error."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.model_selection import train_test_split

from smalti.bags import Bags, as_bags
from smalti.errors import InputError
from smalti.task import Task


def rows(seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(["a", "b", "c"], [3, 1, 5]))
    return rng.normal(size=(9, 4)), ids


def test_rows_in_any_order_come_together_and_go_back():
    x, ids = rows()
    bags = Bags.from_rows(x, ids)
    for i, name in enumerate(bags.bag.index):
        start, stop = bags.offsets[i : i + 2]
        np.testing.assert_array_equal(bags.table()[start:stop], x[ids == name])
    np.testing.assert_array_equal(bags.scatter(bags.table()), x)
    np.testing.assert_array_equal(bags.scatter(bags.index), pd.factorize(ids)[0])


def test_rows_in_no_bag_come_back_as_nan():
    x, ids = rows()
    part = Bags.from_rows(x, ids)[[1]]
    back = part.scatter(np.ones(part.n_instances), n=9)
    assert np.isnan(back).sum() == 9 - part.n_instances
    assert (back[part.rows] == 1).all()


@pytest.mark.parametrize("key", [[2, 0], np.array([True, False, True]), slice(1, None), 1, [1, 1]])
def test_indexing_is_by_bag(key):
    x, ids = rows()
    bags = Bags.from_rows(x, ids, y=pd.factorize(ids)[0] % 2)
    part = bags[key]
    expected = np.atleast_1d(np.arange(3)[key])
    assert len(part) == len(expected)
    for i, j in enumerate(expected):
        np.testing.assert_array_equal(
            part.table()[part.offsets[i] : part.offsets[i + 1]],
            bags.table()[bags.offsets[j] : bags.offsets[j + 1]],
        )
    np.testing.assert_array_equal(part.labels, bags.labels[expected])


def test_scikit_learn_splits_bags():
    bags = Bags.from_list([np.ones((i + 1, 2)) * i for i in range(10)], np.arange(10) % 2)
    train, test, _, y = train_test_split(bags, bags.labels, test_size=3, random_state=0)
    assert (len(train), len(test)) == (7, 3)
    np.testing.assert_array_equal(test.labels, y)
    assert bags.shape == (10, 2)


def test_sparse_backed_and_several_views_agree():
    x, ids = rows()
    x[np.abs(x) < 0.5] = 0

    class Disk:
        shape, dtype = x.shape, x.dtype

        def read(self, start, stop):
            return x[start:stop]

        def digest(self):
            return "disk"

    bags = Bags.from_rows({"dense": x, "csr": sp.csr_matrix(x), "disk": Disk()}, ids)
    for part in (bags, bags[[2, 0]], bags[[2, 0]][[1]]):
        np.testing.assert_array_equal(part.table("csr"), part.table("dense"))
        np.testing.assert_array_equal(part.table("disk"), part.table("dense"))
    assert bags.check() is bags


def test_digest_sees_features_and_labels():
    x, ids = rows()
    digest = Bags.from_rows(x, ids, y={"a": 0, "b": 1, "c": 1}).digest
    assert digest == Bags.from_rows(x.copy(), ids, y={"a": 0, "b": 1, "c": 1}).digest
    assert digest != Bags.from_rows(x + 1e-9, ids, y={"a": 0, "b": 1, "c": 1}).digest
    assert digest != Bags.from_rows(x, ids, y={"a": 1, "b": 1, "c": 0}).digest


def test_repr_says_what_it_holds():
    bags = Bags.from_list([np.ones((2, 3)), np.ones((5, 3))], [0, 1], donor=["p", "q"])
    assert repr(bags) == "Bags: 2 bags of 2-5 instances, x 3, 2 donors; target: binary (1 0, 1 1)"


X, IDS = rows()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Bags.from_rows(X, IDS, y=np.arange(9)), "bag '.' has two values of 'target'"),
        (lambda: Bags.from_rows(X, IDS, donor=np.arange(9)), "two values of 'donor'"),
        (lambda: Bags.from_rows(X, IDS[:5]), "one bag id per row"),
        (lambda: Bags.from_rows(X, [*IDS[:8], None]), "missing in 1 rows .first: row 8"),
        (lambda: Bags.from_rows(X, IDS, target="sick"), "no column 'sick'"),
        (lambda: Bags.from_rows(X, IDS, donor="who"), "no column 'who'"),
        (lambda: Bags.from_rows(X, IDS, y={"a": 1}), "no value for bag"),
        (lambda: Bags.from_rows(X.astype(str), IDS), "not numbers"),
        (lambda: Bags.from_list([X, X[:0]]), "bag 1 is empty"),
        (lambda: Bags.from_list([X, X[:, :2]]), "bag 1 has features of shape"),
        (lambda: Bags.from_list([]), "no bags"),
        (lambda: Bags.from_list([X], [1, 2]), "2 values for 1 bags"),
        (lambda: Bags.from_rows(X, IDS).labels, "no target"),
        (lambda: Bags.from_rows(X, IDS).donors, "donor='bag'"),
        (lambda: Bags.from_rows(X, IDS).view("pca"), "no view 'pca'"),
    ],
)  # fmt: skip
def test_errors_name_the_culprit(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_nan_is_named_by_view_feature_row_and_bag():
    x, ids = rows()
    x[4, 2] = np.inf
    bags = Bags.from_rows({"rna": pd.DataFrame(x, columns=list("wxyz"))}, ids)
    with pytest.raises(
        InputError, match=f"'rna'.*NaN or infinity: feature 'y', row 4, bag '{ids[4]}'"
    ):
        bags.check()


def test_as_bags_reads_arrays_and_lists():
    assert len(as_bags(np.ones((5, 2)))) == 5
    assert as_bags([np.ones((5, 2)), np.ones((1, 2))]).lengths.tolist() == [5, 1]
    frame = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]})
    assert as_bags(frame).features["x"] == ("a", "b")


# ---------------------------------------------------------------- task


@pytest.mark.parametrize(
    ("labels", "kind", "n"),
    [
        (["x", "y", "x"], "binary", 1),
        ([True, False], "binary", 1),
        ([0.0, 1.0, 1.0], "binary", 1),
        (["a", "b", "c"], "multiclass", 3),
        (pd.Categorical(["lo", "hi", "mid"], ["lo", "mid", "hi"], ordered=True), "ordinal", 2),
        (np.arange(25), "regression", 1),
        ([0.1, 0.2, 0.5], "regression", 1),
        (np.array([[0, 1], [1, 0], [1, 1]]), "multilabel", 2),
    ],
)
def test_kind_is_inferred(labels, kind, n):
    task = Task.infer(labels)
    assert (task.kind, task.n_outputs) == (kind, n)


def test_ordered_categories_keep_their_order_through_bags():
    label = pd.Categorical(["lo", "hi", "mid"], ["lo", "mid", "hi"], ordered=True)
    table = pd.DataFrame({"grade": label}, index=["a", "b", "c"])
    bags = Bags.from_rows(np.ones((3, 1)), ["a", "b", "c"], target="grade", bag=table)
    assert bags.task.classes == ("lo", "mid", "hi")
    assert bags.task.encode(bags.labels).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("labels", "kind", "match"),
    [
        ([1, 1, 1], None, "constant"),
        ([1, None, 0], None, "missing for 1 of 3"),
        ([1, np.inf, 0], None, "infinity"),
        (["a", "b"], "regression", "Unknown label type"),
        ([0, 1, 2], "binary", "3 classes"),
        ([0, 1], "survival", "is not one of"),
        (np.array([[0, 1], [1, 1]]), None, "constant in all bags"),
        (np.array([[0, 2], [1, 1]]), None, "must be 0 or 1"),
    ],
)
def test_task_errors(labels, kind, match):
    with pytest.raises(InputError, match=match):
        Task.infer(labels, kind=kind)


def test_unknown_class_is_named():
    with pytest.raises(InputError, match="'z'.*unknown in training"):
        Task.infer(["x", "y"]).encode(["z"])


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal"])
def test_loss_is_minus_the_log_of_the_probability(kind):
    n = 2 if kind == "binary" else 4
    task = Task(kind=kind, classes=tuple(range(n)))
    raw = torch.randn(7, task.n_outputs, dtype=torch.float64)
    if kind == "ordinal":
        raw = raw.sort(1, descending=True).values
    y = torch.arange(7) % n
    p = task.probabilities(raw.numpy())
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_allclose(task.loss(raw, y).numpy(), -np.log(p[np.arange(7), y]), atol=1e-6)


def test_ordinal_probabilities_are_those_of_the_definition():
    task = Task(kind="ordinal", classes=(0, 1, 2))
    above = torch.sigmoid(torch.tensor([[2.0, -1.0]], dtype=torch.float64))[0]
    expected = [1 - above[0], above[0] - above[1], above[1]]
    got = task.probabilities(np.array([[2.0, -1.0]]))[0]
    np.testing.assert_allclose(got, [float(e) for e in expected], atol=1e-12)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
def test_values_and_raw_are_inverses(kind):
    task = Task(kind=kind, classes=(0, 1) if kind == "binary" else (0, 1, 2))
    values = task.values(torch.randn(5, task.n_outputs, dtype=torch.float64))
    torch.testing.assert_close(task.values(task.raw(values)), values, atol=1e-5, rtol=1e-5)


def test_regression_comes_back_in_the_users_units():
    y = np.array([10.0, 20, 60])
    task = Task.infer(y, kind="regression")
    np.testing.assert_allclose(task.decide(task.encode(y)[:, None]), y, rtol=1e-6)
