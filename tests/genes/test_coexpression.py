"""Vectors of genes from expression without pictures."""

import dataclasses

import numpy as np
import pytest

from smalti.bags import Bags
from smalti.datasets import planted_programmes
from smalti.errors import InputError
from smalti.genes import coexpression_vectors, gene_vectors


def cohort(n=8, **kw):
    bags, vectors = planted_programmes(n, 80, n_genes=60, **kw)
    return dataclasses.replace(bags, x={"counts": bags.x["counts"]}), vectors


def test_products_are_the_mean_correlations_within_samples():
    rng = np.random.default_rng(0)
    parts = [rng.poisson(rng.gamma(2, 5, size=(30 + 5 * i, 1)) * rng.gamma(3, 1, size=6))
             for i in range(4)]  # fmt: skip
    bags = Bags.from_rows({"counts": np.concatenate(parts).astype(np.float32)},
                          np.repeat(np.arange(4), [len(p) for p in parts]))  # fmt: skip
    found = coexpression_vectors(bags, width=6, units="log1p")
    mean = np.mean([np.corrcoef(np.log1p(p).T) for p in parts], axis=0)
    np.testing.assert_allclose(found.x @ found.x.T, mean, atol=1e-5)


def test_correlations_within_a_long_sample_are_right():
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.normal(1000, 20, size=(200_000, 1)).repeat(2, 1)).astype(np.float32)
    bags = Bags.from_rows({"counts": x}, np.zeros(len(x), int))
    found = coexpression_vectors(bags, width=2, units="log1p", most=len(x))
    wanted = np.corrcoef(np.log1p(x.T.astype(float)))
    np.testing.assert_allclose(found.x @ found.x.T, wanted, atol=1e-5)


def test_genes_of_one_programme_meet_in_a_cohort_of_other_donors():
    bags, law = cohort(seed=5)
    found = coexpression_vectors(bags, width=5)
    at = law.positions(found.names)
    unit = found.x / np.linalg.norm(found.x, axis=1, keepdims=True)
    meant = law.x[at] / np.linalg.norm(law.x[at], axis=1, keepdims=True)
    pairs = np.triu_indices(len(at), 1)
    r = np.corrcoef((unit @ unit.T)[pairs], (meant @ meant.T)[pairs])[0, 1]
    assert r > 0.6


@pytest.mark.slow  # counts of many samples
def test_differences_between_samples_say_nothing():
    bags, _ = cohort()
    table = bags.x["counts"].toarray()
    table[bags.index == 0] *= 7  # a deep sample, and one where all of gene 3 is doubled
    table[bags.index == 1, 3] *= 2
    other = dataclasses.replace(bags, x={"counts": table})
    one, two = (coexpression_vectors(b, width=60, units="log1p_cp10k") for b in (bags, other))
    np.testing.assert_allclose(one.x @ one.x.T, two.x @ two.x.T, atol=0.05)


def test_what_is_noted_and_refused():
    bags, _ = cohort(4)
    table = bags.x["counts"].toarray()
    table[:, 7] = 0
    bare = dataclasses.replace(bags, x={"counts": table})
    found = coexpression_vectors(bare)
    assert "G7" not in found.names
    assert any("1 genes do not vary" in note for note in found.notes)
    assert any("2 donors (D0, D1)" in note for note in found.notes)
    again = coexpression_vectors(bare, most=20, seed=3)
    np.testing.assert_array_equal(again.x, coexpression_vectors(bare, most=20, seed=3).x)
    with pytest.raises(InputError, match="no gene varies"):
        coexpression_vectors(dataclasses.replace(bags, x={"counts": np.ones_like(table)}))
    with pytest.raises(InputError, match="width=0"):
        coexpression_vectors(bags, width=0)
    with pytest.raises(InputError, match="names alone"):
        gene_vectors(["G1", "G2"])
