"""Steps for proteins and peaks, against muon and by hand."""

import dataclasses
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess import (
    CLR,
    TFIDF,
    Arcsinh,
    GenesOfCounts,
    On,
    Top,
    apply_steps,
    fit_steps,
    from_state,
    guess_steps,
    names_of,
    spec_of,
    state_of,
    steps_of,
)

STEPS = {
    "clr": CLR(), "clr=feature": CLR("feature"), "tfidf": TFIDF(), "top": Top(5),
    "count_genes": GenesOfCounts(7), "arcsinh": Arcsinh(),
}  # fmt: skip


def table(n=40, d=12, seed=0):
    rng = np.random.default_rng(seed)
    level = rng.lognormal(0, 1.5, d)
    return rng.poisson(level * rng.lognormal(0, 0.5, (n, 1))).astype(np.float32)


def cells(x, name="protein", **kwargs):
    return Bags.from_rows({name: x}, np.arange(x.shape[0]), **kwargs)


def after(step, x, new=None, name="protein"):
    """Rows of ``new`` after the step was fitted on ``x``."""
    fitted, _ = fit_steps([step], cells(x, name))
    return apply_steps(fitted, cells(x if new is None else new, name)).x[name]


def dense(x):
    return x.toarray() if sp.issparse(x) else x


# ---------------------------------------------------------------- by hand


def test_clr_by_hand():
    x = table().astype(np.float64)
    of_cell = np.exp(np.log1p(x).mean(1, keepdims=True))
    np.testing.assert_allclose(after(CLR(), x), np.log1p(x / of_cell), rtol=1e-5)
    of_protein = np.exp(np.log1p(x).mean(0))
    np.testing.assert_allclose(after(CLR("feature"), x), np.log1p(x / of_protein), rtol=1e-5)
    assert after(CLR(), np.zeros((3, 4), np.float32)).max() == 0


def test_tfidf_by_hand():
    x = table()
    x[:, 4] = 0  # a peak that no cell has
    x[7] = 0  # a cell without counts
    out = after(TFIDF(), x)
    total = np.maximum(x.sum(1, keepdims=True, dtype=np.float64), 1e-300)
    with np.errstate(divide="ignore"):
        idf = np.log1p(len(x) / x.sum(0, dtype=np.float64))
    idf[4] = 0
    np.testing.assert_allclose(out, np.log1p(1e4 * x / total) * idf, rtol=1e-5)
    assert np.isfinite(out).all()
    assert not out[7].any()
    assert after(TFIDF(100.0), x).max() < out.max()
    # a peak that only new cells have weighs nothing, as it did in training
    new = table(seed=1)
    new[:, 4] = 3
    assert not after(TFIDF(), x, new)[:, 4].any()


@pytest.mark.parametrize(("text", "cofactor"), [("arcsinh", 5), ("arcsinh=150", 150)])
def test_arcsinh_by_hand(text, cofactor):
    x = np.array([[0, -3.5, cofactor], [1e5, 7, 0.25]])
    out = after(steps_of(text)[0], x)
    # the definition, without NumPy's arcsinh; below 0 it is odd
    z = np.abs(x) / cofactor
    np.testing.assert_allclose(out, np.sign(x) * np.log(z + np.sqrt(z**2 + 1)), rtol=1e-5)
    assert out.dtype == np.float32
    assert spec_of(steps_of(text)) == f"arcsinh={cofactor}"


def test_top_keeps_the_most_variable_in_their_order():
    x = table()
    kept = np.sort(np.argsort(-x.var(0))[:5])
    np.testing.assert_array_equal(after(Top(5), x), x[:, kept])
    np.testing.assert_array_equal(after(Top(99), x), x)
    names = [f"g{i}" for i in range(12)]
    fitted, out = fit_steps([Top(5)], cells(x, features={"protein": names}))
    assert out.features["protein"] == tuple(names[i] for i in kept)
    assert fitted[0].kept_.tolist() == kept.tolist()


@pytest.mark.parametrize("sparse", [False, True])
def test_count_genes_are_those_of_normalised_logs(sparse):
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(0.7, 2.0, 150) * rng.lognormal(0, 0.5, (200, 1)))
    x = x * (rng.random(x.shape) < rng.random(150))
    x = x.astype(np.float32)
    view = sp.csr_matrix(x) if sparse else x
    for n in (10, 40, 149, 500):
        logs, _ = fit_steps(steps_of(f"normalize,log1p,genes={n}"), cells(view, "rna"))
        counts, out = fit_steps(steps_of(f"count_genes={n}"), cells(view, "rna"))
        np.testing.assert_array_equal(counts[0].kept_, logs[-1].kept_)
        np.testing.assert_array_equal(dense(out.x["rna"]), x[:, counts[0].kept_])


# ---------------------------------------------------------------- muon


@pytest.fixture
def muon():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("muon")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow  # muon takes seconds to be imported
def test_clr_and_tfidf_as_muon_has_them(muon):
    import anndata

    x = table(60, 15)
    x[:, x.sum(0) == 0] = 1
    x[x.sum(1) == 0] = 1

    def theirs(function, **kwargs):
        data = anndata.AnnData(x.copy())
        function(data, **kwargs)
        return dense(data.X)

    clr = muon.prot.pp.clr
    np.testing.assert_allclose(after(CLR(), x), theirs(clr, axis=1), rtol=1e-5)
    np.testing.assert_allclose(after(CLR("feature"), x), theirs(clr, axis=0), rtol=1e-5)
    tfidf = theirs(muon.atac.pp.tfidf, scale_factor=1e4)
    np.testing.assert_allclose(after(TFIDF(), x), tfidf, rtol=1e-5)


# ---------------------------------------------------------------- sparse, splits, saving


@pytest.mark.parametrize("word", STEPS)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint16])
def test_sparse_in_gives_sparse_out(word, dtype):
    x = table().astype(dtype)
    for kind in (sp.csr_matrix, sp.csc_matrix):
        out = after(STEPS[word], kind(x))
        assert sp.issparse(out)
        assert out.format == "csr"
        np.testing.assert_allclose(out.toarray(), after(STEPS[word], x), rtol=1e-6)
    assert (x == table().astype(dtype)).all()  # the user's table stays as it was


@pytest.mark.parametrize("word", STEPS)
def test_learns_from_training_cells_alone(word):
    train, test = table(), table(30, seed=1)[:, ::-1].copy()
    ours, refit = after(STEPS[word], train, test), after(STEPS[word], test)
    alone = np.concatenate([after(STEPS[word], train, row[None]) for row in test])
    np.testing.assert_allclose(alone, ours, rtol=1e-6)  # no test cell sees another
    if word in ("clr", "arcsinh"):  # which learn nothing
        np.testing.assert_array_equal(ours, refit)
    else:
        assert ours.shape != refit.shape or not np.allclose(ours, refit)


@pytest.mark.parametrize("word", STEPS)
def test_state_comes_back(word):
    steps, x = steps_of({"protein": [STEPS[word]]}), table()
    fitted, out = fit_steps(steps, cells(x))
    back = from_state(spec_of(fitted), state_of(fitted), names_of(fitted))
    np.testing.assert_array_equal(apply_steps(back, cells(x)).x["protein"], out.x["protein"])


# ---------------------------------------------------------------- gaps, guesses, errors


def test_cells_without_the_view_are_not_learned_from():
    x = table()
    there = np.arange(40) >= 10
    gaps = cells(np.where(there[:, None], x, 0), present={"protein": there})
    for word, step in STEPS.items():
        out = fit_steps([On("protein", step)], gaps)[1]
        expected = after(step, x[there])
        np.testing.assert_allclose(out.x["protein"][there], expected, rtol=1e-6, err_msg=word)
        assert not out.x["protein"][~there].any()
    nowhere = cells(x * 0, present={"protein": np.zeros(40, dtype=bool)})
    with pytest.raises(InputError, match="no training cell was measured in view 'protein'"):
        fit_steps([On("protein", CLR())], nowhere)


def test_guesses_by_name_and_by_counts():
    x = table()
    views = {"rna": x, "ADT": x, "peaks": x, "X_pca": x / 3, "antibody": x[:, :1]}
    assert guess_steps(Bags.from_rows(views, np.arange(40))) == {
        "rna": "normalize,log1p,genes=2000", "ADT": "clr", "peaks": "tfidf",
        "antibody": "log1p",
    }  # fmt: skip
    images = cells(np.zeros((4, 3, 8, 8), np.uint8), "tiles")
    with pytest.raises(InputError, match="view 'tiles' holds images"):
        guess_steps(images)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("word", ["clr", "clr=feature", "tfidf"])
def test_negative_values_name_the_view(word, sparse):
    bad = table()
    bad[3, 2] = -1.5
    both = {"rna": table(), "adt": sp.csr_matrix(bad) if sparse else bad}
    bags = Bags.from_rows(both, np.arange(40))
    with pytest.raises(InputError, match=r"view 'adt': .*negative values \(least: -1.5\)"):
        fit_steps(steps_of({"adt": word}), bags)
    good = dataclasses.replace(bags, x={"rna": table(), "adt": table()})
    fitted, _ = fit_steps(steps_of({"adt": word}), good)
    with pytest.raises(InputError, match="view 'adt': .*negative values"):
        apply_steps(fitted, bags)


@pytest.mark.parametrize(
    ("steps", "width", "match"),
    [
        ("clr", 1, "view 'adt': clr of one feature is no ratio"),
        ("clr=row", 12, "clr='row' is neither 'cell' nor 'feature'"),
        ("top=0", 12, "top needs n over 0"),
        ("arcsinh=0", 12, "arcsinh needs cofactor over 0"),
        (Arcsinh(-5), 12, "arcsinh: cofactor=-5 must be over 0"),
        ("tfidf=x", 12, "tfidf needs scale_factor over 0"),
        ("clrr", 12, "Did you mean 'clr'"),
    ],
)
def test_steps_that_cannot_be(steps, width, match):
    with pytest.raises(InputError, match=match):
        fit_steps(steps_of({"adt": steps}), cells(table()[:, :width], "adt"))


def test_count_genes_refuses_logs():
    with pytest.raises(InputError, match="view 'rna': count_genes needs raw counts"):
        fit_steps(steps_of({"rna": "count_genes"}), cells(np.log1p(table()), "rna"))
