"""Masks of tissue on drawn slides, and outlines of masks and back."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from smalti.tiles import tissue_mask
from smalti.tiles.outline import Marked, filled, outlines
from smalti.tiles.tissue import tidy

pytest.importorskip("skimage")
LEAST = {
    "red pen": 0.5,
    "very pale (stain x 0.12)": 0.85,
}  # red pen has the colour of eosin: it is in the mask


@pytest.fixture(scope="module")
def bench():
    file = Path(__file__).parents[2] / "benchmarks" / "tissue.py"
    spec = importlib.util.spec_from_file_location("bench_tissue", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def slides(bench):
    return {name: (rgb, truth) for name, rgb, truth in bench.drawn(300)}


CASES = (
    "usual",
    "pale (stain x 0.3)",
    "very pale (stain x 0.12)",
    "dark beside pale",
    "fat",
    "green pen",
    "blue pen",
    "black pen",
    "red pen",
    "yellow glass",
    "uneven light",
    "dust",
    "grey picture",
    "glass alone",
    "white (255)",
    "tissue all over",
    "pale tissue all over",
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_drawn_slides_overlap_with_their_truth(bench, slides, case):
    assert set(slides) == set(CASES)
    rgb, truth = slides[case]
    found = bench.overlap(tissue_mask(rgb, bench.UM), truth)
    assert found > LEAST.get(case, 0.9)


def test_dark_blue_tissue_is_no_pen(slides):
    rgb, truth = slides["usual"]
    dark = rgb.copy()
    dark[truth] = [70, 80, 150]  # as of a slide that is all haematoxylin
    noise = np.random.default_rng(0).integers(-9, 10, dark.shape)
    mask = tissue_mask((dark + noise).clip(0, 255).astype(np.uint8), 4.0)
    assert mask[truth].mean() > 0.99


def test_specks_and_holes_by_their_size():
    mask = np.zeros((200, 200), bool)
    mask[50:150, 50:150] = True
    mask[60:70, 60:70] = False  # 100 px: a small hole
    mask[90:130, 90:130] = False  # 1600 px: a large one
    mask[10:16, 10:16] = True  # 36 px: a speck
    want = mask.copy()
    want[60:70, 60:70] = True
    want[10:16, 10:16] = False
    np.testing.assert_array_equal(tidy(mask), want)
    np.testing.assert_array_equal(tidy(mask, 10.0), want & mask | want)  # 100 µm²: 50 and 200 px
    np.testing.assert_array_equal(tidy(mask, 100.0), mask)  # a pixel is larger than any speck
    edge = np.ones((100, 100), bool)
    edge[:5, 40:45] = False  # open to the outside: no hole
    np.testing.assert_array_equal(tidy(edge), edge)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1.0, 0.037])
def test_outlines_are_the_mask(seed, scale):
    rng = np.random.default_rng(seed)
    mask = rng.random((40, 50)) < 0.6  # every kind of corner, holes in holes
    found = outlines(mask, scale)
    np.testing.assert_array_equal(filled(found, mask.shape, scale), mask)


def test_a_polygon_is_the_pixels_whose_centre_it_holds():
    ring = np.array([[3.2, 1.1], [17.7, 5.3], [9.1, 18.8]])
    hole = np.array([[8.0, 7.0], [11.0, 7.0], [11.0, 10.0], [8.0, 10.0]])
    from matplotlib.path import Path as Shape

    y, x = np.mgrid[:20, :20] + 0.5
    points = np.c_[x.ravel(), y.ravel()]
    want = Shape(ring).contains_points(points) & ~Shape(hole).contains_points(points)
    np.testing.assert_array_equal(filled([[ring, hole]], (20, 20)).ravel(), want)
    off = filled([[ring - 100], [ring + np.array([10, 0])]], (20, 20))  # outside, and cut
    assert off.any()
    assert not off[:, :13].any()


def test_a_mask_of_any_size():
    mask = np.kron(np.eye(2, dtype=bool), np.ones((30, 40), bool))
    small = Marked(mask=mask).on((6, 8), 0.01)
    np.testing.assert_array_equal(small, np.kron(np.eye(2, dtype=bool), np.ones((3, 4), bool)))
