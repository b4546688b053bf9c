"""Cells that lack a modality: codes among those of whole cells, and modalities that are tied."""

import dataclasses

import numpy as np
import pytest
import torch
from anndata import AnnData

import smalti as sm
from smalti.core.fit import FittedState
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate.ae import AE
from smalti.integrate.halves import Halves, gaps_told, measured
from smalti.integrate.mofa import MOFA
from smalti.integrate.umint import UMINT
from smalti.scores import mixing_within


def cells(n=400, missing=0.5, **more):
    settings = {"features": (40, 12), "clusters": 3, "effect": 6.0, "tied": 1.0} | more
    return planted_modalities(n, missing=missing, **settings)


def fitted(cls, bags, **settings):
    chosen = dict(accelerator="cpu", progress=False) | settings
    return cls.example().set_params(**chosen).fit(bags)


@pytest.mark.parametrize(("cls", "missing", "settings"), [
    (UMINT, 0.5, {"epochs": 6}),
    pytest.param(MOFA, 0.9, {"iterations": 20}, marks=pytest.mark.slow),  # mofapy2 takes a second
])  # fmt: skip
def test_halves_lie_among_whole_cells(cls, missing, settings):
    if cls.unavailable():
        pytest.skip(cls.unavailable())
    bags = cells(missing=missing)
    kind, pattern = bags.instance["kind"], measured(bags) @ [1, 2]
    plain = fitted(cls, bags, align_halves=False, **settings).transform(bags)
    model = fitted(cls, bags, align_halves=True, **settings)
    codes, whole = model.transform(bags), measured(bags).all(1)
    np.testing.assert_array_equal(codes[whole], plain[whole])
    before, after = (mixing_within(z, pattern, kind) for z in (plain, codes))
    assert after > before + 0.15
    if cls is UMINT:
        assert codes.min() >= 0  # as the units are


def test_a_map_gives_back_a_linear_relation():
    rng = np.random.default_rng(0)
    turn, shift = rng.normal(size=(3, 3)), rng.normal(size=3)

    class Planted:
        """Whole cells lie at H W + b of where they lie with the second view hidden."""

        def _read_new(self, bags):
            return bags

        def codes(self, bags):
            h = bags.table("m0")[:, :3]
            hidden = not measured(bags).all()
            return (h if hidden else h @ turn + shift), {}

    bags = cells(200, missing=0.0)
    halves = Halves.learn(Planted(), bags)
    z = torch.as_tensor(bags.table("m0")[:, :3].copy())
    there = torch.tensor([[1.0, 0.0]]).expand(200, 2)
    expected = (z.numpy() @ turn + shift).clip(*halves.ends)
    np.testing.assert_allclose(halves(z, there).numpy(), expected, atol=1e-2)
    untouched = halves(z, torch.ones(200, 2))
    torch.testing.assert_close(untouched, z, rtol=0, atol=0)
    assert halves(z, None) is z


def test_nothing_is_learned_from_the_halves():
    bags = cells()
    model = fitted(AE, bags, epochs=1)
    kept = model.__dict__.pop("halves_")
    alone = Halves.learn(model, bags.keep(np.flatnonzero(measured(bags).all(1))))
    for name, values in alone.arrays().items():
        np.testing.assert_array_equal(values, kept.arrays()[name])


def test_three_modalities_have_a_map_for_each_hidden_and_each_alone():
    bags = cells(200, features=(20, 12, 8), missing=0.3)
    model = fitted(AE, bags, epochs=1)
    found = {tuple(map(int, p)) for p in model.halves_.patterns}
    assert found == {(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)}


def test_a_modality_that_new_cells_lack_is_met_too():
    bags = cells(300, missing=0.0)
    lone = dataclasses.replace(bags, x={"m0": bags.x["m0"]}, features={}, present={})
    off = {"align_halves": False}
    far, near = (fitted(UMINT, bags, **s) for s in (off, {}))

    def distance(model):
        return np.linalg.norm(model.transform(lone) - model.transform(bags), axis=1).mean()

    assert distance(near) < 0.6 * distance(far)
    np.testing.assert_array_equal(near.transform(bags), far.transform(bags))


def test_maps_are_saved_and_older_files_have_none(tmp_path):
    bags = cells(150)
    model = fitted(UMINT, bags, epochs=1)
    model.save(tmp_path / "m")
    back = sm.load(tmp_path / "m")
    np.testing.assert_array_equal(back.transform(bags), model.transform(bags))
    older = UMINT.from_state({}, FittedState())
    assert not len(older.halves_.patterns)


def test_few_whole_cells_give_no_map():
    bags = cells(60, missing=1.0, features=(20, 8, 6))
    there = measured(bags)
    assert not there.all(1).any()
    model = fitted(AE, bags, epochs=1)  # tied in pairs
    assert not len(model.halves_.patterns)
    assert np.isfinite(model.transform(bags)).all()


@pytest.mark.parametrize("name", ["umint", "block_pca"])
def test_modalities_that_no_cell_ties_are_refused(name):
    bags = cells(80, missing=1.0)
    with pytest.raises(InputError, match="no cell was measured in both 'm0' and 'm1'.*gene act"):
        sm.make(name).fit(bags)
    three = cells(80, missing=0.0, features=(10, 9, 8))
    first = np.arange(80) < 40
    apart = dataclasses.replace(three, present={"m0": first, "m1": first, "m2": ~first})
    with pytest.raises(InputError, match="in both 'm0 and m1' and 'm2'"):
        sm.make(name).fit(apart)


def test_what_cells_were_not_measured_in_is_written_beside_their_codes():
    cells = sm.datasets.planted_modalities(90, missing=0.2, counts=True, seed=3)
    model = sm.integrate.BlockPCA(width=4, progress=False).fit(cells)
    data = AnnData(cells.x["rna"])
    data.var_names = cells.features["rna"]
    model.write(data)
    assert list(data.uns["block_pca"]["missing"]) == [
        "90 of 90 cells were not measured in 'protein': of these the model read the other "
        "modalities."
    ]
    gaps = [int((~cells.present[k]).sum()) for k in ("rna", "protein")]
    assert [line.split(" of ")[0] for line in gaps_told(model, cells)] == list(map(str, gaps))
    one = sm.integrate.BlockPCA(width=4, modality="rna", progress=False).fit(cells)
    assert gaps_told(one, cells) == []
