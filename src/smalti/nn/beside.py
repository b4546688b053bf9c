"""Columns of the bags beside what a network reads off instances."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.batch import Batch, Shape


class Beside(nn.Module):
    """What the covariates of a bag add to raw: linear, without a constant, which a head has.

    It begins at 0, so that a network starts as without covariates.

    Parameters
    ----------
    shape
        Of the bags; without covariates nothing is added.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head = shape.task.head(shape.n_covariates) if shape.n_covariates else None
        for parameter in () if self.head is None else self.head.parameters():
            if parameter.ndim == 2:
                nn.init.zeros_(parameter)
            else:  # constants, thresholds and shapes cancel
                parameter.requires_grad_(False)

    def forward(self, batch: Batch, raw: Tensor) -> Tensor:
        """(n_bags, n_outputs) raw predictions, with those of the covariates."""
        if self.head is None:
            return raw
        columns = batch.bag["covariates"]  # (n_bags, n_covariates)
        return raw + self.head(columns) - self.head(torch.zeros_like(columns[:1]))
