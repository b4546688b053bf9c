"""Other instruments through spatialdata-io, and what it makes."""

import importlib.machinery
import sys
import types

import anndata as ad
import layouts
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.errors import InputError

pytest.importorskip("skimage")
pytest.importorskip("spatialdata")
pytestmark = pytest.mark.filterwarnings("ignore")
HOW = {"tile_px": 24, "size": 8, "um_per_px": 2.0, "progress": False}


def cells_on_labels(names=("table",)):
    """Twelve cells as a picture of labels; four stains, an H&E picture and a small one of it."""
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, Labels2DModel, TableModel
    from spatialdata.transformations import Scale

    labels = np.zeros((260, 310), int)
    for i, (x, y) in enumerate(layouts.lattice(4, 3, 50, 60)):
        labels[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4] = i + 1

    def table(seed):
        obs = pd.DataFrame({"region": "cells", "id": np.arange(12) + 1}, index=map(str, range(12)))
        data = ad.AnnData(layouts.poisson(12, seed).astype(np.float32), obs=obs)
        return TableModel.parse(data, region="cells", region_key="region", instance_key="id")

    def picture(pixels, **how):
        return Image2DModel.parse(pixels, dims=("c", "y", "x"), **how)

    rgb = layouts.drawn().transpose(2, 0, 1)
    half = {"global": Scale([2, 2], axes=("x", "y"))}
    images = {
        "stains": picture(np.zeros((4, 260, 310), np.uint8)),
        "small": picture(rgb[:, ::2, ::2], transformations=half),
        "he": picture(rgb),
    }
    return SpatialData(
        images=images, labels={"cells": Labels2DModel.parse(labels, dims=("y", "x"))},
        tables={name: table(seed) for seed, name in enumerate(names)},
    )  # fmt: skip


@pytest.fixture
def library(monkeypatch):
    """A stand-in for spatialdata-io."""
    module = types.ModuleType("spatialdata_io")
    module.__spec__ = importlib.machinery.ModuleSpec("spatialdata_io", None)

    def cosmx(path):
        raise KeyError(f"no fov in {path}")

    module.merscope, module.cosmx = lambda path: cells_on_labels(), cosmx
    module.generic_to_zarr = lambda path: pytest.fail("it writes")
    monkeypatch.setitem(sys.modules, "spatialdata_io", module)


@pytest.mark.slow
def test_a_reader_of_spatialdata_io(library, tmp_path):
    bags = sm.read_slides(tmp_path, platform="merscope", **HOW)
    np.testing.assert_array_equal(bags.x["counts"].toarray(), layouts.poisson(12))
    np.testing.assert_allclose(bags.instance[["x_px", "y_px"]], layouts.lattice(4, 3, 50, 60) + 0.5)
    want = sm.read_slides(cells_on_labels(), images="he", **HOW)
    np.testing.assert_array_equal(bags.x["tile"].read(0, 12), want.x["tile"].read(0, 12))
    for platform, words in [
        ("generic_to_zarr", "is no reader of spatialdata-io; there are cosmx, merscope"),
        ("xenium", "is no reader"),
        ("cosmx", "cannot read .* as cosmx .KeyError"),
    ]:
        with pytest.raises(InputError, match=words):
            sm.read_slides(tmp_path, platform=platform, **HOW)


def test_without_spatialdata_io_its_extra_is_named(monkeypatch, tmp_path):
    from smalti.system import extras

    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'spatialdata-io is not .*"smalti\[platforms\]"'):
        sm.read_slides(tmp_path, platform="merscope", **HOW)
    with pytest.raises(InputError, match="platform='merscope' reads one folder"):
        sm.read_slides([tmp_path], platform="merscope", **HOW)


@pytest.mark.slow
@pytest.mark.parametrize(("bins", "table"), [(None, 1), (8, 1), (2, 0), ("cells", 2)])
def test_the_table_of_visium_hd(bins, table):
    names = ("square_002um", "square_008um", "cell_segmentations")
    bags = sm.read_slides(cells_on_labels(names), bins=bins, **HOW)
    np.testing.assert_array_equal(bags.x["counts"].toarray(), layouts.poisson(12, table))
    with pytest.raises(InputError, match="bins=16: no table of this SpatialData is of such bins"):
        sm.read_slides(cells_on_labels(names), bins=16, **HOW)
