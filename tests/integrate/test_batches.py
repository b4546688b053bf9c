"""batch= of the networks: offsets by hand, a new batch adapted, old cells as they were."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.columns import Columns
from smalti.integrate.adapt import refuse_new_batches

CELLS = sm.datasets.planted_batches(240, strength=2, batches=3, features=(40, 8), seed=0)
OLD = (CELLS.instance["batch"] != "b3").to_numpy()
NAMES = ("umint", "ae", "dae", "sae")


def some(mask):
    return CELLS[np.flatnonzero(mask)]


def model(name="umint", **settings):
    return sm.make(name, width=8, epochs=3, batch_size=32, lr=3e-3, accelerator="cpu",
                   progress=False, **settings)  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    return model(batch="batch").fit(some(OLD))


@pytest.mark.parametrize("name", NAMES)
def test_offsets_of_zero_are_the_network_without(name):
    plain = model(name).fit(some(OLD))
    assert not any(k.startswith("offsets") for k in plain.network_.state_dict())
    with_ = model(name, batch="batch").fit(some(OLD))
    state = with_.network_.state_dict()
    tables = [k for k in state if k.startswith("offsets")]
    assert tables
    assert all(len(state[k]) == 2 and state[k].abs().max() > 0 for k in tables)
    zero = {k: torch.zeros_like(v) if k in tables else plain.network_.state_dict()[k]
            for k, v in state.items()}  # fmt: skip
    with_.network_.load_state_dict(zero)
    np.testing.assert_array_equal(with_.transform(some(OLD)), plain.transform(some(OLD)))


def test_umint_with_offsets_by_hand(fitted):
    net, cells = fitted.network_, some(OLD)
    inputs = fitted.inputs(cells)
    code = (cells.instance["batch"] == "b2").to_numpy().astype(int)
    tables = [t.detach().numpy() for t in net.offsets.tables]
    hidden = []
    for i, name in enumerate(("rna", "protein")):
        mean, sd = (getattr(net.blocks, f"{what}_{i}").numpy() for what in ("mean", "sd"))
        x = np.clip((inputs[name] - mean) / sd, -10, 10)
        layer = net.encoders[i]
        hidden.append(x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
                      + tables[i][code])  # fmt: skip
    h = np.maximum(np.hstack(hidden), 0)
    z = np.maximum(h @ net.code.weight.detach().numpy().T + net.code.bias.detach().numpy(), 0)
    np.testing.assert_allclose(fitted.transform(cells), z, atol=1e-4)


def test_a_new_batch_is_refused_and_adapted_and_old_codes_stay(fitted):
    with pytest.raises(sm.InputError, match=r"of batch 'b3' of column 'batch'.*model\.adapt"):
        fitted.transform(CELLS)
    wide = fitted.adapt(CELLS)
    assert wide.columns_.batches == ("b1", "b2", "b3")
    assert wide.transform(CELLS).shape == (240, 8)
    np.testing.assert_array_equal(wide.transform(some(OLD)), fitted.transform(some(OLD)))
    for name, values in fitted.network_.state_dict().items():
        now = wide.network_.state_dict()[name]
        assert torch.equal(now[: len(values)] if name.startswith("offsets") else now, values)
    learned = wide.network_.offsets.tables[0]
    assert not torch.allclose(learned[2], learned[:2].mean(0))
    assert wide.digest_ != fitted.digest_
    with pytest.raises(sm.InputError, match="nothing to adapt"):
        wide.adapt(CELLS)


def test_a_method_that_cannot_adapt_says_what_else():
    one = SimpleNamespace(name="totalvi", batch="batch",
                          columns_=Columns(batch="batch", batches=("b1", "b2")))  # fmt: skip
    with pytest.raises(sm.InputError, match="so it has no offsets for them: fit it with cells of"):
        refuse_new_batches(one, CELLS)
    refuse_new_batches(one, some(OLD))


def test_adapting_lowers_the_error_of_the_new_batch(fitted):
    new = some(~OLD)
    there = fitted.inputs(new)
    as_old = dataclasses.replace(new, instance=new.instance.assign(batch="b1"))

    def error(model, cells):
        return np.square(model.reconstruct(cells)["rna"] - there["rna"]).mean()

    assert error(fitted.adapt(new), new) < error(fitted, as_old)


def test_models_with_batches_come_back(fitted, tmp_path):
    wide = fitted.adapt(CELLS)
    wide.save(tmp_path / "model")
    again = sm.load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(CELLS), wide.transform(CELLS))
    assert again.columns_.batches == ("b1", "b2", "b3")


def test_decoded_as_in_another_batch(fitted):
    cells = some(OLD)
    own, one = fitted.reconstruct(cells), fitted.reconstruct(cells, as_batch="b1")
    first = (cells.instance["batch"] == "b1").to_numpy()
    np.testing.assert_allclose(one["rna"][first], own["rna"][first], atol=1e-6)
    assert np.abs(one["rna"][~first] - own["rna"][~first]).max() > 1e-3
    with pytest.raises(sm.InputError, match="as_batch='b9' is no batch"):
        fitted.reconstruct(cells, as_batch="b9")


def test_what_batches_need_is_said():
    with pytest.raises(sm.InputError, match="no column 'site'"):
        model(batch="site").fit(CELLS)
    with pytest.raises(sm.InputError, match="every cell is of batch 'b3'"):
        model(batch="batch").fit(some(~OLD))
    with pytest.raises(sm.InputError, match="fitted without batch=COLUMN"):
        model().fit(CELLS).adapt(CELLS)
