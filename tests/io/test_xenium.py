"""Cells of Xenium on the H&E picture that was aligned to them."""

import json

import layouts
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.errors import InputError

pytest.importorskip("skimage")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def read(source, **how):
    return sm.read_slides(source, **{"tile_um": 10, "size": 8, "progress": False} | how)


@pytest.mark.parametrize("packed", [True, False])
def test_cells_lie_where_the_alignment_says(tmp_path, packed):
    if not packed:
        pytest.importorskip("pyarrow")
    xy, counts = layouts.xenium(tmp_path / "run" / "outs", packed)
    picture = tmp_path / "run" / "outs" / "he" / "s_he_image.tif"
    bags = read(tmp_path / "run", images=picture)
    assert bags.bag.index.tolist() == ["run"]
    np.testing.assert_allclose(bags.instance[["x_px", "y_px"]], xy, atol=1e-8)
    np.testing.assert_array_equal(bags.x["counts"].toarray(), counts)
    np.testing.assert_allclose(bags.bag["um_per_px"], 2 * layouts.XENIUM_UM)
    assert not any("µm apart" in note for note in bags.notes)
    summed = read(tmp_path / "run", images=picture, tiles="grid", tile_um=40)
    assert summed.instance["n_cells"].sum() == 12
    np.testing.assert_array_equal(summed.x["counts"].sum(0), counts.sum(0)[None])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["morphology_focus.ome.tif", "morphology_focus/ch0000_dapi.tif"])
def test_a_picture_of_the_run_itself_needs_no_alignment(tmp_path, name):
    import tifffile

    layouts.xenium(tmp_path / "run", picture=False)
    (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
    grey = np.random.default_rng(0).integers(0, 4000, (900, 900), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "run" / name, grey, tile=(64, 64))
    bags = read(tmp_path / "run", images=tmp_path / "run" / name, edge="drop")
    table = pd.read_csv(tmp_path / "run" / "cells.csv.gz", index_col="cell_id")
    want = table.loc[[i.removeprefix("run_") for i in bags.instance.index]]
    assert len(want) > 5
    np.testing.assert_allclose(bags.instance["x_um"], want["x_centroid"])
    np.testing.assert_allclose(bags.instance["y_um"], want["y_centroid"])


def test_what_is_missing_is_named(tmp_path):
    run = tmp_path / "run"
    layouts.xenium(run)
    picture, matrix = run / "he" / "s_he_image.tif", run / "he" / "s_he_imagealignment.csv"
    with pytest.raises(
        InputError, match=r"are fluorescence, and holds no H&E pictures .*: give that"
    ):
        read(run)
    text = matrix.read_text()
    for wrong, words in [
        ("1,2\n3,4\n", "is no alignment: expected 3 x 3"),
        (text.replace("2.0", "0.0"), "is no alignment"),
        ("a,b,c\n" * 3, "no number"),
    ]:
        matrix.write_text(wrong)
        with pytest.raises(InputError, match=words):
            read(run, images=picture)
    matrix.unlink()
    with pytest.raises(InputError, match=r"no alignment of s_he_image.tif .*s_he_imageal"):
        read(run, images=picture)
    (run / "x_he_imagealignment.csv").write_text(text)  # in the folder of the run
    assert read(run, images=picture).n_instances == 12
    (run / "experiment.xenium").write_text(json.dumps({"pixel_size": 0}))
    with pytest.raises(InputError, match="a pixel_size of 0.0"):
        read(run, images=picture)
    (run / "experiment.xenium").write_text("{}")
    with pytest.raises(InputError, match="experiment.xenium is .*damaged at pixel_size"):
        read(run, images=picture)
    (run / "cell_feature_matrix.h5").unlink()
    with pytest.raises(InputError, match="run has no cell_feature_matrix.h5: copy it there"):
        read(run, images=picture)
