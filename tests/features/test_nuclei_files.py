"""Ellipses of known place, size and shape, as other programs write them."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.features import nuclei_maps
from smalti.features.nuclei_files import read_outlines
from smalti.tiles.nuclei import measure

UM = 0.5
CENTRES = np.array([[60.3, 40.8], [150.0, 61.2], [33.5, 140.6]])
AXES = np.array([[12.0, 8.0], [10.0, 10.0], [9.0, 6.0]])
TURN = np.array([0.3, 0.0, 1.2])
AREA = np.pi * AXES.prod(1)
ECCENTRICITY = np.sqrt(1 - (AXES[:, 1] / AXES[:, 0]) ** 2)


def ring(k, n=64):
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x, y = AXES[k, 0] * np.cos(t), AXES[k, 1] * np.sin(t)
    c, s = np.cos(TURN[k]), np.sin(TURN[k])
    return CENTRES[k] + np.stack([c * x - s * y, s * x + c * y], axis=1)


def slides(names=("A1",)):
    rows = np.repeat(np.array(names), 1)
    instance = pd.DataFrame({"x_px": 100.0, "y_px": 100.0}, index=range(len(rows)))
    bag = pd.DataFrame({"um_per_px": UM}, index=list(names))
    return sm.Bags.from_rows(np.zeros((len(rows), 1)), rows, instance=instance, bag=bag)


def written(kind, folder, scale=1.0):
    """A file of the three nuclei."""
    rings = [(ring(k) * scale) for k in range(3)]
    shifted = [r - 0.5 for r in rings]  # where 0 is the centre of the first pixel
    if kind == "geojson":
        objects = [
            {
                "type": "Feature",
                "properties": {"objectType": "detection"},
                "geometry": {"type": "Polygon", "coordinates": [[*r.tolist(), r[0].tolist()]]},
            }
            for r in rings
        ]
        (folder / "A1.geojson").write_text(json.dumps(objects))
        return folder / "A1.geojson"
    if kind == "cells":
        objects = [{"type": "Feature", "properties": {"objectType": "cell"}, "geometry": {
            "type": "Polygon", "coordinates": [(3 * (r - r.mean(0)) + r.mean(0)).tolist()]},
            "nucleusGeometry": {"type": "Polygon", "coordinates": [r.tolist()]}}
            for r in rings]  # fmt: skip
        (folder / "A1.geojson").write_text(json.dumps({
            "type": "FeatureCollection", "features": objects}))  # fmt: skip
        return folder / "A1.geojson"
    if kind == "classes":  # CellViT, and HEST: an annotation of each class
        pieces = [[[r.tolist()] for r in rings[:2]], [[rings[2].tolist()]]]
        objects = [{"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": c},
                    "properties": {"objectType": "annotation", "classification": {"name": str(k)}}}
                   for k, c in enumerate(pieces)]  # fmt: skip
        (folder / "A1_cellvit_seg.geojson").write_text(json.dumps(objects))
        return folder / "A1_cellvit_seg.geojson"
    if kind == "parquet":
        shapely = pytest.importorskip("shapely")
        pytest.importorskip("pyarrow")
        table = pd.DataFrame({"geometry": [shapely.Polygon(r).wkb for r in rings], "class": "x"})
        table.to_parquet(folder / "A1_cellvit_seg.parquet")
        return folder / "A1_cellvit_seg.parquet"
    coord = np.stack([r[:, ::-1].T for r in shifted])
    if kind == "npz":
        np.savez(folder / "A1.npz", coord=coord, points=coord.mean(2), prob=np.ones(3))
        return folder / "A1.npz"
    if kind == "stardist json":
        (folder / "A1.json").write_text(json.dumps({"coord": coord.tolist()}))
        return folder / "A1.json"
    if kind == "hovernet":
        nuclei = {str(k): {"contour": r.tolist()} for k, r in enumerate(shifted)}
        (folder / "A1.json").write_text(json.dumps({"mag": 40, "nuc": nuclei}))
        return folder / "A1.json"
    if kind == "cellvit":
        (folder / "A1.json").write_text(json.dumps(
            {"cells": [{"contour": r.tolist(), "type": 1} for r in shifted]}))  # fmt: skip
        return folder / "A1.json"
    lines = [",".join(f"{v:.3f}" for v in r.ravel()) for r in shifted]
    (folder / "A1_cp_outlines.txt").write_text("\n".join(lines) + "\n")
    return folder / "A1_cp_outlines.txt"


KINDS = (
    "geojson",
    "cells",
    "classes",
    "parquet",
    "npz",
    "stardist json",
    "hovernet",
    "cellvit",
    "cellpose",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_place_size_and_shape(kind, tmp_path):
    found = read_outlines(written(kind, tmp_path))
    np.testing.assert_allclose(found.xy, CENTRES, atol=0.01)
    np.testing.assert_allclose(found.area, AREA, rtol=0.005)
    np.testing.assert_allclose(found.eccentricity, ECCENTRICITY, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:X_nuclei")
def test_a_file_a_folder_and_a_mapping_give_one_map(kind, tmp_path):
    file = written(kind, tmp_path)
    table = pd.DataFrame({"x_px": CENTRES[:, 0], "y_px": CENTRES[:, 1],
                          "area_um2": AREA * UM**2, "eccentricity": ECCENTRICITY})  # fmt: skip
    bags = slides()
    want = nuclei_maps(bags, table, side_px=200).table()
    for given in (file, tmp_path, {"A1": file}):
        got = nuclei_maps(bags, given, side_px=200).table()
        np.testing.assert_allclose(got, want, rtol=0.01, atol=0.01)
    if kind not in ("geojson", "cells", "classes", "parquet"):
        half = written(kind, tmp_path, 0.5)
        got = nuclei_maps(bags, half, side_px=200, scale=0.5).table()
        np.testing.assert_allclose(got, want, rtol=0.02, atol=0.02)


@pytest.mark.filterwarnings("ignore:X_nuclei")
def test_masks_of_cellpose(tmp_path):
    from PIL import Image

    y, x = np.mgrid[:200, :200] + 0.5
    labels = np.zeros((200, 200), np.uint16)
    for k in range(3):
        c, s = np.cos(TURN[k]), np.sin(TURN[k])
        dx, dy = x - CENTRES[k, 0], y - CENTRES[k, 1]
        a, b = (c * dx + s * dy) / AXES[k, 0], (c * dy - s * dx) / AXES[k, 1]
        labels[a**2 + b**2 < 1] = k + 1
    assert len(measure(labels)) == 3
    Image.fromarray(labels).save(tmp_path / "A1_cp_masks.png")
    written("cellpose", tmp_path)
    with pytest.raises(InputError, match="both hold the nuclei of slide 'A1'"):
        nuclei_maps(slides(), tmp_path, side_px=200)
    outlines = nuclei_maps(slides(), tmp_path / "A1_cp_outlines.txt", side_px=200).table()
    (tmp_path / "A1_cp_outlines.txt").unlink()
    masks = nuclei_maps(slides(), tmp_path, side_px=200).table()
    np.testing.assert_allclose(masks, outlines, rtol=0.03, atol=0.1)


@pytest.mark.parametrize(("place", "micro"), [("µm", "µ"), ("px", "µ"), ("µm", "\u03bc"),
                                              ("µm", "u")])  # fmt: skip
@pytest.mark.parametrize("shape", ["Nucleus: Eccentricity", "diameters"])
@pytest.mark.filterwarnings("ignore:X_nuclei")
def test_measurements_that_qupath_exports(place, micro, shape, tmp_path):
    by = UM if place == "µm" else 1.0
    table = pd.DataFrame({
        "Image": ["A1.svs", "A1.svs - Series 1", "A1.svs", "A1.svs", "other.svs"],
        "Object type": ["Detection", "Cell", "Detection", "Annotation", "Detection"],
        f"Centroid X {place}": [*CENTRES[:, 0] * by, 3.0, 100.0],
        f"Centroid Y {place}": [*CENTRES[:, 1] * by, 3.0, 100.0],
        "Nucleus: Area µm^2": [*AREA * UM**2, 1e6, 1.0],
    })  # fmt: skip
    if shape == "diameters":
        table["Nucleus: Max diameter µm"] = [*2 * AXES[:, 0], 1, 1]
        table["Nucleus: Min diameter µm"] = [*2 * AXES[:, 1], 1, 1]
    else:
        table[shape] = [*ECCENTRICITY, 0, 0]
    table.columns = [c.replace("µ", micro) for c in table.columns]
    table.to_csv(tmp_path / "measurements.tsv", sep="\t", index=False)
    got = nuclei_maps(slides(), tmp_path / "measurements.tsv", side_px=200).table()
    want = nuclei_maps(slides(), written("geojson", tmp_path), side_px=200).table()
    np.testing.assert_allclose(got, want, rtol=0.01, atol=0.01)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_what_cannot_be_read(tmp_path):
    def refuse(match, given, names=("A1",)):
        with pytest.raises(InputError, match=match):
            nuclei_maps(slides(names), given, side_px=200)

    np.save(tmp_path / "A1_seg.npy", np.array({"masks": Bomb()}, dtype=object), allow_pickle=True)
    refuse("pickle of Cellpose.*never opened.*_cp_masks.tif", tmp_path / "A1_seg.npy")
    refuse("pickle of Cellpose", tmp_path)
    (tmp_path / "A1.npz").write_bytes(pickle.dumps(Bomb()))
    refuse("A1.npz", tmp_path / "A1.npz")
    np.savez(tmp_path / "b.npz", coord=np.array([Bomb()], dtype=object))
    refuse("objects", tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", other=np.ones(3))
    refuse("coord", tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", coord=np.ones((3, 3)))
    refuse(r"expected \(n, 2, rays\)", tmp_path / "d.npz")
    (tmp_path / "e.txt").write_text("1,2,3\n")
    refuse("e.txt", tmp_path / "e.txt")
    (tmp_path / "f.json").write_text('{"nuc": {"1": {"bbox": 3}}}')
    refuse("contour", tmp_path / "f.json")
    (tmp_path / "g.txt").write_text("1,2,1,2,1,2\n")
    refuse("no outline of a nucleus", tmp_path / "g.txt")
    refuse("one slide, and there are 2", tmp_path / "g.txt", ("A1", "B1"))
    (tmp_path / "more").mkdir()
    written("geojson", tmp_path / "more")
    refuse("no nuclei of slide 'B1'", tmp_path / "more", ("A1", "B1"))


@pytest.mark.filterwarnings("ignore:X_nuclei")
def test_hest_may_have_both_files_of_a_slide(tmp_path):
    written("parquet", tmp_path)
    (tmp_path / "A1_cellvit_seg.geojson").write_text("[]")
    assert nuclei_maps(slides(), tmp_path, side_px=200).table().any()


@pytest.mark.parametrize(
    ("table", "says"),
    [({"geometry": [b"none"]}, "damaged|geometry"), ({"geometry": [1.0]}, "geometry"),
     ({"vertex_x": [1.0]}, "no column geometry of outlines")],
)  # fmt: skip
def test_a_parquet_of_something_else(tmp_path, table, says):
    pytest.importorskip("shapely")
    pytest.importorskip("pyarrow")
    pd.DataFrame(table).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=says):
        read_outlines(tmp_path / "a.parquet")
