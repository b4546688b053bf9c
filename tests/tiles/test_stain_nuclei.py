"""Stains and nuclei: against scikit-image, drawn nuclei and a shipped picture."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from skimage.color import rgb2hed
from skimage.data import immunohistochemistry
from skimage.feature import blob_log

from smalti.datasets.slides import draw_tile
from smalti.errors import InputError
from smalti.tiles.nuclei import describe, find_nuclei
from smalti.tiles.stain import hed_jitter, macenko, separate, stain_histogram_distance


@pytest.fixture(scope="module")
def picture():
    return immunohistochemistry()  # in the wheel of scikit-image


def drawn(field, size=128, seed=0):
    tile, n = draw_tile(np.array(field, float), size, np.random.default_rng(seed))
    return np.ascontiguousarray(tile.transpose(1, 2, 0)), n


def test_separation_is_that_of_scikit_image(picture):
    np.testing.assert_allclose(separate(picture), rgb2hed(picture), atol=2e-3)
    stack = np.stack([picture[:64, :64], picture[64:128, :64]])
    np.testing.assert_array_equal(separate(stack)[1], separate(stack[1]))


def test_macenko_finds_the_stains_of_a_made_slide():
    rng = np.random.default_rng(0)
    true = np.array([[0.6, 0.7, 0.38], [0.1, 0.95, 0.3]])
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    amount = rng.gamma(2, 0.3, size=(200 * 200, 2)) * (rng.random((200 * 200, 2)) < 0.6)
    rgb = np.exp(-amount @ true) * 255
    found = macenko(np.clip(rgb, 0, 255).astype(np.uint8).reshape(200, 200, 3))
    for k in range(2):
        assert found[k] @ true[k] / np.linalg.norm(found[k]) > 0.99


def test_distance_of_stains_is_wasserstein(picture):
    a, b = picture[None, :100, :100], picture[None, 200:300, 200:300]
    planes = [separate(x[0]).reshape(-1, 3) for x in (a, b)]
    wanted = np.mean([wasserstein_distance(planes[0][:, k], planes[1][:, k]) for k in (0, 1)])
    np.testing.assert_allclose(stain_histogram_distance(a, b)[0], wanted, rtol=0.05)
    assert stain_histogram_distance(a, a)[0] == 0


def test_jitter_changes_stains_and_not_places(picture):
    tiles = np.stack([picture[:96, :96]] * 3)
    out = hed_jitter(tiles, np.random.default_rng(0), 0.1)
    assert out.dtype == np.uint8
    assert out.shape == tiles.shape
    assert not np.array_equal(out[0], out[1])
    grey = [x.mean(2).ravel().astype(float) for x in (tiles[0], out[0])]
    assert np.corrcoef(*grey)[0, 1] > 0.97
    np.testing.assert_array_equal(hed_jitter(tiles, np.random.default_rng(0), 0.1), out)


@pytest.mark.slow
@pytest.mark.parametrize("field", [(0, 0, 0), (2, -1, 1), (-2, 1.5, -1), (1, 1, 2)], ids=str)
def test_drawn_nuclei_are_counted_within_five_per_cent(field):
    counted = known = 0
    for seed in range(6):
        tile, n = drawn(field, seed=seed)
        counted, known = counted + len(find_nuclei(tile, 1.0).centroids), known + n
    assert abs(counted - known) <= 0.05 * known, f"{counted} of {known}"


def test_touching_nuclei_are_parted():
    tile = np.full((80, 120, 3), (236, 205, 222), np.uint8)
    yy, xx = np.mgrid[:80, :120]
    for x in (30, 41, 90):  # the first two overlap by a pixel
        tile[np.hypot(xx - x, yy - 40) <= 6] = (88, 60, 140)
    found = find_nuclei(tile, 1.0)
    assert len(found.centroids) == 3
    np.testing.assert_allclose(np.sort(found.centroids[:, 1]), [30, 41, 90], atol=2)


def test_places_and_sizes():
    tile = np.full((100, 100, 3), (236, 205, 222), np.uint8)
    yy, xx = np.mgrid[:100, :100]
    tile[((xx - 60) / 8) ** 2 + ((yy - 30) / 5) ** 2 <= 1] = (88, 60, 140)
    found = find_nuclei(tile, 1.0)
    np.testing.assert_allclose(found.centroids, [[30, 60]], atol=1)
    assert found.area[0] == pytest.approx(np.pi * 40, rel=0.15)
    assert found.eccentricity[0] == pytest.approx(np.sqrt(1 - 25 / 64), abs=0.1)
    assert found.labels.max() == 1


def test_the_scale_decides_what_is_a_nucleus():
    tile, n = drawn((0, 0, 0))
    fine = np.kron(tile, np.ones((2, 2, 1), np.uint8))
    assert abs(len(find_nuclei(fine, 0.5).centroids) - n) <= 0.05 * n + 1


def test_no_nuclei():
    for value in (255, 0, 200):
        found = find_nuclei(np.full((64, 64, 3), value, np.uint8))
        assert len(found.centroids) == 0
        assert np.isfinite(list(describe(found).values())).all()


def test_the_shipped_picture_against_blobs(picture):
    """A second method that shares nothing but the stain: Laplacian of Gaussian."""
    part = np.ascontiguousarray(picture[:256, 256:])
    found = find_nuclei(part, 0.5)
    plane = separate(part)[..., 0]
    plane = np.clip((plane - np.quantile(plane, 0.5)) / np.ptp(plane), 0, None)
    blobs = blob_log(plane, min_sigma=4, max_sigma=8, num_sigma=5, threshold=0.03, overlap=0.3)
    assert len(found.centroids) == pytest.approx(len(blobs), rel=0.3)
    assert 60 < len(found.centroids) < 250


def test_wrong_pixels():
    with pytest.raises(InputError, match="uint8"):
        find_nuclei(np.zeros((8, 8, 3)))
    with pytest.raises(InputError, match="uint8"):
        separate(np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match="threshold"):
        find_nuclei(np.zeros((8, 8, 3), np.uint8), threshold="best")
