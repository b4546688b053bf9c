"""A picture of any range of values becomes the same bytes, or is refused."""

import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.tiles import open_image
from smalti.tiles.formats import ArrayImage
from smalti.tiles.ranges import Range, of_values

Image = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")

EIGHT = np.random.default_rng(0).integers(20, 250, (40, 60, 3)).astype(np.uint8)
EIGHT[0, 0], EIGHT[20, 30] = 255, 1  # white somewhere, as on every slide


def write(path, pixels, **how):
    tifffile.imwrite(path, pixels, photometric="rgb", **how)
    return open_image(path)


@pytest.mark.parametrize(
    ("pixels", "full"),
    [
        (EIGHT.astype(np.uint16), 255),
        (EIGHT.astype(np.uint16) * 4, 1023),
        (EIGHT.astype(np.uint16) * 16, 4095),
        (EIGHT.astype(np.uint16) * 64, 16383),
        (EIGHT.astype(np.uint16) * 257, 65535),
        (EIGHT.astype(np.float32), 255),
        (EIGHT / np.float32(255), 1),
        (EIGHT * 1.003 / 255, 1),  # an interpolation's overshoot
        (EIGHT * np.float32(257), 65535),
    ],
)
@pytest.mark.parametrize("kind", ["strips", "tiles", "planes", "array"])
def test_the_values_say_the_range(tmp_path, pixels, full, kind):
    how = {"tiles": {"tile": (16, 16)}, "strips": {"rowsperstrip": 8}, "array": {},
           "planes": {"planarconfig": "separate"}}[kind]  # fmt: skip
    if kind == "array":
        image = ArrayImage(pixels.transpose(2, 0, 1), "a")
    else:
        file = pixels.transpose(2, 0, 1) if kind == "planes" else pixels
        image = write(tmp_path / "a.tif", file, **how)
    assert image.range.full == full
    off = np.abs(image.whole().astype(int) - EIGHT)
    assert off.max() <= 1
    np.testing.assert_array_equal(image.region(8, 4, 20, 12), image.whole()[4:16, 8:28])
    as_its_type = full == (65535 if pixels.dtype == np.uint16 else 1)
    assert (image.range.note is None) == as_its_type
    if not as_its_type:
        assert f"{full:,} is taken for full brightness" in image.range.note


def test_every_tile_of_a_picture_has_one_range(tmp_path):
    pixels = EIGHT.astype(np.uint16) * 257
    pixels[:, 30:] //= 300  # a dark half, of which alone one would say 8 bits
    image = write(tmp_path / "a.tif", pixels, tile=(16, 16))
    assert image.range == Range(65535)
    assert image.region(32, 0, 16, 16).max() <= 1


def test_a_pyramid_says_it_by_its_small_level(tmp_path, monkeypatch):
    pixels = EIGHT.astype(np.uint16) * 16
    with tifffile.TiffWriter(tmp_path / "p.tif") as file:
        file.write(pixels, tile=(16, 16), photometric="rgb", subifds=1)
        file.write(pixels[::2, ::2], tile=(16, 16), photometric="rgb", subfiletype=1)
    image = open_image(tmp_path / "p.tif")
    monkeypatch.setattr(type(image), "_page", None)  # the large one is not touched
    assert image.range.full == 4095


def ome(bits):
    """OME metadata that name the significant bits."""
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" SignificantBits="{bits}" DimensionOrder="XYCZT" Type="uint16" '
        'SizeX="60" SizeY="40" SizeC="3" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" '
        'SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
    )


@pytest.mark.parametrize(
    "how",
    [
        {"description": ome(12), "metadata": None},
        {"extratags": [(281, "H", 3, (4095, 4095, 4000), True)]},
        {"extratags": [(341, "H", 3, (4000, 4090, 4000), True)]},
    ],
    ids=["SignificantBits", "MaxSampleValue", "SMaxSampleValue"],
)
def test_the_file_says_the_range(tmp_path, how):
    dark = (EIGHT // 16).astype(np.uint16) * 16  # 8 bits, by its values
    suffix = ".ome.tif" if "description" in how else ".tif"
    image = write(tmp_path / f"a{suffix}", dark, **how)
    assert (image.range.full, image.range.note) == (4095, None)
    assert image.whole().max() <= 16
    bright = write(tmp_path / f"b{suffix}", EIGHT.astype(np.uint16) * 257, **how)
    with pytest.raises(InputError, match=r"b.*tif says that its values are at most 4095, and hold"):
        bright.whole()


def test_what_only_repeats_the_type_says_nothing(tmp_path):
    how = {"description": ome(16), "metadata": None}
    assert write(tmp_path / "a.ome.tif", EIGHT.astype(np.uint16), **how).range.full == 255
    most = {"extratags": [(281, "H", 3, (65535,) * 3, True)]}
    assert write(tmp_path / "b.tif", EIGHT.astype(np.uint16), **most).range.full == 255


def test_white_is_zero_within_the_range(tmp_path):
    grey = EIGHT[..., 0].astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "w.tif", 4095 - grey, photometric="miniswhite")
    got = open_image(tmp_path / "w.tif").whole()[..., 0].astype(int)
    assert np.abs(got - EIGHT[..., 0]).max() <= 1


@pytest.mark.parametrize("value", [np.nan, -300.0, 70000.0])
def test_what_is_no_brightness_is_refused(tmp_path, value):
    pixels = EIGHT.astype(np.float32)
    pixels[3, 3] = value
    with pytest.raises(InputError, match=r"a\.tif holds values of .*: save it with 8 bits"):
        write(tmp_path / "a.tif", pixels).whole()


def test_png_of_16_bits(tmp_path):
    grey = EIGHT[..., 0]
    for scale in (1, 16, 257):
        Image.fromarray(grey.astype(np.uint16) * scale).save(tmp_path / "g.png")
        got = open_image(tmp_path / "g.png").whole()[..., 0].astype(int)
        assert np.abs(got - grey).max() <= 1
    # Pillow itself cannot write 16-bit colours
    colours(tmp_path / "full.png", EIGHT.astype(np.uint16) * 257)
    np.testing.assert_array_equal(open_image(tmp_path / "full.png").whole(), EIGHT)
    colours(tmp_path / "low.png", EIGHT.astype(np.uint16))
    with pytest.raises(InputError, match=r"low\.png holds 16-bit colours of which few bits"):
        open_image(tmp_path / "low.png").whole()


def colours(path, pixels):
    """A PNG of 16 bits per colour."""
    import struct
    import zlib

    def chunk(name, data):
        sum_ = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", sum_)

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))  # fmt: skip


def test_another_range_is_another_digest(tmp_path):
    image = write(tmp_path / "a.tif", EIGHT.astype(np.uint16))
    before = image.digest()
    image.range = Range(65535)
    assert image.digest() != before


def test_slides_and_ready_tiles_say_it(tmp_path):
    import pandas as pd

    pytest.importorskip("skimage")
    rgb = np.full((60, 90, 3), (200, 120, 170), np.uint8)
    rgb[:, :10] = 245
    tifffile.imwrite(tmp_path / "s.tif", rgb.astype(np.uint16), photometric="rgb")
    with pytest.warns(
        UserWarning, match="slide 's': its picture holds 16-bit values of at most 24"
    ):
        bags = sm.read_slides(tmp_path / "s.tif", tile_px=20)
    assert bags.x["tile"].read(0, 1).max() > 100
    # a dark tile among others
    for name, tile in (("a", rgb[:20, :20]), ("b", rgb[:20, 20:40] // 40)):
        tifffile.imwrite(tmp_path / f"{name}.tif", tile.astype(np.uint16) * 16, photometric="rgb")
    table = pd.DataFrame({"ID": ["a", "b"], "path": ["a.tif", "b.tif"]})
    with pytest.warns(UserWarning, match="the tiles of the table: its picture holds 16-bit"):
        tiles = sm.read_tiles(tmp_path, table)
    dark = tiles.x["tile"].read(1, 2)
    assert dark.max() <= 5
    assert len(tiles.notes) == 1


def test_ranges_by_hand():
    short = np.dtype(np.uint16)
    assert [of_values(short, 0, most, None).full for most in (0, 255, 256, 4095, 4096, 16384)] == [
        255, 255, 1023, 4095, 16383, 65535]  # fmt: skip
    single = np.dtype(np.float32)
    assert [of_values(single, 0, most, None).full for most in (0.5, 1.99, 2.01, 255.5)] == [
        1, 1, 255, 1023]  # fmt: skip
