"""UMINT: an encoder per modality, one shared code, a decoder per modality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Part, Weight
from smalti.errors import InputError
from smalti.integrate.network import NetworkIntegration
from smalti.nn.modalities import (
    Blocks,
    drop_modalities,
    gaps_share,
    glorot_uniform,
    he_uniform,
    squared_errors,
)
from smalti.nn.offsets import BatchOffsets

_DROP = 0.3  # where cells lack a modality


class UMINT(NetworkIntegration):
    """Separate encoders, one shared code that is never negative, separate decoders.

    Of each modality i:

        h_i = relu(E_i x_i),    z = relu(sum_i C_i h_i),    g_i = relu(G_i z),    y_i = O_i g_i
        loss = sum_i lambda_i mean((x_i - y_i)^2) + l1 sum |h, z, g| + l2 sum W^2

    The mean is over features and cells, activations are a mean over cells, W are the weights of all
    but the output layers. That is the authors' code; their paper sums over features instead of
    taking the mean, so that a wide modality would outweigh a narrow one.

    A cell that lacks a modality is encoded from the mean of the C_i h_i that it has, times the
    number of modalities, and the error is taken over what was measured. So that codes of such
    cells lie where those of whole cells do, each modality is hidden from the encoder, but not from
    the error, with probability ``drop`` in training; None: 0.3 where cells lack one, else never, as
    published.

    With ``batch=COLUMN`` each batch has an offset of its own in h_i, g_i and y_i (see
    :class:`~smalti.nn.offsets.BatchOffsets`); None, as published, has none.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_modalities(60, seed=0)
    >>> cells
    Bags: 60 bags of one instance, m0 40, m1 12, 60 donors
    >>> model = sm.integrate.UMINT(width=4, epochs=2, progress=False).fit(cells)
    >>> model.transform(cells).shape  # (n_cells, width)
    (60, 4)
    >>> {name: x.shape for name, x in model.reconstruct(cells).items()}
    {'m0': (60, 40), 'm1': (60, 12)}
    """

    name: ClassVar[str] = "umint"
    reference: ClassVar[str] = "Maitra, Seal, Das & De (2023), Front. Mol. Biosci. 10:1184748"
    cite: ClassVar[tuple[str, ...]] = ("maitra2023",)
    widths: tuple[Count, ...] | None = None  # of h_i; None: 128, or 10 below 100 features
    weights: tuple[Weight, ...] | None = None  # lambda_i; None: all 1
    drop: Part | None = None  # probability of hiding a modality from the encoder (see above)
    unit_code: bool = False  # code of length sqrt(width), so that depth does not scale it

    def network(self, shape: Shape) -> nn.Module:
        """Blocks, encoders, code and decoders."""
        return UMINTNet(self, shape)

    @classmethod
    def example(cls) -> UMINT:
        """Small and quick."""
        return cls(widths=None, width=16, epochs=12, batch_size=32, lr=3e-3)

    def parameter_count(self) -> dict[str, int]:
        """Parameters of the fitted network beside those of an autoencoder of the same widths.

        The separate encoders and decoders save 2 sum_i n_i sum_{j != i} d_j.

        Returns
        -------
        dict
            "umint", "autoencoder", "saving": numbers of parameters.
        """
        check_is_fitted(self)
        network: Any = self.network_
        own = sum(p.numel() for p in network.parameters())
        d, n = network.blocks.sizes, network.widths
        saved = 2 * sum(w * (sum(d) - size) for w, size in zip(n, d, strict=True))
        return {"umint": own, "autoencoder": own + saved, "saving": saved}


class UMINTNet(nn.Module):
    """The network of :class:`UMINT`."""

    def __init__(self, method: UMINT, shape: Shape) -> None:
        super().__init__()
        self.blocks = Blocks(shape.views, clip=method.clip)
        d, m = self.blocks.sizes, len(self.blocks.sizes)
        self.widths = _per_view("widths", method.widths, [_width(k) for k in d])
        self.weights = _per_view("weights", method.weights, [1.0] * m)
        n = self.widths
        self.l1, self.l2, self.drop, self.unit = method.l1, method.l2, method.drop, method.unit_code
        self.encoders = nn.ModuleList(
            he_uniform(nn.Linear(a, b)) for a, b in zip(d, n, strict=True)
        )
        self.code = he_uniform(nn.Linear(sum(n), method.width))
        self.decoders = nn.ModuleList(he_uniform(nn.Linear(method.width, b)) for b in n)
        self.outputs = nn.ModuleList(
            glorot_uniform(nn.Linear(b, a)) for a, b in zip(d, n, strict=True)
        )
        self.offsets = BatchOffsets(len(shape.batches), (*n, *n, *d))

    def forward(self, batch: Batch) -> Output:
        """Code of each cell as ``raw``; in training its loss as ``extra["loss"]``."""
        x, present = self.blocks(batch)
        seen = present
        drop = (0.0 if present is None else _DROP) if self.drop is None else self.drop
        if self.training and drop:
            seen = drop_modalities(present, len(x[0]), len(x), drop, x[0])
        of = batch.instance.get("batch")
        layers = enumerate(zip(self.encoders, x, strict=True))
        hidden = [F.relu(self.offsets(i, layer(part), of)) for i, (layer, part) in layers]
        if seen is not None:
            hidden = [h * seen[:, i, None] for i, h in enumerate(hidden)]
        total = F.linear(torch.cat(hidden, dim=1), self.code.weight) * gaps_share(seen)
        z = F.relu(total + self.code.bias)
        if self.unit:
            z = F.normalize(z, dim=1) * z.shape[1] ** 0.5
        if not self.training:
            return Output(z)
        inner, out = self._decoded(z, of)
        loss = squared_errors(x, out, present, self.weights, "modality")
        active = torch.stack([a.sum(1) for a in (*hidden, z, *inner)]).sum(0)  # none is negative
        penalty = sum(w.square().sum() for w in self.kernels())
        return Output(z, extra={"loss": loss + self.l1 * active + self.l2 * penalty})

    def kernels(self) -> Iterator[Tensor]:
        """Weights that are kept small, each (n_out, n_in): of all layers but the outputs."""
        yield from (layer.get_parameter("weight") for layer in self.encoders)
        yield self.code.weight
        yield from (layer.get_parameter("weight") for layer in self.decoders)

    def _decoded(self, z: Tensor, of: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """Units (n, n_i) and outputs (n, d_i) of each modality's decoder, of batches (n,)."""
        m = len(self.decoders)
        inner = [F.relu(self.offsets(m + i, layer(z), of))
                 for i, layer in enumerate(self.decoders)]  # fmt: skip
        out = [self.offsets(2 * m + i, layer(g), of)
               for i, (layer, g) in enumerate(zip(self.outputs, inner, strict=True))]  # fmt: skip
        return inner, out

    def decode(self, z: Tensor, of: Tensor | None = None) -> dict[str, Tensor]:
        """Each view, (n, n_features), from the code (n, width) of cells of batches (n,)."""
        return self.blocks.undo(self._decoded(z, of)[1])


def _width(features: int) -> int:
    """The authors' widths: 128 for genes and peaks, 10 for 10 to 87 proteins."""
    return 128 if features >= 100 else min(10, features)


def _per_view(name: str, given: Any, default: list[Any]) -> list[Any]:
    if given is None:
        return default
    if np.ndim(given) != 1 or len(given) != len(default):
        raise InputError(f"{name}={given!r} needs one value for each of {len(default)} modalities.")
    return list(given)
