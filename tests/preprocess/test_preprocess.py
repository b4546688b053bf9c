import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.decomposition import PCA as Reference
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

import smalti as sm
from smalti.bags import Bags
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import BagMean
from smalti.preprocess import (
    PCA,
    Log1p,
    MinCells,
    MinMax,
    Normalize,
    Scale,
    SelectGenes,
    apply_steps,
    cells_per_bag_note,
    count_problem,
    fit_steps,
    from_state,
    names_of,
    spec_of,
    state_of,
    steps_of,
)


def counts(n_bags=20, n_genes=60, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 30, n_bags)
    level = rng.gamma(0.7, 1.0, n_genes) * rng.choice([0.05, 1.0], n_genes)
    y = np.arange(n_bags) % 2
    level[0] = 2.0
    rate = level * np.exp(rng.normal(size=(lengths.sum(), n_genes)) * 0.5)
    rate[:, 0] *= 1 + 6 * np.repeat(y, lengths)
    x = rng.poisson(rate).astype(np.float32)
    ids = np.repeat(np.arange(n_bags), lengths)
    return Bags.from_rows({"counts": x}, ids, y=y[ids], donor="bag",
                          features={"counts": [f"g{i}" for i in range(n_genes)]})  # fmt: skip


def as_sparse(bags):
    return dataclasses.replace(bags, x={"counts": sp.csr_matrix(bags.table())})


class OnDisk:
    """Rows that are read when asked, as of a file."""

    def __init__(self, table):
        self.table, self.shape, self.dtype = table, table.shape, table.dtype

    def read(self, start, stop):
        return self.table[start:stop]

    def digest(self):
        return "x"


ALL = "min_cells=3,normalize,log1p,genes=30,scale=10,pca=5"


@pytest.mark.parametrize("text", ["normalize", "normalize,log1p", "min_cells=3",
                                  "normalize,log1p,genes=20", "scale", "minmax", "pca=4",
                                  ALL])  # fmt: skip
def test_sparse_dense_and_disk_agree(text):
    bags = counts()
    before = bags.table().copy()
    whole = fit_steps(steps_of(text), bags)[1]
    sparse = fit_steps(steps_of(text), as_sparse(bags))[1]
    disk = fit_steps(steps_of(text), dataclasses.replace(bags, x={"counts": OnDisk(bags.table())}))[
        1
    ]
    np.testing.assert_allclose(sparse.table(), whole.table(), atol=2e-4)
    np.testing.assert_allclose(disk.table(), whole.table(), atol=1e-5)
    assert sparse.features == whole.features
    np.testing.assert_array_equal(bags.table(), before)


def test_normalize_and_log():
    bags = counts()
    out = fit_steps(steps_of("normalize=1e4,log1p"), bags)[1].table()
    x = bags.table()
    total = x.sum(1, keepdims=True)
    want = np.log1p(np.divide(1e4 * x, total, out=np.zeros_like(x), where=total > 0))
    np.testing.assert_allclose(out, want, rtol=1e-5)
    assert out.dtype == np.float32


def test_pca_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12)) + 100).astype(np.float32)
    bags = Bags.from_rows(x, np.arange(500) // 10)
    step = PCA(5).fit(bags)
    other = Reference(5, svd_solver="full").fit(x.astype(float))
    signs = np.sign((step.axes_.T * other.components_).sum(1))
    np.testing.assert_allclose(step.axes_.T, other.components_ * signs[:, None], atol=1e-5)
    np.testing.assert_allclose(step.variance_, other.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(step.transform(bags).table(), other.transform(x) * signs, atol=2e-3)
    assert step.transform(bags).features == {"x": ("PC1", "PC2", "PC3", "PC4", "PC5")}
    assert (step.axes_[np.abs(step.axes_).argmax(0), np.arange(5)] > 0).all()


@pytest.mark.parametrize("rows", [60, 300])
@pytest.mark.parametrize("sparse", [False, True])
def test_pca_of_wide_tables_is_that_of_the_covariance(monkeypatch, rows, sparse):
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(0.5, size=(5, 200))[rng.integers(5, size=rows)]).astype(np.float32)
    bags = Bags.from_rows(sp.csr_matrix(x) if sparse else x, np.arange(rows))
    narrow = PCA(9).fit(bags)
    monkeypatch.setattr("smalti.preprocess.components._WIDE", 100)
    wide = PCA(9).fit(bags)
    for name in PCA.state:
        np.testing.assert_allclose(getattr(wide, name), getattr(narrow, name), atol=1e-9)
    monkeypatch.setattr("smalti.solve.components.SMALL", 20)  # Lanczos
    np.testing.assert_allclose(PCA(9).fit(bags).axes_, narrow.axes_, atol=1e-9)


def naive_genes(x, n, bins=20):
    """Seurat's rule, gene by gene."""
    raw = np.expm1(x.astype(float))
    mean, var = raw.mean(0), raw.var(0, ddof=1)
    edges = np.linspace(np.log1p(mean).min(), np.log1p(mean).max(), bins + 1)
    place = np.clip(np.searchsorted(edges, np.log1p(mean), side="left") - 1, 0, bins - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        d = np.where(var > 0, np.log(var / np.where(mean == 0, 1e-12, mean)), np.nan)
    score = np.full(len(d), -np.inf)
    for g in range(len(d)):
        if np.isnan(d[g]):
            continue
        fellows = d[(place == place[g]) & ~np.isnan(d)]
        sd = fellows.std(ddof=1) if len(fellows) > 1 else np.nan
        score[g] = 1.0 if np.isnan(sd) else (d[g] - fellows.mean()) / sd
    return set(np.argsort(-score, kind="stable")[:n])


def test_genes_are_chosen_by_the_rule_of_seurat():
    bags = fit_steps(steps_of("normalize,log1p"), counts(40, 300))[1]
    for n in (10, 50, 150):
        kept = SelectGenes(n).fit(bags).kept_
        assert len(set(kept) & naive_genes(bags.table(), n)) >= 0.98 * n
        assert (np.diff(kept) > 0).all()


def test_genes_agree_with_scanpy():
    scanpy = pytest.importorskip("scanpy")
    from anndata import AnnData

    bags = fit_steps(steps_of("normalize,log1p"), counts(40, 300))[1]
    adata = AnnData(bags.table())
    scanpy.pp.highly_variable_genes(adata, flavor="seurat", n_top_genes=50)
    assert set(SelectGenes(50).fit(bags).kept_) == set(np.flatnonzero(adata.var.highly_variable))


def test_minmax_is_that_of_scikit_learn_and_a_new_cell_may_lie_beyond_it():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 5, (40, 6)) * (rng.random((40, 6)) < 0.6)
    x[:, 0], x[:, 1] = 7.0, np.abs(x[:, 1]) + 1  # a constant, and one that is never 0
    bags = Bags.from_rows({"x": x}, np.arange(40) // 4)
    for there in (bags, dataclasses.replace(bags, x={"x": sp.csr_matrix(x)})):
        step = MinMax().fit(there[:6])
        wanted = MinMaxScaler().fit(x[:24])
        np.testing.assert_allclose(step.transform(there).table(), wanted.transform(x), atol=1e-6)
    assert step.transform(there).table().max() > 1
    back = from_state(spec_of([step]), state_of([step]), names_of([step]))[0]
    np.testing.assert_array_equal(back.transform(bags).table(), step.transform(bags).table())


def test_what_is_fitted_comes_from_training_alone():
    bags = counts()
    train = np.arange(12)
    other = bags.table().copy()
    other[bags.offsets[12] :] = 7
    changed = dataclasses.replace(bags, x={"counts": other})
    one, two = (fit_steps(steps_of(ALL), b[train])[0] for b in (bags, changed))
    for name, value in state_of(one).items():
        np.testing.assert_array_equal(state_of(two)[name], value, err_msg=name)
    # and so in a method that has them
    fits = [BagMean(preprocess=ALL).fit(b[train]) for b in (bags, changed)]
    np.testing.assert_array_equal(*(f.forward(bags[train])[0] for f in fits))


def test_state_goes_through_arrays_and_json(tmp_path):
    bags = counts()
    steps, out = fit_steps(steps_of(ALL), bags)
    back = from_state(spec_of(steps), state_of(steps), names_of(steps))
    np.testing.assert_array_equal(apply_steps(back, bags).table(), out.table())
    model = sm.mil.HierMIL.example().set_params(group=None, epochs=2, preprocess=ALL).fit(bags)
    model.save(tmp_path / "m")
    again = sm.load(tmp_path / "m")
    np.testing.assert_array_equal(again.forward(bags)[0], model.forward(bags)[0])
    assert model.n_features_in_ == again.n_features_in_ == 60
    assert again.feature_names_in_[0] == "g0"
    shuffled = dataclasses.replace(
        bags, x={"counts": bags.table()[:, ::-1]}, features={"counts": tuple(f"g{i}" for i in
        reversed(range(60)))})  # fmt: skip
    np.testing.assert_allclose(again.forward(shuffled)[0], model.forward(bags)[0], atol=1e-5)


@pytest.mark.parametrize("spec", [None, "", "normalize,log1p", ALL, "scale,pca=3", "minmax"])
def test_a_text_goes_there_and_back(spec):
    steps = steps_of(spec)
    assert [s.get_params() for s in steps_of(spec_of(steps))] == [s.get_params() for s in steps]
    assert [clone(s).get_params() for s in steps] == [s.get_params() for s in steps]


@pytest.mark.parametrize(("spec", "match"), [
    ("normalise", "no step 'normalise'; .*Did you mean 'normalize'"), ("pca=many", "pca needs n"),
    ("log1p=2", "log1p takes no number"), ("genes=0", "genes needs n over 0"),
    ([3], "a text, steps of"),
])  # fmt: skip
def test_texts_that_say_nothing(spec, match):
    with pytest.raises(InputError, match=match):
        steps_of(spec)


def test_what_are_no_counts():
    bags = counts()
    logged = dataclasses.replace(bags, x={"counts": np.log1p(bags.table())})
    below = dataclasses.replace(bags, x={"counts": bags.table() - 1})
    with pytest.raises(InputError, match="normalize needs raw counts.*look like logs"):
        fit_steps(steps_of("normalize"), logged)
    with pytest.raises(InputError, match="normalize needs raw counts.*negative"):
        fit_steps(steps_of("normalize"), below)
    with pytest.raises(InputError, match="log1p: there are negative values"):
        fit_steps([Log1p()], below)
    with pytest.raises(InputError, match="genes: there are negative values"):
        fit_steps([SelectGenes(5)], below)
    with pytest.raises(InputError, match="min_cells=999999"):
        fit_steps([MinCells(999_999)], bags)
    model = BagMean(preprocess="normalize").fit(bags)
    with pytest.raises(InputError, match="normalize needs raw counts"):
        model.predict(logged)
    assert count_problem(bags.table()) is None
    assert count_problem(sp.csr_matrix(bags.table())) is None


def test_other_features_are_refused():
    bags = counts()
    steps = fit_steps([Scale()], bags)[0]
    names = tuple(reversed(bags.features["counts"]))
    with pytest.raises(InputError, match="feature 'g59' is not where it was"):
        apply_steps(steps, dataclasses.replace(bags, features={"counts": names}))
    with pytest.raises(InputError, match="fitted on 60 features, view 'counts' has 4"):
        apply_steps(
            steps, dataclasses.replace(bags, x={"counts": bags.table()[:, :4]}, features={})
        )


def test_a_silent_cell_and_a_constant_gene():
    x = np.array([[0, 0, 5], [1, 3, 5], [2, 2, 5]], dtype=np.float32)
    bags = Bags.from_rows(x, [0, 0, 1])
    assert np.isfinite(fit_steps(steps_of("normalize,log1p,scale,pca=2"), bags)[1].table()).all()
    np.testing.assert_array_equal(fit_steps([Normalize()], bags)[1].table()[0], [0, 0, 1e4])


def test_in_a_pipeline_of_scikit_learn_and_in_compare(one_penalty):
    bags = counts(40)
    pipeline = Pipeline([("n", Normalize()), ("l", Log1p()), ("s", Scale()), ("m", BagMean())])
    cv = StratifiedGroupKFold(4)
    scores = cross_val_score(pipeline, bags, bags.labels, cv=cv, groups=bags.donors)
    assert scores.mean() > 0.8
    folds = sm.compare({"p": pipeline}, bags, folds=2, preprocess="normalize,log1p,pca=5")
    table = folds.summary("roc_auc").set_index("method")
    assert table.loc["p", "mean"] > 0.8
    assert folds.settings["p"]["preprocess"] == "normalize=10000,log1p,scale"
    assert folds.settings["bag_mean"]["preprocess"] == "normalize=10000,log1p,pca=5"
    assert folds.settings["pseudobulk"]["preprocess"] == ""


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_many_fits_each_fit_their_own_steps(n_jobs):
    bags = counts(30)
    jobs = [(BagMean(preprocess="normalize,log1p,scale,pca=4"), np.arange(i, i + 20))
            for i in (0, 10)]  # fmt: skip
    fits = sm.fit_many(jobs, bags, n_jobs=n_jobs)
    for one, (method, members) in zip(fits, jobs, strict=True):
        two = method.fit(bags[members])
        np.testing.assert_array_equal(one.forward(bags)[0], two.forward(bags)[0])


def test_tiny_bags_are_named():
    bags = Bags.from_list([np.ones((n, 2)) for n in (3, 40, 9)])
    note = cells_per_bag_note(bags)
    assert note == ("2 of 3 bags have fewer than 10 instances: 0 (3), 2 (9) (all: 3 to 40, median "
                    "9).")  # fmt: skip
    assert cells_per_bag_note(planted_bags(5, mean_length=400)) is None


def test_images_are_refused():
    bags = sm.datasets.digit_bags(10)
    with pytest.raises(InputError, match="scale takes tables"):
        Scale().fit(bags)


def three_views(sparse=False):
    rng = np.random.default_rng(0)
    genes = rng.poisson(1, size=(12, 3)).astype(np.float32)
    return sm.Bags.from_rows(
        {"genes": sp.csr_matrix(genes) if sparse else genes, "look": rng.normal(size=(12, 2))},
        np.arange(12) // 4, features={"genes": ["a", "b", "c"], "look": ["x", "a"]},
        present={"look": np.arange(12) != 5},
    )  # fmt: skip


def test_join_puts_views_side_by_side_and_keeps_what_is_known_of_them():
    bags = three_views(sparse=True)
    bags = dataclasses.replace(bags, lacking={"look": np.array([False, True])})
    step = sm.preprocess.Join().fit(bags)
    out = step.transform(bags)
    assert list(out.x) == ["genes+look"]
    np.testing.assert_allclose(out.table(), np.hstack([bags.table("genes"), bags.table("look")]),
                               rtol=1e-6)  # fmt: skip
    assert out.features["genes+look"] == ("genes:a", "genes:b", "genes:c", "look:x", "look:a")
    assert out.lacking["genes+look"].tolist() == [False] * 4 + [True]
    assert (~out.present["genes+look"]).nonzero()[0].tolist() == [5]
    other = sm.preprocess.Join()
    other.restore(step.arrays(), step.note())
    np.testing.assert_array_equal(other.transform(bags).table(), out.table())
    assert sm.preprocess.Join().fit(bags.only("look")).transform(bags.only("look")).x.keys() == {
        "look"
    }
    with pytest.raises(InputError, match="no view 'look'"):
        step.transform(bags.only("genes"))
    narrow = sm.Bags.from_rows({"genes": np.ones((4, 2)), "look": np.ones((4, 2))}, np.arange(4))
    with pytest.raises(InputError, match="join was fitted on 3 features of view 'genes', .* has 2"):
        step.transform(narrow)
    with pytest.raises(InputError, match="'tile' holds instances of shape .*features.extract"):
        sm.preprocess.Join().fit(
            sm.Bags.from_rows({"genes": np.ones((4, 2)), "tile": np.ones((4, 3, 8, 8))}, range(4))
        )


def test_join_of_sparse_views_is_sparse():
    bags = three_views(sparse=True)
    twice = dataclasses.replace(bags, x={"a": bags.x["genes"], "b": bags.x["genes"]}, features={},
                                present={})  # fmt: skip
    out = sm.preprocess.Join().fit(twice).transform(twice)
    assert sp.issparse(out.x["a+b"])
    assert out.x["a+b"].shape == (12, 6)


def test_only_keeps_what_is_said_of_the_views_that_stay():
    bags = three_views().only("look")
    assert (list(bags.x), list(bags.features), list(bags.present)) == (["look"],) * 3
    assert list(three_views().only(["look", "genes"]).x) == ["look", "genes"]
    with pytest.raises(InputError, match="no view 'rna'; there are"):
        three_views().only("rna")
