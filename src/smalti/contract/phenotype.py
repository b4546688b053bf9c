"""Checks of methods that learn a phenotype from bags."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from smalti.bags import Bags
from smalti.contract.fitted import Fitted, bare, names_its_columns, once, resumes
from smalti.core.load import load
from smalti.core.stage import Sweep
from smalti.datasets.simulate import planted_bags
from smalti.errors import InputError
from smalti.mil.base import Method


def _example(cls: type[Method], **settings: object) -> Method:
    return cls.example().set_params(accelerator="cpu", progress=False, **settings)


def _short(cls: type[Method], **settings: object) -> Method:
    """Few epochs, where learning is not what is checked."""
    method = _example(cls, **settings)
    return method.set_params(epochs=3) if "epochs" in method.get_params() else method


def _data(cls: type[Method], n_bags: int = 30, **kwargs: object) -> Bags:
    kind = "binary" if "binary" in cls.kinds else cls.kinds[0]
    return _planted(cls, n_bags, kind=kind, **kwargs)


def _planted(cls: type[Method], n_bags: int, **kwargs: object) -> Bags:
    """Planted bags; as counts for a method that takes no others."""
    bags = planted_bags(n_bags, **kwargs)  # type: ignore[arg-type]
    if not cls.takes_counts:
        return bags
    table = np.floor(3 * np.exp(np.clip(bags.table(), -3, 3))).astype(np.float32)
    return dataclasses.replace(bags, x={"x": table})


@once
def _fitted(cls: type[Method]) -> Fitted:
    """The standard bags and a short fit of them, for the checks that need no other."""
    return Fitted.of(_short(cls), _data(cls))


def check_bags_do_not_see_each_other(cls: type[Method]) -> None:
    """A bag alone gets the same prediction as among others."""
    bags, model, _ = _fitted(cls)
    together = model.forward(bags)[0]
    alone = np.concatenate([model.forward(b)[0] for b in bags])
    np.testing.assert_allclose(alone, together, atol=1e-5, err_msg="bags see each other")


def check_order_of_instances(cls: type[Method]) -> None:
    """Shuffling the instances of each bag, and the bags, changes nothing."""
    bags, model, _ = _fitted(cls)
    rng = np.random.default_rng(0)
    rows = np.lexsort((rng.random(bags.n_instances), bags.index))
    shuffled = dataclasses.replace(
        bags, x={k: v[rows] for k, v in bags.x.items()}, instance=bags.instance.iloc[rows]
    )
    order = rng.permutation(len(bags))
    np.testing.assert_allclose(
        model.forward(shuffled[order])[0], model.forward(bags)[0][order], atol=1e-5,
        err_msg="the order of instances or bags matters",
    )  # fmt: skip


def check_bag_of_one(cls: type[Method]) -> None:
    """A single bag of a single instance is predicted and attributed."""
    bags, model, _ = _fitted(cls)
    one = Bags.from_rows(bags.table()[:1], [0], instance=bags.instance[:1],
                         bag=bags.bag[:1].set_axis([0]))  # fmt: skip
    assert np.isfinite(model.forward(one)[0]).all(), "not finite"
    assert len(model.attribute(one)) == 1


def check_embedding_has_names(cls: type[Method]) -> None:
    """What ``transform`` gives is a table with names on request, with the numbers of the array."""
    bags, model, _ = _fitted(cls)
    names_its_columns(model, bags, bags.bag.index)


def check_same_seed(cls: type[Method]) -> None:
    """The same seed gives the same bits, whatever was drawn elsewhere before."""
    bags, first, _ = _fitted(cls)
    torch.rand(7)
    np.random.rand(7)  # noqa: NPY002 - the global stream is just what must not matter
    second = _short(cls).fit(bags)
    np.testing.assert_array_equal(
        first.forward(bags)[0], second.forward(bags)[0], err_msg="the same seed, another answer"
    )


def check_resumes(cls: type[Method]) -> None:
    """A fit that is killed and gone on with from its checkpoint is the same to the bit."""
    bags, model, _ = _fitted(cls)
    resumes(_short(cls), bags, model)


def check_global_random_state(cls: type[Method]) -> None:
    """A fit leaves the global random streams as they were."""
    moved = _fitted(cls).moved
    assert not moved, f"the global {moved} stream moved"


def check_learns(cls: type[Method]) -> None:
    """It finds a planted signal in new bags, from nothing but their instances."""
    binary = "binary" in cls.kinds
    train, test = (_planted(cls, 60, effect=4.0, seed=s,
                            kind="binary" if binary else cls.kinds[0]) for s in (1, 2))  # fmt: skip
    model, found = _example(cls), 0.0
    for seed in range(3):  # hard maxima have bad local minima: the first start that finds it
        model = _example(cls, seed=seed).fit(train)
        if cls.name == "majority" or not binary:
            break  # it does not look at the instances
        found = float(roc_auc_score(test.labels, model.predict_proba(test)[:, 1]))
        if found > 0.8:
            break
    else:
        raise AssertionError(f"AUROC {found:.2f} on a planted signal")
    _reads_instances_only(model, test)


def _reads_instances_only(model: Method, bags: Bags) -> None:
    """New bags are predicted alike whatever their labels, names, place and company."""
    there = _predictions(model, bags)
    n = np.arange(len(bags))

    def same(other: Bags, order: np.ndarray, said: str) -> None:
        for got, want in zip(_predictions(model, other), there, strict=True):
            np.testing.assert_allclose(got, want[order], atol=1e-5, err_msg=said)

    rolled = bags.with_target(np.roll(bags.labels, 1, axis=0), kind=bags.kind)
    same(rolled, n, "a prediction reads the labels of the bags to be predicted")
    # planted classes alternate: without the first bag every place changes its parity
    same(bags[n[1:]], n[1:], "a prediction reads the place of a bag")
    order = np.random.default_rng(0).permutation(n)
    same(bags[order], order, "a prediction reads the order of the bags")
    for i in n[:8]:
        same(bags[[i]], n[[i]], "a prediction reads the other bags")
    same(bare(bags, model.columns_)[order], order,
         "a prediction reads names or columns that the method was not asked to read")  # fmt: skip


def _predictions(model: Method, bags: Bags) -> list[np.ndarray]:
    found = [np.asarray(model.predict(bags), float), model.forward(bags)[0]]
    return [*found, model.predict_proba(bags)] if hasattr(model, "predict_proba") else found


def check_every_kind(cls: type[Method]) -> None:
    """Each kind of target it names is fitted, with predictions of the right form."""
    asked: list[tuple[str, dict[str, str]]] = [
        (kind, {}) for kind in cls.kinds if kind != "survival"
    ]
    asked += [("survival", {"survival": m}) for m in cls.survivals if "survival" in cls.kinds]
    for kind, how in asked:
        bags = _planted(cls, 24, kind=kind, bags_per_donor=2)
        model = _short(cls, **how).fit(bags)
        assert model.task_.kind == kind
        found = model.predict(bags)
        assert found.shape == np.shape(bags.labels)[: 1 if kind == "survival" else None], kind
        if kind == "survival":
            _curves_fall(model, bags, found)
        if kind in ("regression", "binomial", "survival"):
            assert not hasattr(model, "predict_proba")
            continue
        p = model.predict_proba(bags)
        assert p.shape == (len(bags), len(model.classes_)), kind
        assert ((p >= 0) & (p <= 1)).all(), kind
        if kind != "multilabel":
            np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)


def _curves_fall(model: Method, bags: Bags, risk: np.ndarray) -> None:
    """Curves begin at 1 at most and fall; a higher risk has the lower curve, on the whole."""
    curves = model.predict_survival(bags, [1.0, 6.0, 24.0, 60.0]).to_numpy()
    assert ((curves >= 0) & (curves <= 1)).all(), "a curve leaves 0 to 1"
    assert (np.diff(curves, axis=1) <= 1e-9).all(), "a curve rises"
    mean = model.predict_restricted_mean(bags, 60.0)
    if np.ptp(mean) > 1e-3:
        assert spearmanr(risk, mean).statistic < 0, "a higher risk has the longer life"


def check_save_and_load(cls: type[Method]) -> None:
    """A saved model comes back with identical predictions, settings and attributions."""
    bags, model, _ = _fitted(cls)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        back = load(Path(folder) / "model")
    assert type(back) is type(model)
    assert back.get_params() == model.get_params()
    np.testing.assert_array_equal(back.forward(bags)[0], model.forward(bags)[0])
    assert back.attribute(bags).equals(model.attribute(bags))


def check_precision(cls: type[Method]) -> None:
    """The fitted network in float64 agrees with itself in float32."""
    bags, model, _ = _fitted(cls)
    single = model.forward(bags)[0]
    double = model.set_params(precision="64-true").forward(bags)[0]
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=2e-4, rtol=2e-3)


def check_sparse(cls: type[Method]) -> None:
    """A CSR table gives what the same dense table gives."""
    bags = _data(cls)
    table = bags.table().copy()
    table[np.abs(table) < 0.5] = 0
    dense = dataclasses.replace(bags, x={"x": table})
    sparse = dataclasses.replace(bags, x={"x": sp.csr_matrix(table)})
    one, two = _short(cls).fit(dense), _short(cls).fit(sparse)
    np.testing.assert_allclose(one.forward(dense)[0], two.forward(sparse)[0], atol=1e-5)


def check_attribution(cls: type[Method]) -> None:
    """Attributions align with the instances, are finite, and contributions add up."""
    bags, model, _ = _fitted(cls)
    frame = model.attribute(bags)
    assert len(frame) == bags.n_instances
    assert (frame["bag"].to_numpy() == bags.bag.index.to_numpy()[bags.index]).all()
    assert np.isfinite(frame.drop(columns="bag").to_numpy(float)).all()
    whole = frame.groupby("bag", sort=False).sum(numeric_only=True)
    for column in whole.filter(regex="^attention"):
        np.testing.assert_allclose(whole[column], 1, atol=1e-5)
    signed = whole.filter(regex="^contribution")
    if signed.shape[1] == 1:
        assert signed.columns[0] in ("contribution", f"contribution_{model.task_.positive}")
        constant = model.forward(bags)[0][:, 0] - signed.to_numpy()[:, 0]
        np.testing.assert_allclose(constant, constant[0], atol=1e-4,
                                   err_msg="contributions do not add up")  # fmt: skip


def check_sweeps_are_monotone(cls: type[Method]) -> None:
    """No round of a sweep makes its objective worse."""
    model = _fitted(cls).model
    sweeps = {s.name for s in model.plan(model.shape_) if isinstance(s, Sweep)}
    for name in sweeps:
        values = model.history_.query("stage == @name")["train_loss"].dropna().to_numpy()
        assert (np.diff(values) <= 1e-9 * np.abs(values[:-1])).all(), f"{name} went up"


def check_errors(cls: type[Method]) -> None:
    """What cannot work fails with one clear error."""
    bags = _data(cls)
    broken = bags.table().copy()
    broken[5, 2] = np.nan
    for culprit, wrong in (
        ("feature", dataclasses.replace(bags, x={"x": broken})),
        ("constant", bags.with_target(np.ones(len(bags)))),
        ("missing", bags.with_target([np.nan, *np.arange(len(bags) - 1) % 2])),
    ):
        try:
            _short(cls).fit(wrong)
        except InputError as error:
            assert culprit in str(error), f"{error} does not name {culprit!r}"
        else:
            raise AssertionError(f"no error where the culprit is: {culprit}")
    model = _short(cls).fit(bags)
    try:
        model.predict(dataclasses.replace(bags, x={"x": broken[:, :-1]}))
    except InputError as error:
        assert "features" in str(error)
    else:
        raise AssertionError("no error for a missing feature")


def check_device(cls: type[Method]) -> None:
    """A GPU gives what the CPU gives, where there is one."""
    if not torch.cuda.is_available():
        return
    bags, model, _ = _fitted(cls)
    here = model.forward(bags)[0]
    model.network_.cuda()
    np.testing.assert_allclose(model.forward(bags)[0], here, atol=1e-4)


def check_clone(cls: type[Method]) -> None:
    """scikit-learn's clone and set_params keep every setting; nothing is computed in __init__."""
    method = _example(cls)
    assert clone(method).get_params() == method.get_params()
    assert not [a for a in vars(method) if a.endswith("_")]
    assert cls.name, "a method needs a name"
    assert cls.reference, "a method needs a reference"
    assert (cls.__doc__ or "").strip(), "a method needs a docstring"
