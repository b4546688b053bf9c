"""A slide with a disc of known place, and its heat map."""

import numpy as np
import pandas as pd
import pytest

from smalti.tiles import Heatmap, grid_centers, open_image

CENTER, RADIUS, SIDE = np.array([1310.0, 705.0]), 240.0, 50


@pytest.fixture(scope="session")
def slide(tmp_path_factory):
    """A picture of 2,000 x 1,500 px with a dark disc."""
    from PIL import Image

    y, x = np.mgrid[:1500, :2000]
    picture = np.full((1500, 2000, 3), (235, 205, 225), np.uint8)
    picture[np.hypot(x - CENTER[0], y - CENTER[1]) < RADIUS] = 80, 40, 120
    file = tmp_path_factory.mktemp("slide") / "S1.png"
    Image.fromarray(picture).save(file)
    return open_image(file, um_per_px=0.5)


@pytest.fixture(scope="session")
def heat(slide):
    """Tiles whose middle the disc holds speak for N1, all others a little against it."""
    xy = grid_centers(2000, 1500, SIDE)
    inside = np.hypot(*(xy - CENTER).T) < RADIUS
    values = pd.DataFrame({"attention": np.where(inside, 0.01, 0.0001),
                           "contribution_N1": np.where(inside, 0.5, -0.02)})  # fmt: skip
    words = {"contribution_N1": ("speaks against N1", "speaks for N1")}
    return Heatmap("S1", values, xy, float(SIDE), slide, 0.5, words, ("N1 is predicted",))
