"""Found less what was left out is what was compared, whatever was read."""

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import smalti as sm
from smalti.comparison.flow import flow_of, said
from smalti.comparison.splits import donor_folds
from smalti.datasets import planted_bags
from smalti.plot import plot_flow

UNITS = ["donors", "bags", "instances"]


def flow(bags):
    groups = pd.Categorical(np.array(["well", "ill"])[np.arange(len(bags)) % 2], ["ill", "well"])
    split = [sm.comparison.Split(0, 0, np.arange(2, len(bags)), np.arange(2))]
    return flow_of({"compared": bags}, {"compared": groups}, split)


def adds_up(found, there):
    """What was there is what was found, and the steps add up; NaN in either is not known."""
    by = found.groupby("step", sort=False)[UNITS].sum(min_count=1)
    first = by.loc["found"]
    known = first.notna()
    rest = by.loc["compared"] + by.loc["left out"]
    assert rest[known].tolist() == first[known].tolist()
    assert by.loc["of them", ["bags", "instances"]].tolist() == by.loc[
        "compared", ["bags", "instances"]].tolist()  # fmt: skip
    for unit, n in there.items():
        assert first[unit] == n
    plot_flow(found)


def cells(n=240):
    names = {"sample": [f"s{i % 12}" for i in range(n)], "donor": [f"d{i % 6}" for i in range(n)]}
    obs = pd.DataFrame(names, index=[f"c{i}" for i in range(n)])
    return AnnData(np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32), obs=obs)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_samples_without_a_label_and_a_selection():
    labels = pd.DataFrame({"sample": [f"s{i}" for i in range(9)], "state": list("abaabbaba")})
    bags = sm.read(cells(), sample="sample", labels=labels, label="state", donor="donor")
    found = flow(bags[:8])
    adds_up(found, {"instances": 240, "bags": 12, "donors": 6})
    out = found[found["step"] == "left out"]
    # s9, s10 and s11 are of donors with another sample; s8 is the last one of d2
    assert out[UNITS].to_numpy().tolist() == [[0, 3, 60], [0, 1, 20]]
    assert said(found).startswith("of 6 donors, 12 bags, 240 instances found")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", ["union", "intersection"])
def test_cells_that_views_lack(which):
    from mudata import MuData

    whole = cells()
    rna, prot = whole[:200].copy(), whole[60:].copy()
    rna.X[150] = prot.X[90] = np.nan  # one cell, measured in neither
    data = MuData({"rna": rna, "prot": prot})
    data.obs = whole.obs.loc[data.obs_names]
    bags = sm.read(data, x=["rna", "prot"], cells=which, sample="sample", donor="donor")
    found = flow(bags)
    adds_up(found, {"instances": 240, "bags": 12, "donors": 6})
    out = found.loc[found["step"] == "left out", "instances"].tolist()
    assert out == ([1] if which == "union" else [100, 1])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_slides_without_files_and_files_without_slides(tmp_path):
    for i in range(5):
        with h5py.File(tmp_path / f"s{i}.h5", "w") as file:
            file["features"] = np.ones((4 + i, 3), dtype=np.float32)
    table = pd.DataFrame(
        {"slide": ["s0", "s1", "s2", "s8", "s9"], "who": list("abbbc"), "y": [0, 1, 0, 1, 1]}
    )
    bags = sm.read_features(tmp_path, table, absent="drop", donor="who")
    found = flow(bags)
    adds_up(found, {"bags": 7})  # five of the labels, two files more
    out = found[found["step"] == "left out"]
    assert out["bags"].tolist() == [2, 2]
    assert out["donors"].tolist()[0] == 1  # s8 is of b, who has others
    assert out["donors"].isna().tolist() == [False, True]  # files name nobody
    assert found.loc[found["step"] == "found", ["donors", "instances"]].isna().all(axis=None)


def test_nothing_left_out_is_said():
    bags = planted_bags(12, seed=0)
    found = flow(bags)
    assert found["step"].tolist() == ["compared", "of them", "of them", "in a fit", "in a fit"]
    assert found["what"][1:3].tolist() == ["ill", "well"]  # in their order, not as they come
    assert said(found).endswith("were compared, and nothing was left out")


def test_the_sides_of_the_splits():
    bags = planted_bags(24, bags_per_donor=2, seed=0)
    parts = donor_folds(bags, folds=4)
    found = flow_of({"compared": bags}, {"compared": pd.Categorical(bags.labels)}, parts)
    sides = found[found["step"] == "in a fit"].set_index("what")
    assert sides.index[0].startswith("training: 9 donors, 18 bags, ")
    assert sides.index[1].startswith("test: 3 donors, 6 bags, ")
    for split in parts:
        assert not set(bags.donors[split.train]) & set(bags.donors[split.test])


def test_training_and_test_of_two_sources_stand_apart():
    train, test = planted_bags(12, seed=0), planted_bags(8, seed=1)
    bags = {"training": train[:10], "test": test}
    split = [sm.comparison.Split(0, 0, np.arange(10), np.arange(8))]
    found = flow_of(bags, {k: pd.Categorical(b.labels) for k, b in bags.items()}, split)
    kept = found[found["step"] == "compared"].set_index("part")["bags"]
    assert kept.to_dict() == {"training": 10, "test": 8}
    assert found[found["step"] == "in a fit"]["part"].tolist() == ["training", "test"]
    assert said(found).startswith("training: of 12 donors")
