"""One process on one CPU: the fit that Lightning Fabric and torch.optim give, to the bit."""

import pytest
import torch

from smalti import mil
from smalti.contract.fitted import Killed, killed, same_fit
from smalti.core import noise, runner, training
from smalti.core.alone import PRECISIONS, Alone
from smalti.core.optimizers import make_optimizer
from smalti.core.stage import Gradient
from smalti.datasets import planted_bags

BAGS = planted_bags(30)


def fitted(checkpoint=None, **settings):
    tiny = dict(widths=(8,), gated=True, dropout=0.3, epochs=3, batch_size=8, validation=0.25)
    model = mil.ABMIL(**tiny | dict(accelerator="cpu", progress=False) | settings)
    return model.fit(BAGS, checkpoint=checkpoint)


def published(parameters, stage):
    """PyTorch's own optimiser of a stage."""
    own = dict(lr=stage.lr, weight_decay=stage.weight_decay, fused=True)
    if stage.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=stage.momentum, nesterov=stage.momentum > 0,
                               **own)  # fmt: skip
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[stage.optimizer](parameters, eps=stage.epsilon, **own)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_the_fit_of_fabric(precision, monkeypatch):
    monkeypatch.setattr(training, "_SMALL", 0.0)  # else mixed precision is not taken
    ours = fitted(precision=precision)
    monkeypatch.setattr(training, "PRECISIONS", ())  # Fabric, as for several processes
    assert not isinstance(training.make_fabric("cpu", 1, precision), Alone)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "make_optimizer", published)
        same_fit(ours, fitted(precision=precision))
    same_fit(ours, fitted(precision=precision))  # and with our optimiser inside of it


def test_small_steps_are_not_taken_in_16_bits():
    with pytest.warns(UserWarning, match="so small that 32 bits are faster"):
        mixed = fitted(precision="bf16-mixed")
    same_fit(fitted(), mixed)


@pytest.mark.parametrize("first", ["alone", "fabric"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_fit_goes_on_where_the_other_left_it(first, optimizer, tmp_path, monkeypatch):
    whole, known = fitted(optimizer=optimizer), training.PRECISIONS
    monkeypatch.setattr(training, "PRECISIONS", known if first == "alone" else ())
    with pytest.raises(Killed), killed(6):
        fitted(tmp_path / "fit", optimizer=optimizer)
    monkeypatch.setattr(training, "PRECISIONS", () if first == "alone" else known)
    same_fit(whole, fitted(tmp_path / "fit", optimizer=optimizer))


@pytest.mark.parametrize("settings", [
    {}, {"weight_decay": 0.1}, {"optimizer": "adamw", "weight_decay": 0.1}, {"epsilon": 1e-4},
    {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.9},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_optimiser_is_that_of_pytorch(settings, dtype):
    """Parameters without a gradient stay, also where they have one later; lr changes."""
    stage = Gradient(**dict(epochs=1, lr=0.01) | settings)
    torch.manual_seed(0)
    shapes = [(3, 4), (4,), (), (2, 3, 5)]
    begun = [torch.randn(s, dtype=dtype) for s in shapes]
    ours, theirs = ([torch.nn.Parameter(b.clone()) for b in begun] for _ in range(2))
    a, b = make_optimizer(ours, stage), published(theirs, stage)
    for step in range(12):
        a.param_groups[0]["lr"] = b.param_groups[0]["lr"] = 0.01 / (1 + step)
        a.zero_grad()
        b.zero_grad()
        for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            if i != 1 and (i != 3 or step > 4 or "momentum" in settings):
                p.grad = torch.randn_like(p)
                q.grad = p.grad.clone()
        a.step()
        b.step()
        if step == 6:  # left and taken up
            kept = {i: {k: v.clone() for k, v in slots.items()} for i, slots in a.state.items()}
            a = make_optimizer(ours, stage)
            a.load(kept)
    for p, q, before in zip(ours, theirs, begun, strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, before) or p is ours[1]


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])  # SGD of PyTorch, fused, refuses it
def test_parameters_that_move_now_and_then_are_those_of_torch(optimizer):
    torch.manual_seed(0)
    stage = Gradient(epochs=1, lr=0.1, optimizer=optimizer, weight_decay=0.01)
    start = [torch.randn(3), torch.randn(2, 2), torch.randn(())]
    ours, theirs = ([p.clone().requires_grad_() for p in start] for _ in range(2))
    mine, plain = make_optimizer(ours, stage), published(theirs, stage)
    for step in range(12):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a) if (step + a.ndim) % 3 else None
            b.grad = None if a.grad is None else a.grad.clone()
        if step == 7:  # taken up again
            kept = {i: {k: v.clone() for k, v in s.items()} for i, s in mine.state.items()}
            mine = make_optimizer(ours, stage)
            mine.load(kept)
        mine.step()
        plain.step()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


def test_a_mask_is_cut_from_the_words_of_the_stream():
    for kind in (torch.float32, torch.bfloat16):
        with noise.drawn_from(torch.Generator().manual_seed(3)):
            found = noise.Dropout(0.3)(torch.ones(7, 5, dtype=kind))
        words = torch.empty(9, dtype=torch.int64)
        words.random_(-(2**63), None, generator=torch.Generator().manual_seed(3))
        keep = (words.view(torch.int16)[:35] >= round(0.3 * 2**16) - 2**15).view(7, 5)
        assert torch.equal(found, torch.zeros_like(found).masked_fill(keep, 1 / 0.7))
