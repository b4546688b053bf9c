"""Pictures and tiles against Pillow, tifffile and naive cropping."""

import threading
import time
import warnings

import numpy as np
import pytest

from smalti.errors import InputError
from smalti.tiles import (
    TileView,
    grid_centers,
    nucleus_centers,
    open_image,
    tile_quality,
    tissue_mask,
    tissue_share,
)
from smalti.tiles import tiff as tiff_module
from smalti.tiles.formats import DECODED, ArrayImage
from smalti.tiles.image import Recent
from smalti.views import take

Image = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
pytest.importorskip("skimage")


def smooth(height, width, seed=0):
    """A picture whose every pixel says where it is, smooth enough for JPEG."""
    y, x = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [np.sin(x / 23 + p) + np.cos(y / (17 + 4 * i) + p) for i, p in enumerate(phase)]
    return np.rint(127 + 60 * np.stack(waves, axis=2)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def rgb():
    return smooth(150, 211)


@pytest.fixture
def png(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    return open_image(tmp_path / "a.png", um_per_px=0.5)


# ---------------------------------------------------------------- tiles


def naive(rgb, center, side, size):
    """One tile by slicing a padded copy and Pillow's resize."""
    margin = 400
    padded = np.pad(rgb, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)
    x, y = (int(np.floor(c - side / 2 + 0.5)) + margin for c in center)
    tile = padded[y : y + side, x : x + side]
    if side != size:
        tile = np.asarray(Image.fromarray(tile).resize((size, size), Image.Resampling.BILINEAR))
    return tile.transpose(2, 0, 1)


CENTERS = np.array([[30, 30], [100.5, 75.5], [180.2, 119.7], [50.49, 60.5], [105, 75]])


@pytest.mark.parametrize(("side", "size"), [(32, 32), (33, 33), (48, 24), (24, 48), (51, 17)])
def test_tiles_are_crops(png, rgb, side, size):
    view = TileView([png], np.zeros(5, int), CENTERS, side, size)
    want = np.stack([naive(rgb, c, side, size) for c in CENTERS])
    assert view.shape == (5, 3, size, size)
    assert view.dtype == np.uint8
    np.testing.assert_array_equal(view.read(0, 5), want)
    np.testing.assert_array_equal(view.read(2, 4), want[2:4])
    np.testing.assert_array_equal(view.read(3, 99), want[3:])
    assert view.read(5, 5).shape == (0, 3, size, size)
    rows = np.array([4, 0, 1, 3])
    np.testing.assert_array_equal(take(view, rows).read(0, 4), want[rows])
    np.testing.assert_array_equal(take(take(view, rows), np.array([2, 0])).read(0, 2), want[[1, 4]])


def test_even_side_keeps_its_centre(png, rgb):
    tile = TileView([png], [0], [[40, 50]], 10, 10).read(0, 1)[0]
    np.testing.assert_array_equal(tile, rgb[45:55, 35:45].transpose(2, 0, 1))


def test_tiles_over_the_edge(png, rgb):
    centers = np.array([[0, 0], [211, 150], [100, 75], [-60, 75], [100, 500]])
    view = TileView([png], np.zeros(5, int), centers, 40, 20, pad=True)
    np.testing.assert_array_equal(view.outside(), [True, True, False, True, True])
    want = np.stack([naive(rgb, c, 40, 20) for c in centers])
    np.testing.assert_array_equal(view.read(0, 5), want)
    assert (view.read(3, 5) == 255).all()
    strict = TileView([png], np.zeros(5, int), centers, 40, 20)
    np.testing.assert_array_equal(strict.read(2, 3), want[2:3])
    with pytest.raises(InputError, match=r"\(-20, -20\) px of 40 x 40 px leaves a\.png"):
        strict.read(0, 1)


def test_exactly_at_the_edge_is_inside(png):
    view = TileView([png], [0, 0, 0], [[20, 20], [191, 130], [191.6, 130]], 40, 40)
    np.testing.assert_array_equal(view.outside(), [False, False, True])


def test_tiles_of_several_pictures(tmp_path):
    pictures = [smooth(90, 90, seed) for seed in range(3)]
    for i, p in enumerate(pictures):
        Image.fromarray(p).save(tmp_path / f"{i}.png")
    images = [open_image(tmp_path / f"{i}.png") for i in range(3)]
    of, sides = np.array([2, 0, 1, 0, 2]), np.array([10, 20, 30])
    centers = np.random.default_rng(0).uniform(20, 70, (5, 2))
    view = TileView(images, of, centers, sides, 16)
    want = [naive(pictures[i], c, int(sides[i]), 16) for i, c in zip(of, centers, strict=True)]
    np.testing.assert_array_equal(view.read(0, 5), np.stack(want))


def test_bad_views(png):
    with pytest.raises(InputError, match="2 centres for 1 tiles"):
        TileView([png], [0], [[1, 1], [2, 2]], 5, 5)
    with pytest.raises(InputError, match="pictures 0 to 1 of 1"):
        TileView([png], [0, 1], [[1, 1], [2, 2]], 5, 5)
    with pytest.raises(InputError, match="too small"):
        TileView([png], [0], [[1, 1]], 0.2, 5)


def test_digest_follows_pixels_and_places(tmp_path, rgb):
    def digest(pixels=rgb, shift=0.0, size=16, side=20, pad=False):
        Image.fromarray(pixels).save(tmp_path / "d.png")
        image = open_image(tmp_path / "d.png")
        return TileView([image], [0], [[50 + shift, 50]], side, size, pad=pad).digest()

    other = rgb.copy()
    other[0, 0] ^= 1
    all_ = [digest(), digest(other), digest(shift=1), digest(size=8), digest(side=21),
            digest(pad=True)]  # fmt: skip
    assert len(set(all_)) == 6
    assert digest() == all_[0]
    assert digest(shift=0.2) == all_[0]


# ---------------------------------------------------------------- flat pictures


def test_modes_of_png(tmp_path, rgb):
    def read(image, name="m.png"):
        image.save(tmp_path / name)
        opened = open_image(tmp_path / name)
        assert (opened.width, opened.height) == image.size
        return opened.region(0, 0, *image.size)

    grey = rgb[..., 0]
    same = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read(Image.fromarray(rgb)), rgb)
    np.testing.assert_array_equal(read(Image.fromarray(rgb), "m.bmp"), rgb)
    np.testing.assert_array_equal(read(Image.fromarray(grey)), same)
    np.testing.assert_array_equal(read(Image.fromarray(grey.astype(np.uint16) * 257)), same)
    mask = grey > 127
    two = np.repeat(mask[..., None], 3, axis=2) * np.uint8(255)
    np.testing.assert_array_equal(read(Image.fromarray(mask)), two)
    palette = Image.fromarray(rgb).quantize(16)
    np.testing.assert_array_equal(read(palette), np.asarray(palette.convert("RGB")))


def test_transparent_lies_on_white(tmp_path, rgb):
    alpha = np.broadcast_to(np.linspace(0, 255, rgb.shape[1]).astype(np.uint8), rgb.shape[:2])
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "t.png")
    got = open_image(tmp_path / "t.png").region(0, 0, 211, 150)
    share = alpha[..., None] / 255
    np.testing.assert_allclose(got, rgb * share + 255 * (1 - share), atol=0.5 + 1e-6)
    Image.fromarray(np.dstack([rgb[..., 0], alpha])).save(tmp_path / "la.png")
    got = open_image(tmp_path / "la.png").region(0, 0, 211, 150)
    want = rgb[..., :1] * share + 255 * (1 - share)
    np.testing.assert_allclose(got, np.repeat(want, 3, axis=2), atol=0.5 + 1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpg(tmp_path, rgb, mode):
    path = tmp_path / "j.jpg"
    Image.fromarray(rgb).convert(mode).save(path, quality=90)
    want = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(open_image(path).region(13, 20, 99, 70), want[20:90, 13:112])
    small, scale = open_image(path).thumbnail(50)
    assert small.shape == (36, 50, 3)
    assert scale == pytest.approx(50 / 211)
    box = np.asarray(Image.fromarray(want).resize((50, 36), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - box).mean() < 6


def test_many_pixels_are_no_attack_and_the_guard_stays(tmp_path, monkeypatch):
    path = tmp_path / "big.png"
    Image.fromarray(smooth(120, 120)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(path).region(0, 0, 120, 120).shape == (120, 120, 3)
    assert Image.MAX_IMAGE_PIXELS == 50


def test_the_guard_survives_threads(tmp_path, monkeypatch):
    path = tmp_path / "big.png"
    Image.fromarray(smooth(120, 120)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    real = Image.open

    def slow(*args, **kwargs):
        time.sleep(0.005)
        return real(*args, **kwargs)

    monkeypatch.setattr(Image, "open", slow)
    failed = []

    def work():
        try:
            for _ in range(5):
                open_image(path)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert Image.MAX_IMAGE_PIXELS == 50


# ---------------------------------------------------------------- TIFF

TIFFS = {
    "tiled": {"tile": (64, 48)},
    "tiled_deflate": {"tile": (32, 32), "compression": "zlib", "predictor": True},
    "stripped": {"rowsperstrip": 16},
    "stripped_lzw": {"rowsperstrip": 37, "compression": "lzw"},
    "one_strip": {"rowsperstrip": 150},
    "jpeg": {"tile": (64, 64), "compression": "jpeg"},
    "jpeg_strips": {"rowsperstrip": 16, "compression": "jpeg"},
    "jpeg2000": {"tile": (64, 64), "compression": "jpeg2000"},
    "separate": {"tile": (32, 48), "planarconfig": "separate"},
    "separate_strips": {"rowsperstrip": 40, "planarconfig": "separate"},
    "bigtiff": {"tile": (64, 64), "bigtiff": True, "byteorder": ">"},
}
REGIONS = [
    (0, 0, 211, 150),
    (13, 20, 99, 70),
    (48, 64, 48, 64),
    (210, 149, 1, 1),
    (0, 140, 211, 10),
]


def write_tiff(path, rgb, **how):
    pixels = rgb.transpose(2, 0, 1) if how.get("planarconfig") == "separate" else rgb
    tifffile.imwrite(path, pixels, photometric="rgb", **how)
    return open_image(path)


@pytest.mark.parametrize("kind", TIFFS)
def test_tiff_regions(tmp_path, rgb, kind):
    path = tmp_path / "a.tif"
    image = write_tiff(path, rgb, **TIFFS[kind])
    want = tifffile.imread(path)
    if "separate" in kind:
        want = want.transpose(1, 2, 0)
    assert (image.width, image.height) == (211, 150)
    for x, y, width, height in REGIONS:
        got = image.region(x, y, width, height)
        np.testing.assert_array_equal(got, want[y : y + height, x : x + width])
    if "jpeg" not in kind:
        np.testing.assert_array_equal(image.region(0, 0, 211, 150), rgb)


def test_tiff_jpeg_ycbcr_is_rgb(tmp_path):
    flat = np.empty((64, 64, 3), np.uint8)
    flat[:] = [200, 60, 140]
    image = write_tiff(tmp_path / "y.tif", flat, tile=(32, 32), compression="jpeg")
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        assert file.pages[0].photometric == 6  # YCbCr
    assert np.abs(image.region(0, 0, 64, 64).astype(int) - flat).max() <= 3


def test_tiff_depth_grey_alpha(tmp_path, rgb):
    path = tmp_path / "d.tif"
    grey = np.repeat(rgb[..., :1], 3, axis=2)

    def read(pixels, **how):
        tifffile.imwrite(path, pixels, **how)
        return open_image(path).region(0, 0, 211, 150)

    np.testing.assert_array_equal(read(rgb.astype(np.uint16) * 257, photometric="rgb"), rgb)
    np.testing.assert_array_equal(read(rgb[..., 0], tile=(32, 32)), grey)
    np.testing.assert_array_equal(read(255 - rgb[..., 0], photometric="miniswhite"), grey)
    alpha = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(read(alpha, photometric="rgb", extrasamples=[2]), rgb)
    np.testing.assert_array_equal(read(alpha * np.array([1, 1, 1, 0], np.uint8), photometric="rgb",
                                       extrasamples=[2]), np.full_like(rgb, 255))  # fmt: skip
    with pytest.raises(InputError, match=r"d\.tif holds int32"):
        read(rgb.astype(np.int32), photometric="rgb")


def test_tiff_palette_and_cmyk(tmp_path, rgb):
    palette = Image.fromarray(rgb).quantize(16)
    palette.save(tmp_path / "p.tif")
    got = open_image(tmp_path / "p.tif").region(5, 6, 100, 90)
    np.testing.assert_array_equal(got, np.asarray(palette.convert("RGB"))[6:96, 5:105])
    cmyk = Image.fromarray(rgb).convert("CMYK")
    cmyk.save(tmp_path / "c.tif")
    got = open_image(tmp_path / "c.tif").region(0, 0, 211, 150)
    assert np.abs(got.astype(int) - np.asarray(cmyk.convert("RGB"))).max() <= 1


def test_ome_says_its_scale(tmp_path, rgb):
    path = tmp_path / "o.ome.tif"
    for unit, value, want in [("µm", 0.25, 0.25), ("nm", 250.0, 0.25), ("mm", 0.001, 1.0)]:
        meta = {"axes": "YXS", "PhysicalSizeX": value, "PhysicalSizeXUnit": unit}
        tifffile.imwrite(path, rgb, photometric="rgb", tile=(64, 64), ome=True, metadata=meta)
        image = open_image(path)
        assert image.um_per_px == pytest.approx(want)
        np.testing.assert_array_equal(image.region(3, 4, 90, 80), rgb[4:84, 3:93])
    assert open_image(path, um_per_px=2.0).um_per_px == 2.0
    meta = {"axes": "YXS", "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel"}
    tifffile.imwrite(path, rgb, photometric="rgb", ome=True, metadata=meta)
    assert open_image(path).um_per_px is None


def test_ome_planes(tmp_path, rgb):
    path = tmp_path / "planes.ome.tif"
    tifffile.imwrite(path, rgb.transpose(2, 0, 1), photometric="minisblack", tile=(32, 32),
                     ome=True, metadata={"axes": "CYX"})  # fmt: skip
    np.testing.assert_array_equal(open_image(path).region(30, 20, 88, 77), rgb[20:97, 30:118])


def test_resolution_tags_say_the_scale(tmp_path, rgb):
    path = tmp_path / "r.tif"
    tifffile.imwrite(path, rgb, photometric="rgb", resolution=(20_000, 20_000),
                     resolutionunit="CENTIMETER")  # fmt: skip
    assert open_image(path).um_per_px == pytest.approx(0.5)
    tifffile.imwrite(path, rgb, photometric="rgb", resolution=(72, 72), resolutionunit="INCH")
    assert open_image(path).um_per_px is None  # a printer's word


def test_stack_is_no_picture(tmp_path, rgb):
    tifffile.imwrite(tmp_path / "z.tif", np.stack([rgb[..., 0]] * 5), photometric="minisblack")
    with pytest.raises(InputError, match=r"z\.tif has axes"):
        open_image(tmp_path / "z.tif")


@pytest.mark.slow
def test_only_touched_tiles_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "large.tif"
    pixels = np.kron(smooth(250, 250), np.ones((16, 16, 1), np.uint8))  # 4,000 x 4,000
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), compression="zlib")
    decoded, real = [], tifffile.TiffPage.decode.func

    def counting(page):
        decode = real(page)

        def call(data, index, **kwargs):
            decoded.append(index)
            return decode(data, index, **kwargs)

        return call

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(counting))
    tiff_module._PARTS.clear()
    centers = np.array([[384, 384], [400, 410], [1280, 2176], [3900, 3900]])
    view = TileView([open_image(path)], np.zeros(4, int), centers, 200, 64)
    got = view.read(0, 4)
    want = np.stack([naive(pixels, c, 200, 64) for c in centers])
    np.testing.assert_array_equal(got, want)
    touched = set()
    for x, y in view.corners:
        for row in range(y // 256, (y + 199) // 256 + 1):
            touched |= {row * 16 + c for c in range(x // 256, (x + 199) // 256 + 1)}
    assert sorted(decoded) == sorted(touched)  # each once, no other of the 256
    view.read(0, 2)
    assert len(decoded) == len(touched)  # from the cache


def test_changed_file_is_read_anew(tmp_path, rgb):
    for name in ("a.png", "a.tif"):
        path, save = tmp_path / name, {"a.png": Image.fromarray, "a.tif": None}[name]
        for pixels in (rgb, 255 - rgb[:140]):
            if save:
                save(pixels).save(path)
            else:
                tifffile.imwrite(path, pixels, photometric="rgb")
            got = open_image(path).region(0, 0, 211, len(pixels))
            np.testing.assert_array_equal(got, pixels)


# ---------------------------------------------------------------- regions and thumbnails


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_region_bounds(tmp_path, rgb, name):
    if name == "a.png":
        Image.fromarray(rgb).save(tmp_path / name)
    else:
        write_tiff(tmp_path / name, rgb, tile=(64, 64))
    image = open_image(tmp_path / name)
    for box in [(-1, 0, 10, 10), (0, 141, 10, 10), (205, 0, 10, 10), (500, 500, 3, 3)]:
        with pytest.raises(InputError, match=rf"\({box[0]}, {box[1]}\) px .* leaves {name}"):
            image.region(*box)
    padded = image.region(-5, 145, 10, 10, pad=True)
    want = np.full((10, 10, 3), 255)
    want[:5, 5:] = rgb[145:, :5]
    np.testing.assert_array_equal(padded, want)
    assert (image.region(500, 500, 3, 3, pad=True) == 255).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_thumbnail_averages(tmp_path, name):
    # a chequerboard of single pixels: what skips pixels shows black or white, never grey
    y, x = np.mgrid[:600, :900]
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    board[:, 450:] = [200, 30, 90]
    if name == "a.png":
        Image.fromarray(board).save(tmp_path / name)
    else:
        write_tiff(tmp_path / name, board, tile=(64, 64))
    image = open_image(tmp_path / name)
    small, scale = image.thumbnail(90)
    assert small.shape == (60, 90, 3)
    assert scale == pytest.approx(0.1)
    assert np.abs(small[:, :43].astype(int) - 127).max() <= 2
    assert (small[:, 47:] == [200, 30, 90]).all()
    whole, one = image.thumbnail(5000)
    assert one == 1
    np.testing.assert_array_equal(whole, board)


def pyramid(path, pixels, *, planar=False, ome=False, last=None):
    """A tiled TIFF with two levels of averages below it, the second ``last`` if given."""
    levels = [pixels]
    for _ in range(2):
        h, w = levels[-1].shape[0] // 2, levels[-1].shape[1] // 2
        mean = levels[-1][: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).mean((1, 3))
        levels.append(np.rint(mean).astype(pixels.dtype))
    if last is not None:
        levels[2] = last
    how = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
    if planar:
        levels = [level.transpose(2, 0, 1) for level in levels]
        how["planarconfig"] = "separate"
    with tifffile.TiffWriter(path, ome=ome) as file:
        axes = {"metadata": {"axes": "CYX" if planar else "YXS"}} if ome else {}
        file.write(levels[0], subifds=2, **how, **axes)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **how)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p.tif", "p.ome.tif", "planar.ome.tif", "deep.tif"])
def test_a_thumbnail_reads_the_pyramid(tmp_path, monkeypatch, name):
    pixels = smooth(1024, 768)
    pixels = pixels.astype(np.uint16) * 257 if "deep" in name else pixels
    pyramid(tmp_path / name, pixels, planar="planar" in name, ome="ome" in name)
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(flat, pixels, photometric="rgb", tile=(64, 64))
    want, _ = open_image(flat).thumbnail(128)
    image = open_image(tmp_path / name)
    assert (image.width, image.height) == (768, 1024)
    _ = image.range
    read = []
    segment = tiff_module.TiffImage._segment
    monkeypatch.setattr(tiff_module.TiffImage, "_segment",
                        lambda self, file, page, i: read.append(page.imagewidth)
                        or segment(self, file, page, i))  # fmt: skip
    small, scale = image.thumbnail(128)
    assert set(read) == {192}  # a quarter, and a sixteenth of the parts: 4 x 3, of each plane
    assert len(read) == 12 * (3 if "planar" in name else 1)
    assert scale == 0.125
    assert np.abs(small.astype(int) - want).max() <= 2
    image.thumbnail(300)
    assert set(read) == {192, 384}


def test_a_level_of_another_shape_is_another_picture(tmp_path):
    """The label or the macro picture of a slide, where it stands among the levels."""
    pixels = smooth(1024, 768)
    pyramid(tmp_path / "p.tif", pixels, last=np.zeros((256, 256, 3), np.uint8))
    small, _ = open_image(tmp_path / "p.tif").thumbnail(128)
    assert small.min() > 0 or pixels.min() == 0
    assert np.abs(small.mean() - pixels.mean()) < 3


def test_recent_lets_the_oldest_go():
    made, recent = [], Recent(3)

    def get(key, cost=1):
        return recent.get(key, lambda: made.append(key) or key, cost)

    for key in "abcab":
        assert get(key) == key
    assert made == list("abc")
    get("d")  # c was used longest ago
    get("a")
    assert made == list("abcd")
    assert recent.held == 3
    get("c")
    assert made == list("abcdc")
    get("huge", 10)  # larger than all: alone
    assert recent.held == 10
    assert get("huge") == "huge"
    get("a")
    assert made == [*"abcdc", "huge", "a"]
    assert recent.held == 1
    recent.clear()
    assert recent.held == 0

    def fails():
        raise InputError("no")

    with pytest.raises(InputError):
        recent.get("x", fails)
    assert recent.held == 0
    assert get("x") == "x"


def test_array_images(rgb):
    for pixels in (rgb.transpose(2, 0, 1), (rgb / 255).transpose(2, 0, 1)):
        image = ArrayImage(pixels, "he", 0.5)
        np.testing.assert_array_equal(image.region(10, 20, 30, 40), rgb[20:60, 10:40])
    with pytest.raises(InputError, match=r"'he' has shape \(5, 10, 10\)"):
        ArrayImage(np.zeros((5, 10, 10)), "he")
    assert image.digest() != ArrayImage(255 - rgb.transpose(2, 0, 1), "he").digest()


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "j.tif", "s.tif"])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_cut_short(tmp_path, name, share):
    rgb = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    path = tmp_path / name
    if name.endswith("tif"):
        how = {"a.tif": {"tile": (64, 64)}, "s.tif": {"rowsperstrip": 300},
               "j.tif": {"tile": (64, 64), "compression": "jpeg"}}[name]  # fmt: skip
        write_tiff(path, rgb, **how)
    else:
        Image.fromarray(rgb).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=rf"{name} is (cut short|damaged)"):
        open_image(path).region(0, 0, 300, 300)
    with pytest.raises(InputError, match=rf"{name} is (cut short|damaged)"):
        open_image(path).thumbnail(100)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif"])
def test_no_picture_at_all(tmp_path, name):
    for content in (b"", b"this is text, no picture" * 9, b"II*\x00\x08\x00\x00\x00"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name} is cut short or damaged"):
            open_image(tmp_path / name)


def test_corrupt_tile_names_the_file(tmp_path, rgb):
    path = tmp_path / "c.tif"
    write_tiff(path, rgb, tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as file:
        at, n = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[at : at + n] = b"\x07" * n
    path.write_bytes(content)
    image = open_image(path)
    with pytest.raises(InputError, match=r"c\.tif is cut short or damaged"):
        image.region(0, 0, 10, 10)
    np.testing.assert_array_equal(image.region(130, 70, 60, 60), rgb[70:130, 130:190])


def test_missing_and_unknown(tmp_path):
    with pytest.raises(InputError, match=r"no file .*gone\.jpg"):
        open_image(tmp_path / "gone.jpg")
    (tmp_path / "a.pdf").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.pdf is no image that can be read"):
        open_image(tmp_path / "a.pdf")
    (tmp_path / "a.svs").write_bytes(b"no slide at all")
    pytest.importorskip("openslide")
    with pytest.raises(InputError, match=r"a\.svs is cut short or damaged"):
        open_image(tmp_path / "a.svs")
    Image.fromarray(smooth(9, 9)).save(tmp_path / "b.png")
    for um in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match=r"um_per_px=.* of .*b\.png must be a positive"):
            open_image(tmp_path / "b.png", um_per_px=um)


def test_whole_slide_by_openslide(tmp_path):
    openslide = pytest.importorskip("openslide")
    rgb, path = smooth(600, 700), tmp_path / "w.svs"
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(256, 256), compression="jpeg",
                     compressionargs={"level": 95})  # fmt: skip
    if openslide.OpenSlide.detect_format(str(path)) is None:
        pytest.skip("this OpenSlide reads no generic tiled TIFF")
    image = open_image(path, um_per_px=0.25)
    assert type(image).__name__ == "WholeSlide"
    assert (image.width, image.height) == (700, 600)
    assert np.abs(image.region(100, 200, 150, 90).astype(int) - rgb[200:290, 100:250]).mean() < 3
    small, scale = image.thumbnail(70)
    box = np.asarray(Image.fromarray(rgb).resize((70, 60), Image.Resampling.BOX))
    assert scale == pytest.approx(0.1)
    assert np.abs(small.astype(int) - box).mean() < 4


# ---------------------------------------------------------------- tissue, grids, nuclei


def slide_picture(height=400, width=500):
    """Glass with a pink disc, a pen stroke that has no colour, and where the tissue is."""
    y, x = np.mgrid[:height, :width]
    truth = (x - 200) ** 2 + (y - 200) ** 2 < 130**2
    rgb = np.full((height, width, 3), 242, np.int64)
    rgb[truth] = [214, 140, 190]
    rgb[30:370, 420:440] = 15
    noise = np.random.default_rng(0).integers(-4, 5, (height, width, 1))
    return (rgb + noise).clip(0, 255).astype(np.uint8), truth


def test_tissue_mask():
    rgb, truth = slide_picture()
    assert (tissue_mask(rgb) != truth).mean() < 0.01
    grey = np.repeat(rgb.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    grey[:, 410:450] = 242
    assert (tissue_mask(grey) != truth).mean() < 0.01
    assert not tissue_mask(np.full((50, 60, 3), 240, np.uint8)).any()
    pink = np.random.default_rng(0).normal([200, 130, 180], 12, (60, 60, 3)).clip(0, 255)
    assert tissue_mask(pink.astype(np.uint8)).mean() > 0.99  # tissue all over


def test_tissue_share():
    mask = np.zeros((40, 50), bool)
    mask[10:30, 20:40] = True
    corners, side = np.array([[200, 100], [0, 0], [180, 80], [-40, 120], [480, 380]]), 40
    want = []
    full = np.pad(np.kron(mask, np.ones((10, 10))), 100)
    for x, y in corners:
        want.append(full[y + 100 : y + 140, x + 100 : x + 140].mean())
    np.testing.assert_allclose(tissue_share(mask, 0.1, corners, side), want, atol=1e-6)
    assert want[0] == 1
    assert want[2] == 0.25


def test_tile_quality(tmp_path):
    sharp = np.random.default_rng(0).normal([200, 130, 180], 25, (96, 288, 3)).clip(0, 255)
    sharp[:, 96:192] = [200, 130, 180]
    sharp[:48, 192:] = [20, 160, 40]  # green pen over half of the third
    Image.fromarray(sharp.astype(np.uint8)).save(tmp_path / "q.png")
    centers = [[48, 48], [144, 48], [240, 48]]
    view = TileView([open_image(tmp_path / "q.png")], [0, 0, 0], centers, 96, 96)
    table = tile_quality(view)
    assert table["blur"][0] > 100
    assert table["blur"][1] == 0
    assert table["pen"][2] == pytest.approx(0.5, abs=0.05)
    assert table["pen"][1] == 0


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.25])
def test_grid(overlap):
    width, height, side = 205, 133, 32
    centers = grid_centers(width, height, side, overlap=overlap)
    corners = centers - side / 2
    assert (corners == np.floor(corners)).all()
    assert (corners >= 0).all()
    assert (corners + side <= [width, height]).all()
    step = round(side * (1 - overlap))
    for axis, extent in ((0, width), (1, height)):
        places = np.unique(corners[:, axis])
        assert (np.diff(places) == step).all()
        left, right = places[0], extent - places[-1] - side
        assert left + right < step
        assert abs(left - right) <= 1
    assert len(centers) == len(np.unique(centers, axis=0))
    assert (np.diff(centers[:, 1]) >= 0).all()  # row by row
    covered = np.zeros((height, width), int)
    for x, y in corners.astype(int):
        covered[y : y + side, x : x + side] += 1
    if not overlap:
        assert covered.max() == 1


def test_grid_that_does_not_fit():
    assert len(grid_centers(32, 32, 32)) == 1
    with pytest.raises(InputError, match="a tile of 33 px does not fit a picture of 40 x 32"):
        grid_centers(40, 32, 33)
    for overlap in (1.0, -0.1):
        with pytest.raises(InputError, match=f"overlap={overlap}"):
            grid_centers(100, 100, 10, overlap=overlap)


def nuclei_picture(height, width, step=60, radius=7, seed=0):
    """Eosin with round nuclei, and their centres (x, y)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[step // 2 : height - radius - 3 : step, step // 2 : width - radius - 3 : step]
    centers = np.column_stack([x.ravel(), y.ravel()]) + rng.integers(-12, 13, (x.size, 2))
    rgb = np.empty((height, width, 3))
    rgb[:] = [232, 190, 214]
    rgb += rng.normal(0, 2, (height, width, 1))
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = np.argwhere(dx**2 + dy**2 <= radius**2) - radius
    for cx, cy in centers:
        rgb[cy + disc[:, 0], cx + disc[:, 1]] = [88, 60, 140]
    return rgb.clip(0, 255).astype(np.uint8), centers


def test_nucleus_centres(monkeypatch):
    from scipy.spatial import cKDTree

    from smalti.tiles import grid

    monkeypatch.setattr(grid, "_BLOCK", 256)  # several blocks, with nuclei on their borders
    rgb, centers = nuclei_picture(500, 620)
    assert any(np.abs(c % 256 - 256).min() < 7 or (c % 256).min() < 7 for c in centers)
    found = nucleus_centers(ArrayImage(rgb.transpose(2, 0, 1), "n"), um_per_px=0.5)
    assert len(found) == len(centers)
    distance, which = cKDTree(centers).query(found)
    assert distance.max() < 1.5
    assert len(set(which)) == len(centers)
    blank = ArrayImage(np.full((3, 300, 300), 240, np.uint8), "blank")
    assert nucleus_centers(blank).shape == (0, 2)


def test_flat_pictures_are_decoded_once(tmp_path, monkeypatch):
    from smalti.tiles.formats import FlatImage

    Image.fromarray(smooth(100, 100)).save(tmp_path / "o.png")
    calls, real = [], FlatImage._decode
    monkeypatch.setattr(FlatImage, "_decode", lambda self: calls.append(1) or real(self))
    DECODED.clear()
    view = TileView([open_image(tmp_path / "o.png")], np.zeros(4, int), [[50, 50]] * 4, 20, 20)
    for i in range(4):
        view.read(i, i + 1)
    assert len(calls) == 1


def test_tables_of_a_tiff_are_read_once_and_anew_where_the_file_changed(tmp_path, monkeypatch):
    """Parsing those of a large file for each region took half of the time."""
    opened = []
    real = tiff_module.opened_tiff
    monkeypatch.setattr(tiff_module, "opened_tiff", lambda path: opened.append(path) or real(path))
    file = tmp_path / "a.tif"
    rgb = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    tifffile.imwrite(file, rgb, photometric="rgb", tile=(32, 32), compression="zlib")
    image = open_image(file)
    for x, y in ((0, 0), (40, 10), (70, 50)):
        np.testing.assert_array_equal(image.region(x, y, 40, 30), rgb[y : y + 30, x : x + 40])
    assert len(opened) == 2  # to know its size, and the tables
    tifffile.imwrite(file, rgb[::-1], photometric="rgb", tile=(16, 16))
    np.testing.assert_array_equal(image.region(40, 10, 40, 30), rgb[::-1][10:40, 40:80])
    file.unlink()
    with pytest.raises(InputError, match=r"a\.tif"):
        image.region(0, 0, 8, 8)
