"""Bags and tasks: every way in, the way back, and every error."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GroupKFold, cross_val_predict, cross_val_score, train_test_split
from sklearn.utils import _safe_indexing

from smalti.bags import Bags, as_bags
from smalti.errors import InputError
from smalti.task import Task
from smalti.views import Picked, slice_rows


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
    assert repr(bags) == (
        "Bags: 2 bags of 2-5 instances, x 3, 2 donors; target: binary (1 0, 1 1; positive: 1)"
    )


def test_repr_of_few_and_of_single_instances():
    one = Bags.from_list([np.ones((1, 3))])
    assert repr(one) == "Bags: 1 bags of 1-1 instances, x 3"
    assert repr(Bags.from_list([np.ones((1, 3))] * 2)) == "Bags: 2 bags of one instance, x 3"
    assert repr(one[[]]) == "Bags: no bags"
    mixed = Bags.from_list([np.ones((1, 3)), np.ones((2, 3))], ["a", "b"])[[0]]
    assert repr(mixed).startswith("Bags: 1 bags of 1-1 instances, x 3; target 'target' is constant")


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


# ---------------------------------------------------------------- ways in and out


@pytest.mark.parametrize("seed", range(3))
def test_every_row_order_gives_the_same_bags(seed):
    rng = np.random.default_rng(seed)
    x, ids = rows(seed)
    order = rng.permutation(len(ids))
    instance = pd.DataFrame({"cell": np.arange(9)})
    one = Bags.from_rows(x, ids, instance=instance)
    two = Bags.from_rows(x[order], ids[order], instance=instance.iloc[order])
    np.testing.assert_array_equal(two.scatter(two.table()), x[order])
    np.testing.assert_array_equal(two.instance["cell"], order[two.rows])
    for name, bag in zip(two.bag.index, two, strict=True):
        there = one[list(one.bag.index).index(name)]
        assert sorted(bag.instance["cell"]) == sorted(there.instance["cell"])


def test_bags_come_in_order_of_first_appearance():
    bags = Bags.from_rows(np.arange(5.0)[:, None], ["z", "a", "z", "m", "a"])
    assert bags.bag.index.tolist() == ["z", "a", "m"]
    assert bags.rows.tolist() == [0, 2, 1, 4, 3]
    assert bags.offsets.tolist() == [0, 2, 4, 5]
    assert bags.lengths.tolist() == [2, 2, 1]
    assert bags.index.tolist() == [0, 0, 1, 1, 2]
    assert (len(bags), bags.n_instances, bags.shape) == (3, 5, (3, 1))


def test_a_list_of_arrays_is_one_bag_each():
    parts = [np.full((n, 2), n) for n in (3, 1, 2)]
    table = pd.DataFrame({"age": [30, 40, 50], "who": ["p", "q", "p"]})
    bags = Bags.from_list(parts, ["x", "y", "x"], donor="who", bag=table, kind="multiclass")
    assert bags.lengths.tolist() == [3, 1, 2]
    for part, bag in zip(parts, bags, strict=True):
        np.testing.assert_array_equal(bag.table(), part)
    assert bags.labels.tolist() == ["x", "y", "x"]
    assert bags.donors.tolist() == [0, 1, 0]
    assert bags.bag["age"].tolist() == [30, 40, 50]
    assert bags.task.kind == "multiclass"
    np.testing.assert_array_equal(bags.scatter(bags.table()), np.concatenate(parts))
    assert "target" not in table  # the user's table is left as it was


def test_a_list_with_several_labels_is_multilabel():
    y = np.array([[0, 1], [1, 0], [1, 1]])
    bags = Bags.from_list([np.ones((2, 3))] * 3, y)
    assert bags.target == ("target_0", "target_1")
    assert (bags.task.kind, bags.task.classes) == ("multilabel", ("target_0", "target_1"))
    np.testing.assert_array_equal(bags.labels, y)


def test_bags_of_images_keep_their_rank():
    bags = Bags.from_list([np.zeros((2, 3, 8, 8), np.uint8), np.ones((1, 3, 8, 8), np.uint8)])
    assert bags.shape == (2, 3, 8, 8)
    assert bags[[1]].table().shape == (1, 3, 8, 8)
    assert bags.table().dtype == np.uint8


@pytest.mark.parametrize(
    "donor",
    ["who", {"a": "p", "b": "q", "c": "p"}, "array"],
    ids=["column", "mapping", "array"],
)
def test_a_donor_may_be_a_column_a_mapping_or_an_array(donor):
    x, ids = rows()
    who = pd.Series(ids).map({"a": "p", "b": "q", "c": "p"})
    bags = Bags.from_rows(
        x,
        ids,
        donor=who.to_numpy() if isinstance(donor, str) and donor == "array" else donor,
        instance=pd.DataFrame({"who": who}),
    )
    by_bag = dict(zip(bags.bag.index, bags.donors, strict=True))
    assert by_bag["a"] == by_bag["c"] != by_bag["b"]


def test_every_bag_may_be_its_own_donor():
    x, ids = rows()
    assert Bags.from_rows(x, ids, donor="bag").donors.tolist() == [0, 1, 2]


def test_a_target_may_be_a_column_of_instances_or_of_bags():
    x, ids = rows()
    sick = {"a": "no", "b": "yes", "c": "no"}
    seen = list(dict.fromkeys(ids))
    sick["d"] = "yes"  # the table is in an order of its own and knows a bag that is not there
    table = pd.DataFrame({"sick": sick}).loc[["d", *seen[::-1]]]
    by_bag = Bags.from_rows(x, ids, target="sick", bag=table)
    by_row = Bags.from_rows(
        x, ids, target="sick", instance=pd.DataFrame({"sick": [sick[i] for i in ids]})
    )
    by_map = Bags.from_rows(x, ids, y=sick)
    assert by_bag.labels.tolist() == by_row.labels.tolist() == by_map.labels.tolist()
    assert by_bag.labels.tolist() == [sick[i] for i in by_bag.bag.index]
    assert by_bag.task.classes == ("no", "yes")


def test_with_target_replaces_the_target_only():
    x, ids = rows()
    bags = Bags.from_rows(x, ids, y={"a": 0, "b": 1, "c": 1})
    other = bags.with_target([[0.5], [1.5], [2.5]])  # a column is as good as a vector
    assert other.labels.tolist() == [0.5, 1.5, 2.5]
    assert other.task.kind == "regression"
    assert bags.with_target([0, 1, 2], kind="ordinal").task.kind == "ordinal"
    assert bags.with_target(np.array([[0, 1], [1, 0], [1, 1]])).task.kind == "multilabel"
    assert sorted(bags.labels) == [0, 1, 1]
    assert other.table() is bags.table()


def test_scatter_takes_rows_of_any_shape_and_keeps_the_type():
    x, ids = rows()
    bags = Bags.from_rows(x, ids)
    assert bags.scatter(bags.index).dtype == bags.index.dtype
    part = bags[[2, 0]]
    back = part.scatter(part.table(), n=9)
    np.testing.assert_array_equal(back[part.rows], x[part.rows])
    assert np.isnan(np.delete(back, part.rows, axis=0)).all()


# ---------------------------------------------------------------- indexing and scikit-learn


@pytest.mark.parametrize(
    "key",
    [[2, 0], np.array([2, 0]), np.array([True, False, True]), slice(None, None, -1), [-1]],
    ids=["list", "ints", "mask", "slice", "negative"],
)
def test_the_forms_that_scikit_learn_writes_agree(key):
    x, ids = rows()
    bags = Bags.from_rows(x, ids, y={"a": 0, "b": 1, "c": 1}, donor="bag")
    plain = bags[key]
    for part in (bags[key, ...], _safe_indexing(bags, key)):
        assert part.bag.index.tolist() == plain.bag.index.tolist()
        np.testing.assert_array_equal(part.table(), plain.table())
        np.testing.assert_array_equal(part.rows, plain.rows)
        assert part.digest == plain.digest
    np.testing.assert_array_equal(plain.bag.index, bags.bag.index[np.arange(3)[key]])
    np.testing.assert_array_equal(plain.table(), x[plain.rows])


def test_selections_of_selections_lead_back_to_the_users_rows():
    x, ids = rows()
    part = Bags.from_rows(x, ids)[[2, 0, 1]][1:][[1, 0]]
    np.testing.assert_array_equal(part.table(), x[part.rows])
    assert [ids[r] for r in part.rows] == [part.bag.index[i] for i in part.index]


def test_a_mask_of_another_length_and_a_bag_too_far_fail():
    bags = Bags.from_rows(*rows())
    with pytest.raises(IndexError, match="boolean index did not match"):
        bags[np.array([True, False])]
    with pytest.raises(IndexError, match="out of bounds"):
        bags[[3]]


class Threshold(ClassifierMixin, BaseEstimator):
    """Says 1 where the mean of a bag is above that of all training bags."""

    def fit(self, bags, y):
        assert isinstance(bags, Bags)
        assert len(bags) == len(y)
        np.testing.assert_array_equal(bags.labels, y)
        self.classes_ = np.unique(y)
        self.mean_ = np.mean([b.table().mean() for b in bags])
        return self

    def predict(self, bags):
        return np.array([int(b.table().mean() > self.mean_) for b in bags])


def cohort():
    """Twelve bags of six donors, the mean of each its label."""
    y = np.tile([0, 1], 6)
    donor = np.repeat(list("pqrstu"), 2)
    return Bags.from_list([np.full((i % 3 + 1, 2), v) for i, v in enumerate(y)], y, donor=donor)


def test_group_k_fold_parts_no_donor():
    bags, seen = cohort(), []
    for train, test in GroupKFold(3).split(bags, bags.labels, groups=bags.donors):
        assert not set(bags[train].bag["donor"]) & set(bags[test].bag["donor"])
        seen += bags[test].bag.index.tolist()
    assert sorted(seen) == list(range(12))


@pytest.mark.slow
@pytest.mark.parametrize("cv", [3, GroupKFold(3)], ids=["stratified", "group"])
def test_cross_validation_takes_bags(cv):
    bags = cohort()
    how = {"cv": cv, "groups": bags.donors if isinstance(cv, GroupKFold) else None}
    assert cross_val_score(Threshold(), bags, bags.labels, **how).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(
        cross_val_predict(Threshold(), bags, bags.labels, **how), bags.labels
    )


# ---------------------------------------------------------------- views


class Disk:
    """Rows on disk that note what was read."""

    def __init__(self, x, name="disk"):
        self.x, self.shape, self.dtype, self.name, self.reads = x, x.shape, x.dtype, name, []

    def read(self, start, stop):
        self.reads.append((start, stop))
        return self.x[start:stop]

    def digest(self):
        return self.name


def test_a_backed_view_is_read_when_asked_and_in_runs():
    x = np.arange(12.0).reshape(6, 2)
    disk = Disk(x)
    bags = Bags.from_rows(disk, list("aabbbc"))
    part = bags[[2, 1]]
    assert bags.shape == (3, 2)
    assert not disk.reads
    np.testing.assert_array_equal(part.table(), x[[5, 2, 3, 4]])
    assert disk.reads == [(2, 6)]  # what lies side by side is one read


def test_a_backed_view_in_any_row_order():
    x, ids = rows()
    bags = Bags.from_rows(Disk(x), ids)
    np.testing.assert_array_equal(bags.scatter(bags.table()), x)
    np.testing.assert_array_equal(bags[[1]].table(), x[ids == bags.bag.index[1]])


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array])
def test_a_sparse_view_stays_sparse(form):
    x, ids = rows()
    x[x < 0] = 0
    bags = Bags.from_rows(form(x), ids)
    view = bags[[2, 0]].view("x")[1]
    assert sp.issparse(view)
    assert view.format == "csr"
    np.testing.assert_array_equal(bags.scatter(bags.table()), x)


def test_the_first_view_is_the_default():
    x, ids = rows()
    bags = Bags.from_rows({"pca": x, "raw": x[:, :2]}, ids)
    assert bags.view()[0] == "pca"
    assert bags.view("raw")[1].shape == (9, 2)
    assert bags.shape == (3, 4)
    assert bags.table("raw").shape == (9, 2)


# ---------------------------------------------------------------- digest and repr


def test_digest_is_short_and_stable():
    x, ids = rows()
    bags = Bags.from_rows(x, ids)
    assert len(bags.digest) == 16
    assert int(bags.digest, 16) >= 0
    assert bags[:].digest == bags.digest
    assert Bags.from_rows({"b": x, "a": x}, ids).digest == (
        Bags.from_rows({"a": x, "b": x}, ids).digest
    )


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_digest_sees_all_that_a_method_sees(form):
    x, ids = rows()
    x[0, 0], other = 0.0, x.copy()
    other[3, 1] = np.nextafter(other[3, 1], 9)  # the last bit of one number
    moved = x.copy()
    moved[0, [0, 1]] = x[0, [1, 0]]  # a number in another column
    digests = [
        Bags.from_rows(form(x), ids).digest,
        Bags.from_rows(form(other), ids).digest,
        Bags.from_rows(form(moved), ids).digest,
        Bags.from_rows(form(x.astype(np.float32)), ids).digest,
        Bags.from_rows({"other": form(x)}, ids).digest,
        Bags.from_rows(form(x), np.where(ids == "a", "A", ids)).digest,
        Bags.from_rows(form(x), ids, donor="bag", y={"a": 0, "b": 0, "c": 1}).digest,
        Bags.from_rows(form(x), ids)[[1, 0, 2]].digest,
        Bags.from_rows(form(x), ids)[[0, 1]].digest,
    ]
    assert len(set(digests)) == len(digests)


def test_digest_of_a_backed_view_asks_the_view():
    x, ids = rows()
    disk = Disk(x)
    bags = Bags.from_rows(disk, ids)
    assert bags.digest == Bags.from_rows(Disk(x), ids).digest
    assert bags.digest != Bags.from_rows(Disk(x, "other"), ids).digest
    assert bags[[0, 1]].digest != bags[[0, 2]].digest
    assert Bags.from_rows(disk, list("aaaaaaaab")).digest != (  # the same bags of other rows
        Bags.from_rows(disk, list("aaaaaaaba")).digest
    )
    assert not disk.reads


def test_digest_sees_where_bags_are_cut():
    x, _ = rows()
    assert Bags.from_rows(x, list("aabbbbbbb")).digest != (
        Bags.from_rows(x, list("aaabbbbbb")).digest
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Bags.from_list([np.ones((1200, 3)), np.ones((1, 3))]),
            "Bags: 2 bags of 1-1,200 instances, x 3",
        ),
        (
            lambda: Bags.from_rows({"pca": np.ones((2, 3)), "img": np.ones((2, 1, 4, 4))}, [0, 1]),
            "Bags: 2 bags of one instance, pca 3, img 1x4x4",
        ),
        (
            lambda: Bags.from_list([np.ones((2, 3))] * 3, [0.5, 1.25, 3]),
            "Bags: 3 bags of 2-2 instances, x 3; target: regression (0.5 to 3)",
        ),
        (
            lambda: Bags.from_list([np.ones((2, 3))] * 2, [[0, 1], [1, 0]]),
            "Bags: 2 bags of 2-2 instances, x 3; target_0, target_1: multilabel "
            "(1 target_0, 1 target_1)",
        ),
    ],
    ids=["no target", "views", "regression", "multilabel"],
)
def test_repr_of_each_kind(make, text):
    assert repr(make()) == text


def test_repr_of_bags_with_one_label_says_so():
    bags = Bags.from_list([np.ones((2, 3))] * 3, [0, 1, 1])
    assert repr(bags[[1, 2]]).startswith("Bags: 2 bags of 2-2 instances, x 3; target 'target' is c")


# ---------------------------------------------------------------- more errors


def flat(**changes):
    """The plain constructor, with one argument wrong."""
    good = {
        "x": {"x": np.ones((3, 2))},
        "offsets": np.array([0, 2, 3]),
        "instance": pd.DataFrame(index=range(3)),
        "bag": pd.DataFrame({"sick": [0, 1]}, index=["a", "b"]),
        "rows": np.arange(3),
    }
    return Bags(**good | changes)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: Bags.from_rows(np.ones((3, 1)), ["a", "b", "a"], y=["no", "yes", "yes"]),
            r"bag 'a' has two values of 'target' \('no' and 'yes'\): a bag has one",
        ),
        (
            lambda: Bags.from_rows(np.ones((3, 1)), ["a", "b", "a"], donor=["p", "q", None]),
            r"bag 'a' has two values of 'donor' \('p' and None\)",
        ),
        (
            lambda: Bags.from_rows(X, IDS, donor="who", instance=pd.DataFrame({"who": range(9)})),
            "two values of 'who'",
        ),
        (lambda: Bags.from_rows(X, IDS, y=[0, 1]), "'target' has 2 values for 9 instances"),
        (lambda: Bags.from_rows(X, IDS, donor=[0, 1]), "'donor' has 2 values for 9 instances"),
        (
            lambda: Bags.from_rows(X, IDS, donor={"a": 1, "b": 1}),
            "'donor' has no value for bag 'c'",
        ),
        (lambda: Bags.from_rows(X, np.ones((9, 2))), r"bag_id has shape \(9, 2\)"),
        (lambda: Bags.from_rows(X[:, 0], IDS), r"view 'x' has shape \(9,\)"),
        (lambda: Bags.from_rows({"a": X, "b": X[:4]}, IDS), "views differ in rows: .*'b': 4"),
        (
            lambda: Bags.from_rows(X, IDS, instance=pd.DataFrame(index=range(4))),
            "instance has 4 rows, the features 9",
        ),
        (
            lambda: Bags.from_rows(X, IDS, bag=pd.DataFrame(index=["a"])),
            "the bag table has no row for 'b', 'c': add it",
        ),
        (lambda: Bags.from_rows(X, IDS, y=[0] * 9, target="sick"), "y or target, not both"),
        (
            lambda: Bags.from_rows(X, IDS, target="sick", instance=pd.DataFrame({"age": [1] * 9})),
            r"no column 'sick' in the instance table; there are age",
        ),
        (lambda: Bags.from_list([X, X[0]]), r"bag 1 has shape \(4,\)"),
        (lambda: Bags.from_rows(X, IDS).with_target([0, 1]), "3 bags but 2 targets"),
        (lambda: flat(offsets=np.array([0, 3, 3])), "bag 'b' is empty: drop it"),
        (lambda: flat(x={"pca": np.ones((4, 2))}), "view 'pca' has 4 rows, the bags need 3"),
        (lambda: flat(target="ill").task, r"no column 'ill' in the bag table; there are sick"),
        (lambda: flat(target="ill").labels, "no column 'ill'"),
        (lambda: flat(donor="who").donors, "no column 'who' in the bag table"),
        (
            lambda: Bags.from_rows(X, IDS, donor={"a": "p", "b": None, "c": "q"}).donors,
            "donor column 'donor' is missing for bag 'b' \\(written NaN\\): fill it in",
        ),
        (
            lambda: Bags.from_rows(X, IDS, y={"a": 0, "b": None, "c": 1}).task,
            "target 'target' contains NaN and so is missing for 1 of 3",
        ),
        (
            lambda: Bags.from_rows(X, IDS, y={"a": "no", "b": "no", "c": "no"}).task,
            r"target 'target' is constant \('no' in all 3 bags\)",
        ),
    ],
)
def test_more_errors_name_the_culprit(make, match):
    with pytest.raises(InputError, match=match):
        make()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["dense", "csr", "disk"])
def test_nan_is_found_in_every_sort_of_view(form, bad):
    x, ids = rows()
    x[6, 3] = bad
    view = {"dense": np.asarray, "csr": sp.csr_matrix, "disk": Disk}[form](x)
    bags = Bags.from_rows({"ok": np.ones((9, 1)), "rna": view}, ids, features={"rna": "wxyz"})
    match = f"view 'rna' contains NaN or infinity: feature 'z', row 6, bag '{ids[6]}'"
    for there in (bags, bags[::-1]):
        with pytest.raises(InputError, match=match):
            there.check()
    clean = bags[[i for i, name in enumerate(bags.bag.index) if name != ids[6]]]
    assert clean.check() is clean


def test_nan_in_a_feature_without_a_name_is_placed():
    x, ids = rows()
    x[2, 1] = np.nan
    with pytest.raises(InputError, match=f"view 'x' .*feature at .*1.*, row 2, bag '{ids[2]}'"):
        Bags.from_rows(x, ids).check()


def test_whole_numbers_need_no_check():
    bags = Bags.from_rows(np.ones((2, 3), np.uint8), [0, 1])
    assert bags.check() is bags


def test_as_bags_takes_a_target_and_leaves_bags_alone():
    x, ids = rows()
    bags = Bags.from_rows(x, ids)
    assert as_bags(bags) is bags
    assert as_bags(bags, [0, 1, 1]).labels.tolist() == [0, 1, 1]
    assert (
        as_bags(sp.csr_matrix(x), np.arange(9) % 2).labels.tolist() == (np.arange(9) % 2).tolist()
    )
    with pytest.raises(InputError, match="9 bags but 2 targets"):
        as_bags(x, [0, 1])


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
        ([0, 1], "ranking", "is not one of"),
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


# ---------------------------------------------------------------- task: kinds


@pytest.mark.parametrize(
    ("labels", "kind", "classes"),
    [
        (["no", "yes", "no"], "binary", ("no", "yes")),
        (np.array([True, False, True]), "binary", (False, True)),
        (pd.array([True, False, True], dtype="boolean"), "binary", (False, True)),
        (pd.array([3, 1, 2] * 2, dtype="Int64"), "multiclass", (1, 2, 3)),
        ([1.0, 2.0, 3.0] * 2, "multiclass", (1.0, 2.0, 3.0)),
        (np.arange(40) % 20, "multiclass", tuple(range(20))),
        (np.arange(21), "regression", ()),
        (np.arange(25) * 2.0, "regression", ()),
        ([f"c{i:02d}" for i in range(25)], "multiclass", tuple(f"c{i:02d}" for i in range(25))),
        (pd.Categorical(["u", "v", "w"], ["w", "v", "u"]), "multiclass", ("u", "v", "w")),
        (pd.Categorical([3, 1, 2], [1, 2, 3], ordered=True), "ordinal", (1, 2, 3)),
        (
            pd.Categorical(["b", "a"], ["c", "b", "a"], ordered=True),  # "c" does not occur
            "binary",
            ("b", "a"),
        ),
        (
            pd.Categorical(["b", "a", "d"], ["d", "c", "b", "a"], ordered=True),
            "ordinal",
            ("d", "b", "a"),
        ),
        (np.array([[0, 1], [1, 0]]), "multilabel", ("0", "1")),
    ],
)
def test_kind_and_classes_are_inferred(labels, kind, classes):
    task = Task.infer(labels)
    assert (task.kind, task.classes) == (kind, classes)
    assert task.is_classifier == (kind != "regression")


def test_two_columns_are_multilabel_by_name():
    table = pd.DataFrame({"t": [0, 1, 1], "u": [True, False, False]}, index=["a", "b", "c"])
    bags = Bags.from_rows(np.ones((3, 1)), ["a", "b", "c"], target=["t", "u"], bag=table)
    assert (bags.task.kind, bags.task.classes, bags.task.n_outputs) == ("multilabel", ("t", "u"), 2)
    assert bags.task.encode(bags.labels).tolist() == [[0, 1], [1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("labels", "kind", "n"),
    [
        ([0, 1, 2, 2], "ordinal", 2),
        ([0, 1, 0, 1], "ordinal", 1),
        ([0, 1, 0, 1], "multiclass", 2),
        ([0, 1, 0, 1], "regression", 1),
        (np.arange(30), "multiclass", 30),
    ],
)
def test_a_kind_asked_for_is_kept(labels, kind, n):
    task = Task.infer(labels, kind=kind)
    assert (task.kind, task.n_outputs) == (kind, n)
    assert task.head(5)(torch.ones(2, 5)).shape == (2, n)


@pytest.mark.parametrize(
    ("labels", "how", "match"),
    [
        ([1.5, np.nan, np.nan, 2], {}, r"missing for 2 of 4 bags: .* \(first: position 1\)"),
        (["a", "b", None], {"column": "sick"}, "target 'sick' contains NaN"),
        (["a", "a"], {"column": "sick"}, r"target 'sick' is constant \('a' in all 2 bags\)"),
        ([1.0, 1.0], {"kind": "regression"}, "is constant"),
        ([0.5, -np.inf, 1], {}, "target 'target' contains infinity"),
        ([0, 1], {"kind": "multilabel"}, "needs one column per label"),
        (np.eye(2), {"kind": "binary"}, "has 2 columns, and a binary target is one: name one of"),
        (
            np.eye(2),
            {"kind": "regression"},
            "'multilabel' .*'binomial' .* or kind='survival'",
        ),
        (np.array([[0, np.nan], [1, 0]]), {}, "contain NaN"),
        (np.array([[0, 1], [1, 1]]), {"column": ("t", "u")}, "label 'u' is constant"),
        (np.array([[0, 1], [1, 3]]), {"column": ("t", "u")}, "label 'u' must be 0 or 1"),
    ],
)
def test_more_task_errors(labels, how, match):
    with pytest.raises(InputError, match=match):
        Task.infer(labels, **how)


# ---------------------------------------------------------------- task: losses


def made(kind, n=3):
    classes = {"binary": (0, 1), "regression": ()}.get(kind, tuple(range(n)))
    return Task(kind=kind, classes=classes)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_losses_are_the_textbook_formulas():
    raw, y = draw(6, 3), torch.arange(6) % 3
    e = raw.exp()
    torch.testing.assert_close(
        made("multiclass").loss(raw, y), -(e / e.sum(1, keepdim=True))[range(6), y].log()
    )
    p, hit = 1 / (1 + (-raw).exp()), (raw > 0.3).double()
    torch.testing.assert_close(
        made("multilabel").loss(raw, hit),
        -(hit * p.log() + (1 - hit) * (1 - p).log()).sum(1),
    )
    torch.testing.assert_close(
        made("binary").loss(raw[:, :1], hit[:, 0].long()),
        -(hit * p.log() + (1 - hit) * (1 - p).log())[:, 0],
    )
    torch.testing.assert_close(
        made("regression").loss(raw[:, :1], hit[:, 1]), (raw[:, 0] - hit[:, 1]) ** 2 / 2
    )


@pytest.mark.parametrize("n", [2, 3, 6])
def test_ordinal_probabilities_sum_to_one_and_give_the_loss(n):
    task = made("ordinal", n)
    raw = 3 * draw(8, n - 1, seed=n).sort(1, descending=True).values
    above = torch.cat([torch.ones(8, 1), raw.sigmoid(), torch.zeros(8, 1)], 1)
    naive = (above[:, :-1] - above[:, 1:]).numpy()  # P(y > k - 1) - P(y > k)
    p = task.probabilities(raw.numpy())
    np.testing.assert_allclose(p, naive, atol=1e-12)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    for k in range(n):
        loss = task.loss(raw, torch.full((8,), k))
        np.testing.assert_allclose(loss, -np.log(p[:, k]), rtol=1e-9)


@pytest.mark.parametrize("far", [-30.0, 30.0])
def test_losses_and_gradients_are_finite_far_out(far):
    for kind in ("binary", "multiclass", "multilabel", "ordinal"):
        task = made(kind)
        raw = (far + torch.tensor([[1.0, 0.0, -1.0]]))[:, : task.n_outputs].requires_grad_()
        for y in range(2 if kind == "binary" else 3):
            target = torch.eye(3)[[y]] if kind == "multilabel" else torch.tensor([y])
            loss = task.loss(raw, target)
            (grad,) = torch.autograd.grad(loss.sum(), raw)
            assert loss.isfinite().all()
            assert grad.isfinite().all()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
def test_gradcheck_of_the_loss(kind):
    task = made(kind)
    raw = draw(4, task.n_outputs, seed=1).sort(1, descending=True).values.requires_grad_()
    y = {"multilabel": torch.eye(3)[[0, 1, 2, 0]], "regression": draw(4)}.get(
        kind, torch.tensor([0, 1, 0, 1])
    )
    assert torch.autograd.gradcheck(lambda r: task.loss(r, y), raw)


def test_the_ordinal_head_never_crosses_its_thresholds():
    head = made("ordinal", 5).head(3)
    with torch.no_grad():
        head.steps.copy_(torch.tensor([-9.0, 0.0, 4.0]))
    raw = head(draw(7, 3).float())
    assert (raw.diff(dim=1) < 0).all()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
def test_raw_undoes_values_and_keeps_off_the_ends(kind):
    task = made(kind)
    raw = draw(5, task.n_outputs, seed=2)
    back = task.raw(task.values(raw))
    if kind == "multiclass":  # logits are known but for a constant
        back, raw = back.log_softmax(1), raw.log_softmax(1)
    torch.testing.assert_close(back, raw)
    if kind != "regression":
        for end in (0.0, 1.0):
            assert task.raw(torch.full((1, task.n_outputs), end)).isfinite().all()


# ---------------------------------------------------------------- task: back to the user


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["no", "yes", "no"], "binary"),
        (["u", "v", "w", "u"], "multiclass"),
        (pd.Categorical(["lo", "hi", "mid"], ["lo", "mid", "hi"], ordered=True), "ordinal"),
    ],
)
def test_certain_raw_decides_for_the_label_it_encodes(labels, kind):
    task = Task.infer(labels)
    codes = task.encode(labels)
    raw = {
        "binary": 9.0 * (2 * codes[:, None] - 1),
        "multiclass": 9.0 * np.eye(3)[codes % 3],
        "ordinal": np.where(codes[:, None] > np.arange(2), 9.0, -9.0),
    }[kind]
    assert task.decide(raw).tolist() == list(labels)
    p = task.probabilities(raw)
    assert p.shape == (len(labels), len(task.classes))
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(p.argmax(1), codes)


def test_multilabel_decides_each_label_alone():
    task = made("multilabel")
    raw = np.array([[-1.0, 2.0, 0.5], [3.0, -2.0, -0.1]])
    assert task.decide(raw).tolist() == [[0, 1, 1], [1, 0, 0]]
    np.testing.assert_allclose(task.probabilities(raw), 1 / (1 + np.exp(-raw)))


def test_a_regression_is_standardised_and_has_no_probabilities():
    task = Task.infer([10.0, 20.5, 60.0])
    code = task.encode([10.0, 20.5, 60.0])
    assert code.dtype == np.float32
    np.testing.assert_allclose([code.mean(), code.std()], [0, 1], atol=1e-6)
    with pytest.raises(AttributeError, match="no probabilities"):
        task.probabilities(code[:, None])


def test_class_weights():
    labels = ["x", "x", "x", "y"]
    task = Task.infer(labels)
    assert task.weights(labels, None).tolist() == [1, 1, 1, 1]
    balanced = task.weights(labels, "balanced")
    assert balanced[:3].sum() == pytest.approx(balanced[3])
    assert balanced.mean() == pytest.approx(1)
    assert task.weights(labels, {"y": 5}).tolist() == [1, 1, 1, 5]
    with pytest.raises(InputError, match=r"class_weight names \['z'\]"):
        task.weights(labels, {"z": 2})
    with pytest.raises(InputError, match="class_weight='even' is not"):
        task.weights(labels, "even")
    with pytest.raises(InputError, match="no meaning for a regression"):
        Task.infer([0.5, 1, 2]).weights([0.5, 1, 2], "balanced")


def test_strata_group_like_with_like():
    assert Task.infer(["x", "y"]).strata(["y", "x", "y"]).tolist() == [1, 0, 1]
    assert len(np.unique(Task.infer(np.arange(40)).strata(np.arange(40)))) == 4
    both = np.array([[0, 1], [1, 0], [0, 1], [1, 1]])
    groups = Task.infer(both).strata(both)
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3


GRADES = pd.Categorical(["lo", "hi", "mid"], ["lo", "mid", "hi"], ordered=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda y: Bags.from_list([np.ones((2, 1))] * 3, y),
        lambda y: Bags.from_rows(np.ones((3, 1)), [0, 1, 2], y=y),
        lambda y: Bags.from_list([np.ones((2, 1))] * 3).with_target(y),
    ],
)
@pytest.mark.parametrize("as_series", [False, True])
def test_order_of_categories_survives_every_way_in(make, as_series):
    task = make(pd.Series(GRADES, index=[7, 8, 9]) if as_series else GRADES).task
    assert (task.kind, task.classes) == ("ordinal", ("lo", "mid", "hi"))


def test_scatter_of_repeated_bags_leaves_nan_where_no_bag_is():
    bags = Bags.from_rows(np.ones((5, 2)), list("aabbc"))[[0, 0, 0, 2]]
    np.testing.assert_array_equal(bags.scatter(np.ones(7)), [1, 1, np.nan, np.nan, 1])


def test_tables_must_fit_the_bags():
    twice = pd.DataFrame({"t": [0, 1, 1]}, index=["a", "a", "b"])
    with pytest.raises(InputError, match="several rows for 'a'"):
        Bags.from_rows(np.ones((3, 1)), list("aab"), bag=twice)
    with pytest.raises(InputError, match="3 rows for 2 bags"):
        Bags.from_list([np.ones((1, 1))] * 2, bag=twice)
    with pytest.raises(InputError, match="donor has 1 values"):
        Bags.from_list([np.ones((1, 1))] * 2, donor=[1])
    with pytest.raises(InputError, match="bag has 3 rows, the bags need 1"):
        Bags({"x": np.ones((2, 1))}, np.array([0, 2]), pd.DataFrame(index=[0, 1]), twice,
             np.arange(2))  # fmt: skip


def test_ordinal_loss_of_a_far_logit():
    task = Task(kind="ordinal", classes=(0, 1, 2))
    loss = task.loss(torch.tensor([[60.0, 50.0]]), torch.tensor([0]))
    assert float(loss) == pytest.approx(60.0)


# ---------------------------------------------------------------- what is said of a target

STATES = ["ctrl", "case", "ctrl"]
FRAME = pd.DataFrame({"state": STATES}, index=["a", "b", "c"])


@pytest.mark.parametrize(
    "make",
    [
        lambda **how: Bags.from_list([np.ones((1, 1))] * 3, STATES, **how),
        lambda **how: Bags.from_rows(np.ones((3, 1)), list("abc"), y=STATES, **how),
        lambda **how: Bags.from_rows(np.ones((3, 1)), list("abc"), target="state", bag=FRAME,
                                     **how),
        lambda **how: Bags.from_list([np.ones((1, 1))] * 3).with_target(STATES, **how),
        lambda **how: Bags.from_list([np.ones((1, 1))] * 3, STATES).say(**how),
        lambda **how: as_bags(np.ones((3, 1)), STATES, **how),
    ],
)  # fmt: skip
def test_every_door_takes_the_positive_class_and_the_order(make):
    assert make().task.positive == "case"
    assert make(positive="ctrl").task.classes == ("case", "ctrl")
    assert repr(make(positive="ctrl")).endswith("(1 case, 2 ctrl; positive: ctrl)")
    assert make(order=["case", "ctrl"]).task.positive == "ctrl"
    with pytest.raises(InputError, match="positive='cse' is no label.*'case', 'ctrl'"):
        make(positive="cse")
    with pytest.raises(InputError, match="lacks 'ctrl'"):
        make(order=["case"])


def test_a_kind_that_there_is_not_is_refused_at_the_door():
    with pytest.raises(InputError, match="kind='ordnal' is not one of.*mean 'ordinal'"):
        Bags.from_list([np.ones((1, 1))] * 3, STATES, kind="ordnal")
    with pytest.raises(InputError, match="has no order"):
        Bags.from_list([np.ones((1, 1))] * 3, STATES, kind="ordinal")
    with pytest.raises(InputError, match="are of a target: name it"):
        Bags.from_list([np.ones((1, 1))] * 3, positive="case")


def test_bags_to_be_predicted_may_all_be_alike():
    bags = Bags.from_list([np.ones((1, 1))] * 2, ["ctrl", "ctrl"], positive="case")
    assert bags.positive == "case"


def test_an_ordinal_target_says_its_order():
    grades = ["low", "mid", "high", "low"]
    bags = Bags.from_list([np.ones((1, 1))] * 4, grades, order=["low", "mid", "high"])
    assert repr(bags).endswith("target: ordinal (2 low < 1 mid < 1 high)")
    assert bags[[1, 2]].task.classes == ("mid", "high")


@pytest.mark.parametrize("part", [lambda b, i: b[i], lambda b, i: b.keep(np.isin(b.index, i))])
def test_a_part_keeps_the_kind_of_the_whole(part):
    """Three classes stay a multi-class target where a part holds two of them, or one bag of one."""
    x = [np.ones((2, 1))] * 6
    assert part(Bags.from_list(x, [0, 1, 2] * 2), [0, 1, 3, 4]).task.kind == "multiclass"
    assert part(Bags.from_list(x, [0, 1, 2] * 2), [0, 1, 2]).task.kind == "multiclass"
    assert part(Bags.from_list(x, [0.5, 1, 2, 1, 2, 3]), [1, 2]).task.kind == "regression"
    whole = Bags.from_list(x, [0, 1, 2] * 2)
    assert whole[:].asked_digest == whole.asked_digest


def test_the_kind_that_a_method_asks_for_leaves_out_what_was_said_of_another():
    bags = Bags.from_list([np.ones((1, 1))] * 3, [0, 1, 1], positive=0)
    assert bags.task.classes == (1, 0)
    assert bags.as_task("multiclass").classes == (0, 1)
    assert bags.as_task("binary").classes == (1, 0)
    assert bags.as_task("regression").kind == "regression"


@pytest.mark.parametrize("word", ["nan", "NA", ""])
def test_a_donor_that_is_written_as_missing_is_missing(word):
    bags = Bags.from_list([np.ones((1, 1))] * 3, donor=["p", word, "q"])
    with pytest.raises(InputError, match=f"missing for bag 1 .written '{word}'."):
        bags.donors  # noqa: B018


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Bags.from_rows(np.empty((0, 3)), []), "no bags: the features have no rows"),
        (lambda: Bags.from_list([]), "no bags"),
        (lambda: Bags.from_rows(np.ones((2, 3)), [0, 1], features={"x": ["a", "b"]}),
         "view 'x' has 3 features and 2 names of them"),
        (lambda: Bags.from_rows(np.ones((2, 0)), [0, 1]).check(), "view 'x' has no features"),
        (lambda: Bags.from_rows(np.ones((2, 1)), [0, 1])[[]].check(), "there are no bags"),
        (lambda: Bags.from_rows(np.ones((2, 1)), [0, 1], y=np.ones((2, 2))),
         r"'target' has the shape \(2, 2\): give one value an instance"),
        (lambda: Bags.from_rows(np.ones((2, 1)), [0, 1], donor=np.ones((2, 2))),
         r"'donor' has the shape \(2, 2\)"),
        (lambda: Bags.from_list([np.ones((1, 1))] * 2, np.ones((2, 1, 1))),
         r"a target of shape \(2, 1, 1\): give one value a bag"),
        (lambda: as_bags([np.ones((1, 1))] * 2, [["a", "b"], ["b", "a"]]),
         r"a target of shape \(2, 2\) that holds text \('a'\)"),
        (lambda: as_bags([]), "no bags: the list is empty"),
        (lambda: as_bags(pd.DataFrame(np.ones((2, 2)), columns=["a", "a"])),
         "view 'x' has 1 names that several features bear: a"),
        (lambda: Bags.from_rows(np.ones((2, 1)), [0, 1]).with_target(3), r"a target of shape \(\)"),
        (lambda: Bags.from_rows(np.ones((2, 3)), [0, 1], features={"x": ["a", "b", "a"]}).check(),
         "view 'x' has 1 names that several features bear: a"),
    ],
)  # fmt: skip
def test_what_cannot_be_bags_is_one_error(make, match):
    with pytest.raises(InputError, match=match):
        make()


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize(("value", "fits"), [(1e300, False), (-1e39, False), (3e38, True)])
def test_values_that_float32_cannot_hold_are_named(kind, value, fits):
    x = np.ones((4, 2))
    x[2, 1] = value
    bags = Bags.from_rows({"rna": kind(x)}, list("aabb"), features={"rna": ["g", "h"]})
    if fits:
        assert bags.check() is bags
        return
    with pytest.raises(InputError, match=r"holds .*e\+.*: feature 'h', row 2, bag 'b'. Rescale"):
        bags.check()


def test_one_column_of_targets_is_one_target_whatever_the_way_in():
    y = np.array([[0.5], [1.5]])
    for bags in (
        Bags.from_list([np.ones((1, 1))] * 2, y),
        Bags.from_rows(np.ones((2, 1)), [0, 1], y=y),
        Bags.from_rows(np.ones((2, 1)), [0, 1]).with_target(y),
    ):
        assert bags.target == "target"
        assert bags.labels.tolist() == [0.5, 1.5]


def test_no_bags_can_be_shown():
    assert repr(Bags.from_rows(np.ones((2, 1)), [0, 1])[[]]) == "Bags: no bags"


@pytest.mark.parametrize("sparse", [False, True])
def test_a_fold_of_a_mapped_cohort_is_no_copy_and_has_the_same_digest(
    tmp_path, monkeypatch, sparse
):
    """What worker processes are given: the arrays in a file that they share."""
    from smalti import views

    rng = np.random.default_rng(0)
    table = rng.poisson(0.5, (400, 30)).astype(np.float32)
    here = sp.csr_matrix(table) if sparse else table
    bags = Bags.from_rows(here, np.arange(400) // 20, y=np.arange(400) // 20 % 2)

    def mapped(array, name):
        np.save(tmp_path / f"{name}.npy", array)
        return np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    if sparse:
        parts = [mapped(getattr(here, k), k) for k in ("data", "indices", "indptr")]
        there = here.copy()
        there.data, there.indices, there.indptr = parts  # as it arrives in a worker
    else:
        there = mapped(table, "x")
    monkeypatch.setattr(views, "_SHARED", 1)
    shared = dataclasses.replace(bags, x={"x": there})
    order = rng.permutation(20)[:11]
    fold, wanted = shared[order], bags[order]
    assert not hasattr(fold.x["x"], "__getitem__")
    np.testing.assert_array_equal(fold.table(), wanted.table())
    assert fold.digest == wanted.digest
    assert fold.asked_digest == wanted.asked_digest
    np.testing.assert_array_equal(fold[[3, 1]].table(), wanted[[3, 1]].table())
    assert len({fold.x["x"].digest(), shared[order[:5]].x["x"].digest()}) == 2
    from smalti.mil import ABMIL

    models = [ABMIL(epochs=1, widths=(4,), preprocess="log1p,scale", progress=False).fit(b)
              for b in (fold, wanted)]  # fmt: skip
    np.testing.assert_array_equal(*(m.predict_proba(bags) for m in models))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_fold_of_a_large_table_in_memory_is_no_copy(sparse, monkeypatch):
    from smalti import views

    rng = np.random.default_rng(0)
    table = rng.poisson(0.5, (400, 30)).astype(np.float32)
    bags = Bags.from_rows(sp.csr_matrix(table) if sparse else table, np.arange(400) // 20,
                          y=np.arange(400) // 20 % 2)  # fmt: skip
    order = rng.permutation(20)[:11]
    wanted = bags[order]
    monkeypatch.setattr(views, "_SHARED", 1)
    fold = bags[order]
    assert not hasattr(fold.x["x"], "__getitem__")
    np.testing.assert_array_equal(fold.table(), wanted.table())
    assert fold.digest == wanted.digest
    assert not views.is_shared(fold.x["x"])  # nobody else has it
    assert bags[:].x["x"] is bags.x["x"]
    other = Bags.from_rows(bags.x["x"], np.arange(400)[::-1] // 20)
    assert hasattr(other.x["x"], "__getitem__")  # what a user gives is copied into order, once


# ---------------------------------------------------------------- rows as runs


@pytest.mark.parametrize("seed", range(6))
def test_rows_that_are_picked_twice_are_those_of_an_array(seed):
    """By runs of bags, scattered, both after one another, and none."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(200, 2))
    offsets = np.concatenate([[0], np.sort(rng.permutation(np.arange(1, 200))[:9]), [200]])
    bags = rng.integers(10, size=7)
    picked = Picked(offsets[bags], np.diff(offsets)[bags])
    rows = slice_rows(offsets, bags)
    for other in (rng.integers(len(rows), size=40), np.arange(3, min(60, len(rows))), rows[:0]):
        for start, whole in ((Picked.of(rows), rows), (picked, rows)):
            both = start.take(Picked.of(other))
            assert both.rows.tolist() == whole[other].tolist()
            assert len(both) == len(other)
            np.testing.assert_array_equal(both.of_array(values), values[rows[other]])
            for low, high in ((0, len(other)), (5, 20), (len(other), len(other) + 3)):
                got = [r for a, b, _ in both.runs(low, high) for r in range(a, b)]
                assert got == whole[other][low:high].tolist()
                assert [at for *_, at in both.runs(low, high)][:1] in ([0], [])
