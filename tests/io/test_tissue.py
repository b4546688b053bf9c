"""Tissue that the user marked: GeoJSON, masks, shapes; and what is refused."""

import json

import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.io.annotations import read_annotations, write_annotations

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("skimage")
CUT = {"um_per_px": 1.0, "tile_px": 20, "tissue_min": 0.5, "progress": False}
SQUARE = [
    [[100, 60], [260, 60], [260, 180], [100, 180], [100, 60]],
    [[140, 100], [180, 100], [180, 140], [140, 140], [140, 100]],
]


@pytest.fixture
def slide(tmp_path):
    """A picture of tissue all over, 400 x 240 px."""
    rgb = np.random.default_rng(0).normal([200, 120, 180], 15, (240, 400, 3)).clip(0, 255)
    (tmp_path / "slides").mkdir()
    Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / "slides" / "A1.png")
    return tmp_path / "slides" / "A1.png"


def feature(rings, kind="Polygon", name="Tissue", **more):
    said = {"objectType": "annotation"} | ({"classification": {"name": name}} if name else {})
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": rings},
            "properties": said | more}  # fmt: skip


def places(bags):
    return set(map(tuple, bags.instance[["x_px", "y_px"]].to_numpy(int)))


def inside():
    """Centres of the grid that lie in the square with its hole."""
    found = {(x, y) for x in range(110, 260, 20) for y in range(70, 180, 20)}
    return found - {(150, 110), (170, 110), (150, 130), (170, 130)}


@pytest.mark.parametrize("form", ["collection", "list", "one", "multi", "no class", "two classes"])
def test_geojson_as_qupath_exports_it(slide, tmp_path, form):
    stroma = feature([[[0, 0], [90, 0], [90, 90], [0, 90], [0, 0]]], name="Stroma")
    whole = {
        "collection": {"type": "FeatureCollection", "features": [feature(SQUARE)]},
        "list": [feature(SQUARE)],
        "one": feature(SQUARE),
        "multi": {"type": "FeatureCollection", "features": [feature([SQUARE], "MultiPolygon")]},
        "no class": [feature(SQUARE, name=None)],
        "two classes": [stroma, feature(SQUARE), {"type": "Feature", "geometry": {
            "type": "Point", "coordinates": [1, 2]}, "properties": {}}],
    }[form]  # fmt: skip
    file = tmp_path / "A1.geojson"
    file.write_text(json.dumps(whole), encoding="utf-8")
    if form == "two classes":
        with pytest.warns(UserWarning, match="not Stroma"):
            bags = sm.read_slides(slide, tissue=file, **CUT)
    else:
        bags = sm.read_slides(slide, tissue=file, **CUT)
    assert places(bags) == inside()


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P"])
def test_a_mask_of_any_downsample(slide, tmp_path, k, mode):
    mask = np.zeros((240, 400), np.uint8)
    mask[60:180, 100:260] = 255
    mask[100:140, 140:180] = 0
    picture = Image.fromarray(mask[::k, ::k])
    picture = picture.point(lambda v: v > 0, "1") if mode == "1" else picture.convert(mode)
    picture.save(tmp_path / "A1_mask.png")
    assert places(sm.read_slides(slide.parent, tissue=tmp_path, **CUT)) == inside()
    array = {"A1": mask[::k, ::k] > 0}
    assert places(sm.read_slides(slide, tissue=array, **CUT)) == inside()


def test_wrong_tissue_is_one_sentence(slide, tmp_path):
    def geojson(*features, name="A1.geojson"):
        (tmp_path / name).write_text(json.dumps(list(features)), encoding="utf-8")
        return tmp_path / name

    empty = tmp_path / "empty"
    empty.mkdir()
    far = feature([[[100, 60], [26000, 60], [26000, 18000], [100, 60]]])
    cases = [
        (tmp_path / "no.geojson", "no file or folder .*no.geojson"),
        (empty, "no tissue of slide 'A1'"),
        ({"B2": np.ones((24, 40), bool)}, "no tissue of slide 'A1'"),
        (np.ones((240, 240), bool), "differ in shape"),
        (np.ones((24, 40)), "expected .height, width."),
        (slide.parent / "A1.jpg", "no file or folder"),
        (geojson(far), "another resolution or another slide"),
        (geojson({"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}},
                 name="p.geojson"), "holds no area"),
        (geojson(feature([[[0, 0], ["x", 1], [2, 2]]]), name="x.geojson"), "no rings of x, y"),
        (geojson(3, name="n.geojson"), "no feature of a GeoJSON"),
    ]  # fmt: skip
    for given, says in cases:
        with pytest.raises(InputError, match=says):
            sm.read_slides(slide, tissue=given, **CUT)
    (tmp_path / "A1.png").write_bytes(slide.read_bytes())
    with pytest.raises(InputError, match="both mark the tissue of slide 'A1'"):
        sm.read_slides(slide, tissue=tmp_path, **CUT)
    (tmp_path / "t.txt").write_text("x")
    with pytest.raises(InputError, match="is no mask"):
        sm.read_slides(slide, tissue=tmp_path / "t.txt", **CUT)


def test_what_is_written_is_read(tmp_path):
    ring = np.array([[0, 0], [10, 0], [10, 5.25], [0, 0]])
    write_annotations(tmp_path / "a.geojson", [[ring]], "Tissue", note={"key": 1})
    (found,) = read_annotations(tmp_path / "a.geojson")
    assert found.name == "Tissue"
    np.testing.assert_array_equal(found.polygons[0][0], ring)
    held = json.loads((tmp_path / "a.geojson").read_text("utf-8"))
    assert held["type"] == "FeatureCollection"
    assert held["features"][0]["properties"]["objectType"] == "annotation"


@pytest.mark.parametrize("measurements", [
    {"Area": 3.5, "note": "text"}, [{"name": "Area", "value": 3.5}]])  # fmt: skip
def test_measurements_and_nuclei_of_cells(tmp_path, measurements):
    cell = feature(SQUARE, name=None, measurements=measurements)
    cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    (tmp_path / "c.geojson").write_text(json.dumps([cell]), encoding="utf-8")
    (found,) = read_annotations(tmp_path / "c.geojson")
    assert found.measurements == {"Area": 3.5}
    assert len(found.nucleus) == 1


def test_shapes_of_spatialdata():
    pytest.importorskip("spatialdata")
    geopandas = pytest.importorskip("geopandas")
    import anndata as ad
    import pandas as pd
    import shapely
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Scale

    rgb = np.random.default_rng(0).integers(90, 220, (3, 100, 100)).astype(np.uint8)
    points = [[x, y] for x in (20, 50, 80) for y in (20, 50, 80)]
    spots = ShapesModel.parse(np.array(points, float), geometry=0, radius=5)
    half = Scale([2.0, 2.0], axes=("x", "y"))  # drawn in pixels of two of the picture's
    area = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 50, 17)])
    area = ShapesModel.parse(area, transformations={"global": half})
    table = ad.AnnData(
        np.ones((9, 2), np.float32),
        obs=pd.DataFrame(
            {"region": pd.Categorical(["spots"] * 9), "id": range(9)}, index=list("abcdefghi")
        ),
    )
    table = TableModel.parse(table, region="spots", region_key="region", instance_key="id")
    picture = Image2DModel.parse(rgb, dims=("c", "y", "x"))
    data = SpatialData(images={"he": picture}, tables={"table": table},
                       shapes={"spots": spots, "tissue": area})  # fmt: skip
    more = {"um_per_px": 1.0, "tile_px": 10, "tissue_min": 0.5, "progress": False}
    with pytest.warns(UserWarning, match="less than 50% tissue"):
        bags = sm.read_slides(data, tissue="tissue", **more)
    assert places(bags) == {(20, 20), (50, 20), (80, 20)}
    with pytest.raises(InputError, match="no shapes element and no file; there are spots, tissue"):
        sm.read_slides(data, tissue="none", **more)
    with pytest.raises(InputError, match="circles or points"):
        sm.read_slides(data, tissue="spots", **more)
