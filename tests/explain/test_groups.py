import numpy as np
import pytest
from scipy.stats import false_discovery_control

import smalti as sm
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.explain import key_groups
from smalti.mil import BagMean, HierMIL


@pytest.mark.slow  # a fit of all epochs, to find what is planted
def test_the_type_of_the_key_cells_is_found():
    model = HierMIL.example().fit(planted_bags(60, effect=4, seed=1))
    table = key_groups(model, planted_bags(60, effect=4, seed=2), n_permutations=199)
    assert table["group"].tolist()[0] == "c"
    assert table.loc[0, "p"] == 1 / 200
    assert table.loc[0, "difference"] > 0
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]))


@pytest.mark.slow  # forty tables, to see a distribution
def test_p_is_never_zero_and_uniform_without_signal():
    bags = planted_bags(40, effect=4, seed=1)
    model = BagMean().fit(bags)
    rng = np.random.default_rng(0)
    p = []
    for seed in range(40):
        null = planted_bags(40, effect=4, seed=100 + seed)
        wrong = null.with_target(rng.permutation(null.labels))
        p += key_groups(model, wrong, group="cell_type", n_permutations=49)["p"].tolist()
    assert min(p) >= 1 / 50
    assert 0.4 < np.mean(p) < 0.65
    assert np.mean(np.array(p) <= 0.1) < 0.2


def test_labels_are_permuted_between_donors():
    from smalti.explain.groups import _permuted

    donors = np.array([0, 0, 1, 1, 1, 2])
    for seed in range(20):
        order = _permuted(donors, np.random.default_rng(seed))
        taken = donors[order]
        assert len({*taken[:2]}) == len({*taken[2:5]}) == 1
        assert sorted({taken[0], taken[2], taken[5]}) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["multiclass", pytest.param("ordinal", marks=pytest.mark.slow),
                                  "regression"])  # fmt: skip
def test_other_targets(kind):
    bags = planted_bags(36, kind=kind, effect=4)
    table = key_groups(BagMean().fit(bags), bags, n_permutations=19)
    assert len(table) == (9 if kind == "multiclass" else 3)
    assert table.columns[1 + (kind == "multiclass")] == (
        "difference" if kind == "multiclass" else "correlation"
    )


def test_errors():
    bags = planted_bags(20)
    with pytest.raises(InputError, match="no instance column 'region'"):
        key_groups(BagMean().fit(bags), bags, group="region")
    with pytest.raises(InputError, match="no signed contributions, only score"):
        key_groups(sm.mil.MixtureClass(centers=1).fit(bags), bags, group="cell_type")
    with pytest.raises(InputError, match="at least 1"):
        key_groups(BagMean().fit(bags), bags, n_permutations=0)
