"""The loop: reproducible to the bit, resumable from any step, honest about validation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti import mil
from smalti.core import checkpoint as checkpoints
from smalti.core import training
from smalti.core.store import pack
from smalti.core.validation import hold_out
from smalti.datasets import planted_bags
from smalti.errors import InputError


def model(**kwargs):
    settings = dict(widths=(16,), dropout=0.3, epochs=6, batch_size=8, validation=0.25, patience=3,
                    accelerator="cpu", progress=False) | kwargs  # fmt: skip
    return mil.ABMIL(**settings)


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [1, 2, 5, 9, 14])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_killed_at_any_step_and_resumed_equals_uninterrupted(killed_and_resumed, step, optimizer):
    killed_and_resumed(lambda: model(optimizer=optimizer), planted_bags(30), step)


def test_the_best_weights_of_before_the_kill_are_those_of_the_end(killed_and_resumed):
    """No epoch after the kill is as good as one before it."""
    bags = planted_bags(40, effect=0.0)
    settings = dict(epochs=8, batch_size=40, lr=0.05, patience=None)
    losses = model(**settings).fit(bags).history_.query("stage == 'train'")["val_loss"].to_numpy()
    kill = int(losses.argmin()) + 2  # epochs
    assert kill < len(losses) - 1
    assert losses[kill:].min() > losses.min() + 0.01
    killed_and_resumed(lambda: model(**settings), bags, kill)  # an epoch is a step


def test_killed_after_it_stopped_early_it_does_not_go_on(tmp_path, monkeypatch):
    bags, settings = planted_bags(40, effect=1.0), dict(epochs=80, lr=0.05, patience=4)
    whole = model(**settings).fit(bags)
    assert len(whole.history_) < 80
    path = tmp_path / "fit.safetensors"
    monkeypatch.setattr(training.Checkpoint.__init__, "__kwdefaults__",
                        {"every": 0.0, "identity": ""})  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(training.Runner, "close", lambda _: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            model(**settings).fit(bags, checkpoint=path)
    resumed = model(**settings).fit(bags, checkpoint=path)
    assert whole.history_.to_csv() == resumed.history_.to_csv()
    np.testing.assert_array_equal(whole.forward(bags)[0], resumed.forward(bags)[0])


def test_a_fit_neither_reads_nor_moves_the_global_stream():
    bags, found = planted_bags(30, kind="ordinal"), []
    for seed in range(2):  # a sweep of MixMIL makes a layer of random weights
        torch.manual_seed(seed)
        method = mil.MixMIL(epochs=1, accelerator="cpu", progress=False)
        found.append(method.fit(bags).forward(bags)[0])
        after = torch.rand(3)
        torch.manual_seed(seed)
        assert torch.equal(after, torch.rand(3))
    np.testing.assert_array_equal(*found)


def test_checkpoint_of_another_fit_is_refused(tmp_path, monkeypatch):
    bags = planted_bags(20)
    path = tmp_path / "fit.safetensors"
    monkeypatch.setattr(training.Runner, "step", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        model().fit(bags, checkpoint=path)
    with pytest.raises(InputError, match="other data or settings"):
        model(lr=0.5).fit(bags, checkpoint=path)
    path.write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(InputError, match="not a safetensors file"):
        model().fit(bags, checkpoint=path)


def test_checkpoint_is_never_half_written(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    checkpoints.write_tensors(path, "checkpoint", {"a": torch.ones(2)}, {"n": 1})

    def dies(self, data):
        with self.open("wb") as out:
            out.write(data[:9])
        raise Killed

    monkeypatch.setattr(Path, "write_bytes", dies)
    with pytest.raises(Killed):
        checkpoints.write_tensors(path, "checkpoint", {"a": torch.zeros(2)}, {"n": 2})
    tensors, note = checkpoints.read_tensors(path, "checkpoint")
    assert note == {"n": 1}
    assert torch.equal(tensors["a"], torch.ones(2))
    assert list(tmp_path.iterdir()) == [path]


def test_early_stopping_keeps_the_best_weights():
    bags = planted_bags(40, effect=1.0)
    fitted = model(epochs=80, lr=0.05, patience=4).fit(bags)
    values = fitted.history_.query("stage == 'train'")["val_loss"].to_numpy()
    assert len(values) < 80
    assert values.argmin() == len(values) - 5  # four worse ones after the best
    rng = np.random.default_rng(fitted.seed)
    _, valid = hold_out(bags, fitted.task_, 0.25, rng)
    held = bags[valid]
    p = fitted.predict_proba(held)[np.arange(len(held)), held.labels]
    assert -np.log(p).mean() == pytest.approx(values.min(), rel=1e-4)


def test_validation_never_parts_a_donor_and_holds_every_class():
    bags = planted_bags(60, bags_per_donor=3)
    for seed in range(20):
        train, valid = hold_out(bags, bags.task, 0.2, np.random.default_rng(seed))
        assert not set(bags.donors[train]) & set(bags.donors[valid])
        assert set(bags.labels[valid]) == set(bags.labels[train]) == {0, 1}
        assert sorted([*train, *valid]) == list(range(60))


def test_validation_bags_do_not_touch_the_scaler():
    bags = planted_bags(30)
    rng = np.random.default_rng(0)
    train, _ = hold_out(bags, bags.task, 0.25, rng)
    fitted = model().fit(bags)
    expected = bags[train].table().mean(0)
    np.testing.assert_allclose(fitted.network_.scale.mean.numpy(), expected, atol=1e-5)


def test_pack_keeps_bags_whole_and_within_the_budget():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 50, 200)
    order = rng.permutation(200)
    groups = pack(order, lengths, 16, 120)
    assert (np.concatenate(groups) == order).all()
    for group in groups:
        assert len(group) <= 16
        assert len(group) == 1 or lengths[group].sum() <= 120


def test_batch_of_one_is_the_published_step():
    """One SGD step a bag, by our loop and by hand, from the same weights in the same order."""
    bags = planted_bags(6)
    settings = dict(epochs=1, batch_size=1, validation=0.0, optimizer="sgd", momentum=0.0, lr=0.1,
                    weight_decay=0.0, dropout=0.0, standardize=False)  # fmt: skip
    ours = model(**settings).fit(bags)
    job = model(**settings).prepare(bags, np.arange(6), torch.device("cpu"))
    net = job.network
    for i in job.order.permutation(job.train):
        x = torch.as_tensor(bags[[i]].table())
        h = net.encoder(x)
        v = torch.tanh(net.attention.inner(h))
        a = torch.softmax(net.attention.outer(v).T, dim=1)
        logit = net.head(a @ h)[0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logit, torch.tensor([float(job.target[i])])
        )
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad
    for name, value in net.state_dict().items():
        torch.testing.assert_close(ours.network_.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_class_weight_balances_the_loss():
    bags = planted_bags(40)
    keep = np.flatnonzero((bags.labels == 0) | (np.arange(40) < 10))
    few = bags[keep]
    plain = mil.Majority().fit(few).predict_proba(few)[0, 1]
    even = mil.Majority(class_weight="balanced").fit(few).predict_proba(few)[0, 1]
    assert plain == pytest.approx((few.labels == 1).mean(), abs=1e-3)
    assert even == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(InputError, match="class_weight"):
        mil.Majority(class_weight="heavy").fit(few)
    mine = mil.Majority(class_weight={1: 0.0}).fit(few).predict_proba(few)[0, 1]
    assert mine < 0.01


def test_a_loss_that_explodes_is_one_clear_error():
    with pytest.raises(InputError, match="lower lr"):
        model(optimizer="sgd", lr=1e12, validation=0.0).fit(planted_bags(20))


def test_wrong_settings_are_named():
    bags = planted_bags(20)
    for settings, match in (
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"encoder": "vit"}, "encoder='vit'"),
        ({"encoder": "lenet"}, "does not fit instances"),
        ({"validation": 1.5}, "validation=1.5"),
        ({"accelerator": "warp"}, "accelerator='warp'"),
    ):
        with pytest.raises(InputError, match=match):
            model(**settings).fit(bags)


def test_history_and_sizes():
    fitted = model(validation=0.0).fit(planted_bags(20))
    assert list(fitted.history_["stage"].unique()) == ["standardize", "train"]
    assert fitted.history_["val_loss"].map(math.isnan).all()
    assert fitted.n_parameters_ == sum(p.numel() for p in fitted.network_.parameters())
