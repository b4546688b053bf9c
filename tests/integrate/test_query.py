"""Cells of training that come back as a query: laid out otherwise, they get the code they had."""

import dataclasses
import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import smalti as sm
from smalti.bags import Bags
from smalti.core.registry import own
from smalti.datasets.modalities import planted_modalities

CLOSE = 1e-4  # of codes of order one: float32, summed in another order
GENES, USED = 30, 12  # of RNA; a selection keeps so many


def cells() -> Bags:
    """Counts of two modalities, the genes by id and by name; none is 0 in every cell."""
    bags = planted_modalities(80, features=(GENES, 8), counts=True, seed=3)
    ids = tuple(f"ENSG{i:011}" for i in range(GENES))
    return dataclasses.replace(bags, features={**bags.features, "rna": ids})


def embedders() -> list[Any]:
    """Methods that can run here and embed cells that they were not fitted on."""
    # they load scvi-tools
    slow = dict.fromkeys(("totalvi", "multivi", "multigrate"), pytest.mark.slow)
    return [pytest.param(name, marks=slow.get(name, ())) for name, cls in own("integrate").items()
            if not cls.transductive]  # fmt: skip


@cache
def fitted(name):
    cls = own("integrate")[name]
    if cls.unavailable():
        pytest.skip(cls.unavailable())
    method = cls.example().set_params(accelerator="cpu", progress=False)
    short = {"epochs": 1} if "epochs" in method.get_params() else {}
    if not cls.takes_counts:  # steps that take no sum over the genes: those left out change nothing
        short["preprocess"] = {"rna": f"log1p,genes={USED}", "protein": "clr"}
    bags = cells()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = method.set_params(**short).fit(bags)
    return model, model.transform(bags)


def columns(bags, view, at, names=None):
    """The bags with some columns of a view, in another order, or under other names."""
    old = bags.features[view]
    names = tuple(old[i] for i in at) if names is None else tuple(names)
    return dataclasses.replace(
        bags, x={**bags.x, view: bags.x[view][:, at]}, features={**bags.features, view: names}
    )


def shuffled(bags, model):
    rng = np.random.default_rng(0)
    for view in bags.x:
        bags = columns(bags, view, rng.permutation(bags.x[view].shape[1]))
    return dataclasses.replace(bags, x=dict(reversed(bags.x.items())))  # and the views


def without_unused(bags, model):
    unused = ~model.reads().read["rna"]
    if model.takes_counts:
        pytest.skip("it reads every gene")
    assert unused.sum() == GENES - USED
    return columns(bags, "rna", np.flatnonzero(~unused))


def with_more(bags, model):
    for view, table in bags.x.items():
        more = np.random.default_rng(1).poisson(5, (len(table), 7)).astype(np.float32)
        names = (*bags.features[view], *(f"more_{i}" for i in range(7)))
        bags = dataclasses.replace(bags, x={**bags.x, view: np.hstack([table, more])},
                                   features={**bags.features, view: names})  # fmt: skip
    also = np.ones((bags.n_instances, 3), np.float32)
    return dataclasses.replace(bags, x={"morphology": also, **bags.x})


def by_symbol(bags, model):
    """The data are called by symbols, and know the ids that the model was fitted on."""
    ids = bags.features["rna"]
    symbols = tuple(f"GENE{i}" for i in range(GENES))
    bags = columns(bags, "rna", np.arange(GENES), symbols)
    return dataclasses.replace(bags, ids={"rna": dict(zip(ids, symbols, strict=True))})


def sparse(bags, model):
    return dataclasses.replace(bags, x={k: sp.csr_matrix(v) for k, v in bags.x.items()})


def in_doubles(bags, model):
    return dataclasses.replace(bags, x={k: np.asfortranarray(v, float) for k, v in bags.x.items()})


def in_patients(bags, model):
    """The same cells in order, dealt to patients."""
    return Bags.from_rows(bags.x, np.arange(bags.n_instances) // 10, features=bags.features)


LAYOUTS = [shuffled, without_unused, with_more, by_symbol, sparse, in_doubles, in_patients]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", embedders())
def test_a_cell_laid_out_otherwise_has_the_same_code(name, layout):
    model, codes = fitted(name)
    query = layout(cells(), model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing is lost, so nothing is said
        found = model.transform(query)
    np.testing.assert_allclose(found, codes, atol=CLOSE, rtol=CLOSE)


@pytest.mark.parametrize("name", embedders())
def test_one_modality_alone_is_a_cell_that_lacks_the_other(name):
    model, codes = fitted(name)
    bags = cells()
    for view in bags.x:
        alone = bags.only(view)
        if not model.missing:
            with pytest.raises(sm.InputError, match="no view"):
                model.transform(alone)
            continue
        found = model.transform(shuffled(alone, model))
        there = {k: np.full(bags.n_instances, k == view) for k in bags.x}
        noise = {k: v if k == view else v + 3 for k, v in bags.x.items()}  # never read
        gaps = dataclasses.replace(bags, present=there, x=noise)
        np.testing.assert_allclose(found, model.transform(gaps), atol=CLOSE, rtol=CLOSE)
        assert np.isfinite(found).all()
        assert np.abs(found - codes).max() > 10 * CLOSE, "the other modality counted for nothing"


@pytest.mark.parametrize("backed", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("name", ["umint", "block_pca"])
def test_a_file_with_shuffled_genes_has_the_same_codes(name, backed, tmp_path):
    model, codes = fitted(name)
    bags, order = cells(), np.random.default_rng(2).permutation(GENES)
    data = AnnData(sp.csr_matrix(bags.x["rna"][:, order]))
    data.var_names = [bags.features["rna"][i] for i in order]
    data.obs_names = [f"cell{i}" for i in range(bags.n_instances)]
    data.obsm["ADT"] = pd.DataFrame(bags.x["protein"], data.obs_names, bags.features["protein"])
    data.write_h5ad(tmp_path / "query.h5ad")
    source = tmp_path / "query.h5ad" if backed else data
    query = sm.read(source, x={"rna": "X", "protein": "obsm/ADT"})
    np.testing.assert_allclose(model.transform(query), codes, atol=CLOSE, rtol=CLOSE)


@pytest.mark.parametrize("name", ["umint", "mofa"])
def test_a_file_of_one_modality_is_told_by_its_features(name):
    """Its view is called X, whatever it holds."""
    model, _ = fitted(name)
    bags = cells()
    for view in bags.x:
        data = AnnData(sp.csr_matrix(bags.x[view]))
        data.var_names = bags.features[view]
        query = sm.read(data)
        assert list(query.x) == ["X"]
        np.testing.assert_allclose(
            model.transform(query), model.transform(bags.only(view)), atol=CLOSE, rtol=CLOSE
        )
    strange = AnnData(np.ones((4, 3), np.float32))
    with pytest.raises(sm.InputError, match="no view 'rna'"):
        model.transform(sm.read(strange))
