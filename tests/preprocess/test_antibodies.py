"""Isotype controls and hashtags by their names; dsb by hand, and what it is for."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import ten_x as x10

import smalti as sm
from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess import (
    DSB,
    apply_steps,
    fit_steps,
    from_state,
    guess_steps,
    is_hashtag,
    is_isotype,
    modalities,
    names_of,
    spec_of,
    state_of,
)
from smalti.solve.two_gaussians import lower_means

NAMES = ["CD3", "CD4", "CD8a", "CD19", "CD14", "CD56", "IgG1_control", "Rat-IgG2b"]


@pytest.mark.parametrize(
    ("names", "isotype", "hashtag"),
    [
        (["IgG1_control_TotalSeqB", "IgG2a", "Mouse-IgG1", "Isotype_RTK4530", "rat IgG1k iso",
          "Rat-IgG2b", "isoctrl1", "MouseIgG2bkIsotype", "Ctrl-1", "Hamster IgG"], True, False),
        (["HTO1", "Hashtag_3", "TotalSeq hashtag 4", "B0251-hash-tag", "CMO301"], False, True),
        (["CD3", "IgD", "IgM", "IgG", "anti-human IgG1", "IgG_Fc", "Isolation", "CD64_FcgRI",
          "HLA-DR", "photo", "PHTO1"], False, False),
    ],
)  # fmt: skip
def test_what_names_tell(names, isotype, hashtag):
    assert {n: (is_isotype(n), is_hashtag(n)) for n in names} == \
        dict.fromkeys(names, (isotype, hashtag))  # fmt: skip


def simulated(n=400, seed=0):
    """Counts of proteins: two types of cells, and what sticks to a cell whatever it is."""
    rng = np.random.default_rng(seed)
    kind, sticky = rng.integers(2, size=n), rng.normal(0, 0.6, n)
    level = np.full((n, 8), 3.0) + sticky[:, None] + rng.normal(0, 0.1, (n, 8))
    level[:, :3] += 2.5 * kind[:, None]
    level[:, 3:6] += 2.5 * (1 - kind[:, None])
    return rng.poisson(np.exp(level)).astype(np.float32), kind, sticky


def cells(x, names=NAMES):
    return Bags.from_rows({"protein": x}, np.arange(x.shape[0]), features={"protein": names})


def test_controls_are_set_aside_with_a_line():
    bags = cells(simulated()[0])
    assert guess_steps(bags) == {"protein": "drop_controls,clr"}
    (one,) = modalities(bags)
    assert "2 controls by their names (IgG1_control, Rat-IgG2b) are set aside" in str(one)
    assert one.doubtful
    model = sm.make("block_pca", modality="protein", width=2, progress=False)
    with pytest.warns(UserWarning, match="2 controls by their names"):
        model.fit(bags)
    assert model.decoded_["protein"] == tuple(NAMES[:6])
    # where nothing else is there they stay
    assert guess_steps(cells(bags.x["protein"][:, 6:], NAMES[6:])) == {"protein": "clr"}
    with pytest.raises(InputError, match="all features are controls"):
        fit_steps([sm.preprocess.DropControls()], cells(bags.x["protein"][:, 6:], NAMES[6:]))


def by_hand(x, mean, sd, isotypes):
    """Both steps from the equations, of all cells at once."""
    z = (np.log(x + 10.0) - mean) / sd
    noise = np.column_stack([z[:, isotypes], lower_means(z)])
    noise = (noise - noise.mean(0)) / noise.std(0, ddof=1)
    component = noise @ np.linalg.svd(noise, full_matrices=False)[2][0]
    design = np.column_stack([np.ones(len(z)), component])
    slope = np.linalg.lstsq(design, z, rcond=None)[0][1]
    return z - np.outer(component, slope)


@pytest.mark.parametrize("given", [True, False])
def test_dsb_by_hand(given, tmp_path):
    x = simulated()[0]
    rng = np.random.default_rng(1)
    empty = np.log(rng.poisson(4, (300, 8)) + 10.0)
    mean, sd, path = lower_means(np.log(x + 10.0).T), np.ones(8), None
    if given:
        mean, sd, path = empty.mean(0), empty.std(0, ddof=1), str(tmp_path / "b.csv")
        pd.DataFrame({"protein": NAMES, "mean": mean, "sd": sd})[::-1].to_csv(path, index=False)
    wanted = by_hand(x, mean, sd, [6, 7])[:, :6]
    for rows in (x, sp.csr_matrix(x)):
        steps, found = fit_steps([DSB(path)], cells(rows))
        np.testing.assert_allclose(found.x["protein"], wanted, atol=1e-4)
    assert found.features["protein"] == tuple(NAMES[:6])
    again = from_state(spec_of(steps), state_of(steps), names_of(steps))
    np.testing.assert_array_equal(apply_steps(again, cells(x[:5])).x["protein"],
                                  found.x["protein"][:5])  # fmt: skip


def test_dsb_takes_off_what_sticks_and_leaves_what_is():
    """What it is for; of cells that it was not fitted on."""
    train, test = simulated(seed=0)[0], simulated(seed=1)
    steps, _ = fit_steps([DSB()], cells(train))
    z = apply_steps(steps, cells(test[0])).x["protein"]
    raw = np.log(test[0] + 10.0)

    def sticks(rows):
        parts = [(rows[test[1] == k, j], test[2][test[1] == k]) for k in (0, 1) for j in range(6)]
        return np.mean([abs(np.corrcoef(*part)[0, 1]) for part in parts])

    assert sticks(raw) > 0.9
    assert sticks(z) < 0.5
    apart = [abs(z[test[1] == 1, j].mean() - z[test[1] == 0, j].mean()) / z[test[1] == 1, j].std()
             for j in range(6)]  # fmt: skip
    assert min(apart) > 3


@pytest.mark.parametrize(
    ("names", "x", "background", "said"),
    [
        (NAMES[:6], None, None, "no isotype control is among the 6 proteins .CD3, .*or take clr"),
        (NAMES, -1, None, "there are negative values"),
        (["CD3", *NAMES[6:]], None, None, "needs two proteins or more"),
        (NAMES, None, "protein,mean\nCD3,1", "the background has no column 'sd'"),
        (NAMES, None, "protein,mean,sd\nCD3,1,1", "the background lacks 7 proteins: CD4"),
        (NAMES, None, "protein,mean,sd\n" + "\n".join(f"{n},1,0" for n in NAMES), "no spread"),
    ],
)
def test_dsb_without_what_it_needs(names, x, background, said, tmp_path):
    rows = np.ones((20, len(names)), dtype=np.float32) * (1 if x is None else x)
    path = None
    if background:
        path = tmp_path / "b.csv"
        path.write_text(background)
    with pytest.raises(InputError, match=said):
        fit_steps([DSB(path and str(path))], cells(rows, names))


def test_lower_means_are_those_of_a_mixture():
    """Against scikit-learn's, whose likelihood is the same from a good start."""
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(0)
    second = rng.random((30, 120)) < 0.4
    x = np.where(second, rng.normal(4, 1, second.shape), rng.normal(0, 0.5, second.shape))
    start = np.array([[0.0], [4.0]])
    wanted = [GaussianMixture(2, means_init=start, tol=1e-8, max_iter=500, reg_covar=0).fit(
        row[:, None]).means_.min() for row in x]  # fmt: skip
    assert np.abs(lower_means(x) - wanted).max() < 0.01
    flat = lower_means(np.tile([1.0, 1.0, 1.0, 5.0], (2, 1)))  # a component on a point
    assert np.isfinite(flat).all()


def test_the_background_of_empty_droplets(tmp_path):
    """Of droplets that are no cell, with few counts of genes and some of proteins."""
    table = x10.features("rna", "protein")
    g, rng = len(x10.GENES), np.random.default_rng(0)
    x = np.zeros((200, len(table)), dtype=int)
    x[:20] = 200  # cells
    x[20:140, g:] = rng.poisson(20, (120, len(x10.PROTEINS)))  # empty
    names = [f"c{i}" for i in range(200)]
    raw = x10.h5(tmp_path / "raw_feature_bc_matrix.h5", table, cells=names, x=x)
    filtered = x10.h5(tmp_path / "f.h5", table, cells=names[:20], x=x[:20])
    found = sm.empty_droplets(raw, filtered)
    logs = np.log(x[20:140, g:] + 10.0)
    assert found["protein"].tolist() == x10.PROTEINS
    np.testing.assert_allclose(found["mean"], logs.mean(0))
    np.testing.assert_allclose(found["sd"], logs.std(0, ddof=1))
    assert found["droplets"].tolist() == [120] * 3
    with pytest.raises(InputError, match="only 0 others have under 300 counts of genes and over"):
        sm.empty_droplets(raw, filtered, least_protein=1e6)
    with pytest.raises(InputError, match="holds no Antibody Capture, but Gene Expression"):
        sm.empty_droplets(x10.h5(tmp_path / "g.h5", x10.features("rna")), filtered)
