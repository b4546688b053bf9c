"""Numbers of tiles over a slide: the map, its colours, and what cannot be placed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.tiles.heatmap import Heatmap, place_values


def heat(values, xy=None, side=20.0, **more):
    frame = pd.DataFrame(values)
    if xy is None:
        xy = np.array([[20.0, 20.0], [30.0, 20.0], [80.0, 20.0]])[: len(frame)]
    return Heatmap("S", frame, xy, side, **more)


def test_tiles_that_overlap_are_averaged():
    found = heat({"a": [1.0, 3.0, 7.0]})
    map_ = found.raster(found.column("a"), 1)
    assert map_.shape == (30, 90)
    assert map_[20, 15] == 1
    assert map_[20, 25] == 2
    assert map_[20, 35] == 3
    assert map_[20, 85] == 7
    assert np.isnan(map_[5, 25])
    assert np.isnan(map_[20, 45])
    coarse = found.raster(found.column("a"), 10)
    np.testing.assert_array_equal(coarse[1:3, 1:4], [[1, 2, 3]] * 2)


def test_the_map_of_a_naive_loop():
    rng = np.random.default_rng(0)
    xy = rng.uniform(10, 90, (30, 2))
    found = heat({"a": rng.normal(size=30)}, xy, 12.0)
    map_ = found.raster(found.column("a"), 2)
    for row, column in ((5, 7), (20, 30), (40, 12)):
        inside = [
            np.rint((x - 6) / 2) <= column < np.rint((x + 6) / 2)
            and np.rint((y - 6) / 2) <= row < np.rint((y + 6) / 2)
            for x, y in xy
        ]
        wanted = found.column("a")[inside].mean() if any(inside) else np.nan
        np.testing.assert_allclose(map_[row, column], wanted)


@pytest.mark.parametrize(
    ("values", "scale", "wanted"),
    [
        ([0.0, 1.0, 4.0], "absolute", [0, 0.25, 1]),
        ([0.0, 1.0, 4.0], "percentile", [0, 2 / 3, 1]),
        ([-2.0, 1.0, 4.0], "absolute", [-0.5, 0.25, 1]),
        ([-2.0, 1.0, 4.0], "percentile", [-2 / 3, 1 / 3, 1]),
        ([0.0, 0.0, 0.0], "absolute", [0, 0, 0]),
        ([0.0, 0.0, 0.0], "percentile", [0, 0, 0]),
    ],
)
def test_where_numbers_stand_on_the_colours(values, scale, wanted):
    found = heat({"a": values})
    assert found.signed("a") is (min(values) < 0)
    np.testing.assert_allclose(found.scaled("a", scale), wanted)


def test_a_signed_column_keeps_its_middle_where_all_speak_for_it():
    words = {"c": ("against", "for")}
    found = heat({"c": [1.0, 2.0, 4.0]}, words=words)
    assert found.signed("c")
    assert found.said("c") == ("against", "for")
    np.testing.assert_allclose(found.scaled("c"), [0.25, 0.5, 1])
    with pytest.raises(InputError, match="scale='log' is neither"):
        found.scaled("c", "log")
    with pytest.raises(InputError, match="no column 'x'; there are c"):
        found.only(["x"])


def test_what_cannot_be_placed_is_said():
    with pytest.raises(InputError, match="'S' lie is not known in pixels.*slides="):
        heat({"a": [1.0]}, np.array([[np.nan, 1.0]]))
    with pytest.raises(InputError, match="not known in pixels"):
        heat({"a": [1.0]}, side=np.nan)
    slides = sm.datasets.planted_slides(1, 4)
    lost = dataclasses.replace(slides, instance=slides.instance.drop(columns="x_px"))
    with pytest.raises(InputError, match="instance columns x_px and y_px"):
        place_values(lost, np.arange(4), pd.DataFrame({"a": np.zeros(4)}), "S0")
    with pytest.raises(InputError, match="picture of slide 'S' is not at hand"):
        heat({"a": [1.0]}).tile(0, 8)


def test_what_is_said_of_tiles_that_stand_out_is_so():
    """Where all speak against it, none is shown as speaking for it."""
    xy = np.column_stack([np.arange(6.0) * 20 + 10, np.full(6, 10.0)])
    words = {"c": ("against", "for")}
    found = heat({"c": [-1.0, -4.0, -2.0, -3.0, -6.0, -5.0]}, xy, words=words)
    top, bottom = found.extremes("c", 2)
    assert (top.tolist(), bottom.tolist()) == ([], [4, 5])
    found = heat({"a": [1.0, 4.0, 2.0, 3.0, 6.0, 5.0]}, xy)
    top, bottom = found.extremes("a", 2)
    assert (top.tolist(), bottom.tolist()) == ([4, 5], [0, 2])
    mixed = heat({"c": [1.0, -4.0, 0.0, 0.0, 0.0, 0.0]}, xy, words=words)
    top, bottom = mixed.extremes("c", 3)
    assert (top.tolist(), bottom.tolist()) == ([0], [1])
