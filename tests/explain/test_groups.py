import dataclasses
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import smalti as sm
from smalti.core.seen import Seen
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.explain import key_groups
from smalti.mil import BagMean, HierMIL
from smalti.task import Task


def cohort(labels, donors, seed=0, shift=0.0, kind=None):
    """Bags whose cells hold their own contribution; type "c" is shifted by the label."""
    rng = np.random.default_rng(seed)
    n = rng.integers(30, 60, len(labels))
    types = rng.choice(list("abcdef"), n.sum())
    codes = np.unique(labels, return_inverse=True)[1]
    x = rng.normal(size=(n.sum(), 1)) + shift * (np.repeat(codes, n) * (types == "c"))[:, None]
    return sm.Bags.from_list(
        np.split(x, n.cumsum()[:-1]), labels, donor=donors, kind=kind,
        instance=pd.DataFrame({"cell_type": types}),
    )  # fmt: skip


def reader(bags, train=None):
    """A fitted model whose contributions are the features, for each class where there are more."""
    task = Task.infer(bags.labels, kind=bags.kind)
    names = [f"contribution_{c}" for c in task.classes] if task.kind == "multiclass" else [
        "contribution"]  # fmt: skip

    def attribute(bags):
        codes = np.arange(len(names))
        values = bags.table()[:, 0]
        return pd.DataFrame({"bag": bags.index} | {
            name: values * (np.isin(codes[i], 2) * 2 - 1 if len(names) > 1 else 1)
            for i, name in enumerate(names)
        })  # fmt: skip

    seen = Seen(bags=("none",)) if train is None else Seen.of(train)
    return SimpleNamespace(name="reader", task_=task, attribute=attribute, seen_=seen,
                           features_={name: None for name in bags.x})  # fmt: skip


def sums_of(bags, of):
    """(n_bags,) sum of the contributions of the cells of one type."""
    part = pd.Series(bags.table()[:, 0]).where(bags.instance["cell_type"].to_numpy() == of)
    return part.groupby(bags.index).sum().to_numpy()


PAIRS = np.tile(["ctrl", "stim"], 9), np.repeat([f"d{i}" for i in range(9)], 2)


@pytest.mark.slow  # a fit of all epochs, to find what is planted
def test_the_type_of_the_key_cells_is_found():
    model = HierMIL.example().fit(planted_bags(60, effect=4, seed=1))
    table = key_groups(model, planted_bags(60, effect=4, seed=2), n_permutations=199)
    assert table["group"].tolist()[0] == "c"
    assert table.loc[0, "p"] == 1 / 200
    assert table.loc[0, "difference"] > 0


def test_q_is_that_of_benjamini_and_hochberg():
    bags = cohort(*PAIRS, shift=0.4)
    table = key_groups(reader(bags), bags)
    p = table["p"].tolist()
    assert len(set(p)) == len(p) == 6
    by_hand = [min(p[j] * len(p) / (j + 1) for j in range(i, len(p))) for i in range(len(p))]
    np.testing.assert_allclose(table["q"], by_hand)
    assert (table["q"] > table["p"])[:-1].all()


def test_pairs_are_permuted_within_donors_whatever_the_order():
    bags = cohort(*PAIRS)
    table = key_groups(reader(bags), bags)
    assert table.attrs["note"] == (
        "labels permuted within 9 donors of several labels: all 512 arrangements; the smallest "
        "possible p is 0.00391"
    )
    for of, p, gap in table[["group", "p", "difference"]].itertuples(index=False):
        ctrl, stim = sums_of(bags, of).reshape(9, 2).T
        theirs = stats.permutation_test(
            (ctrl, stim), lambda a, b: abs(np.mean(a - b)), permutation_type="samples",
            alternative="greater",
        )  # fmt: skip
        assert p == pytest.approx(theirs.pvalue)
        assert gap == pytest.approx((stim - ctrl).mean(), abs=1e-6)
    for n in (999, 99):
        order = np.random.default_rng(1).permutation(len(bags))
        one, two = (key_groups(reader(bags), b, n_permutations=n) for b in (bags, bags[order]))
        pd.testing.assert_frame_equal(one, two)
        assert (one["least_p"] == (1 / 100 if n == 99 else 2 / 512)).all()


def test_a_donor_counts_once_however_many_samples_it_has():
    labels, donors = np.array(["ill", "well"] * 8), np.arange(16)
    bags = cohort(labels, donors, shift=0.3)
    want = key_groups(reader(bags), bags)
    copies = bags[np.repeat(np.arange(16), np.arange(16) % 4 + 1)]
    columns = ["group", "difference", "p", "least_p", "q"]
    pd.testing.assert_frame_equal(key_groups(reader(bags), copies)[columns], want[columns])
    assert (key_groups(reader(bags), copies)["n_bags"] > want["n_bags"]).all()


def test_a_planted_type_is_found_in_pairs_and_between_donors():
    alone = np.tile(["ctrl", "stim"], 12), np.arange(24)
    mixed = np.r_[PAIRS[0], ["ctrl", "stim"] * 5], np.r_[PAIRS[1], [f"e{i}" for i in range(10)]]
    for labels, donors in (PAIRS, alone, mixed):
        bags = cohort(labels, donors, shift=2.0)
        table = key_groups(reader(bags), bags)
        assert table.loc[0, "group"] == "c"
        assert table.loc[0, "p"] < 0.01
        assert table.loc[0, "difference"] > 0


def test_classes_are_tested_one_against_the_others():
    bags = cohort(np.tile(["u", "v", "w"], 8), np.repeat(np.arange(8), 3), shift=2.0)
    table = key_groups(reader(bags), bags)
    assert len(table) == 18
    assert list(table.columns[:3]) == ["group", "class", "difference"]
    own = sums_of(bags, "c").reshape(8, 3)
    gap = (own[:, 2] - own[:, :2].mean(1)).mean()
    [found] = table.loc[(table["group"] == "c") & (table["class"] == "w"), "difference"]
    assert found == pytest.approx(gap)
    assert table.loc[0, "group"] == "c"


def test_a_class_that_no_arrangement_can_test_has_no_p():
    labels = ["u", "v"] * 8 + ["w", "w"]  # the donors of one label are all of class w
    bags = cohort(labels, [*np.repeat(np.arange(8), 2), 8, 9])
    table = key_groups(reader(bags), bags).set_index("class")
    assert table.loc["w", ["difference", "p", "q"]].isna().all(axis=None)
    assert table.loc["u", ["difference", "p", "q"]].notna().all(axis=None)
    assert (table.index[-6:] == "w").all()


@pytest.mark.parametrize("kind", ["regression", "ordinal", "binomial"])
def test_numbers_are_correlated_within_donors(kind):
    y = np.tile([0, 1, 2], 9)
    labels = pd.Categorical(y, ordered=True) if kind == "ordinal" else y
    bags = cohort(labels, np.repeat(np.arange(9), 3), shift=1.0, kind=kind)
    table = key_groups(reader(bags), bags).set_index("group")
    own = sums_of(bags, "c").reshape(9, 3)
    own = (own - own.mean(1, keepdims=True)).ravel()
    assert table.loc["c", "correlation"] == pytest.approx(stats.pearsonr(own, y).statistic)
    assert table.loc["c", "p"] <= 0.002


def test_bags_of_the_training_are_said():
    bags = cohort(*PAIRS)
    with pytest.warns(UserWarning, match="4 of these 18 bags are among those that reader was fit"):
        key_groups(reader(bags, train=bags[:4]), bags)
    old = reader(bags)
    del old.seen_  # a model file from before
    old.digest_ = bags.digest
    with pytest.warns(UserWarning, match="18 of these 18 bags"):
        key_groups(old, bags)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        key_groups(old, bags[:-2])
        key_groups(reader(bags), bags)


def test_a_model_that_was_fitted_warns_on_its_own_bags():
    bags = planted_bags(24)
    model = BagMean().fit(bags[:16])
    with pytest.warns(UserWarning, match="16 of these 24 bags"):
        key_groups(model, bags, n_permutations=19)


def test_few_donors_are_said_or_refused():
    bags = cohort(["ill", "well"] * 3, np.arange(6))
    with pytest.warns(UserWarning, match="p is 0.1: with so few donors nothing can be shown"):
        table = key_groups(reader(bags), bags)
    assert (table["least_p"] == 0.1).all()
    assert (table["p"] >= 0.1).all()
    for labels, donors in ((["ill", "well", "ill"], [0, 1, 0]), (["ill", "well"], [0, 0])):
        bags = cohort(labels, donors)
        with pytest.raises(InputError, match=r"too few donors: .* every p would be 1. Add donors"):
            key_groups(reader(bags), bags)


def test_without_donors_it_is_said_that_bags_are_taken_for_them():
    bags = dataclasses.replace(cohort(*PAIRS), donor=None)
    note = key_groups(reader(bags), bags).attrs["note"]
    assert note.startswith("labels permuted between 18 donors of one label: 999 random arr")
    assert note.endswith("no donor was named, each bag is taken for one")


def test_errors():
    bags = planted_bags(20)
    with pytest.raises(InputError, match="no instance column 'region'"):
        key_groups(BagMean().fit(bags), bags, group="region")
    said = "^mixture_class has no signed contributions, only score_1: use a method that is additive"
    with pytest.raises(InputError, match=f"{said}, such as hier_mil or abmil.$"):
        key_groups(sm.mil.MixtureClass(centers=1).fit(bags), bags, group="cell_type")
    with pytest.raises(InputError, match="at least 1"):
        key_groups(BagMean().fit(bags), bags, n_permutations=0)
    bags = cohort(*PAIRS)
    other = bags.with_target(np.tile(["a", "b"], 9))
    with pytest.raises(InputError, match="unknown in training"):
        key_groups(reader(bags), other)
    numbers = reader(cohort(np.arange(18.0), PAIRS[1], kind="regression"))
    with pytest.raises(InputError, match="the target of these bags is none"):
        key_groups(numbers, bags)
