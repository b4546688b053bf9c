"""Pictures of slides under spots: what is read alike, what is refused, what is said."""

import layouts
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import smalti as sm
from smalti.errors import InputError
from smalti.io.pictures import slide_files

pytest.importorskip("skimage")


def read(picture, **how):
    table = layouts.spots_table(slide="s")
    how = {"tile_px": 24, "progress": False, "um_per_px": 2.0} | how
    return sm.read_slides(table, images=picture, slide="slide", **how)


@pytest.mark.parametrize("ending", ["jp2", "webp"])
def test_formats_that_are_not_read_are_named(tmp_path, ending):
    (tmp_path / f"s.{ending}").write_bytes(b"x")
    with pytest.raises(
        InputError, match=rf"s\.{ending} is no image that can be read: expected one"
    ):
        read(tmp_path / f"s.{ending}")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_a_picture_to_be_shown_turned_is_counted_as_stored(tmp_path, ending):
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = layouts.drawn()
    Image.fromarray(rgb).save(tmp_path / f"s.{ending}", exif=exif, quality=95, subsampling=0)
    with pytest.warns(UserWarning, match="to be shown turned or mirrored .EXIF.: spots are taken"):
        bags = read(tmp_path / f"s.{ending}")
    found = bags.x["tile"].read(0, 1)[0].astype(float)
    want = rgb[48:72, 48:72].transpose(2, 0, 1)
    assert np.abs(found - want).mean() < 8  # of a JPEG
    quiet = sm.read_slides(tmp_path / f"s.{ending}", tile_px=40, um_per_px=2.0, progress=False)
    assert not any("EXIF" in note for note in quiet.notes)  # a grid lies anywhere


def test_a_flat_svs_without_a_scale(tmp_path):
    """As tifffile writes one, which OpenSlide opens: the size of a pixel is asked for."""
    pytest.importorskip("openslide")
    import tifffile

    tifffile.imwrite(tmp_path / "s.svs", layouts.drawn(), tile=(128, 128), photometric="rgb")
    bags = read(tmp_path / "s.svs", um_per_px=None)
    want = layouts.drawn()[48:72, 48:72].transpose(2, 0, 1)
    np.testing.assert_array_equal(bags.x["tile"].read(0, 1)[0], want)
    assert bags.bag["um_per_px"].isna().all()
    with pytest.raises(InputError, match=r"\(s\.svs\) is not known: give um_per_px=\.\.\., or the"):
        read(tmp_path / "s.svs", um_per_px=None, tile_px=None)
    with pytest.raises(InputError, match=r"\(s\.svs\) is not known: give um_per_px=\.\.\.\.$"):
        read(tmp_path / "s.svs", um_per_px=None, tile_px=None, tile_um=25)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda xy: xy - 300, "12 spots themselves lie outside: are their pixels those of another"),
        (lambda xy: xy + np.array([5000, 0]), "12 spots themselves lie outside"),
        (lambda xy: xy * np.nan, "12 spots of the AnnData have no position"),
    ],
)
def test_spots_that_lie_elsewhere(tmp_path, change, words):
    picture = layouts.save_picture(tmp_path / "s.png", layouts.drawn())
    table = layouts.spots_table(slide="s")
    table.obsm["spatial"] = change(table.obsm["spatial"].astype(float))
    with pytest.raises(InputError, match=words):
        sm.read_slides(table, images=picture, slide="slide", tile_px=24, progress=False)


def test_names_that_differ_in_case_are_shown(tmp_path):
    picture = layouts.save_picture(tmp_path / "s.png", layouts.drawn())
    table = layouts.spots_table(slide="S")
    with pytest.raises(InputError, match="1 slides have no image: S; there are images of s. Name"):
        sm.read_slides(table, images={"s": picture}, slide="slide", tile_px=24, progress=False)


# ---------------------------------------------------------------- slides by name


@pytest.fixture
def three(tmp_path):
    for name in ("a.png", "b.tif", "more/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_slides_of_any_source(three):
    a, b, c = three / "a.png", three / "b.tif", three / "more" / "c.png"
    assert slide_files(three) == ({"a": a, "b": b}, None)
    assert slide_files([a, three / "more"], um_per_px=0.5) == ({"a": a, "c": c}, 0.5)
    assert slide_files({"x": a}) == ({"x": a}, None)
    table = pd.DataFrame({"path": ["a.png", str(c)], "um_per_px": [0.5, 1.0], "case": ["p", "007"]})
    table.to_csv(three / "t.csv", index=False)
    assert slide_files(three / "t.csv") == ({"a": a, "c": c}, {"a": 0.5, "c": 1.0})
    named = slide_files(three / "t.csv", slide="case", um_per_px=0.25)
    assert named == ({"p": a, "007": c}, 0.25)


@pytest.mark.parametrize(
    ("table", "more", "says"),
    [({"file": ["a.png"]}, {}, "no column 'path' in the table of slides; there are file"),
     ({"path": ["a.png", "more/a.tif"]}, {}, "the table names slide 'a' twice"),
     ({"path": []}, {}, "the table of slides has no rows"),
     ({"path": ["a.png"], "um": ["x"]}, {"um_per_px": "um"}, "um")],
)  # fmt: skip
def test_tables_of_slides_that_do_not_say(table, more, says):
    with pytest.raises(InputError, match=says):
        slide_files(pd.DataFrame(table), **more)


def test_slides_that_are_no_table_have_no_columns(three):
    with pytest.raises(InputError, match="slide='case' is a column of a table"):
        slide_files(three, slide="case")
    with pytest.raises(InputError, match="um_per_px='um': images have no columns"):
        slide_files(three, um_per_px="um")
    with pytest.raises(InputError, match="slide 'a' is named twice"):
        slide_files([three / "a.png", three])
