"""A loss on the scores of pathways, and on how those that share genes vary together."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.expression.losses.moments import Moments, gene_correlation, pair
from smalti.nn import sparse


class PathwayLoss(nn.Module):
    """Error, correlation and joint covariance of pathway scores.

    The score of a pathway is the weighted mean of its standardised genes. The loss is
    weight * (MSE + beta * (1 - Pearson over the tiles) + joint * J), the mean over the pathways
    each; J is the mean over interacting pairs of pathways of the squared difference between the
    covariance of their predicted and of their measured scores.

    Parameters
    ----------
    membership
        (n_pathways, G) sparse or dense, weights of the members, not negative; each row is divided
        by its sum.
    mean, sd
        (G,) of the training tiles; a gene with sd 0 is left at 0. None: genes as they are.
    pairs
        (n_pairs, 2) rows of ``membership`` that interact, as ``smalti.genes.interacting_pairs``
        finds them; None: no joint term.
    beta, joint, weight
        Weights, see above.

    Raises
    ------
    InputError
        If a pathway has no members, or shapes do not fit.

    Notes
    -----
    A batch of one tile has the MSE only. Scores are a sparse product, and the covariances are
    taken for the pairs alone: O(B (members + pairs)).
    """

    crow: Tensor
    column: Tensor
    value: Tensor
    mean: Tensor
    inverse_sd: Tensor
    pairs: Tensor

    def __init__(
        self, membership: sp.spmatrix | sp.sparray | np.ndarray, *,
        mean: np.ndarray | None = None, sd: np.ndarray | None = None,
        pairs: np.ndarray | None = None, beta: float = 1.0, joint: float = 1.0,
        weight: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        table = sp.csr_array(membership, dtype=np.float64)
        total = np.asarray(table.sum(axis=1)).reshape(-1)
        if table.shape[0] == 0 or not (total > 0).all() or (table.data < 0).any():
            raise InputError(
                "membership: every pathway needs members with positive weights; drop the others."
            )
        table = sp.csr_array(sp.diags_array(1 / total) @ table)
        n_pathways, n_genes = table.shape
        sd = np.ones(n_genes) if sd is None else np.asarray(sd, float)
        mean = np.zeros(n_genes) if mean is None else np.asarray(mean, float)
        edges = np.zeros((0, 2), int) if pairs is None else np.asarray(pairs, int).reshape(-1, 2)
        if sd.shape != (n_genes,) or mean.shape != (n_genes,):
            raise InputError(f"mean and sd have {len(mean)} and {len(sd)} genes, not {n_genes}.")
        if edges.size and not 0 <= edges.min() <= edges.max() < n_pathways:
            raise InputError(f"pairs names pathway {edges.max()}, and there are {n_pathways}.")
        self.beta, self.joint, self.weight = beta, joint, weight
        inverse = np.divide(1, sd, out=np.zeros(n_genes), where=sd > 0)
        parts = {"crow": table.indptr, "column": table.indices, "value": table.data,
                 "mean": mean, "inverse_sd": inverse, "pairs": edges.T.copy()}  # fmt: skip
        for name, part in parts.items():
            kind = torch.float64 if part.dtype.kind == "f" else torch.int64
            self.register_buffer(name, torch.as_tensor(part).to(kind), persistent=False)

    def scores(self, x: Tensor) -> Tensor:
        """(B, G) expression to (B, n_pathways) scores.

        Raises
        ------
        InputError
            If there are not as many genes as the pathways have.
        """
        if x.shape[1] != len(self.mean):
            raise InputError(f"there are {x.shape[1]} genes, the pathways have {len(self.mean)}.")
        z = (x - self.mean.to(x.dtype)) * self.inverse_sd.to(x.dtype)
        shape = (len(self.crow) - 1, len(self.mean))
        parts = (self.crow, self.column, self.value.to(x.dtype))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            table = torch.sparse_csr_tensor(*parts, shape, check_invariants=False)
        return sparse.linear(table, z, z.new_zeros(len(z))).T

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch: (B, G) and (B, G) to a scalar."""
        pred, target = pair(pred, target)
        with torch.autocast(pred.device.type, enabled=False):
            p, y = self.scores(pred), self.scores(target)
            loss = (p - y).square().mean()
            if len(p) > 1:
                moments = Moments(p, y)
                loss = loss + self.beta * (1 - gene_correlation(moments).mean())
                if self.pairs.shape[1]:
                    i, j = self.pairs
                    gap = moments.p[:, i] * moments.p[:, j] - moments.y[:, i] * moments.y[:, j]
                    gap = gap.sum(0) / (len(p) - 1)
                    loss = loss + self.joint * gap.square().mean()
        return self.weight * loss
