"""What networks of several modalities share: scaled blocks, gaps, errors, published starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from smalti.batch import Batch
from smalti.core import noise
from smalti.core.stage import Sweep, Training
from smalti.solve.moments import center_and_spread
from smalti.views import whole


class Blocks(nn.Module):
    """Each view to mean 0 and standard deviation 1 of the training cells, cut at ``clip`` s.d.

    Parameters
    ----------
    views
        View name -> (n_features,).
    standardize
        Whether to; otherwise views stay as they are.
    clip
        Values beyond so many s.d. are cut, on both sides; None: never.
    """

    def __init__(
        self, views: Mapping[str, tuple[int, ...]], *, standardize: bool = True,
        clip: float | None = 10.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.names, self.standardize, self.clip = tuple(views), standardize, clip
        self.sizes = tuple(int(np.prod(shape)) for shape in views.values())
        for i, d in enumerate(self.sizes):
            self.register_buffer(f"mean_{i}", torch.zeros(d))
            self.register_buffer(f"sd_{i}", torch.ones(d))

    def forward(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Scaled rows of each view, 0 where not measured; and (n, n_views) 1 or 0, or None."""
        present = batch.instance.get("present")
        rows = []
        for i, name in enumerate(self.names):
            x = batch.views[name]
            if self.standardize:
                x = (x - getattr(self, f"mean_{i}")) / getattr(self, f"sd_{i}")
                x = x if self.clip is None else x.clamp_(-self.clip, self.clip)
            rows.append(x if present is None else x * present[:, i, None])
        return rows, present

    def undo(self, rows: Sequence[Tensor]) -> dict[str, Tensor]:
        """Scaled rows, (n, n_features) each, in the units that the views came in."""
        if not self.standardize:
            return dict(zip(self.names, rows, strict=True))
        return {
            name: torch.addcmul(getattr(self, f"mean_{i}"), x, getattr(self, f"sd_{i}"))
            for i, (name, x) in enumerate(zip(self.names, rows, strict=True))
        }

    def tables(self, training: Training) -> list[tuple[Any, np.ndarray]]:
        """Scaled rows of each view, as what is not 0 and a row that all cells have besides.

        (n_cells, n_features) float64, CSR where the view is, and (n_features,): their sum is what
        :meth:`forward` gives of cells that were measured.
        """
        out = []
        for i, name in enumerate(self.names):
            mean, sd = (getattr(self, f"{k}_{i}").double().numpy(force=True)
                        for k in ("mean", "sd"))  # fmt: skip
            far = np.inf if self.clip is None else self.clip
            low, high = mean - far * sd, mean + far * sd
            table = whole(training.bags.x[name]).astype(np.float64)
            zero = np.clip(0.0, low, high)  # what a value that is not stored becomes
            if sp.issparse(table):
                at = table.indices
                table.data = (np.clip(table.data, low[at], high[at]) - zero[at]) / sd[at]
            else:
                table = (np.clip(table, low, high) - zero) / sd
            out.append((table, (zero - mean) / sd))
        return out

    def fit(self, training: Training) -> None:
        """Take means and standard deviations from the cells that were measured."""
        bags = training.bags
        for i, name in enumerate(self.names if self.standardize else ()):
            mean, sd = center_and_spread(bags.x[name], bags.present.get(name))
            getattr(self, f"mean_{i}").copy_(torch.as_tensor(mean))
            getattr(self, f"sd_{i}").copy_(torch.as_tensor(sd))


def blocks_sweep() -> Sweep:
    """A stage that fits ``network.blocks`` on the training cells."""

    def step(network: nn.Module, training: Training) -> None:
        blocks = network.blocks
        assert isinstance(blocks, Blocks)
        blocks.fit(training)

    return Sweep(step=step, name="standardize")


def whole_views(
    network: nn.Module, training: Training, rows: Callable[[Batch], Sequence[Tensor]]
) -> list[np.ndarray]:
    """Rows of all cells as one array per view, (n_cells, n_features) float32.

    That is how other packages take them.
    """
    pieces = [[part.float().numpy(force=True) for part in rows(batch)]
              for batch in training.instances(network)]  # fmt: skip
    return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def gaps_share(present: Tensor | None) -> Tensor | float:
    """(n, 1) number of modalities over the number measured: turns a sum into M times a mean."""
    if present is None:
        return 1.0
    return present.shape[1] / present.sum(1, keepdim=True).clamp(min=1)


def drop_modalities(present: Tensor | None, n: int, views: int, p: float, like: Tensor) -> Tensor:
    """(n, n_views) what the encoder may see: each measured modality with probability 1 - p.

    A cell that would lose all of them keeps what it has.
    """
    here = like.new_ones(n, views) if present is None else present
    stream = noise.generator()
    keep = torch.rand(n, views, generator=stream, device=like.device, dtype=like.dtype) >= p
    left = here * keep
    return torch.where(left.sum(1, keepdim=True) > 0, left, here)


def squared_errors(
    x: Sequence[Tensor], out: Sequence[Tensor], present: Tensor | None, weights: Sequence[float],
    per: str,
) -> Tensor:  # fmt: skip
    """(n,) error of each cell over what was measured in it.

    ``per="modality"``: the weighted sum of the mean squared errors of the modalities.
    ``per="feature"``: the mean over all features that were measured, so that wide modalities weigh
    more.
    """
    squares = [torch.square(a - b).sum(1) for a, b in zip(x, out, strict=True)]
    sizes = [float(a.shape[1]) for a in x]
    if per == "modality":
        parts = [w * s / d for w, s, d in zip(weights, squares, sizes, strict=True)]
        table = torch.stack(parts, dim=1)
        return (table if present is None else table * present).sum(1)
    table = torch.stack(squares, dim=1)
    if present is None:
        return table.sum(1) / sum(sizes)
    count = present @ present.new_tensor(sizes)
    return (table * present).sum(1) / count.clamp(min=1)


def he_uniform(layer: nn.Linear, bias: float = 0.1) -> nn.Linear:
    """Start of a hidden layer as UMINT has it: He-uniform weights, constant bias."""
    bound = math.sqrt(6 / layer.in_features)
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.constant_(layer.bias, bias)
    return layer


def glorot_uniform(layer: nn.Linear) -> nn.Linear:
    """Start of an output layer: Glorot-uniform weights, bias 0."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
