"""Sections as HEST lays them out; several .h5ad; ready tiles of .h5 files."""

import json

import h5py
import layouts
import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError

pytest.importorskip("skimage")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SIDE = layouts.PATCH


def read(source, **how):
    return sm.read_slides(source, **{"tile_px": SIDE, "progress": False} | how)


def cut(rgb, xy):
    x, y = (int(v - SIDE / 2) for v in xy)
    return rgb[y : y + SIDE, x : x + SIDE].transpose(2, 0, 1)


def test_hest(tmp_path):
    tables = layouts.hest(tmp_path)
    bags = read(tmp_path, donor="patient")
    assert bags.bag.index.tolist() == ["A1", "B2"]
    assert bags.bag["um_per_px"].tolist() == [2.0, 2.0]
    assert bags.bag["patient"].tolist() == ["p0", "p1"]
    want = np.concatenate([t.X.toarray() for t in tables])
    np.testing.assert_array_equal(bags.x["counts"].toarray(), want)
    for row, seed in ((0, 0), (23, 1)):
        tile = bags.x["tile"].read(row, row + 1)[0]
        np.testing.assert_array_equal(
            tile, cut(layouts.drawn(seed), tables[seed].obsm["spatial"][row - 12 * seed])
        )
    assert read(tmp_path, only="B2").bag.index.tolist() == ["B2"]


@pytest.mark.parametrize("pictures", [False, True])
def test_ready_tiles_go_with_their_spots(tmp_path, pictures):
    tables = layouts.hest(tmp_path, pictures=pictures)
    bags = read(tmp_path, tile_px=None, tiles="ready" if pictures else None)
    assert bags.n_instances == 22
    assert bags.bag["tile_um"].tolist() == [48, 48]
    assert bags.bag["tile_um_per_px"].tolist() == [1, 1]  # twice as many pixels as of the slide
    assert any("slide 'A1': 1 spots have no ready tile" in note for note in bags.notes)
    for row in (0, 15):
        slide, barcode = bags.instance.index[row].split("_")
        seed = ["A1", "B2"].index(slide)
        at = tables[seed].obs_names.get_loc(barcode)
        np.testing.assert_array_equal(bags.x["counts"][[row]].toarray()[0],
                                      tables[seed].X[[at]].toarray()[0])  # fmt: skip
        xy = tables[seed].obsm["spatial"][at]
        assert bags.instance.iloc[row][["x_px", "y_px"]].tolist() == xy.tolist()
        tile = bags.x["tile"].read(row, row + 1)[0]
        np.testing.assert_array_equal(tile[:, ::2, ::2], cut(layouts.drawn(seed), xy))
    half = read(tmp_path, tile_px=None, tiles="ready", size=12)
    assert half.x["tile"].shape[1:] == (3, 12, 12)
    features = sm.features.extract(half, "morphology", progress=False)
    assert features.n_instances == 22
    model = sm.make("ridge", progress=False).fit(features)
    assert model.recut(half).x["tile"].shape == (22, 3, 12, 12)
    both = bags.keep(np.arange(22) % 2 == 0)
    np.testing.assert_array_equal(both.x["tile"].read(1, 2), bags.x["tile"].read(2, 3))


def test_what_ready_tiles_do_not_say(tmp_path):
    layouts.hest(tmp_path, ("A1",))
    file = tmp_path / "patches" / "A1.h5"
    for how, words in [({"tile_um": 100}, "the tiles of slide 'A1' in A1.h5 are 48 µm wide"),
                       ({"only": ["C3"]}, "no slide 'C3'; there are A1")]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            read(tmp_path, tile_px=None, tiles="ready", **how)
    with h5py.File(file, "a") as data:
        del data["img"].attrs["patch_size_src"]
    bags = read(tmp_path, tile_px=None, tiles="ready")
    assert bags.bag["tile_um"].isna().all()
    assert any("does not say how wide its tiles are" in note for note in bags.notes)
    assert read(tmp_path, tile_px=None, tile_um=48, tiles="ready").bag["tile_um"].tolist() == [48]
    with h5py.File(file, "a") as data:
        del data["barcodes"]
    with pytest.raises(InputError, match=r"A1\.h5 has no barcode of its tiles"):
        read(tmp_path, tile_px=None, tiles="ready")
    alone = read(tmp_path / "patches", tile_px=None)
    assert alone.n_instances == 11
    assert list(alone.x) == ["tile"]
    file.unlink()
    with pytest.raises(InputError, match=r"slide 'A1' has no .*A1\.h5"):
        read(tmp_path, tile_px=None, tiles="ready")
    with pytest.raises(InputError, match="tiles='ready' is of slides whose tiles are cut already"):
        read(tmp_path / "wsis", tiles="ready")


def test_a_file_of_tiles_alone(tmp_path):
    layouts.hest(tmp_path, ("A1",))
    bags = read(tmp_path / "patches" / "A1.h5", tile_px=None, um_per_px=2.0)
    assert bags.bag.index.tolist() == ["A1"]
    assert bags.bag["tile_um"].tolist() == [48]
    assert bags.instance.index[0] == "A1_AAAC0011-1"
    assert bags.instance[["x_px", "y_px"]].iloc[0].tolist() == [210, 160]


def test_a_picture_is_needed_and_the_files_own_is_taken(tmp_path):
    layouts.hest(tmp_path, ("A1",), pictures=False)
    (tmp_path / "patches" / "A1.h5").unlink()
    with pytest.raises(InputError, match=r"slide 'A1' has no image, and .*A1\.h5ad holds no p"):
        read(tmp_path)
    table = layouts.spots_table(picture=True)
    table.write_h5ad(tmp_path / "st" / "A1.h5ad")
    bags = read(tmp_path)
    assert bags.bag["um_per_px"].tolist() == [8.0]  # of a quarter of the full picture
    assert any("a small version of the slide (1 of 4" in note for note in bags.notes)


def test_the_size_of_a_pixel_as_hest_takes_it(tmp_path):
    layouts.hest(tmp_path, ("A1",))
    file = tmp_path / "metadata" / "A1.json"
    file.write_text(json.dumps({"pixel_size_um_embedded": 3.0, "pixel_size_um_estimated": 2.0}))
    bags = read(tmp_path)
    assert bags.bag["um_per_px"].tolist() == [2.0]
    assert any("estimates 2 µm per pixel, and the picture says 3" in note for note in bags.notes)
    assert read(tmp_path, um_per_px=2.5).bag["um_per_px"].tolist() == [2.5]
    for said, words in [
        ({"pixel_size_um_estimated": -1}, "um_per_px=-1"),
        ({"pixel_size_um_embedded": "x"}, "damaged at pixel_size_um_embed"),
        ([], "holds no names"),
    ]:
        file.write_text(json.dumps(said))
        with pytest.raises(InputError, match=words):
            read(tmp_path)


@pytest.mark.parametrize("form", ["list", "folder"])
def test_an_h5ad_for_each_section(tmp_path, form):
    layouts.hest(tmp_path, pictures=True)
    source = tmp_path / "st" if form == "folder" else sorted((tmp_path / "st").iterdir())
    bags = read(source, images=tmp_path / "wsis", um_per_px=2.0, donor="bag")
    assert bags.bag.index.tolist() == ["A1", "B2"]
    assert bags.n_instances == 24
    with pytest.raises(InputError, match="slide 'A1' has no image"):
        read(source)
    with pytest.raises(InputError, match="slide='in_tissue': of several files each is a slide"):
        read(source, images=tmp_path / "wsis", slide="in_tissue")
    (tmp_path / "wsis" / "C.tif").write_bytes(b"x")
    (tmp_path / "wsis" / "C.png").write_bytes(b"x")  # two of a slide that nobody asks for
    assert read(source, images=tmp_path / "wsis", um_per_px=2.0, only="A1").n_instances == 12


def square(low, high):
    (left, top), (right, bottom) = low, high
    return [[[left, top], [right, top], [right, bottom], [left, bottom]]]


def pieces(polygons, **more):
    """A file of HEST: one annotation of many pieces."""
    said = {"objectType": "annotation", "classification": {"name": "0"}, **more}
    geometry = {"type": "MultiPolygon", "coordinates": np.array(polygons).tolist()}
    return json.dumps([{"type": "Feature", "geometry": geometry, "properties": said}])


def test_tissue_and_nuclei_of_hest(tmp_path):
    """Outlines of tissue with holes, and of nuclei by class; no pickle is opened."""
    layouts.hest(tmp_path)
    tissue, nuclei = tmp_path / "tissue_seg", tmp_path / "cellvit_seg"
    for folder in (tissue, nuclei):
        folder.mkdir(exist_ok=True)
    with pytest.raises(InputError, match=r"A1_mask.pkl is a pickle.* never opened"):
        read(tmp_path, tissue=tissue)
    bags = read(tmp_path)
    at = bags[[0]].instance[["x_px", "y_px"]].to_numpy()
    hole = at[3]
    for name in ("A1", "B2"):
        (tissue / f"{name}_contours.geojson").write_text(pieces([
            square((at.min(0) - SIDE).clip(0), at.max(0) + SIDE),
            square(hole - SIDE / 2, hole + SIDE / 2)], hole=[1]))  # fmt: skip
        (nuclei / f"{name}_cellvit_seg.geojson").write_text(
            pieces([square(at[k] - 2, at[k] + 2) for k in (0, 1, 5)])
        )
    kept = read(tmp_path, tissue=tissue, tissue_min=0.5)
    own = kept[[0]].instance[["x_px", "y_px"]].to_numpy()
    assert own.tolist() == np.delete(at, 3, 0).tolist()
    maps = sm.features.nuclei_maps(bags[[0]], nuclei, grid=1)
    assert np.flatnonzero(maps.table("X_nuclei")[:, 0]).tolist() == [0, 1, 5]
