"""Visium HD: bins summed over tiles of any size, and segmented cells."""

import json

import layouts
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.io.visium_hd import centroids

pytest.importorskip("skimage")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def read(source, **how):
    return sm.read_slides(source, **{"size": 8, "donor": "bag", "progress": False} | how)


def sums(bags, xy, counts, side):
    """Counts of the bins in each tile, one bin after another."""
    out = np.zeros((bags.n_instances, counts.shape[1]))
    for t, row in enumerate(bags.instance.itertuples()):
        left, top = (np.floor(v - side / 2 + 0.5) for v in (row.x_px, row.y_px))
        for (x, y), own in zip(xy, counts, strict=True):
            if left <= x < left + side and top <= y < top + side:
                out[t] += own
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("tile_px", "overlap"), [(40, 0), (31, 0), (40, 0.5)])
def test_bins_are_summed_over_tiles(tmp_path, tile_px, overlap):
    truth = layouts.hd(tmp_path / "run")
    bags = read(tmp_path / "run", tile_px=tile_px, overlap=overlap)
    assert bags.bag.index.tolist() == ["run"]
    assert bags.bag["um_per_px"].tolist() == [1.0]  # 0.5 of the full picture, half as large
    xy, counts = truth[8]
    want = sums(bags, xy * layouts.HD_SCALE, counts, tile_px)
    np.testing.assert_array_equal(bags.x["counts"].toarray(), want)
    assert (bags.instance["n_bins"] > 0).all()


@pytest.mark.parametrize("bins", [16, 8.0])
def test_bins_of_a_width_with_a_tile_each(tmp_path, bins):
    truth = layouts.hd(tmp_path / "run" / "outs")
    bags = read(tmp_path / "run", bins=bins, tiles="spots", tile_um=16)
    xy, counts = truth[int(bins)]
    assert bags.bag.index.tolist() == ["run"]
    np.testing.assert_array_equal(bags.x["counts"].toarray(), counts)
    np.testing.assert_allclose(bags.instance[["x_px", "y_px"]], xy * layouts.HD_SCALE)
    assert not any("µm apart" in note for note in bags.notes)


def test_one_width_of_a_run_has_its_name(tmp_path):
    layouts.hd(tmp_path / "run", widths=(16,))
    picture = tmp_path / "run" / "spatial" / "tissue_hires_image.png"
    bins = tmp_path / "run" / "binned_outputs" / "square_016um"
    bags = read(bins, tile_px=40, images=picture, edge="drop")
    assert bags.bag.index.tolist() == ["run"]
    own = read(tmp_path / "run", tile_px=40)  # the nearest to 8 µm that there is
    assert own.instance["n_bins"].sum() > 0


def test_cells_lie_at_their_centroids(tmp_path):
    truth = layouts.hd(tmp_path / "run", cells=True)
    bags = read(tmp_path / "run", bins="cells", tile_um=16)
    xy, counts = truth["cells"]
    np.testing.assert_allclose(bags.instance[["x_px", "y_px"]], xy * layouts.HD_SCALE, atol=1e-9)
    np.testing.assert_array_equal(bags.x["counts"].toarray(), counts)
    np.testing.assert_allclose(bags.instance["area_px"], 80)
    assert not any("µm apart" in note for note in bags.notes)
    alone = read(layouts_of_cells(tmp_path), tile_um=16)
    assert alone.n_instances == 9


def layouts_of_cells(folder):
    layouts.hd(folder / "new", widths=(), cells=True)
    return folder / "new"


def test_centroids_far_from_the_corner_of_the_picture(tmp_path):
    ring = np.array([[0, 0], [4, 0], [4, 2], [0, 2], [0, 0]]) + 1e7
    flat = [[5, 5], [7, 5], [5, 5]]
    features = [
        {
            "geometry": {"type": kind, "coordinates": places},
            "properties": {"cell_id": number},
        }
        for kind, places, number in [
            ("MultiPolygon", [[ring.tolist()], [(ring + 4).tolist()]], 4),
            ("Polygon", [flat], 9),
        ]
    ]
    (tmp_path / "c.geojson").write_text(json.dumps({"features": features}))
    found = centroids(tmp_path / "c.geojson")
    np.testing.assert_allclose(found.loc[4], [1e7 + 4, 1e7 + 3, 16], rtol=1e-12)
    np.testing.assert_allclose(found.loc[9, ["x", "y"]], [17 / 3, 5])


def test_what_is_not_there_is_named(tmp_path):
    run = tmp_path / "run"
    layouts.hd(run)
    for bins, words in [(2, "bins=2: .* has bins of 8, 16 µm"), ("cells", "no segmented_outputs/"),
                        ("big", "bins='big': .* has bins of 8, 16 µm")]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            read(run, bins=bins)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "binned_outputs.tar.gz").write_bytes(b"x")
    with pytest.raises(InputError, match="has no binned_outputs/ .*: unpack them"):
        read(tmp_path / "packed")
    layouts.save_picture(tmp_path / "p" / "A.png", layouts.drawn())
    with pytest.raises(InputError, match="bins=8 is of Visium HD, which 'A' is not"):
        read(tmp_path / "p", bins=8, tile_px=40)
    layouts.hd(run, cells=True)
    (run / "segmented_outputs" / "cell_segmentations.geojson").unlink()
    with pytest.raises(InputError, match="segmented_outputs has no cell_segmentations.geojson"):
        read(run, bins="cells")


def test_tiles_beside_the_capture_area_were_not_measured(tmp_path):
    run = tmp_path / "run"
    layouts.hd(run, widths=(8,))
    file = run / "binned_outputs" / "square_008um" / "spatial" / "tissue_positions.parquet"
    table = pd.read_parquet(file)
    table.assign(in_tissue=(table["pxl_col_in_fullres"] < 200).astype(int)).to_parquet(file)
    rgb = layouts.drawn(1, 300, 310)
    rgb[200:] = 245  # glass
    layouts.save_picture(run / "spatial" / "tissue_hires_image.png", rgb)
    bags = read(run, tile_px=40)
    assert bags.instance["x_px"].max() < 120
    assert any("tiles with tissue hold none of the bins" in note for note in bags.notes)
    assert any("bins lie in no tile that is kept" in note for note in bags.notes)
