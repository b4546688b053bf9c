"""Losses between predicted and measured expression of many genes.

``pred`` and ``target`` are (B tiles, G genes). One loss has up to three terms,

    alpha * MSE + beta * (1 - Pearson) + (1 - alpha - beta) * |C(pred) - C(target)|_F^2 / G^2,

C the covariance of the genes over the tiles of the batch, as a team in the competition of the
Korea University Medical Center (DACON 236382, 2024) combined them.

No (G, G) matrix is made. With the centred matrices P and Y, D = P - Y and S = P + Y,

    |P'P - Y'Y|_F^2 = (<DD', SS'> + <DS', SD'>) / 2,

three (B, B) products. The better-known |PP'|^2 + |YY'|^2 - 2 |PY'|^2 costs as much and is the
difference of large numbers near the optimum; here every term shrinks with D.

NaN policy: a gene (tile) that is constant, in ``pred`` or in ``target``, counts as Pearson r = 0
and gets no gradient from that term. Constant means: varies by no more than rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.expression.losses.moments import (
    Layout,
    Moments,
    covariance,
    error,
    gene_correlation,
    pair,
    tile_correlation,
)
from smalti.expression.losses.pathway import PathwayLoss

__all__ = [
    "CompositeLoss", "PathwayLoss", "correlation", "covariance_loss", "pearson_loss",
    "squared_error",
]  # fmt: skip

Axis = Literal["gene", "tile"]


def squared_error(
    pred: Tensor, target: Tensor, *, weights: Tensor | None = None, huber: float | None = None
) -> Tensor:
    """Mean squared error, or Huber's loss.

    Parameters
    ----------
    pred, target
        (B, G).
    weights
        (G,) weight of each gene, not negative; only their ratios matter.
    huber
        Gap, in the unit of the expression, from which the loss is linear: d^2 / 2 below it and
        huber (d - huber / 2) above (Huber 1964). None: d^2 everywhere.

    Returns
    -------
    Tensor
        Scalar.
    """
    pred, target = pair(pred, target)
    return error(pred, target, Layout.of(pred, weights), huber)


def correlation(
    pred: Tensor, target: Tensor, *, axis: Axis = "gene", weights: Tensor | None = None
) -> Tensor:
    """Pearson correlations; 0, without gradient, where one side is constant.

    Parameters
    ----------
    pred, target
        (B, G).
    axis
        "gene": of each gene over the tiles of the batch, (G,). "tile": of each tile over the
        genes, (B,).
    weights
        (G,) weight of each gene in the moments of axis="tile"; no part of axis="gene".
    """
    pred, target = pair(pred, target)
    if axis == "gene":
        return gene_correlation(Moments(pred, target))
    return tile_correlation(pred, target, Layout.of(pred, weights))[:, 0]


def pearson_loss(
    pred: Tensor, target: Tensor, *, axis: Axis = "gene", weights: Tensor | None = None
) -> Tensor:
    """1 - the mean of :func:`correlation`; with axis="gene" a mean weighted by the genes.

    ``pred`` and ``target`` (n_tiles, n_genes), ``weights`` (n_genes,) or None: all the
    same. Gives a scalar.
    """
    pred, target = pair(pred, target)
    layout = Layout.of(pred, weights)
    if axis == "gene":
        return 1 - gene_correlation(Moments(pred, target)) @ layout.share
    return 1 - tile_correlation(pred, target, layout).mean()


def covariance_loss(
    pred: Tensor, target: Tensor, *, weights: Tensor | None = None, standardise: bool = False
) -> Tensor:
    """Mean squared difference of two covariance matrices, of the genes over the tiles.

    Parameters
    ----------
    pred, target
        (B, G); covariances divide by B - 1. One tile has none: the loss is 0.
    weights
        (G,); the entry of genes i and j weighs w_i w_j.
    standardise
        Of the correlation matrices instead. A constant gene correlates with none, nor itself.

    Returns
    -------
    Tensor
        Scalar; |C(pred) - C(target)|_F^2 / G^2 if all genes weigh the same. O(B^2 G).
    """
    pred, target = pair(pred, target)
    return covariance(Moments(pred, target), Layout.of(pred, weights), standardise)


class CompositeLoss(nn.Module):
    """Error, correlation and covariance in one loss; a term that weighs nothing costs nothing.

    Parameters
    ----------
    alpha, beta
        Weights of the error and of 1 - Pearson; the covariance has what they leave of 1.
    axis
        Of Pearson: "gene" (over the tiles of the batch) or "tile" (over the genes).
    huber
        As in :func:`squared_error`.
    weights
        (G,) weight of each gene, in all terms.
    groups
        A partition of the genes, as index arrays. Each group has a loss of its own and their mean
        is taken, so that each counts the same, however many genes it has.
    pathways
        A further loss, added: :class:`PathwayLoss`.
    standardise
        Compare correlation matrices, not covariances.

    Raises
    ------
    InputError
        If alpha, beta, axis, huber, weights or groups are none.

    Notes
    -----
    A batch of a single tile has neither a covariance nor a Pearson over tiles: these terms are 0
    there and alpha * MSE remains (with axis="tile" also beta * (1 - Pearson)). Half precision is
    raised to single. All buffers are settings, so none is in the state that is saved.
    """

    weights: Tensor | None
    group_of: Tensor | None

    def __init__(
        self, alpha: float = 1.0, beta: float = 0.0, *, axis: Axis = "gene",
        huber: float | None = None, weights: np.ndarray | Tensor | None = None,
        groups: Sequence[np.ndarray] | None = None, pathways: nn.Module | None = None,
        standardise: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if not (alpha >= 0 and beta >= 0 and alpha + beta <= 1 + 1e-9):
            raise InputError(f"alpha={alpha}, beta={beta}: give shares of 1, at most 1 together.")
        if axis not in ("gene", "tile"):
            raise InputError(f"axis={axis!r} is neither 'gene' nor 'tile'.")
        if huber is not None and not huber > 0:
            raise InputError(f"huber={huber} is no positive gap: give one, or None for MSE.")
        self.alpha, self.beta = alpha, beta
        self.gamma = max(0.0, round(1 - alpha - beta, 9))  # 1 - .7 - .3 is not quite 0
        self.axis, self.huber, self.standardise, self.pathways = axis, huber, standardise, pathways
        self.register_buffer("weights", _checked_weights(weights), persistent=False)
        self.register_buffer("group_of", _checked_groups(groups), persistent=False)
        if self.weights is not None and self.group_of is not None:
            self._check_fit(self.weights, self.group_of)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch: (B, G) and (B, G) to a scalar."""
        by = {"mse": self.alpha, "pearson": self.beta, "covariance": self.gamma, "pathways": 1.0}
        terms = self.terms(pred, target)
        return torch.stack([by[name] * term for name, term in terms.items()]).sum()

    def terms(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The terms in use, each before its weight: mse, pearson, covariance, pathways.

        ``pred`` and ``target`` are (n_tiles, n_genes), each term is a scalar.
        """
        pred, target = pair(pred, target)
        out: dict[str, Tensor] = {}
        with torch.autocast(pred.device.type, enabled=False):
            layout = Layout.of(pred, self.weights, self.group_of)
            several = len(pred) > 1
            if self.alpha or not several:
                out["mse"] = error(pred, target, layout, self.huber)
            if self.beta and self.axis == "tile":
                out["pearson"] = 1 - tile_correlation(pred, target, layout).mean()
            over_tiles = (self.beta and self.axis == "gene") or self.gamma
            if several and over_tiles:
                moments = Moments(pred, target)
                if self.beta and self.axis == "gene":
                    out["pearson"] = 1 - gene_correlation(moments) @ layout.share
                if self.gamma:
                    out["covariance"] = covariance(moments, layout, self.standardise)
            if self.pathways is not None:
                out["pathways"] = self.pathways(pred, target)
        return out

    @staticmethod
    def _check_fit(weights: Tensor, group_of: Tensor) -> None:
        if len(weights) != len(group_of):
            raise InputError(f"weights has {len(weights)} genes, the groups {len(group_of)}.")
        total = torch.bincount(group_of, weights)
        if not (total > 0).all():
            raise InputError(f"group {int(total.argmin())}: all its genes weigh 0; drop them.")


def _checked_weights(weights: np.ndarray | Tensor | None) -> Tensor | None:
    if weights is None:
        return None
    w = torch.as_tensor(weights, dtype=torch.float64)
    if w.ndim != 1 or not torch.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
        raise InputError("weights: give one finite number a gene, none negative, not all 0.")
    return w


def _checked_groups(groups: Sequence[np.ndarray] | None) -> Tensor | None:
    """(G,) the group of each gene."""
    if groups is None:
        return None
    parts = [np.asarray(g, int).reshape(-1) for g in groups]
    where = np.concatenate(parts) if parts else np.zeros(0, int)
    if not parts or min(map(len, parts)) == 0:
        raise InputError("groups: there is an empty one (or none at all): drop it.")
    if not np.array_equal(np.sort(where), np.arange(len(where))):
        raise InputError(
            "groups: each gene must be in exactly one; put those that are in none into a group "
            "of their own."
        )
    out = np.empty(len(where), int)
    for k, part in enumerate(parts):
        out[part] = k
    return torch.as_tensor(out)
