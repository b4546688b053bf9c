"""New data laid out as the training data were, with features that they lack."""

import dataclasses
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti.bags import Bags
from smalti.errors import InputError
from smalti.integrate import UMINT, Embed
from smalti.mil import BagMean

pytestmark = pytest.mark.usefixtures("one_penalty")
GENES = tuple(f"g{i}" for i in range(20))


def table(n=60, seed=0):
    """Genes 0 to 9 vary; 10 to 19 are nearly constant, so that a selection drops them."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(20, (n, 20)).astype(np.float32)
    x[:, :10] = rng.poisson(rng.gamma(0.5, 40, (n, 10)))
    return x


def cells(x=None, names=GENES, view="rna"):
    x = table() if x is None else x
    ids = np.arange(len(table())) // 5
    return Bags.from_rows({view: x}, ids, y={i: int(i) % 2 for i in range(12)}, donor="bag",
                          features={view: names})  # fmt: skip


def two(x=None, names=GENES):
    """The genes, and six proteins."""
    y = np.random.default_rng(9).poisson(30, (60, 6)).astype(np.float32)
    bags = cells(x, names)
    return dataclasses.replace(
        bags, x={**bags.x, "protein": y}, features={**bags.features, "protein": tuple("ABCDEF")}
    )


def mean(steps=None):
    return BagMean(preprocess=steps, progress=False, accelerator="cpu")


def umint(**settings):
    return UMINT(epochs=1, width=4, progress=False, accelerator="cpu", **settings)


def without(bags, genes, view="rna"):
    """The bags without some genes."""
    kept = [i for i, g in enumerate(bags.features[view]) if g not in genes]
    names = tuple(bags.features[view][i] for i in kept)
    return dataclasses.replace(
        bags, x={**bags.x, view: bags.x[view][:, kept]}, features={**bags.features, view: names}
    )


def quiet(call, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **kwargs)


# ---------------------------------------------------------------- what the model makes nothing of


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("steps", ["log1p,genes=10", "top=10,log1p,scale,pca=3"])
def test_genes_that_a_selection_dropped_need_not_be_there(steps, sparse):
    bags = cells(sp.csr_matrix(table()) if sparse else None)
    model = mean(steps).fit(bags)
    read = model.reads().read["rna"]
    assert read.sum() == 10
    dropped = [g for g, r in zip(GENES, read, strict=True) if not r]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is lost, so nothing is said
        few = model.predict_proba(without(bags, dropped))
    np.testing.assert_array_equal(few, model.predict_proba(bags))
    with pytest.raises(InputError, match=r"1 of the 10 features that the model reads are not in"):
        model.predict(without(bags, [*dropped, GENES[int(np.flatnonzero(read)[0])]]))


def test_a_library_size_of_fewer_genes_is_said():
    bags = cells()
    model = mean("normalize,log1p,genes=10").fit(bags)
    dropped = [g for g, r in zip(GENES, model.reads().read["rna"], strict=True) if not r]
    with pytest.warns(UserWarning, match="10 of the 20 features of training .* normalize divides"):
        model.predict(without(bags, dropped))


def test_what_an_integration_in_the_fold_drops_need_not_be_there():
    bags = two()
    step = Embed(umint(preprocess={"rna": "log1p,genes=10"}))
    model = mean(step).fit(bags)
    read = model.reads().read
    assert read["rna"].sum() == 10
    assert read["protein"].all()
    dropped = [g for g, r in zip(GENES, read["rna"], strict=True) if not r]
    np.testing.assert_array_equal(
        model.predict_proba(without(bags, dropped)), model.predict_proba(bags)
    )


# ---------------------------------------------------------------- what it reads


@pytest.mark.parametrize("missing", ["zero", "mean"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("steps", [None, "log1p", "log1p,scale", "log1p,scale,pca=3", "pca=3"])
def test_features_that_are_lacking_are_taken_for_what_is_said(steps, sparse, missing):
    bags = cells(sp.csr_matrix(table()) if sparse else None)
    model, x = mean(steps).fit(bags), table()
    # a column at the mean after the logarithm is one whose logarithm is the mean
    logs = steps is not None and steps.startswith("log1p")
    average = np.expm1(np.log1p(x[:, :2]).mean(0)) if logs else x[:, :2].mean(0)
    x[:, :2] = 0 if missing == "zero" else average
    few = without(bags, GENES[:2])
    with pytest.warns(UserWarning, match=r"2 of the 20 .* \(g0, g1\): they are taken for"):
        found = model.predict_proba(few, missing=missing)
    np.testing.assert_allclose(found, model.predict_proba(cells(x)), atol=1e-5)
    np.testing.assert_array_equal(quiet(model.transform, few, missing=missing),
                                  model.transform(quiet(model.complete, few, missing)))  # fmt: skip
    assert quiet(model.attribute, few, missing=missing).shape == (60, len(model.attribute(bags).T))
    assert quiet(model.samples, few, missing=missing).uns["bag_mean"]["missing"]
    with pytest.raises(InputError, match=r"missing='zero' or missing='mean'"):
        model.predict(few)


@pytest.mark.parametrize("missing", ["zero", "mean"])
def test_an_integration_takes_them_for_what_is_said(missing, tmp_path):
    bags, x = two(), table()
    model = umint(preprocess={"rna": "log1p"}).fit(bags)
    model.save(tmp_path / "m")
    model = sm.load(tmp_path / "m")
    x[:, :2] = 0 if missing == "zero" else np.expm1(np.log1p(x[:, :2]).mean(0))
    few = without(bags, GENES[:2])
    found = quiet(model.transform, few, missing=missing)
    np.testing.assert_allclose(found, model.transform(two(x)), atol=1e-5)
    embedded = quiet(model.embed, few, missing=missing)
    assert any("2 of the 20 features" in note for note in embedded.notes)
    np.testing.assert_array_equal(embedded.table(), found)
    fold = mean(Embed(umint(preprocess={"rna": "log1p"}))).fit(bags)
    np.testing.assert_allclose(
        quiet(fold.predict_proba, few, missing=missing), fold.predict_proba(two(x)), atol=1e-5
    )


def test_what_was_guessed_is_not_told_as_measured():
    bags = two()
    model = umint(preprocess={"rna": "log1p"}).fit(bags)
    few = quiet(model.complete, without(bags, GENES[:2]), "mean")
    filled = model.impute(few)["rna"]
    np.testing.assert_array_equal(filled[:, 2:], np.log1p(table()[:, 2:]))
    np.testing.assert_array_equal(filled[:, :2], model.reconstruct(few)["rna"][:, :2])


def test_models_without_means_say_so():
    model = mean().fit(cells())
    model.means_ = {}  # as an older file has it
    few = without(cells(), GENES[:2])
    with pytest.raises(InputError, match="saved before means .* missing='zero'"):
        model.predict(few, missing="mean")
    assert len(quiet(model.predict, few, missing="zero")) == 12
    with pytest.raises(InputError, match="missing='nan' is neither"):
        model.predict(few, missing="nan")


# ---------------------------------------------------------------- names


ENSEMBL = tuple(f"ENSG{i:011}" for i in range(20))


@pytest.mark.parametrize(
    ("mine", "theirs", "match"),
    [
        (GENES, tuple(g.upper() for g in GENES), r"in other letters there \('g0', 'G0'\)"),
        (GENES, ENSEMBL, "the former are symbols, the latter Ensembl ids: translate"),
        (ENSEMBL, GENES, "the former are Ensembl ids, the latter symbols: translate"),
        (tuple(f"{g}.1" for g in ENSEMBL), tuple(f"{g}.2" for g in ENSEMBL),
         r"with another version there \('ENSG00000000000.1', 'ENSG00000000000.2'\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("missing", [None, "zero"])
def test_names_of_another_kind_get_a_hint(mine, theirs, match, missing):
    """To take all of them for 0 would be no prediction: that is refused too."""
    model = mean().fit(cells(names=mine))
    with pytest.raises(InputError, match=f"20 of the 20 .*{match}"):
        model.predict(cells(names=theirs), missing=missing)


def test_the_order_of_features_does_not_matter():
    bags, order = cells(), np.random.default_rng(1).permutation(20)
    moved = cells(table()[:, order], tuple(GENES[i] for i in order))
    model = mean("log1p,genes=10").fit(bags)
    np.testing.assert_array_equal(model.predict_proba(moved), model.predict_proba(bags))


def test_namesakes_are_refused_where_the_model_reads_them():
    bags, twice = cells(), ("g0", "g0", *GENES[2:])
    with pytest.raises(InputError, match=r"'rna' has 1 names .* bear: g0\..*var_names_make_unique"):
        mean().fit(cells(names=twice))
    with pytest.raises(InputError, match="has 1 names"):
        umint().fit(two(names=twice))
    model = mean("log1p,genes=10").fit(bags)
    with pytest.raises(InputError, match=r"1 of the features that the model reads .*twice|once"):
        model.predict(cells(names=twice))
    read = model.reads().read["rna"]
    first, second = np.flatnonzero(~read)[:2]
    names = list(GENES)
    names[second] = names[first]  # of which it makes nothing
    np.testing.assert_array_equal(
        model.predict_proba(cells(names=tuple(names))), model.predict_proba(bags)
    )
