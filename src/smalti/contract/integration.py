"""Checks of methods that integrate modalities."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from smalti.bags import Bags
from smalti.contract.fitted import Fitted, bare, names_its_columns, once, resumes
from smalti.core.load import load
from smalti.core.stage import Sweep
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate.base import Integration


def _example(cls: type[Integration], **settings: object) -> Integration:
    return cls.example().set_params(accelerator="cpu", progress=False, **settings)


def _short(cls: type[Integration], **settings: object) -> Integration:
    """Few epochs, where learning is not what is checked."""
    method = _example(cls, **settings)
    return method.set_params(epochs=2) if "epochs" in method.get_params() else method


def _data(n: int = 160, **kwargs: object) -> Bags:
    """Counts, as every method takes them."""
    return planted_modalities(n, counts=True, **kwargs)  # type: ignore[arg-type]


def _rows(bags: Bags, rows: np.ndarray) -> Bags:
    """Some cells, each a bag of its own."""
    return dataclasses.replace(bags, donor=None)[rows]


@once
def _fitted(cls: type[Integration]) -> Fitted:
    """The standard cells and a short fit of them, for the checks that need no other."""
    return Fitted.of(_short(cls), _data())


def check_cells_do_not_see_each_other(cls: type[Integration]) -> None:
    """A cell alone gets the same code as among others, in any order."""
    if cls.transductive:
        return
    bags, model, _ = _fitted(cls)
    together = model.transform(bags)
    assert together.shape[0] == bags.n_instances
    assert np.isfinite(together).all(), "not finite"
    alone = np.concatenate([model.transform(_rows(bags, np.array([i]))) for i in range(8)])
    np.testing.assert_allclose(alone, together[:8], atol=1e-4, err_msg="cells see each other")
    order = np.random.default_rng(0).permutation(len(bags))
    shuffled = model.transform(_rows(bags, order))
    np.testing.assert_allclose(shuffled, together[order], atol=1e-4, err_msg="the order matters")


def check_embedding_has_names(cls: type[Integration]) -> None:
    """What ``transform`` gives is a table with names on request, with the numbers of the array."""
    bags, model, _ = _fitted(cls)
    names_its_columns(model, bags, bags.instance.index)


def check_same_seed(cls: type[Integration]) -> None:
    """The same seed gives the same bits, whatever was drawn elsewhere before."""
    bags, first, _ = _fitted(cls)
    torch.rand(7)
    np.random.rand(7)  # noqa: NPY002 - the global stream is just what must not matter
    second = _short(cls).fit(bags)
    np.testing.assert_array_equal(
        first.transform(bags), second.transform(bags), err_msg="the same seed, another answer"
    )


def check_resumes(cls: type[Integration]) -> None:
    """A fit that is killed and gone on with from its checkpoint is the same to the bit."""
    bags, model, _ = _fitted(cls)
    resumes(_short(cls), bags, model)


def check_global_random_state(cls: type[Integration]) -> None:
    """A fit leaves the global random streams as they were."""
    moved = _fitted(cls).moved
    assert not moved, f"the global {moved} stream moved"


def check_finds_what_no_modality_shows(cls: type[Integration]) -> None:
    """Kinds that two modalities tell apart together are found; one of them shows half."""
    own = dict(cls.example_cells)
    assert set(own) <= {"features", "effect"}, f"example_cells may not set {sorted(own)}"
    bags = planted_modalities(500, counts=True, seed=1, **{"effect": 8.0} | own)
    # the kind of a cell stands in a column beside it: a method gets the cells alone
    cells = bare(bags)
    codes = _example(cls).fit(cells).transform(cells)
    found = KMeans(4, n_init=10, random_state=0).fit_predict(codes)
    ari = adjusted_rand_score(bags.instance["kind"], found)
    assert ari > 0.7, f"ARI {ari:.2f} of kinds that the modalities tell apart together"


def check_save_and_load(cls: type[Integration]) -> None:
    """A saved model comes back with identical codes and reconstructions."""
    bags, model, _ = _fitted(cls)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        back = load(Path(folder) / "model")
    assert type(back) is type(model)
    np.testing.assert_array_equal(back.transform(bags), model.transform(bags))
    if cls.reconstructs:
        for name, values in model.reconstruct(bags).items():
            np.testing.assert_array_equal(back.reconstruct(bags)[name], values)


def check_precision(cls: type[Integration]) -> None:
    """The fitted network in float64 agrees with itself in float32."""
    bags, model, _ = _fitted(cls)
    single = model.transform(bags)
    double = model.set_params(precision="64-true").transform(bags)
    np.testing.assert_allclose(single, double, atol=2e-3, rtol=2e-3)


def check_sparse(cls: type[Integration]) -> None:
    """CSR tables give what the same dense tables give."""
    bags, one, _ = _fitted(cls)
    sparse = dataclasses.replace(bags, x={k: sp.csr_matrix(v) for k, v in bags.x.items()})
    two = _short(cls).fit(sparse)
    np.testing.assert_allclose(one.transform(bags), two.transform(sparse), atol=2e-3)


def check_reconstruction(cls: type[Integration]) -> None:
    """Each modality is decoded, finite, in the shape of what went in."""
    if not cls.reconstructs:
        assert not hasattr(cls(), "reconstruct")
        return
    bags, model, _ = _fitted(cls)
    inputs, outputs = model.inputs(bags), model.reconstruct(bags)
    assert set(inputs) == set(outputs)
    for name, values in outputs.items():
        assert values.shape == inputs[name].shape
        assert np.isfinite(values).all(), f"{name}: not finite"


def check_gaps(cls: type[Integration]) -> None:
    """Cells that lack a modality are embedded from what they have, or refused by name."""
    bags = _data(missing=0.4)
    if not cls.missing:
        try:
            _short(cls).fit(bags)
        except InputError as error:
            assert "was not measured in" in str(error)
        else:
            raise AssertionError("gaps were taken for zeros")
        return
    model = _short(cls).fit(bags)
    codes = model.transform(bags)
    assert np.isfinite(codes).all()
    # what stands in the rows that were not measured must not matter
    noisy = {}
    for name, view in bags.x.items():
        noisy[name] = view.copy()
        noisy[name][~bags.present[name]] = 7
    other = dataclasses.replace(bags, x=noisy)
    np.testing.assert_allclose(model.transform(other), codes, atol=1e-5)
    np.testing.assert_allclose(_short(cls).fit(other).transform(bags), codes, atol=1e-5)
    lone = dataclasses.replace(
        bags, x={"rna": bags.x["rna"]}, present={}, features={"rna": bags.features["rna"]}
    )
    assert np.isfinite(model.transform(lone)).all(), "a modality that the data lack altogether"


def check_bags_of_patients(cls: type[Integration]) -> None:
    """Cells dealt to patients are embedded as loose cells are, and come back as bags."""
    bags = _data(n_bags=9)
    model = _short(cls).fit(bags)
    embedded = model.embed(bags)
    assert list(embedded.x) == [f"X_{cls.name}"]
    assert len(embedded) == 9
    np.testing.assert_array_equal(embedded.table(), model.transform(bags))


def check_sweeps_are_monotone(cls: type[Integration]) -> None:
    """No round of a sweep makes its objective worse."""
    model = _fitted(cls).model
    for name in {s.name for s in model.plan(model.shape_) if isinstance(s, Sweep)}:
        values = model.history_.query("stage == @name")["train_loss"].dropna().to_numpy()
        assert (np.diff(values) <= 1e-9 * np.abs(values[:-1])).all(), f"{name} went up"


def check_errors(cls: type[Integration]) -> None:
    """What cannot work fails with one clear error."""
    bags = _data()
    broken = bags.x["protein"].copy()
    broken[5, 2] = np.nan
    try:
        _short(cls).fit(dataclasses.replace(bags, x={**bags.x, "protein": broken}))
    except InputError as error:
        assert "protein_2" in str(error), f"{error} does not name the feature"
    else:
        raise AssertionError("no error for NaN")
    if cls.transductive:
        return
    bags, model, _ = _fitted(cls)
    fewer = dataclasses.replace(
        bags, x={**bags.x, "rna": bags.x["rna"][:, :-1]},
        features={**bags.features, "rna": bags.features["rna"][:-1]},
    )  # fmt: skip
    try:
        model.transform(fewer)
    except InputError as error:
        assert "rna_39" in str(error), f"{error} does not name the feature"
    else:
        raise AssertionError("no error for a missing feature")


def check_device(cls: type[Integration]) -> None:
    """A GPU gives what the CPU gives, where there is one."""
    if not torch.cuda.is_available():
        return
    bags, model, _ = _fitted(cls)
    here = model.transform(bags)
    model.network_.cuda()
    np.testing.assert_allclose(model.transform(bags), here, atol=1e-4)


def check_clone(cls: type[Integration]) -> None:
    """scikit-learn's clone and set_params keep every setting; nothing is computed in __init__."""
    method = _example(cls)
    assert clone(method).get_params() == method.get_params()
    assert not [a for a in vars(method) if a.endswith("_")]
    assert cls.name, "a method needs a name"
    assert cls.reference, "a method needs a reference"
    assert (cls.__doc__ or "").strip(), "a method needs a docstring"
    for name, settings in cls.presets.items():
        assert set(settings) <= set(method.get_params()), f"preset {name} has unknown settings"
