"""Neighbours of a cell: those of its slide, and nobody else."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti.errors import InputError
from smalti.features import neighbours


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    place = pd.DataFrame(rng.uniform(0, 100, (30, 2)), columns=["x_um", "y_um"])
    views = {"counts": sp.csr_matrix(rng.poisson(1, (30, 4))), "look": rng.normal(size=(30, 3))}
    of = np.repeat(["a", "b", "c"], [12, 17, 1])
    return sm.Bags.from_rows(views, of, instance=place, features={"counts": list("wxyz")})


@pytest.mark.parametrize("view", ["counts", "look"])
def test_the_mean_of_the_nearest_of_the_same_bag(cells, view):
    out = neighbours(cells, view, k=4)
    table, xy = cells.table(view), cells.instance.to_numpy()
    for i in range(29):
        mates = np.flatnonzero((cells.index == cells.index[i]) & (np.arange(30) != i))
        near = mates[np.argsort(np.hypot(*(xy[mates] - xy[i]).T))][:4]
        np.testing.assert_allclose(
            out.table(f"{view}_neighbours")[i], table[near].mean(0), rtol=1e-6
        )
    np.testing.assert_allclose(out.table(f"{view}_neighbours")[29], table[29], rtol=1e-6)  # alone
    assert sp.issparse(out.x[f"{view}_neighbours"]) == (view == "counts")
    assert out.features.get("counts_neighbours") == (
        ("w", "x", "y", "z") if view == "counts" else None
    )
    alone = neighbours(cells[[1]], view, k=4)
    np.testing.assert_array_equal(
        alone.table(f"{view}_neighbours"), out[[1]].table(f"{view}_neighbours")
    )


def test_slides_of_one_bag_lie_apart(cells):
    slide = np.where(np.arange(30) % 2, "s", "t")
    bags = dataclasses.replace(cells, instance=cells.instance.assign(slide=slide))
    out = neighbours(bags, "look", k=50).table("look_neighbours")
    mates = [2, 4, 6, 8, 10]
    np.testing.assert_allclose(out[0], cells.table("look")[mates].mean(0), rtol=1e-6)


def test_cells_on_one_place_are_not_their_own_neighbours(cells):
    bags = dataclasses.replace(cells, instance=cells.instance * 0)
    out = neighbours(bags, "look", k=11).table("look_neighbours")
    for i in range(12):
        others = [j for j in range(12) if j != i]
        np.testing.assert_allclose(out[i], cells.table("look")[others].mean(0), rtol=1e-5)


def test_what_has_no_neighbours_is_said(cells):
    bare = dataclasses.replace(cells, instance=cells.instance[["x_um"]])
    with pytest.raises(InputError, match="where the cells lie is not known"):
        neighbours(bare)
    with pytest.raises(InputError, match="k=0 must be 1 or more"):
        neighbours(cells, k=0)
    with pytest.raises(InputError, match="no view 'genes'"):
        neighbours(cells, "genes")
