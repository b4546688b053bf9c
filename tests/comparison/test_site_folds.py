"""Folds of whole sites."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.protocols import protocol_of
from smalti.comparison.site_folds import dealt, site_folds
from smalti.datasets import planted_bags, planted_sites
from smalti.errors import InputError

ALONE = {"n_jobs": 1, "progress": False}


def apart(counts, fold, folds):
    """How far classes in folds are from equal parts, as shares of each class."""
    total = counts.sum(0)
    each = np.stack([counts[fold == k].sum(0) for k in range(folds)])
    return float((np.abs(each - total / folds) / total).sum())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("folds", [2, 3])
def test_no_other_way_to_deal_sites_is_more_even(seed, folds):
    counts = np.random.default_rng(seed).geometric(0.15, (6, 2))
    ways = (np.array(w) for w in itertools.product(range(folds), repeat=6))
    best = min(apart(counts, w, folds) for w in ways if len(set(w)) == folds)
    assert apart(counts, dealt(counts, folds), folds) == pytest.approx(best)


def test_many_sites_are_dealt_soon_evenly_and_always_alike():
    counts = np.random.default_rng(0).geometric(0.1, (60, 3))
    fold = dealt(counts, 5)
    assert apart(counts, fold, 5) < 0.2  # of 3 classes in 5 folds together
    assert np.array_equal(fold, dealt(counts, 5))


def test_sites_are_whole_and_each_bag_is_tested_once():
    bags = planted_sites(60, n_sites=7, unequal=0.6, seed=0)
    splits, notes = site_folds(bags, 3)
    assert notes == []
    sites = bags.bag["site"].to_numpy()
    assert np.array_equal(np.sort(np.concatenate([s.test for s in splits])), np.arange(60))
    for split in splits:
        assert not set(sites[split.train]) & set(sites[split.test])
    cases = np.array([(bags.labels[s.test] == "case").sum() for s in splits])
    assert np.abs(cases - 31 / 3).max() < 4  # seven sites of eight or nine donors
    again = bags[np.random.default_rng(1).permutation(60)]
    assert sorted(len(s.test) for s in site_folds(again, 3)[0]) == sorted(
        len(s.test) for s in splits
    )


def test_a_donor_of_several_sites_is_on_one_side():
    bags = planted_bags(24, bags_per_donor=2, seed=0)
    site = np.repeat(list("abcd"), 6)
    site[:2] = ["a", "d"]  # one donor was seen twice
    bags = dataclasses.replace(bags, site="site", bag=bags.bag.assign(site=site))
    splits, notes = site_folds(bags, 4)
    for split in splits:
        assert not set(bags.donors[split.train]) & set(bags.donors[split.test])
    assert "2 times a bag was left out of training" in notes[0]


def test_a_class_of_one_site_is_said():
    bags = planted_sites(40, unequal=1.0, seed=0)
    splits, notes = site_folds(bags, 4)
    assert len(splits) == 4
    assert len(notes) == 1
    assert "no bag to test of" in notes[0]


def test_a_comparison_takes_them_by_name(tmp_path):
    bags = planted_sites(40, n_sites=6, effect=1.0, noise=1.0, shift=0.5, seed=0)
    table = sm.compare(["bag_mean"], bags, splits="preserved-sites", folds=3, **ALONE)
    assert table.protocol == "preserved-sites"
    assert table.facts()["fits per method"] == "3"
    assert "site alone" not in set(table.folds["method"])  # it knows nothing of a left-out site
    table.report(tmp_path / "page.html")
    assert "each whole in one fold" in (tmp_path / "page.html").read_text("utf-8")
    found = table.by_group("bag_mean")
    assert set(found.loc[found["column"] == "site", "group"]) == set(bags.bag["site"])
    assert found["roc_auc_low"].notna().any()


@pytest.mark.parametrize(
    ("how", "words"),
    [({"folds": 5}, "there are 4 of them"), ({"folds": 2, "repeats": 2}, "are dealt once")],
)
def test_what_cannot_be_dealt_is_refused(how, words):
    with pytest.raises(InputError, match=words):
        protocol_of(planted_sites(20, seed=0), "preserved-sites", **how)


def test_without_a_site_there_are_none():
    with pytest.raises(InputError, match="no site: name the column"):
        protocol_of(planted_bags(12, seed=0), "preserved-sites", folds=2)


def test_classes_are_more_even_than_in_sites_dealt_at_random():
    bags = planted_sites(120, n_sites=12, unequal=0.8, seed=3)
    counts = pd.crosstab(bags.bag["site"], bags.bag["target"]).to_numpy()
    rng = np.random.default_rng(0)
    random = [apart(counts, rng.permutation(np.arange(12) % 4), 4) for _ in range(200)]
    assert apart(counts, dealt(counts, 4), 4) < np.quantile(random, 0.05)
