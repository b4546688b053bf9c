"""Models of torchmil as methods of smalti, and with its weights, to measure against.

Its model is the network of a method, with its own forward pass, loss and padding, so that encoder,
optimiser, steps, folds and seeds are ours. A method that torchmil has too enters by a line in
``PEERS``, and by ``COPIES`` and ``LOSSES`` where its weights can be given to it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.mil.base import NetworkMethod
from smalti.nn import Standardize, encoder
from smalti.system.torchvision_shim import mend_torchvision
from smalti.task import Task

PEERS = {  # name in the tables -> torchmil's class, its settings
    "abmil": ("ABMIL", {"att_dim": 64, "gated": True}),
    "clam": ("CLAM_SB", {"att_dim": 64, "gated": True, "k_sample": 8}),
    "dsmil": ("DSMIL", {"att_dim": 128}),
    "transmil": ("TransMIL", {"att_dim": 128, "n_heads": 8, "n_landmarks": 64, "dropout": 0.1}),
    "dtfd": ("DTFDMIL", {"att_dim": 128, "n_groups": 4, "distill_mode": "afs"}),
}
# TransMIL there knows no mask, and DTFDMIL deals padded rows into pseudo-bags of their own
BAG_BY_BAG = {"transmil", "dtfd"}


def has_torchmil() -> bool:
    if find_spec("torchmil") is None:
        print("torchmil is not installed: its rows are left out")
        return False
    mend_torchvision()
    return True


def torchmil_model(name: str, width: tuple[int, ...], net: nn.Module) -> nn.Module:
    import torchmil.models

    cls, settings = PEERS[name]
    return getattr(torchmil.models, cls)(in_shape=width, feat_ext=net, **settings)


def padded(x: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (n, d) of bags as (n_bags, longest, d), and the mask, as torchmil's own loader does."""
    bags = [x[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    lengths = offsets.diff()
    full = nn.utils.rnn.pad_sequence(bags, batch_first=True)
    return full, (torch.arange(full.shape[1]) < lengths[:, None]).to(x.dtype)


class EachPiece(nn.Module):
    """torchmil's margin loss with each piece beside its own label, and not beside all of them."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        d = (x[:, 1] - x[:, 0]) * (2 * y[:, 0] - 1)  # (n,) by how much the label leads
        return nn.functional.softplus(1 - d).mean()


class TorchMIL(NetworkMethod):
    """A model of torchmil, trained by its own loss in our loop."""

    name: ClassVar[str] = "torchmil"
    reference: ClassVar[str] = "Baseline: torchmil"
    kinds: ClassVar[tuple[str, ...]] = ("binary",)
    embeds: ClassVar[bool] = False

    model: Literal["abmil", "clam", "dsmil", "transmil", "dtfd"] = "abmil"  # which
    mended: bool = False  # of "clam": pieces, means and masks as the paper has them

    def network(self, shape: Shape) -> nn.Module:
        return _Padded(self, shape)

    def loss(self, task: Task, output: Output, target: Tensor) -> Tensor:
        """Sum of the terms that torchmil gives for the step, for each of its bags."""
        terms = output.extra["losses"](target)
        return torch.stack([t.reshape(()) for t in terms.values()]).sum().expand(len(target))

    @classmethod
    def example(cls) -> TorchMIL:
        return cls(widths=(16,), epochs=60, lr=0.01, batch_size=8)


class _Padded(nn.Module):
    def __init__(self, method: TorchMIL, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        net, _ = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.model, self.mended = torchmil_model(method.model, shape.x, net), method.mended
        self.alone = method.model in BAG_BY_BAG
        if self.mended:
            self.model.inst_loss_fn = EachPiece()

    def losses(self, x: Tensor, mask: Tensor, y: Tensor) -> dict[str, Tensor]:
        if not self.mended:
            return self.model.compute_loss(y, x, mask)[1]
        raw, scores, h = self.model(x, mask, return_att=True, return_emb=True)
        pieces = self.model.compute_inst_loss(scores, h, y, mask.bool()) / len(y)
        return {"bags": 0.7 * self.model.criterion(raw, y.to(raw.dtype)), "pieces": 0.3 * pieces}

    def each(self, batch: Batch) -> Output:
        """Bags one by one, as the authors train them: the loss of a step is the mean over them."""
        bags = self.scale(batch.x).split(batch.segments.lengths.tolist())
        if self.training:

            def losses(y: Tensor) -> dict[str, Tensor]:
                found = [self.model.compute_loss(y[i : i + 1], x[None])[1].values()
                         for i, x in enumerate(bags)]  # fmt: skip
                return {"bags": torch.stack([torch.stack([*f]).sum() for f in found]).mean()}

            return Output(batch.x.new_zeros(len(bags), 1), extra={"losses": losses})
        np.random.seed(0)  # noqa: NPY002 - DTFDMIL there deals by chance in predictions too
        raw = [self.model.predict(x[None], return_inst_pred=False).reshape(1, 1) for x in bags]
        return Output(torch.cat(raw))

    def forward(self, batch: Batch) -> Output:
        if self.alone:
            return self.each(batch)
        x, mask = padded(self.scale(batch.x), batch.segments.offsets)
        if self.training:
            return Output(
                x.new_zeros(len(x), 1),
                extra={"losses": lambda y: self.losses(x, mask, y)},
            )
        return Output(self.model.predict(x, mask, return_inst_pred=False)[:, None])


COPIES: dict[str, dict[str, Callable[[dict[str, Tensor]], Tensor]]] = {
    # parameter of torchmil -> from ours; V and U are one layer here
    "abmil": {
        "pool.fc1.module.weight": lambda w: w["attention.inner.weight"].chunk(2)[0],
        "pool.fc1.module.bias": lambda w: w["attention.inner.bias"].chunk(2)[0],
        "pool.fc_gated.module.weight": lambda w: w["attention.inner.weight"].chunk(2)[1],
        "pool.fc_gated.module.bias": lambda w: w["attention.inner.bias"].chunk(2)[1],
        "pool.fc2.weight": lambda w: w["attention.outer.weight"],  # its constant is none in softmax
    },
    "dsmil": {
        "q_nn.weight": lambda w: w["query.weight"], "q_nn.bias": lambda w: w["query.bias"],
        "inst_classifier.weight": lambda w: w["scorer.weight"],
        "inst_classifier.bias": lambda w: w["scorer.bias"],
        "bag_classifier.weight": lambda w: w["head.weight"],
        "bag_classifier.bias": lambda w: w["head.bias"],
    },
}  # fmt: skip
for _part in ("weight", "bias"):
    COPIES["abmil"] |= {f"classifier.module.{_part}": lambda w, p=_part: w[f"head.{p}"]}
COPIES["clam"] = dict(COPIES["abmil"])
for _i in (0, 1):  # two outputs, of which the loss reads the difference
    for _part in ("weight", "bias"):
        COPIES["clam"] |= {f"inst_classifiers.{_i}.module.{_part}": lambda w, i=_i, p=_part:
                           torch.stack([torch.zeros_like(w[f"clusterer.{p}"][i]),
                                        w[f"clusterer.{p}"][i]])}  # fmt: skip
# what torchmil's terms are of ours, for one bag: (bag, pieces or streams)
LOSSES = {
    "abmil": lambda m, out, y: m.task_.loss(out.raw, y),
    "clam": lambda m, out, y: (
        m.task_.loss(out.raw, y)
        + torch.where(y[:, None] == torch.arange(2), out.extra["in"], out.extra["out"]).sum(1)
    ),
    "dsmil": lambda m, out, y: 2 * m.loss(m.task_, out, y),  # the sum of the streams, not the mean
}
