"""Sparse matrices of files: the three arrays, each of which a damaged file may lie in."""

import numpy as np
import pytest
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.sparse import checked_sparse, sparse_matrix

DENSE = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 4, 5]])
DATA, INDICES, INDPTR = [2, 1, 3, 4, 5], [1, 3, 0, 2, 3], [0, 2, 2, 5]


def built(kind="csr", shape=(3, 4), **other):
    parts = {"data": DATA, "indices": INDICES, "indptr": INDPTR} | other
    return sparse_matrix(*map(np.asarray, parts.values()), shape, "a.h5: /x", kind)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [1, 0, 4, 3, 2]])
def test_what_is_right_is_read(order):
    """Also where the places of a row stand in no order, as some programs write them."""
    got = built(data=np.array(DATA)[order], indices=np.array(INDICES)[order])
    assert (got.toarray() == DENSE).all()
    assert (built("csc", (4, 3)).toarray() == DENSE.T).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"indices": [1, 4, 0, 2, 3]}, "indices has 4 at 1, and must be 0 to 3"),
        ({"indices": [1, -1, 0, 2, 3]}, "indices has -1 at 1"),
        ({"indices": [1, 1, 0, 2, 3]}, "name a place twice"),
        ({"indices": [3, 3, 0, 2, 3]}, "name a place twice"),
        ({"indices": [1, 3, 0, 2]}, "data has 5 values, indices 4"),
        ({"indices": [1.0, 3.0, 0.0, 2.0, 3.0]}, "indices is of float64"),
        ({"indptr": [0, 2, 2, 6]}, "indptr goes from 0 to 6, and there are 5"),
        ({"indptr": [1, 2, 2, 5]}, "indptr goes from 1"),
        ({"indptr": [0, 4, 2, 5]}, "indptr falls at 2, from 4 to 2"),
        ({"indptr": [0, -1, 2, 5]}, "indptr falls at 1"),
        ({"indptr": [0, 2, 5]}, "indptr has 3 values for 3 rows"),
        ({"indptr": np.array([0, 9, 2, 5], np.uint64)}, "indptr falls at 2"),
        ({"data": [[2, 1, 3, 4, 5]]}, "data is of int64 and shape"),
        ({"data": np.array(list("abcde"))}, "data is of <U1"),
        ({"shape": (3,)}, "its shape is"),
        ({"shape": (-3, 4)}, "its shape is"),
        ({"shape": (10**13, 4)}, "indptr has 4 values for 10000000000000"),
    ],
)
def test_what_is_wrong_is_named(change, told):
    with pytest.raises(InputError, match=f"a.h5: /x: .*{told}.*damaged"):
        built(**change)


def test_a_matrix_of_a_library_is_checked_too():
    wild = sp.csr_matrix(DENSE)
    wild.indices[1] = 10**6
    with pytest.raises(InputError, match="X: indices has 1000000"):
        checked_sparse(wild, "X")
    assert checked_sparse(sp.coo_matrix(DENSE), "X").nnz == 5
