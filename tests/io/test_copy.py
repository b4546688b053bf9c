"""What scanpy's users type: ``layer=`` to read, ``key_added=`` and ``copy=`` to write."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from mudata import MuData

import smalti as sm


def planted():
    bags = sm.datasets.planted_bags(12, seed=0)
    x = np.asarray(bags.x["x"], dtype=np.float32)
    obs = pd.DataFrame({"sample": bags.bag.index[bags.index], "ill": bags.labels[bags.index]},
                       index=[f"c{i}" for i in range(len(x))])  # fmt: skip
    return AnnData(np.zeros_like(x), obs=obs, layers={"counts": x})


@pytest.fixture
def cells():
    return planted()


@pytest.fixture(scope="module")
def model():
    bags = sm.read(planted(), sample="sample", label="ill", layer="counts")
    return sm.mil.MeanPooling(epochs=1, progress=False).fit(bags)


def test_a_layer_stands_in_the_place_of_x(cells):
    short = sm.read(cells, sample="sample", layer="counts")
    long = sm.read(cells, sample="sample", x="layers/counts")
    assert list(short.x) == list(long.x) == ["counts"]
    np.testing.assert_array_equal(short.x["counts"], cells.layers["counts"])
    assert short.digest == long.digest
    with pytest.raises(sm.InputError, match=r"no features 'layers/count' .*mean 'layers/counts'"):
        sm.read(cells, sample="sample", layer="count")
    with pytest.raises(sm.InputError, match="layer='counts' and x='X' both say what to read"):
        sm.read(cells, sample="sample", layer="counts", x="X")
    with pytest.raises(sm.InputError, match="Did you mean 'rna/layers/counts'"):
        sm.read(MuData({"rna": cells}), layer="counts")


def test_what_is_written_in_place_returns_nothing(cells, model):
    assert model.write(cells) is None
    assert model.name in cells.uns


def test_a_copy_comes_back_and_the_data_stay_as_they_were(cells, model):
    before = cells.copy()
    new = model.write(cells, key_added="mine", copy=True)
    assert "mine" in new.uns
    assert [k for k in new.obs if k.startswith("mine_")]
    assert list(cells.obs) == list(before.obs)
    assert not cells.uns
    assert not cells.obsm


@pytest.mark.parametrize("key", ["new", "sample"])
def test_a_file_is_written_and_the_data_in_memory_stay_as_they_were(cells, model, tmp_path, key):
    cells.uns[key] = {"mine": 1}
    before = cells.copy()
    model.write(cells, out=tmp_path / "out.h5ad", key_added=key, overwrite=True)
    written = read_h5ad(tmp_path / "out.h5ad")
    assert written.uns[key]["settings"]["epochs"] == 1
    assert cells.uns == {key: {"mine": 1}}
    assert cells.obs.astype(str).equals(before.obs.astype(str))  # AnnData makes texts categories
    assert not cells.obsm


def test_data_stay_as_they_were_where_the_file_cannot_be_written(cells, model, tmp_path):
    (tmp_path / "out.h5ad").write_text("taken")
    with pytest.raises(sm.InputError, match=r"out\.h5ad"):
        model.write(cells, out=tmp_path / "out.h5ad")
    assert not cells.uns


def test_modalities_are_copied_too():
    data = MuData({"rna": planted()})
    data.obs["sample"] = data["rna"].obs["sample"].to_numpy()
    bags = sm.read(data, sample="sample", x="rna/layers/counts", label="rna:ill")
    fitted = sm.mil.BagMean(progress=False).fit(bags)
    new = fitted.write(data, copy=True)
    assert isinstance(new, MuData)
    assert "bag_mean" in new.uns
    assert "bag_mean" not in data.uns


def test_an_embedding_comes_back_in_a_copy():
    rng = np.random.default_rng(0)
    data = AnnData(
        rng.poisson(2.0, (60, 8)).astype(np.float32), obsm={"protein": rng.random((60, 3))}
    )
    bags = sm.read(data, x={"rna": "X", "protein": "protein"})
    fitted = sm.make("block_pca", width=2, progress=False).fit(bags)
    new = fitted.write(data, key_added="joint", copy=True)
    np.testing.assert_allclose(new.obsm["X_joint"], fitted.transform(bags), rtol=1e-6)
    assert list(data.obsm) == ["protein"]


def test_a_copy_is_of_what_is_in_memory(cells, model, tmp_path):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    with pytest.raises(sm.InputError, match="the copy of a file is out=FILE"):
        model.write(path, copy=True)
    with pytest.raises(sm.InputError, match="the copy of a file is out=FILE"):
        model.write(cells, out=tmp_path / "new.h5ad", copy=True)
    with pytest.raises(sm.InputError, match="not AnnData on disk"):
        model.write(read_h5ad(path, backed="r"), copy=True)
