"""The plain autoencoder of joined modalities, which UMINT is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.batch import Batch, Output
from smalti.core import noise
from smalti.errors import InputError
from smalti.nn.modalities import Blocks, gaps_share, glorot_uniform, he_uniform, squared_errors
from smalti.nn.offsets import BatchOffsets


class Autoencoder(nn.Module):
    """x = [x_1 .. x_m] -> h -> z -> g -> x̂, one layer each.

    The first and the last layer are kept as one block per modality, whose sum (whose joining) is
    the dense layer: so a cell that lacks a modality is encoded from the blocks that it has.

    Parameters
    ----------
    views
        View name -> (n_features,).
    hidden, width
        Units of h and g, and of the code z.
    per
        "feature": mean squared error over all features, as published; "modality": the weighted
        sum of each modality's mean (see :func:`smalti.nn.modalities.squared_errors`).
    weights
        Of the modalities, with ``per="modality"``.
    l1, l2
        On activations and on the weights of all but the output layer.
    clip
        Standardised values beyond it are cut.
    activation
        Of h, z and g.
    noise
        Standard deviation of the noise on the input in training, and the probability of setting a
        feature to 0.
    penalty
        Extra loss of the activations [h, z, g], a number.
    n_batches
        Batches of cells with offsets of their own in h, g and x̂.

    Raises
    ------
    InputError
        If ``per`` is neither.
    """

    def __init__(
        self,
        views: Mapping[str, tuple[int, ...]],
        *,
        hidden: int,
        width: int,
        per: str = "feature",
        weights: Sequence[float] | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip: float | None = 10.0,
        activation: Callable[[Tensor], Tensor] = F.relu,
        noise: tuple[float, float] = (0.0, 0.0),
        penalty: Callable[[list[Tensor]], Tensor] | None = None,
        n_batches: int = 0,
    ) -> None:
        super().__init__()
        if per not in ("feature", "modality"):
            raise InputError(f"per={per!r}: there are 'feature' and 'modality'.")
        self.blocks = Blocks(views, clip=clip)
        d = self.blocks.sizes
        self.weights = [1.0] * len(d) if weights is None else list(weights)
        self.per, self.l1, self.l2, self.noise = per, l1, l2, noise
        self.activation, self.penalty = activation, penalty
        self.encoder = he_uniform(nn.Linear(sum(d), hidden))
        self.code = he_uniform(nn.Linear(hidden, width))
        self.decoder = he_uniform(nn.Linear(width, hidden))
        self.output = glorot_uniform(nn.Linear(hidden, sum(d)))
        self.offsets = BatchOffsets(n_batches, (hidden, hidden, sum(d)))

    def forward(self, batch: Batch) -> Output:
        """Code of each cell as ``raw``; in training its loss as ``extra["loss"]``."""
        x, present = self.blocks(batch)
        whole = torch.cat([self._noisy(part) for part in x] if self.training else x, dim=1)
        if present is not None and self.training and any(self.noise):
            sizes = torch.tensor(self.blocks.sizes, device=whole.device)
            whole = whole * present.repeat_interleave(sizes, dim=1)
        total = F.linear(whole, self.encoder.weight) * gaps_share(present)
        of = batch.instance.get("batch")
        h = self.activation(self.offsets(0, total + self.encoder.bias, of))
        z = self.activation(self.code(h))
        if not self.training:
            return Output(z)
        g, whole = self._decoded(z, of)
        out = whole.split(self.blocks.sizes, dim=1)
        loss = squared_errors(x, out, present, self.weights, self.per)
        if self.l1:
            loss = loss + self.l1 * sum(a.abs().sum(1) for a in (h, z, g))
        if self.l2:
            loss = loss + self.l2 * sum(w.square().sum() for w in self.kernels())
        if self.penalty is not None:
            loss = loss + self.penalty([h, z, g])
        return Output(z, extra={"loss": loss})

    def _noisy(self, x: Tensor) -> Tensor:
        sd, share = self.noise
        stream = noise.generator()
        if sd:
            drawn = torch.empty_like(x).normal_(generator=stream)
            x = torch.add(x, drawn, alpha=sd)
        if share:
            keep = torch.rand(x.shape, generator=stream, device=x.device, dtype=x.dtype) >= share
            x = x * keep
        return x

    def kernels(self) -> Iterator[Tensor]:
        """Weights that are kept small, each (n_out, n_in)."""
        yield from (self.encoder.weight, self.code.weight, self.decoder.weight)

    def _decoded(self, z: Tensor, of: Tensor | None) -> tuple[Tensor, Tensor]:
        """Units (n, hidden) and outputs (n, sum of d) of the decoder, of batches (n,)."""
        g = self.activation(self.offsets(1, self.decoder(z), of))
        return g, self.offsets(2, self.output(g), of)

    def decode(self, z: Tensor, of: Tensor | None = None) -> dict[str, Tensor]:
        """Each view, (n, n_features), from the code (n, width) of cells of batches (n,)."""
        out = self._decoded(z, of)[1]
        return self.blocks.undo(out.split(self.blocks.sizes, dim=1))
