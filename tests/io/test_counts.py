"""Counts of slides that list different genes."""

import numpy as np
import pytest
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.counts import stack_counts

A, B = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[7, 8, 9]])
GENES = (("x", "y", "z"), ("z", "w", "x"))


@pytest.mark.parametrize(
    ("unlisted", "genes", "want"),
    [
        ("drop", ("x", "z"), [[1, 3], [4, 6], [9, 7]]),
        ("zero", ("x", "y", "z", "w"), [[1, 2, 3, 0], [4, 5, 6, 0], [9, 0, 7, 8]]),
    ],
)
def test_a_gene_that_a_slide_does_not_list(unlisted, genes, want):
    table, names, note = stack_counts([sp.csr_matrix(A), sp.csr_matrix(B)], GENES, unlisted)
    assert names == genes
    np.testing.assert_array_equal(table.toarray(), want)
    assert note.startswith("slides list different genes: 2 are in all, 4 in any (not in all: y, w)")


def test_another_order_is_no_difference():
    turned = (GENES[0], GENES[0][::-1])
    table, names, note = stack_counts([sp.csr_matrix(A), sp.csr_matrix(B)], turned, "error")
    assert (names, note) == (GENES[0], None)
    np.testing.assert_array_equal(table.toarray(), [*A.tolist(), [9, 8, 7]])


def test_genes_named_otherwise():
    strange = (GENES[0], ("ENSG1", "ENSG2", "ENSG3"))
    with pytest.raises(InputError, match="0 are in all, 6 in any .*symbols, others Ensembl ids"):
        stack_counts([sp.csr_matrix(A), sp.csr_matrix(B)], strange)
    with pytest.raises(InputError, match="2 are in all"):
        stack_counts([sp.csr_matrix(A), sp.csr_matrix(B)], GENES, "error")
