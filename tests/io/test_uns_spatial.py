"""Pictures in uns["spatial"], as scanpy and squidpy keep them."""

import dataclasses

import anndata
import layouts
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.errors import InputError

pytest.importorskip("skimage")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def read(source, **how):
    return sm.read_slides(source, **{"tile_px": 24, "progress": False} | how)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["memory", ".h5ad", ".zarr"])
def test_the_picture_of_read_visium(tmp_path, form):
    table = layouts.spots_table(picture=True)
    source = table
    if form != "memory":
        source = tmp_path / f"t{form}"
        (table.write_h5ad if form == ".h5ad" else table.write_zarr)(source)
    bags = read(source)
    assert bags.bag.index.tolist() == ["lib"]
    want = layouts.drawn(0)[48:72, 48:72].transpose(2, 0, 1)
    np.testing.assert_array_equal(bags.x["tile"].read(0, 1)[0], want)
    assert any("a small version of the slide (1 of 4 pixels)" in note for note in bags.notes)
    assert bags.bag["um_per_px"].isna().all()
    assert read(source, um_per_px=0.5).bag["um_per_px"].tolist() == [2.0]


def two(named="library_id"):
    parts = [layouts.spots_table(seed=s, picture=True) for s in (0, 1)]
    for part, name in zip(parts, ("one", "two"), strict=True):
        part.obs[named] = name
        part.obs_names = f"{name}-" + part.obs_names
    table = anndata.concat(parts)
    table.uns["spatial"] = {"one": layouts.library(0), "two": layouts.library(1)}
    return table


@pytest.mark.slow
@pytest.mark.parametrize("named", ["library_id", "batch"])
def test_several_pictures(named):
    table = two(named)
    table.obs["section"] = np.where(table.obs[named] == "one", "s1", "s2")
    table = table[np.random.default_rng(0).permutation(24)].copy()
    bags = read(table, only="two")
    assert bags.bag.index.tolist() == ["two"]
    bags = read(table, slide="section")
    for row, slide in enumerate(np.asarray(bags.bag.index)[bags.index]):
        x, y = bags.instance.iloc[row][["x_px", "y_px"]].astype(int)
        rgb = layouts.drawn(["s1", "s2"].index(slide))[y - 12 : y + 12, x - 12 : x + 12]
        np.testing.assert_array_equal(bags.x["tile"].read(row, row + 1)[0], rgb.transpose(2, 0, 1))
    table.obs["same"] = "all"
    with pytest.raises(InputError, match="slide 'all' of the AnnData has spots of several"):
        read(table, slide="same")
    del table.obs[named]
    with pytest.raises(InputError, match=r"which of the pictures in uns.*\(one, two\)"):
        read(table)


def test_a_picture_given_is_taken_before(tmp_path):
    table = layouts.spots_table(picture=True)
    table.obsm["spatial"] = table.obsm["spatial"] / 4
    picture = layouts.save_picture(tmp_path / "he.png", layouts.drawn(9))
    bags = read(table, images=picture)
    want = layouts.drawn(9)[48:72, 48:72].transpose(2, 0, 1)
    np.testing.assert_array_equal(bags.x["tile"].read(0, 1)[0], want)


def test_how_far_visium_spots_are_apart():
    table = layouts.spots_table(picture=True)
    row = np.arange(12) // 4
    table.obs["array_row"], table.obs["array_col"] = row, 2 * (np.arange(12) % 4) + row % 2
    assert read(table).bag["um_per_px"].tolist() == [2.0]  # 100 µm are 50 px
    table.obs["array_col"] = np.arange(12) % 4  # a square lattice: not of Visium
    assert read(table).bag["um_per_px"].isna().all()
    table.uns["spatial"]["lib"]["scalefactors"] |= {"bin_size_um": 8.0, "microns_per_pixel": 0.04}
    assert read(table).bag["um_per_px"].tolist() == [0.16]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lib: lib["images"].update(hires=np.zeros((3, 4, 5, 6), np.uint8)), "has shape"),
        (lambda lib: lib["scalefactors"].update(tissue_hires_scalef=3.0), "is 3: expected at "),
        (lambda lib: lib["scalefactors"].update(tissue_hires_scalef=-1.0), "expected over 0"),
        (lambda lib: lib["scalefactors"].update(microns_per_pixel="a"), "expected over 0"),
        (lambda lib: lib.pop("images"), "which slide is a spot of"),
        (lambda lib: lib.pop("scalefactors"), "which slide is a spot of"),
    ],
)  # fmt: skip
def test_pictures_that_are_none(change, words):
    table = layouts.spots_table(picture=True)
    change(table.uns["spatial"]["lib"])
    with pytest.raises(InputError, match=words):
        read(table)


def test_a_frame_in_place_of_pictures(tmp_path):
    table = layouts.spots_table()
    table.uns["spatial"] = pd.DataFrame({"a": [1]})
    table.write_h5ad(tmp_path / "t.h5ad")
    for source in (table, tmp_path / "t.h5ad"):
        with pytest.raises(InputError, match="which slide is a spot of"):
            read(source)


# ---------------------------------------------------------------- pictures that are made


@pytest.fixture
def predicted():
    """Genes predicted on two slides; a tile has 24 px of the picture."""
    bags = read(two(), um_per_px=0.5)
    colour = bags.x["tile"].read(0, bags.n_instances).mean((2, 3)).astype(np.float32)
    bags = dataclasses.replace(bags, x={"X_colour": colour, **bags.x})
    return sm.make("gene_mean", progress=False).fit(bags).to_anndata(bags)


def test_predicted_genes_have_their_slides_with_them(predicted, tmp_path):
    predicted.write_h5ad(tmp_path / "p.h5ad")
    for table in (predicted, anndata.read_h5ad(tmp_path / "p.h5ad")):
        assert list(table.uns["spatial"]) == list(table.obs["slide"].cat.categories)
        for seed, name in enumerate(("one", "two")):
            own = table.uns["spatial"][name]
            np.testing.assert_array_equal(own["images"]["hires"], layouts.drawn(seed))
            assert own["scalefactors"]["tissue_hires_scalef"] == 1
            assert own["scalefactors"]["spot_diameter_fullres"] == 24
    again = read(tmp_path / "p.h5ad", slide="slide")  # and are read with them
    np.testing.assert_array_equal(again.instance[["x_px", "y_px"]], predicted.obsm["spatial"])


def test_no_pictures_where_tiles_have_none():
    from smalti.datasets import planted_slides

    bags = planted_slides(4, 9, n_genes=5)
    assert "spatial" not in sm.make("ridge", progress=False).fit(bags).to_anndata(bags).uns


@pytest.mark.slow  # scanpy is imported
@pytest.mark.filterwarnings("ignore")
def test_scanpy_draws_them(predicted):
    scanpy = pytest.importorskip("scanpy")
    import matplotlib.pyplot as plt

    one = predicted[predicted.obs["slide"] == "two"].copy()
    axes = scanpy.pl.spatial(one, color="G1", library_id="two", show=False)
    try:
        assert axes[0].images[0].get_array().shape == (260, 310, 3)
        assert len(axes[0].collections[0].get_paths()) == 12
    finally:
        plt.close("all")
