"""``smalti tissue``: files of many slides; a corrupt one is passed over."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from smalti.cli import app

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("skimage")


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture
def slides(tmp_path):
    """Two slides with a disc of tissue, and one that is cut short."""
    folder = tmp_path / "slides"
    folder.mkdir()
    y, x = np.mgrid[:160, :200]
    noise = np.random.default_rng(0).normal(0, 8, (160, 200, 1))
    for name, at in (("a", 60), ("c", 140)):
        rgb = np.full((160, 200, 3), 243.0)
        disc = (x - at) ** 2 + (y - 80) ** 2 < 40**2
        rgb[disc] = [214, 140, 190]
        rgb[disc] += noise[disc]
        Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
    whole = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_a_corrupt_slide_is_passed_over(slides, tmp_path):
    out = tmp_path / "out"
    done = run("tissue", slides, "--out", out, "--um-per-px", 2)
    assert done.exit_code == 0, done.output
    assert "slide 'b' is passed over" in done.stderr
    assert "2 slides, 1 passed over" in done.stdout
    table = pd.read_csv(out / "tissue.csv")
    assert table["slide"].tolist() == ["a", "c"]
    np.testing.assert_allclose(table["area_mm2"], np.pi * 0.08**2, rtol=0.12)
    mask = np.asarray(Image.open(out / "masks" / "a.png"))
    assert set(np.unique(mask)) == {0, 255}
    assert abs(np.argwhere(mask).mean(0) - [80, 60]).max() < 1
    assert (out / "overview" / "c.jpg").stat().st_size > 0
    read = run("tissue", slides, "--out", tmp_path / "strict", "--strict", "--um-per-px", 2)
    assert read.exit_code == 2
    assert "b.png" in read.stderr


def test_it_goes_on_and_its_outlines_are_read(slides, tmp_path, monkeypatch):
    import smalti as sm
    from smalti.io import tissue_files

    (slides / "b.png").unlink()
    out = tmp_path / "out"
    assert run("tissue", slides, "--out", out).exit_code == 0
    first = {p: p.stat().st_mtime_ns for p in out.rglob("*.*") if p.name != "tissue.csv"}
    made = []
    nothing = lambda rgb, um: made.append(um) or np.zeros(rgb.shape[:2], bool)  # noqa: E731
    monkeypatch.setattr(tissue_files, "tissue_mask", nothing)
    assert run("tissue", slides, "--out", out).exit_code == 0
    assert not made
    assert {p: p.stat().st_mtime_ns for p in first} == first
    bags = sm.read_slides(slides, tissue=out, um_per_px=2.0, tile_px=20, tissue_min=0.5,
                          progress=False)  # fmt: skip
    centre = bags.instance.groupby(bags.index)[["x_px", "y_px"]].mean().to_numpy()
    np.testing.assert_allclose(centre, [[60, 80], [140, 80]], atol=6)
    assert run("tissue", slides, "--out", out, "--px", 100).exit_code == 0  # another mask
    assert len(made) == 2


def test_what_another_program_wrote_stays(slides, tmp_path):
    mine = tmp_path / "out" / "outlines" / "a.geojson"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    (slides / "b.png").unlink()
    done = run("tissue", slides, "--out", tmp_path / "out")
    assert "slide 'a' is passed over" in done.stderr
    assert "--overwrite" in done.stderr
    assert mine.read_text() == "{}"
    (slides / "c.png").unlink()
    assert run("tissue", slides, "--out", tmp_path / "out").exit_code == 2
    assert run("tissue", slides, "--out", tmp_path / "out", "--overwrite").exit_code == 0
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "tissue.csv").write_text("my,own")
    assert run("tissue", slides, "--out", tmp_path / "new").exit_code == 2
    assert (tmp_path / "new" / "tissue.csv").read_text() == "my,own"
    refused = run("tissue", slides, "--out", slides)
    assert refused.exit_code == 2
    assert "is read" in refused.stderr
