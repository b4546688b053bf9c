"""What labels say: which are missing, what kind they are of, which is positive, their order."""

import inspect

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti import cli
from smalti.bags import Bags
from smalti.errors import InputError
from smalti.labels import missing, missing_words
from smalti.task import Task

# ---------------------------------------------------------------- the positive class


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ("ctrl", "case"),
        ("control", "Covid"),
        ("Healthy", "Covid"),
        ("normal tissue", "adenoma"),
        ("benign", "Malignant"),
        ("no relapse", "early relapse"),
        ("non-responder", "CR"),
        ("NonResponder", "Responder"),
        ("nonsmoker", "a smoker"),
        ("uninfected", "infected"),
        ("HER2 negative", "HER2 amplified"),
        ("ER-", "ER+"),
        ("wild-type", "mutant"),
        ("Wild type", "KRAS"),
        ("WT", "KO"),
        ("vehicle", "drug"),
        ("DMSO_1", "compound_1"),
        ("baseline", "after"),
        ("untreated", "cisplatin"),
        ("unaffected", "affected"),
        ("False", "Disease"),
        ("well", "ill"),
        ("healthy_donor", "COPD"),
        # no word, or both: the last in sorted order
        ("female", "male"),
        ("abnormal", "odd"),
        ("nonsense", "truncating"),
        ("control diet", "healthy diet"),
        ("0", "1"),
        ("no", "yes"),
    ],
)
def test_the_negative_label_is_the_one_that_means_control(negative, positive):
    for labels in ([negative, positive], [positive, negative]):
        task = Task.infer(labels)
        assert task.classes == (negative, positive)
        assert task.positive == positive
    assert Task.infer(labels, positive=negative).classes == (positive, negative)


@pytest.mark.parametrize(
    ("labels", "how", "classes"),
    [
        ([1, 0, 1], {}, (0, 1)),
        ([1, 0, 1], {"positive": 0}, (1, 0)),
        ([1, 0, 1], {"positive": "0"}, (1, 0)),  # as the command line writes it
        ([-1.0, 1.0], {}, (-1.0, 1.0)),
        ([True, False], {}, (False, True)),
        ([True, False], {"positive": False}, (True, False)),
        (["ctrl", "case"], {"order": ["case", "ctrl"]}, ("case", "ctrl")),
        (["ctrl", "case"], {"order": ["case", "ctrl"], "positive": "case"}, ("ctrl", "case")),
        (pd.Categorical(["b", "a"], ["b", "a"]), {}, ("a", "b")),  # no order was said
        (pd.Categorical(["b", "a"], ["b", "a"], ordered=True), {}, ("b", "a")),
        (pd.Categorical(["b", "a"], ["b", "a"], ordered=True), {"positive": "b"}, ("a", "b")),
        (pd.Categorical(["ctrl", "x"], ["x", "ctrl"], ordered=True), {}, ("x", "ctrl")),
    ],
)
def test_numbers_orders_and_what_is_said_go_before_words(labels, how, classes):
    assert Task.infer(labels, **how).classes == classes


@pytest.mark.parametrize(
    ("labels", "how", "match"),
    [
        (["a", "b"], {"positive": "c"}, "positive='c' is no label of target 'sick'.*'a', 'b'"),
        (["a", "b", "c"], {"positive": "c"}, "multiclass, only a binary target has a positive"),
        ([0.5, 1.5, 2], {"positive": 2}, "regression, only a binary target"),
        (np.eye(2), {"positive": 1}, "multilabel, only a binary target"),
        ([0, 1, 2], {"kind": "binomial", "positive": 1}, "binomial, only a binary"),
        (
            [0.5, 1.5, 2],
            {"kind": "regression", "order": [0.5, 1.5, 2]},
            r"regression, which has no order of classes\. Leave it out\.$",
        ),
        (["a", "b"], {"kind": "binray"}, "kind='binray' is not one of.*mean 'binary'"),
    ],
)
def test_what_cannot_be_said_of_a_target(labels, how, match):
    with pytest.raises(InputError, match=match):
        Task.infer(labels, column="sick", **how)


def test_who_takes_a_label_takes_what_is_said_of_it():
    for door in (sm.read, sm.read_features, sm.read_slides, sm.read_tiles, cli.fit, cli.compare):
        assert {"label", "kind", "positive", "order"} <= set(inspect.signature(door).parameters)


# ---------------------------------------------------------------- the order


def test_an_order_is_of_numbers_of_categories_or_said_never_the_alphabet():
    grades = ["low", "medium", "high", "low"]
    with pytest.raises(InputError, match="has no order.*'high', 'low', 'medium'.*order=") as error:
        Task.infer(grades, column="grade", kind="ordinal")
    assert "ordered categorical" in str(error.value)
    with pytest.raises(InputError, match="has no order"):
        Task.infer(pd.Categorical(grades), kind="ordinal")
    right = ("low", "medium", "high")
    assert Task.infer(grades, order=right).classes == right
    assert Task.infer(grades, order=right).kind == "ordinal"
    assert Task.infer(pd.Categorical(grades, right, ordered=True)).classes == right
    assert Task.infer([3, 1, 2], kind="ordinal").classes == (1, 2, 3)
    assert Task.infer([3, 1, 2], order=["2", "3", "1"]).classes == (2, 3, 1)


@pytest.mark.parametrize(
    ("order", "match"),
    [
        (["low", "high"], "lacks 'medium'"),
        (["low", "medium", "high", "top"], "names 'top', which target 'target' does not hold"),
        (["low", "medium", "medium", "high"], "names medium twice"),
        ("low,medium,high", "must be a list"),
    ],
)
def test_an_order_names_each_label_once(order, match):
    with pytest.raises(InputError, match=match):
        Bags.from_list([np.ones((1, 1))] * 3, ["low", "medium", "high"], order=order)


# ---------------------------------------------------------------- the kind


@pytest.mark.parametrize(
    "ages",
    [
        [31, 45, 52, 60, 28, 39, 71, 66, 58, 49, 34, 80],  # 12 patients
        [31.0, 45.0, 45.0, 60.0],
        [0, 0, 0, 1, 1, 1, 2],  # a class of one bag
        pd.array([1, 2, 3], dtype="Int64"),
        np.array([31, 45, 52], dtype=object),
    ],
)
def test_whole_numbers_that_may_be_a_quantity_are_refused_with_both_ways_out(ages):
    with pytest.raises(InputError, match="kind='regression'.*kind='multiclass'"):
        Task.infer(ages)
    assert Task.infer(ages, kind="regression").kind == "regression"
    assert Task.infer(ages, kind="multiclass").classes == tuple(np.unique(np.asarray(ages)))


def test_whole_numbers_of_which_each_comes_back_are_classes():
    assert Task.infer([0, 1, 2, 2, 1, 0]).kind == "multiclass"
    assert Task.infer(np.arange(42) % 21).kind == "regression"
    assert Task.infer(pd.Categorical([31, 45, 52])).kind == "multiclass"  # categories are classes
    assert Task.infer(np.array([0.5, 1, 2], dtype=object)).kind == "regression"


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal"])
def test_probabilities_are_of_double_precision(kind):
    classes = [1, 2] if kind == "binary" else [1, 2, 3]
    task = Task.infer(classes * 5, kind=kind)
    raw = np.array([[0.3, -0.7, 0.1]], dtype=np.float32)[:, : task.n_outputs]
    found = task.probabilities(raw)
    assert found.dtype == np.float64
    assert found.sum() == pytest.approx(1, abs=1e-14)


def test_counts_are_named_by_their_columns():
    y = np.array([[0, 2], [1, 1], [2, 0]])
    for column, labels, names in [
        ("snp", y, ("0", "1")), (("a", "b"), y, ("a", "b")), ("snp", y[:, 0], ("snp",)),
    ]:  # fmt: skip
        task = Task.infer(labels, column=column, kind="binomial")
        assert (task.classes, task.trials) == (names, 2)
    assert Task.infer([0, 1], kind="binomial").trials == 2
    assert Task.infer([0, 5], kind="binomial").trials == 5


def test_classes_of_one_bag_are_found():
    task = Task.infer(["a", "a", "b", "c"])
    assert task.alone(["a", "a", "b", "c"]) == ["b", "c"]
    graded = Task.infer([1, 2, 2, 3], kind="ordinal")
    assert graded.alone([1, 2, 2, 3]) == [1, 3]
    assert Task.infer([0.5, 1.5]).alone([0.5, 1.5]) == [0.5, 1.5]  # two values are two classes
    assert Task.infer([0.5, 1.5, 2]).alone([0.5, 1.5, 2]) == []


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, "a", 2], dtype=object),
        np.array([True, "yes"], dtype=object),
        pd.Categorical([1, "a", 2], [1, "a", 2]),
    ],
)
def test_labels_of_several_types_are_refused(labels):
    with pytest.raises(
        InputError, match=r" holds .* and text \('.*write all its labels in one way"
    ):
        Task.infer(labels, column="sick")


def test_a_list_of_several_types_is_not_made_one_of_texts():
    with pytest.raises(InputError, match="numbers"):
        Bags.from_list([np.ones((1, 1))] * 2, [1, "a"]).task  # noqa: B018
    with pytest.raises(InputError, match="contains NaN.*1 of 3"):
        Bags.from_list([np.ones((1, 1))] * 3, ["a", np.nan, "b"]).task  # noqa: B018


def test_labels_of_several_columns_that_are_texts():
    with pytest.raises(InputError, match="must be 0 or 1"):
        Task.infer(np.array([["yes", "no"], ["no", "yes"]]))


# ---------------------------------------------------------------- missing


@pytest.mark.parametrize("word", ["", " ", "nan", "NaN", "NA", "N/A", "<NA>", "None", "null"])
@pytest.mark.parametrize("form", [list, np.array, pd.Series, pd.Categorical])
def test_texts_that_mean_missing_are_missing(word, form):
    labels = form(["case", word, "ctrl", word])
    assert missing(labels).tolist() == [False, True, False, True]
    with pytest.raises(InputError, match="missing for 2 of 4 bags"):
        Task.infer(labels)


def test_missing_values_are_told_by_how_they_are_written():
    assert missing_words(["a", None, "NA", ""]) == "NaN, '', 'NA'"
    assert not missing(["none", "na", "Nana", "0"]).any()
    assert missing(pd.Categorical(["a", None])).tolist() == [False, True]
    assert missing([1.0, np.nan]).tolist() == [False, True]
    assert not missing([True, False]).any()
