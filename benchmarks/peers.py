"""Networks and loops that are not ours, to measure against: padded, and bag after bag.

It imports nothing of smalti, for it is read in the peers' environment too.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn


class Gated(nn.Module):
    """Gated attention on features as they are: scores and head."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.v, self.u = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.w, self.head = nn.Linear(hidden, 1), nn.Linear(width, 1)

    def scores(self, x: Tensor) -> Tensor:
        return self.w(torch.tanh(self.v(x)) * torch.sigmoid(self.u(x)))[..., 0]


def loop_step(net: Gated, bags: list[Tensor], y: Tensor) -> Tensor:
    """Loss of some bags, one after another."""
    logits = [net.head(torch.softmax(net.scores(x), 0) @ x)[0] for x in bags]
    return nn.functional.binary_cross_entropy_with_logits(torch.stack(logits), y)


def padded_step(net: Gated, bags: list[Tensor], y: Tensor) -> Tensor:
    """Loss of some bags, padded to the longest, with a mask."""
    x = nn.utils.rnn.pad_sequence(bags, batch_first=True)  # (n_bags, longest, width)
    lengths = torch.tensor([len(b) for b in bags])
    mask = torch.arange(x.shape[1]) < lengths[:, None]
    a = torch.softmax(net.scores(x).masked_fill(~mask, -torch.inf), 1)
    logits = net.head((a[:, None] @ x)[:, 0])[:, 0]
    return nn.functional.binary_cross_entropy_with_logits(logits, y)


def torchmil_step(model: nn.Module, bags: list[Tensor], y: Tensor) -> Tensor:
    """Loss of some bags by torchmil: padded, as its own collate function does."""
    x = nn.utils.rnn.pad_sequence(bags, batch_first=True)
    lengths = torch.tensor([len(b) for b in bags])
    mask = torch.arange(x.shape[1]) < lengths[:, None]
    return model.compute_loss(y, x, mask.float())[1]["BCEWithLogitsLoss"]


class Usual(nn.Module):
    """The attention network of Ilse et al. for vectors, as usually written: one bag a call."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in ((width, 256), (256, 128), (128, 64)):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(0.5)]
        self.encoder = nn.Sequential(*layers)
        self.attention = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)
        a = torch.softmax(self.attention(h).T, dim=1)
        return self.head(a @ h)[0, 0]


def usual_fit(x: list[Tensor], y: Tensor, epochs: int) -> Usual:
    """One bag a step, SGD with the settings that Ilse et al. list.

    The authors of mi-Net trained theirs otherwise: dropout after the last layer only, twice the
    penalty, a decaying rate, 50 epochs.
    """
    net = Usual(x[0].shape[1])
    optimizer = torch.optim.SGD(net.parameters(), lr=5e-4, momentum=0.9, weight_decay=0.005)
    net.train()
    for _ in range(epochs):
        for i in torch.randperm(len(x)).tolist():
            optimizer.zero_grad()
            p = torch.sigmoid(net(x[i])).clamp(1e-5, 1 - 1e-5)
            (-(y[i] * p.log() + (1 - y[i]) * (1 - p).log())).backward()
            optimizer.step()
    return net.eval()


_KEPT = []


def mend_torchvision() -> None:
    """Let a torchvision that was built for a GPU be imported beside a torch that was not.

    Its import asks for operators that only its GPU library declares; timm and lightning import it.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")  # another may be there
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # there already
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)  # it declares as long as it lives
