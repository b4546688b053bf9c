"""Gene vectors made of tested donors, and lists of genes that all slides together chose."""

import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.comparison.splits import expression_folds
from smalti.genes.read import read_vectors
from smalti.genes.units import gene_names, measured, most_variable
from smalti.leaks.case import Case
from smalti.leaks.units import units
from smalti.names import some

KIND = "units that know the test"


@pytest.fixture(scope="module")
def slides():
    bags = sm.datasets.planted_slides(6, 25, n_genes=60, seed=0)
    donors = [f"d{i}" for i in range(6)]
    return dataclasses.replace(bags, bag=bags.bag.assign(donor=donors), donor="donor")


def said(slides, folds=2, **settings):
    parts = expression_folds(slides, folds=folds)
    method = sm.make("nearest_gene" if "vectors" in settings else "knn", **settings)
    return list(units(Case(slides, {"ours": method}, tuple(parts))))


def test_vectors_of_the_expression_of_tested_donors(slides, tmp_path):
    own = sm.genes.coexpression_vectors(slides[[0, 1]], width=4)
    own.save(tmp_path / "own.safetensors")
    for given in (own, tmp_path / "own.safetensors"):  # they are known by a file too
        (found,) = said(slides, vectors=given)
        assert (found.kind, found.severity) == (KIND, "leak")
        assert some(["d0", "d1"]) in found.words
    assert read_vectors(tmp_path / "own.safetensors").donors == own.donors


def test_vectors_of_others_and_of_no_donor_are_no_leak(slides):
    others = sm.genes.coexpression_vectors(slides[[4, 5]], width=4)
    assert not said(slides[np.arange(4)], vectors=others)
    assert not said(slides, vectors=sm.genes.random_vectors(gene_names(slides)))
    assert not said(slides, vectors="random")


def test_genes_that_all_slides_chose(slides):
    names = gene_names(slides)
    chosen = [names[i] for i in most_variable(measured(slides, view="counts", genes=names,
                                                       units="log1p_cp10k"), 15)]  # fmt: skip
    (found,) = said(slides, genes=chosen)
    assert found.severity == "doubt"
    assert "genes=15" in found.mend
    assert not said(slides, genes=15)  # in each fold
    assert not said(slides, genes=list(names[:15]))
    assert not said(slides, genes=chosen[:4])  # too few to say
