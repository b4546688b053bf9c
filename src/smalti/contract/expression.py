"""Checks of methods that predict expression from tiles."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import clone

from smalti.bags import Bags
from smalti.contract.fitted import Fitted, once, resumes
from smalti.core.load import load
from smalti.datasets.slides import planted_slides
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod
from smalti.scores.expression_metrics import pcc_slide


def _example(cls: type[ExpressionMethod], **settings: object) -> ExpressionMethod:
    return cls.example().set_params(accelerator="cpu", progress=False, **settings)


def _short(cls: type[ExpressionMethod], **settings: object) -> ExpressionMethod:
    """Few epochs, where learning is not what is checked."""
    method = _example(cls, **settings)
    return method.set_params(epochs=2) if "epochs" in method.get_params() else method


def _slides(cls: type[ExpressionMethod], n_slides: int = 4, n_tiles: int = 25, **kw: int) -> Bags:
    return planted_slides(n_slides, n_tiles, n_genes=12, images=cls.images, size=32, **kw)


def by_vectors(cls: type[ExpressionMethod]) -> bool:
    """Whether a method predicts genes by their vectors."""
    return "vectors" in cls.example().get_params()


@once
def _fitted(cls: type[ExpressionMethod]) -> Fitted:
    """The standard slides and a short fit of them, for the checks that need no other."""
    return Fitted.of(_short(cls), _slides(cls))


def check_slides_do_not_see_each_other(cls: type[ExpressionMethod]) -> None:
    """A slide alone gets the same prediction as among others, in any order."""
    bags, model, _ = _fitted(cls)
    together = model.predict(bags)
    assert together.shape == (bags.n_instances, 12)
    assert together.dtype == np.float32
    assert np.isfinite(together).all(), "not finite"
    alone = np.concatenate([model.predict(bags[[i]]) for i in range(len(bags))])
    np.testing.assert_allclose(alone, together, atol=1e-4, err_msg="slides see each other")
    turned = model.predict(bags[[2, 0]])
    expected = np.concatenate([together[bags.index == i] for i in (2, 0)])
    np.testing.assert_allclose(turned, expected, atol=1e-4, err_msg="the order matters")


def check_tiles_do_not_see_each_other(cls: type[ExpressionMethod]) -> None:
    """A tile alone gets the same prediction, unless the method says that it reads slides."""
    bags, model, _ = _fitted(cls)
    if cls.slides:
        assert np.isfinite(model.predict(bags.keep([0]))).all(), "a slide of one tile"
        return
    some = np.array([0, 7, 30])
    np.testing.assert_allclose(
        np.concatenate([model.predict(bags.keep([i])) for i in some]),
        model.predict(bags)[some], atol=1e-4, err_msg="tiles see each other",
    )  # fmt: skip


def check_same_seed(cls: type[ExpressionMethod]) -> None:
    """The same seed gives the same bits, whatever was drawn elsewhere; another may not."""
    bags, model, _ = _fitted(cls)
    first = model.predict(bags)
    before = torch.random.get_rng_state()
    torch.rand(7)
    np.random.rand(7)  # noqa: NPY002 - the global stream is just what must not matter
    second = _short(cls).fit(bags).predict(bags)
    np.testing.assert_array_equal(first, second, err_msg="the same seed, another answer")
    torch.random.set_rng_state(before)
    if not cls.stochastic:
        other = _short(cls, seed=model.seed + 1).fit(bags).predict(bags)
        np.testing.assert_array_equal(first, other, err_msg="the seed matters: say stochastic")


def check_resumes(cls: type[ExpressionMethod]) -> None:
    """A fit that is killed and gone on with from its checkpoint is the same to the bit."""
    bags, model, _ = _fitted(cls)
    resumes(_short(cls), bags, model)


def check_learns_what_tiles_show(cls: type[ExpressionMethod]) -> None:
    """Genes that follow what a tile shows are predicted on new donors; the others are not."""
    bags = _slides(cls, 8, 49, donors=4)
    # the fields that genes follow stand in columns beside the tiles: a method gets no such column
    told = bags.instance.filter(regex="^field_|^n_nuclei$").columns
    bags = dataclasses.replace(bags, instance=bags.instance.drop(columns=told))
    names = np.array(bags.features["counts"])
    train, test = bags[[0, 1, 2, 4, 5, 6]], bags[[3, 7]]
    model = _example(cls).fit(train)
    guess, true = model.predict(test), model.measured(test)
    shown = np.flatnonzero(~np.char.startswith(names, "DDD"))
    hidden = np.flatnonzero(np.char.startswith(names, "DDD"))
    if cls.oracle or (cls.baseline and model.name == "gene_mean"):
        return
    r = pcc_slide(guess[:, shown], true[:, shown], test.index)
    assert r > (0.25 if cls.images else 0.5), f"Pearson {r:.2f} of genes that tiles show"
    idle = pcc_slide(guess[:, hidden], true[:, hidden], test.index)
    assert abs(idle) < 0.45, f"Pearson {idle:.2f} of genes that no tile shows"


def check_shuffled(cls: type[ExpressionMethod]) -> None:
    """Nothing is found where tiles and counts were shuffled against each other in training."""
    bags = _slides(cls, 8, 49, donors=4)
    train, test = bags[[0, 1, 2, 4, 5, 6]], bags[[3, 7]]
    if cls.oracle:
        return
    order = np.random.default_rng(0).permutation(train.n_instances)
    mixed = dataclasses.replace(train, x={**train.x, "counts": train.x["counts"][order]})
    model = _example(cls).fit(mixed)
    r = pcc_slide(model.predict(test), model.measured(test), test.index, nan="zero")
    assert abs(r) < 0.25, f"Pearson {r:.2f} after training on shuffled counts"


def check_save_and_load(cls: type[ExpressionMethod]) -> None:
    """A saved model comes back with identical predictions and genes."""
    bags = _slides(cls)
    model = _short(cls, genes=5).fit(bags)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        back = load(Path(folder) / "model")
    assert type(back) is type(model)
    assert back.genes_ == model.genes_
    np.testing.assert_array_equal(back.predict(bags), model.predict(bags))
    np.testing.assert_array_equal(back.measured(bags), model.measured(bags))


def check_precision(cls: type[ExpressionMethod]) -> None:
    """The fitted network in float64 agrees with itself in float32."""
    bags, model, _ = _fitted(cls)
    single = model.predict(bags)
    double = model.set_params(precision="64-true").predict(bags)
    np.testing.assert_allclose(single, double, atol=5e-3, rtol=2e-3)


def check_sparse_counts(cls: type[ExpressionMethod]) -> None:
    """Dense counts give what CSR counts give."""
    bags, one, _ = _fitted(cls)
    dense = dataclasses.replace(bags, x={**bags.x, "counts": bags.x["counts"].toarray()})
    two = _short(cls).fit(dense)
    assert sp.issparse(bags.x["counts"])
    np.testing.assert_allclose(one.predict(bags), two.predict(dense), atol=1e-4)


def check_genes(cls: type[ExpressionMethod]) -> None:
    """Genes in another order change nothing; those that are missing or constant are said or kept.

    A method that needs no counts predicts slides that have none.
    """
    bags = _slides(cls)
    table, names = bags.x["counts"].toarray(), bags.features["counts"]
    table[:, 4] = 0  # a gene that nobody has
    bags = dataclasses.replace(bags, x={**bags.x, "counts": sp.csr_matrix(table)})
    model = _short(cls).fit(bags)
    guess = model.predict(bags)
    assert np.isfinite(guess).all(), "a constant gene"
    if not by_vectors(cls):  # which predict a gene as its vector says
        np.testing.assert_allclose(guess[:, 4], 0, atol=1e-3, err_msg="a constant gene")
    back = dataclasses.replace(
        bags, x={**bags.x, "counts": bags.x["counts"][:, ::-1]},
        features={**bags.features, "counts": names[::-1]},
    )  # fmt: skip
    np.testing.assert_array_equal(model.measured(back), model.measured(bags))
    np.testing.assert_allclose(model.predict(back), guess, atol=1e-4)
    fewer = dataclasses.replace(
        bags, x={**bags.x, "counts": bags.x["counts"][:, 1:]},
        features={**bags.features, "counts": names[1:]},
    )  # fmt: skip
    _refused(lambda: model.measured(fewer), names[0])
    if not cls.oracle:
        bare = {k: v for k, v in bags.x.items() if k != "counts"}
        kept = {k: v for k, v in bags.features.items() if k != "counts"}
        alone = dataclasses.replace(bags, x=bare, features=kept)
        np.testing.assert_array_equal(model.predict(alone), guess)


def check_errors(cls: type[ExpressionMethod]) -> None:
    """What cannot work fails with one clear error."""
    bags = _slides(cls)
    counts = bags.x["counts"].toarray()
    counts[3, 2] = -1
    _refused(
        lambda: _short(cls).fit(dataclasses.replace(bags, x={**bags.x, "counts": counts})),
        "negative",
    )
    bare = {k: v for k, v in bags.x.items() if k != "counts"}
    _refused(lambda: _short(cls).fit(dataclasses.replace(bags, x=bare)), "counts")
    _refused(lambda: _short(cls, genes=("AAA1", "NOPE7")).fit(bags), "NOPE7")
    if not cls.images and not cls.oracle:
        broken = bags.x["X_planted"].copy()
        broken[5, 2] = np.nan
        _refused(
            lambda: _short(cls).fit(dataclasses.replace(bags, x={**bags.x, "X_planted": broken})),
            "f2",
        )


def _refused(call: object, word: str) -> None:
    try:
        call()  # type: ignore[operator]
    except InputError as error:
        assert word in str(error), f"{error} does not name {word}"
    else:
        raise AssertionError(f"no error about {word}")


def check_embeds(cls: type[ExpressionMethod]) -> None:
    """Predicted expression is a view of the same bags, first, with the genes as features."""
    bags, model, _ = _fitted(cls)
    out = model.embed(bags)
    name, view = out.view()
    assert name == f"X_{cls.name}"
    assert out.features[name] == model.genes_
    np.testing.assert_array_equal(view, model.predict(bags))


def check_device(cls: type[ExpressionMethod]) -> None:
    """A GPU gives what the CPU gives, where there is one."""
    if not torch.cuda.is_available():
        return
    bags, model, _ = _fitted(cls)
    here = model.predict(bags)
    model.network_.cuda()
    np.testing.assert_allclose(model.predict(bags), here, atol=1e-3)


def check_clone(cls: type[ExpressionMethod]) -> None:
    """scikit-learn's clone and set_params keep every setting; nothing is computed in __init__."""
    method = _example(cls)
    assert clone(method).get_params() == method.get_params()
    assert not [a for a in vars(method) if a.endswith("_")]
    assert cls.name, "a method needs a name"
    assert cls.reference, "a method needs a reference"
    assert (cls.__doc__ or "").strip(), "a method needs a docstring"
    for name, settings in cls.presets.items():
        assert set(settings) <= set(method.get_params()), f"preset {name} has unknown settings"
