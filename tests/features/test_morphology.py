"""The quick ways of morphology against the slow ones that they took the place of."""

import numpy as np
import pytest
from scipy import ndimage

from smalti.datasets import planted_slides
from smalti.features import morphology
from smalti.features.morphology import describe_tile
from smalti.tiles.patterns import uniform_patterns
from smalti.tiles.smoothing import smooth
from smalti.tiles.stain import separate

RNG = np.random.default_rng(0)


def gaussian(plane, sd):
    return ndimage.gaussian_filter(plane, sd, truncate=3.0)


def patterns(image, radius):
    from skimage.feature import local_binary_pattern

    codes = local_binary_pattern(image, 8, radius, method="uniform")
    return np.bincount(codes.astype(int).ravel(), minlength=10)


@pytest.fixture(scope="module")
def tiles():
    bags = planted_slides(1, 4, images=True, size=96)
    drawn = [np.ascontiguousarray(t.transpose(1, 2, 0)) for t in bags.x["tile"]]
    flat = [np.full((40, 56, 3), v, np.uint8) for v in (0, 200, 255)]
    noise = RNG.integers(0, 255, (61, 90, 3)).astype(np.uint8)
    return [*drawn, *flat, noise, np.where(noise > 120, 255, 90).astype(np.uint8)]


@pytest.mark.slow
@pytest.mark.parametrize("um_per_px", [0.25, 1.0])
def test_a_tile_is_described_as_by_scipy_and_scikit_image(tiles, um_per_px, monkeypatch):
    quick = [describe_tile(t, um_per_px) for t in tiles]
    for place in ("features.morphology", "tiles.watershed", "tiles.nuclei"):
        monkeypatch.setattr(f"smalti.{place}.smooth", gaussian)
    monkeypatch.setattr(morphology, "uniform_patterns", patterns)
    for tile, found in zip(tiles, quick, strict=True):
        want = describe_tile(tile, um_per_px)
        assert list(found) == list(want)
        np.testing.assert_allclose(list(found.values()), list(want.values()), rtol=2e-6, atol=1e-7)


def test_colours_and_stains_are_those_of_the_pixels(tiles):
    for rgb in tiles:
        found, x, flat = describe_tile(rgb), rgb.reshape(-1, 3) / 255, separate(rgb).reshape(-1, 3)
        high, low = x.max(1), x.min(1)
        saturation = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
        want = {"saturation_mean": saturation.mean(), "saturation_sd": saturation.std(),
                "white": (low > 0.85).mean(), "dark": (high < 0.35).mean()}  # fmt: skip
        for c, mean, sd in zip("rgb", x.mean(0), x.std(0), strict=True):
            want |= {f"{c}_mean": mean, f"{c}_sd": sd}
        for c, values in zip("hed", flat.T.astype(float), strict=True):
            want |= {f"{c}_mean": values.mean(), f"{c}_sd": values.std(),
                     f"{c}_q05": np.quantile(values, 0.05)}  # fmt: skip
        if min(want["h_sd"], want["e_sd"]) > 1e-6:
            want["h_e_correlation"] = np.corrcoef(flat[:, 0], flat[:, 1])[0, 1]
        for name, value in want.items():
            assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("shape", [(224, 224), (90, 61), (40, 400)])
@pytest.mark.parametrize("sd", [0.5, 2.0, 7.3, 16.0])
def test_smoothing_is_that_of_scipy(shape, sd):
    plane = RNG.random(shape, dtype=np.float32)
    np.testing.assert_allclose(smooth(plane, sd), gaussian(plane, sd), rtol=3e-7)
    assert smooth(plane, sd).dtype == np.float32


@pytest.mark.parametrize("radius", [1, 2])
def test_patterns_are_those_of_scikit_image(radius, tiles):
    """Even surfaces are full of ties, which rounding decides."""
    for rgb in tiles:
        image = rgb.mean(2).astype(np.uint8)
        np.testing.assert_array_equal(uniform_patterns(image, radius), patterns(image, radius))


def test_the_docstring_counts_the_features(tiles):
    assert describe_tile.__doc__.startswith(f"{len(describe_tile(tiles[0]))} numbers")
