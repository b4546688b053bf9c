"""Each file of a heat map holds the disc where it was drawn, and never takes the slide's place."""

import io
import json
import shutil

import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.plot import plot_extreme_tiles, plot_heatmap
from smalti.tiles import Heatmap, open_image

CENTER, RADIUS, SIDE = np.array([1310.0, 705.0]), 240.0, 50  # as in conftest.py


def is_disc(center):
    """Whether a place found is that of the disc, to within half a tile."""
    return bool((np.abs(np.asarray(center) - CENTER) <= SIDE / 2).all())


def test_the_disc_is_where_it_is_in_the_picture(heat):
    """Found by the colours of the figure as it is drawn."""
    from PIL import Image

    figure = plot_heatmap(heat, ["contribution_N1"])
    figure.set_dpi(100)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    pixels = np.asarray(Image.open(buffer).convert("RGB")).astype(int)
    axes = figure.axes[1]
    box = axes.get_window_extent()
    rows, columns = np.mgrid[: len(pixels), : pixels.shape[1]]
    rows = len(pixels) - 1 - rows
    inside = (columns > box.x0) & (columns < box.x1) & (rows > box.y0) & (rows < box.y1)
    red = inside & (pixels[..., 0] - pixels[..., 1] > 60)
    found = axes.transData.inverted().transform([[columns[red].mean() + 0.5,
                                                  rows[red].mean() + 0.5]])[0]  # fmt: skip
    assert is_disc(found)
    bar = figure.axes[2]
    words = [t.get_text() for t in bar.texts] + [bar.get_title(loc="right"), bar.get_xlabel()]
    assert {"speaks for N1", "speaks against N1"} <= set(words)


def test_geojson_is_as_qupath_reads_it(heat, tmp_path):
    sm.heatmap.write(heat, tmp_path / "S1.geojson")
    found = json.loads((tmp_path / "S1.geojson").read_text("utf-8"))
    assert found["type"] == "FeatureCollection"
    assert len(found["features"]) == len(heat)
    speaks = {"speaks for N1": [], "speaks against N1": []}
    for feature in found["features"]:
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] == "Polygon"
        assert ring[0].tolist() == ring[-1].tolist()
        assert np.ptp(ring, axis=0).tolist() == [SIDE, SIDE]
        own = feature["properties"]
        assert own["objectType"] == "tile"
        assert set(own["measurements"]) == {"attention", "contribution_N1"}
        assert len(own["classification"]["color"]) == 3
        speaks[own["classification"]["name"]].append(ring[:4].mean(0))
    assert is_disc(np.mean(speaks["speaks for N1"], axis=0))
    area = len(speaks["speaks for N1"]) * SIDE**2
    assert area == pytest.approx(np.pi * RADIUS**2, rel=0.05)
    assert len({f["id"] for f in found["features"]}) == len(heat)


def test_geojson_keeps_the_strongest_of_too_many(heat, tmp_path):
    with pytest.warns(UserWarning, match="'S1' has 1,200 tiles.*holds the 20 whose attention"):
        sm.heatmap.write_geojson(heat, tmp_path / "S1.geojson", most=20)
    found = json.loads((tmp_path / "S1.geojson").read_text("utf-8"))["features"]
    assert [f["properties"]["measurements"]["attention"] for f in found] == [0.01] * 20


def test_ome_tiff_lies_over_the_slide(heat, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    sm.heatmap.write(heat, tmp_path / "S1.ome.tif", downsample=10)
    with tifffile.TiffFile(tmp_path / "S1.ome.tif") as file:
        layer, levels, ome = file.asarray(), file.series[0].levels, file.ome_metadata
    assert layer.shape == (2, 150, 200)
    assert layer.dtype == np.float32
    y, x = np.nonzero(layer[1] > 0)
    assert is_disc([(x.mean() + 0.5) * 10, (y.mean() + 0.5) * 10])
    assert 'PhysicalSizeX="5.0"' in ome
    assert "downsample 10" in ome
    assert 'Name="contribution_N1"' in ome
    assert [level.shape for level in levels] == [(2, 150, 200)]
    sm.heatmap.write(heat, tmp_path / "fine.ome.tif", downsample=2)
    with tifffile.TiffFile(tmp_path / "fine.ome.tif") as file:
        shapes = [level.shape for level in file.series[0].levels]
        coarse = file.series[0].levels[-1].asarray()
    assert shapes == [(2, 750, 1000), (2, 375, 500), (2, 188, 250)]
    y, x = np.nonzero(coarse[1] > 0)
    assert is_disc([(x.mean() + 0.5) * 8, (y.mean() + 0.5) * 8])


def test_ome_tiff_is_nan_where_no_tile_lies(heat, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    part = Heatmap("S1", heat.values[:7], heat.xy[:7], heat.side, heat.picture)
    sm.heatmap.write(part, tmp_path / "S1.ome.tif", downsample=7)  # no whole number of pixels
    layer = tifffile.imread(tmp_path / "S1.ome.tif")
    share = np.isfinite(layer[0]).sum() * 49 / (7 * SIDE**2)
    assert share == pytest.approx(1, abs=0.05)
    assert np.isfinite(layer[0]).sum() == np.isfinite(layer[1]).sum()


@pytest.mark.slow  # spatialdata takes seconds to load
def test_spatialdata_annotates_the_tiles(heat, tmp_path):
    spatialdata = pytest.importorskip("spatialdata")
    sm.heatmap.write(heat, tmp_path / "S1.zarr")
    data = spatialdata.read_zarr(tmp_path / "S1.zarr")
    table = data.tables["heatmap"]
    assert table.var_names.tolist() == ["attention", "contribution_N1"]
    for_n1 = np.asarray(table.X)[:, 1] > 0
    tiles = data.shapes["tiles"].loc[table.obs["tile"].to_numpy()[for_n1]]
    assert is_disc([tiles.geometry.centroid.x.mean(), tiles.geometry.centroid.y.mean()])
    from spatialdata.transformations import get_transformation

    axes = ("x", "y")
    grow = get_transformation(data.images["slide"], "global").to_affine_matrix(axes, axes)
    small = np.asarray(data.images["slide"].transpose("y", "x", "c"))
    y, x = np.nonzero(small[..., 1] < 100)
    assert is_disc((grow @ [x.mean() + 0.5, y.mean() + 0.5, 1])[:2])
    with pytest.raises(InputError, match="overwrite=True"):
        sm.heatmap.write(heat, tmp_path / "S1.zarr")


def test_the_tiles_that_stand_out_are_in_the_disc(heat, tmp_path):
    most, least = heat.extremes("contribution_N1", 5)
    assert (np.hypot(*(heat.xy[most] - CENTER).T) < RADIUS).all()
    assert (np.hypot(*(heat.xy[least] - CENTER).T) >= RADIUS).all()
    assert heat.tile(int(most[0]), 8)[4, 4].tolist() == [80, 40, 120]
    sm.heatmap.write(heat, tmp_path / "S1.tiles.png", n=3)
    against = Heatmap("S1", -heat.values[["attention"]], heat.xy, heat.side, heat.picture,
                      words={"attention": ("against", "for")})  # fmt: skip
    figure = plot_extreme_tiles(against, n=3)
    titles = [axes.get_title(loc="left") for axes in figure.axes[::3]]
    assert titles == ["for: no tile", "against"]
    assert (tmp_path / "S1.tiles.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("ending", [".png", ".svg", ".tiles.png", ".geojson", ".ome.tif", ".html"])
def test_nothing_takes_the_place_of_another_file(heat, tmp_path, ending):
    path = tmp_path / f"S1{ending}"
    path.write_text("mine")
    with pytest.raises(InputError, match="overwrite=True"):
        sm.heatmap.write(heat, path)
    assert path.read_text() == "mine"


def test_the_slide_is_never_the_output(heat, tmp_path):
    file = tmp_path / "S1.png"
    shutil.copy(heat.picture.path, file)
    own = Heatmap("S1", heat.values, heat.xy, heat.side, open_image(file))
    before = file.read_bytes()
    with pytest.raises(InputError, match="is read"):
        sm.heatmap.write(own, file, overwrite=True)
    assert file.read_bytes() == before
    with pytest.raises(InputError, match=r"end the name in \.png"):
        sm.heatmap.write(heat, tmp_path / "S1.jpg")
