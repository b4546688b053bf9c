"""Cells with counts, place and picture: the same bags from every layout, and as one table."""

import layouts
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.io.spatial import _unit

pytest.importorskip("skimage")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CUT = {"tile_um": 16, "size": 32, "edge": "pad", "progress": False}


@pytest.fixture(scope="module")
def cells():
    return sm.datasets.pictured_cells(4, 20, seed=3)


def read(folder, layout, table, **how):
    more = {"xenium": {}, "hd": {"images": folder / "he", "bins": "cells"},
            "anndata": {"um_per_px": 0.5}}[layout]  # fmt: skip
    return sm.read_slides(folder, table=table, slide="slide", donor="donor", label="state",
                          **{**CUT, **more, **how})  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["xenium", "hd", "anndata"])
def test_a_folder_of_runs_is_bags_of_cells(tmp_path, cells, layout):
    table = layouts.cell_runs(tmp_path / "runs", cells, layout)
    bags = read(tmp_path / "runs", layout, table)
    assert bags.bag.index.tolist() == cells.bag.index.tolist()
    assert bags.labels.tolist() == cells.labels.tolist()
    np.testing.assert_allclose(
        bags.instance[["x_px", "y_px"]], cells.instance[["x_px", "y_px"]], atol=1e-6
    )
    np.testing.assert_allclose(bags.instance["x_um"], cells.instance["x_um"], atol=1e-6)
    np.testing.assert_array_equal(bags.table("counts"), cells.table("counts"))
    np.testing.assert_array_equal(bags.table("tile"), cells.table("tile"))
    assert not any("µm apart" in note for note in bags.notes)  # cells lie on no lattice
    some = read(tmp_path / "runs", layout, table, only=["S1", "S2"])
    assert some.labels.tolist() == ["ill", "healthy"]


@pytest.mark.slow  # spatialdata takes seconds to import
def test_spatialdata_of_cells_is_the_same_bags(cells):
    pytest.importorskip("spatialdata")
    from anndata import AnnData
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity

    images, shapes, obs = {}, {}, []
    for i, name in enumerate(cells.bag.index):
        one, here = cells[[i]], {name: Identity()}  # a coordinate system for each
        view = one.x["tile"]
        rgb = view.base.images[view.base.of[view.rows[0]]].pixels
        images[f"he_{name}"] = Image2DModel.parse(rgb, dims=("c", "y", "x"), transformations=here)
        xy = one.instance[["x_px", "y_px"]].to_numpy()
        shapes[name] = ShapesModel.parse(xy, geometry=0, radius=5, transformations=here)
        obs += [(name, k) for k in range(len(xy))]
    table = AnnData(
        cells.x["counts"].copy(),
        obs=pd.DataFrame(obs, columns=["region", "cell"], index=cells.instance.index),
        var=pd.DataFrame(index=list(cells.features["counts"])),
    )
    table.obs["region"] = table.obs["region"].astype("category")
    table = TableModel.parse(table, region=list(shapes), region_key="region", instance_key="cell")
    source = SpatialData(images=images, shapes=shapes, tables={"cells": table})
    donors = cells.bag[["state", "donor"]].rename_axis("slide").reset_index()
    bags = sm.read_slides(source, table=donors, slide="slide", donor="donor", label="state",
                          um_per_px=0.5, **CUT)  # fmt: skip
    assert bags.labels.tolist() == cells.labels.tolist()
    np.testing.assert_array_equal(bags.table("counts"), cells.table("counts"))
    np.testing.assert_array_equal(bags.table("tile"), cells.table("tile"))
    assert not any("µm apart" in note for note in bags.notes)


@pytest.mark.slow
def test_a_table_of_cells_reads_back(cells):
    bags = sm.features.extract(cells, "morphology", progress=False)
    table = sm.to_anndata(bags)
    again = sm.read(table, sample="slide", donor="donor", label="state",
                    x={"counts": "X", "X_morphology": "X_morphology"})  # fmt: skip
    for name in again.x:
        np.testing.assert_array_equal(again.table(name), bags.table(name))
        assert again.features[name] == bags.features[name]
    assert again.instance["altered"].tolist() == bags.instance["altered"].tolist()
    np.testing.assert_array_equal(table.obsm["spatial"], bags.instance[["x_px", "y_px"]])
    assert set(table.uns["spatial"]) == set(bags.bag.index)
    bare = sm.to_anndata(bags.only("X_morphology"))
    assert bare.X is None
    assert list(bare.obsm) == ["X_morphology", "spatial"]


def test_regions_of_spatialdata_that_are_cells():
    class Data:
        labels = ("nuclei",)

    for region, unit in [("cell_circles", "cells"), ("nuclei", "cells"), ("spots", "spots")]:
        assert _unit(Data(), region) == unit
