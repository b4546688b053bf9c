"""Which points lie in which tiles, against asking each of each."""

import numpy as np
import pytest

from smalti.io.sums import members


@pytest.mark.parametrize(("side", "step"), [(10, 10), (10, 4), (10, 13)])
def test_members_of_a_grid_of_which_tiles_are_missing(side, step):
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(3 + step * np.arange(6), -2 + step * np.arange(5))
    corners = np.column_stack([x.ravel(), y.ravel()])[rng.permutation(30)[:22]]
    xy = np.round(rng.uniform(-10, 70, (400, 2)), 0)  # many lie on lines
    inside = ((corners[:, None] <= xy) & (xy < corners[:, None] + side)).all(2)
    np.testing.assert_array_equal(members(corners, side, xy).toarray(), inside)


def test_no_point_in_any_tile():
    found = members(np.array([[0, 0]]), 5, np.array([[9.0, 9.0]]))
    assert found.shape == (1, 1)
    assert found.nnz == 0
