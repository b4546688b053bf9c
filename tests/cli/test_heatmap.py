"""``smalti heatmap``: from feature files or pictures to files, and slides that cannot be read."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti import mil
from smalti.cli import app

EDGE = 40


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def fails(*args):
    result = run(*args)
    assert result.exit_code == 2, result.output
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Pictures, features of CLAM, and a model of them."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("slides")
    rng = np.random.default_rng(0)
    corner = np.array([[EDGE * i, EDGE * j] for j in range(4) for i in range(6)])
    for name in ("wsi", "h5"):
        (folder / name).mkdir()
    for k in range(6):
        picture = np.full((160, 240, 3), (230, 200, 220), np.uint8)
        x = rng.normal(0, 0.1, (24, 4)).astype("f4")
        if k % 2:
            picture[40:80, 120:160] = 80, 40, 120  # tile 9
            x[9] += 3
        Image.fromarray(picture).save(folder / "wsi" / f"S.{k}.png")
        with h5py.File(folder / "h5" / f"S.{k}.h5", "w") as file:
            file["features"], file["coords"] = x, corner
    table = pd.DataFrame({"slide": [f"S.{k}.svs" for k in range(6)], "state": ["N0", "N1"] * 3})
    bags = sm.read_features(folder / "h5", table, label="state")
    mil.ABMIL.example().set_params(epochs=40, progress=False).fit(bags).save(folder / "model")
    return folder


@pytest.mark.slow
def test_maps_of_feature_files(cohort, tmp_path):
    out = tmp_path / "maps"
    ask = ("heatmap", cohort / "model", cohort / "wsi", "--features", cohort / "h5", "--tile-px",
           EDGE)  # fmt: skip
    result = run(*ask, "--um-per-px", 0.5, "--formats", "geojson,html", "--out", out)
    assert result.exit_code == 0, result.output
    assert "6 of 6 slides" in result.stdout
    endings = (".geojson", ".html")
    names = sorted(p.name for p in out.glob("S*"))
    assert names == sorted(f"S.{k}{e}" for k in range(6) for e in endings)
    found = json.loads((out / "S.1.geojson").read_text("utf-8"))["features"]
    most = max(found, key=lambda f: f["properties"]["measurements"]["contribution_N1"])
    ring = np.array(most["geometry"]["coordinates"][0])
    assert ring.min(0).tolist() == [120, 40]
    again = (*ask, "--um-per-px", 0.5, "--formats", "geojson", "--out", out)
    times = {p: p.stat().st_mtime_ns for p in out.glob("*.geojson")}
    (out / "S.2.geojson").unlink()
    assert "6 of 6 slides" in run(*again).stdout
    assert [p.name for p in times if p.stat().st_mtime_ns != times[p]] == ["S.2.geojson"]
    other = (*again, "--scale", "percentile")
    assert "is there already: name another file, or replace it, --overwrite" in fails(*other)
    assert run(*other, "--overwrite").exit_code == 0
    assert all(p.stat().st_mtime_ns != t for p, t in times.items())


@pytest.mark.slow  # starts processes
def test_maps_in_processes(cohort, tmp_path):
    ask = ("heatmap", cohort / "model", cohort / "wsi", "--features", cohort / "h5", "--tile-px",
           EDGE, "--um-per-px", 0.5, "--formats", "geojson", "--out")  # fmt: skip
    for out, jobs in (("a", 1), ("b", 2)):
        result = run(*ask, tmp_path / out, "--jobs", jobs)
        assert "6 of 6 slides" in result.stdout, result.output
    for file in (tmp_path / "a").glob("*.geojson"):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.slow  # six kinds of file, SpatialData among them
def test_every_kind_of_file(cohort, tmp_path):
    pytest.importorskip("spatialdata")
    kinds = "png,svg,tiles,geojson,ome-tiff,spatialdata,html"
    picture = cohort / "wsi" / "S.1.png"
    result = run("heatmap", cohort / "model", picture, "--features", cohort / "h5", "--tile-px",
                 EDGE, "--formats", kinds, "--deepzoom", "--out", tmp_path)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {p.name for p in tmp_path.iterdir()} == {
        ".drawn",
        "S.1.png", "S.1.svg", "S.1.tiles.png", "S.1.geojson", "S.1.ome.tif", "S.1.zarr", "S.1.html",
        "S.1_files",
    }  # fmt: skip


def test_a_feature_file_alone_and_one_class(cohort, tmp_path):
    ask = ("heatmap", cohort / "model", cohort / "h5" / "S.1.h5", "--tile-px", EDGE, "--formats",
           "geojson", "--out", tmp_path)  # fmt: skip
    assert run(*ask, "--classes", "N1").exit_code == 0
    assert "--classes names 'N7'; there are attributions for N1" in fails(
        *ask, "--overwrite", "--classes", "N7"
    )
    assert "tile_px" not in fails(*ask[:3], "--formats", "geojson", "--out", tmp_path / "b")


def test_a_slide_that_cannot_be_read_is_passed_over(cohort, tmp_path):
    from PIL import Image

    wsi = tmp_path / "wsi"
    wsi.mkdir()
    for k in (0, 2):
        Image.open(cohort / "wsi" / f"S.{k}.png").save(wsi / f"S.{k}.png")
    (wsi / "S.1.png").write_bytes(b"nothing")
    ask = ("heatmap", cohort / "model", wsi, "--features", cohort / "h5", "--tile-px", EDGE,
           "--formats", "geojson", "--out", tmp_path / "maps")  # fmt: skip
    result = run(*ask)
    assert result.exit_code == 0, result.output
    assert "slide 'S.1' is passed over:" in result.stderr
    assert "S.1.png is cut short or damaged" in result.stderr
    assert "2 of 3 slides" in result.stdout
    assert sorted(p.name for p in (tmp_path / "maps").glob("S*")) == ["S.0.geojson", "S.2.geojson"]
    assert "S.1.png is cut short or damaged" in fails(*ask, "--strict", "--overwrite")


def test_what_cannot_be_asked(cohort, tmp_path):
    model, out = cohort / "model", ("--out", tmp_path / "maps")
    picture = cohort / "wsi" / "S.1.png"
    for args, match in (
        ((model, "none.svs", *out), "no file or folder none.svs"),
        ((model, picture, "--formats", "pdf", *out), "--formats names 'pdf': choose of png"),
        ((model, picture, "--scale", "log", *out), "--scale log: absolute or percentile"),
        ((model, picture, picture, *out), "slide 'S.1' is named twice"),
        ((model, picture, "--tile-px", 4, *out), "--tile-px is about feature files"),
        ((model, picture, "--images", "w", *out), "--images is about a table of cells"),
        ((model, picture, *out), "'features', which was made elsewhere"),
        ((model, picture, "--features", cohort / "h5", *out), "--patches ..., or the edge"),
        ((model, picture, "--formats", "png", "--out", cohort / "wsi", "--overwrite"),
         "is read, or holds what is read"),
    ):  # fmt: skip
        assert match in fails("heatmap", *args), match
    assert not (tmp_path / "maps").exists()


@pytest.mark.slow  # a comparison by the command line
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_report_of_a_comparison_shows_slides(cohort, tmp_path, majority_alone):
    labels = tmp_path / "labels.csv"
    table = pd.DataFrame({"slide": [f"S.{k}" for k in range(6)], "state": ["N0", "N1"] * 3})
    table.to_csv(labels, index=False)
    ask = ("compare", cohort / "h5", "--labels", labels, "--label", "state", "--donor", "bag",
           "--methods", "abmil", "--folds", 2, "--epochs", 2, "--jobs", 1)  # fmt: skip
    result = run(*ask, "--slides", cohort / "wsi", "--tile-px", EDGE, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "<figcaption>Slide S." in page
    assert page.count("data:image/jpeg") >= 4
    result = run(*ask, "--out", tmp_path / "bare")
    assert result.exit_code == 0, result.output
    assert "<figcaption>Slide S." not in (tmp_path / "bare" / "report.html").read_text("utf-8")
