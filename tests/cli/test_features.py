"""``smalti features``: files of many slides, and what becomes of them: a model and heat maps."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from smalti.cli import app

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("skimage")


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


def fails(*words):
    result = run(*words)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Four slides of tissue, two with a dark disc, and one that is cut short."""
    folder = tmp_path_factory.mktemp("slides")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :160]
    for k in range(4):
        rgb = np.full((80, 160, 3), (214.0, 140, 190))
        if k % 2:
            rgb[(x - 100) ** 2 + (y - 20) ** 2 < 18**2] = 90, 50, 130
        rgb += rng.normal(0, 8, rgb.shape)
        rgb[:, :4] = 245
        Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(folder / f"S{k}.png")
    whole = (folder / "S0.png").read_bytes()
    (folder / "bad.png").write_bytes(whole[: len(whole) // 2])
    return folder


CUT = ("--um-per-px", 0.5, "--tile-um", 20, "--size", 32, "--encoder", "morphology",
       "--tissue-min", 0)  # fmt: skip


@pytest.fixture(scope="module")
def made(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "features"
    return out, run("features", slides, "--out", out, *CUT, "--stain", "macenko")


def test_a_corrupt_slide_is_passed_over(made):
    out, done = made
    assert done.exit_code == 0, done.output
    assert "slide 'bad' is passed over:" in done.stderr
    assert "S1: 8 tiles of 20 µm" in done.stdout
    assert "4 slides, 1 passed over" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == [f"S{k}.h5" for k in range(4)]


def test_a_file_is_in_the_layout_of_trident(made):
    with h5py.File(made[0] / "S1.h5") as file:
        assert file["features"].shape == (8, file["feature_names"].shape[0])
        assert file["coords"][:2].tolist() == [[0, 0], [40, 0]]
        said = dict(file["coords"].attrs)
        assert (said["patch_size"], said["patch_size_level0"], said["um_per_px"]) == (32, 40, 0.5)
        assert (said["level0_width"], said["level0_height"]) == (160, 80)
        how = json.loads(file.attrs["smalti"])["how"]
    assert (how["encoder"], how["stain"]["how"]) == ("morphology", "macenko")


def test_from_slides_to_heat_maps(made, slides, tmp_path):
    """The whole chain: a picture is cut, normalised and described as those of the training."""
    labels = tmp_path / "labels.csv"
    pd.DataFrame({"slide": [f"S{k}" for k in range(4)], "state": ["N0", "N1"] * 2,
                  "patient": list("aabb")}).to_csv(labels, index=False)  # fmt: skip
    ask = (made[0], "--labels", labels, "--label", "state", "--donor", "patient")
    fitted = run("fit", "abmil", *ask, "--epochs", 20, "--out", tmp_path / "model")
    assert fitted.exit_code == 0, fitted.output
    picture = slides / "S3.png"
    kinds = ("--formats", "geojson", "--um-per-px", 0.5, "--tissue-min", 0)
    drawn = run("heatmap", tmp_path / "model", picture, *kinds, "--out", tmp_path / "a")
    assert drawn.exit_code == 0, drawn.output
    drawn = run("heatmap", tmp_path / "model", picture, "--features", made[0], *kinds[:2], "--out",
                tmp_path / "b")  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    found = [json.loads((tmp_path / f / "S3.geojson").read_text("utf-8"))["features"] for f in "ab"]
    values = [[t["properties"]["measurements"]["contribution_N1"] for t in tiles]
              for tiles in found]  # fmt: skip
    np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-5)
    assert len(values[0]) == 8
    assert np.ptp(values[0]) > 1e-4
    corners = [[t["geometry"]["coordinates"][0][0] for t in tiles] for tiles in found]
    assert corners[0] == corners[1]


@pytest.mark.slow  # all methods of a comparison
def test_files_are_compared(made, tmp_path):
    labels = tmp_path / "labels.csv"
    pd.DataFrame({"slide": [f"S{k}" for k in range(4)], "state": ["N0", "N1"] * 2,
                  "patient": list("aabb")}).to_csv(labels, index=False)  # fmt: skip
    done = run("compare", made[0], "--labels", labels, "--label", "state", "--donor", "patient",
               "--methods", "abmil", "--folds", 2, "--epochs", 3, "--out",
               tmp_path / "run")  # fmt: skip
    assert done.exit_code == 0, done.output


def test_what_is_there_is_kept_or_refused(made, slides):
    out, _ = made
    one, two = slides / "S0.png", slides / "S1.png"
    same = (*CUT, "--stain", "macenko")
    before = (out / "S0.h5").stat().st_mtime_ns
    done = run("features", one, two, "--out", out, *same)
    assert "S0: 8 tiles of 20 µm, kept" in done.stdout
    said = fails("features", one, "--out", out, *CUT)
    assert "S0.h5 is there already, of another slide or made in another way" in said
    assert "made anew, --overwrite" in said
    assert (out / "S0.h5").stat().st_mtime_ns == before
    kept = (out / "S1.h5").read_bytes()
    (out / "S1.h5").write_bytes(kept[: len(kept) // 2])
    assert "Or have it made anew, --overwrite" in fails("features", two, "--out", out, *same)
    done = run("features", one, two, "--out", out, *same, "--force")
    assert "S0: 8 tiles of 20 µm, kept" in done.stdout
    assert "S1: 8 tiles of 20 µm\n" in done.stdout
    assert (out / "S0.h5").stat().st_mtime_ns == before


@pytest.mark.slow
def test_slides_of_a_table_and_their_tissue(slides, tmp_path):
    table = tmp_path / "slides.csv"
    pd.DataFrame({"case": ["A", "B"], "file": [slides / "S0.png", slides / "S1.png"],
                  "um_per_px": [0.5, 1.0]}).to_csv(table, index=False)  # fmt: skip
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in "AB":
        mask = np.zeros((40, 80), np.uint8)
        mask[:20, :40] = 255
        Image.fromarray(mask).save(masks / f"{name}.png")
    done = run("features", table, "--slide", "case", "--path", "file", "--tissue", masks, "--out",
               tmp_path / "out", "--tile-um", 20, "--encoder", "morphology")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "A: 2 tiles of 20 µm" in done.stdout
    assert "B: 8 tiles of 20 µm" in done.stdout


@pytest.mark.slow  # starts processes
def test_in_processes_it_is_the_same(made, slides, tmp_path):
    done = run("features", slides, "--out", tmp_path / "f", *CUT, "--stain", "macenko", "--jobs", 2)
    assert "4 slides, 1 passed over" in done.stdout, done.output
    for k in range(4):
        assert (tmp_path / "f" / f"S{k}.h5").read_bytes() == (made[0] / f"S{k}.h5").read_bytes()


@pytest.mark.parametrize(
    ("more", "says"),
    [(("--encoder", "morphology,resnet18"), "put several into one view, --encoder A+B"),
     (("--encoder", "morphology", "--flips", "all"), "take --flips none or --flips mean"),
     (("--encoder", "morphology", "--slide", "case"), "--slide case is a column of a table"),
     (("--encoder", "morphology", "--um-per-px", "um"), "--um-per-px um: images have no columns"),
     (("--encoder", "morphology", "--tissue", "{}/S0.png"), "marks the tissue of one slide"),
     (("--encoder", "morphology", "--dense"), "dense features need a convolutional network")],
    ids=lambda v: " ".join(v[-2:]) if isinstance(v, tuple) else "",
)  # fmt: skip
def test_what_cannot_be_asked(slides, tmp_path, more, says):
    words = [w.format(slides) for w in more]
    assert says in fails("features", slides, "--out", tmp_path / "f", *words)
    assert not (tmp_path / "f").exists()


def test_strict_stops(slides, tmp_path):
    assert "bad.png is cut short" in fails("features", slides, "--out", tmp_path, *CUT, "--strict")


def test_one_slide_has_a_bar_of_its_tiles(slides, tmp_path, monkeypatch):
    """Two bars at once are none; of many slides there is one of slides."""
    import smalti as sm
    from smalti.features import extraction
    from smalti.system import each

    shown = []
    for room, name in ((extraction, "tiles"), (each, "slides")):

        class Seen(room.Progress):
            def __init__(self, show=None, title="", own=name):
                shown.append((own, show))
                super().__init__(False, title)

        monkeypatch.setattr(room, "Progress", Seen)
    how = {"um_per_px": 0.5, "tile_um": 20, "size": 32, "tissue_min": 0.0, "progress": True}
    sm.features.write(slides / "S0.png", tmp_path, "morphology", **how)
    assert shown == [("slides", False), ("tiles", True)]
