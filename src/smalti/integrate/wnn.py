"""Weighted nearest neighbours: one graph of cells from several modalities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.linalg
import scipy.sparse as sp
import torch
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.nn.modalities import Blocks, whole_views
from smalti.scores.clusters import cluster
from smalti.solve.weighted_neighbors import Placed, WeightedNeighbors

_CANDIDATES = 200  # neighbours in each modality among which the joint ones are sought (Seurat's)
_DENSE = 500  # cells up to which eigenvectors are computed of the whole matrix
_ARRAYS = ("width", "reach", "weights", "first", "scale", "last")  # one row a cell


class WNN(Integration):
    """A graph of cells that trusts, cell by cell, the modality whose neighbours predict it best.

    Each view is standardised and reduced to ``components`` principal components, the rows scaled
    to length 1 as in Seurat. The modalities are then weighted in each cell (Hao et al. 2021, STAR
    Methods; exact, see :mod:`smalti.solve.weighted_neighbors`), and the nearest cells by the
    weighted distance are joined with UMAP's connectivities.

    The graph is the result: cluster that (:meth:`clusters`). What stands for it as an embedding are
    the leading eigenvectors of D^-1/2 A D^-1/2 without the trivial one (A: connectivities, D:
    their sums), from which UMAP starts too, here times their eigenvalue and the root of the
    number of cells, so that noisy directions count less in distances.

    A new cell is placed among the training cells, which stay as they are: neighbours, weights and
    connectivities by the same formulae, and its code by the extension of Nyström, the sum of the
    eigenvectors over its neighbours, each by its normalised connectivity. A training cell given
    again is known by its components, and has the weights, the edges and (to rounding) the code
    that it has. Time and not memory grows as the square of the number of cells.

    Raises
    ------
    InputError
        In ``fit``: if there are too few cells.
    """

    name: ClassVar[str] = "wnn"
    reference: ClassVar[str] = "Hao et al. (2021), Cell 184:3573-3587"
    cite: ClassVar[tuple[str, ...]] = ("hao2021", "bredikhin2022")
    # the graph: muon's tutorial by Leiden, Seurat's by SLM, for the same modularity
    clusters_by: ClassVar[str] = "leiden"
    reconstructs: ClassVar[bool] = False
    missing: ClassVar[bool] = False

    components: Count = 30  # of each view, at most its features - 1
    neighbors: Count = 20  # of a cell, in each view (itself counted) and in the joint graph
    width: Count = 64  # eigenvectors
    clip: Positive | None = 10.0  # standardised values beyond it are cut

    def network(self, shape: Shape) -> nn.Module:
        """Buffers that the fit fills."""
        return WNNNet(shape, neighbors=self.neighbors, clip=self.clip)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One call."""
        yield Sweep(step=self._fit, name="neighbours")

    @classmethod
    def example(cls) -> WNN:
        """Few components, and wide neighbourhoods that a few hundred cells can tell apart by."""
        return cls(components=10, neighbors=60, width=8)

    @property
    def graph_(self) -> sp.csr_matrix:
        """Connectivities of the training cells, (n_cells, n_cells) CSR, symmetric, in [0, 1]."""
        check_is_fitted(self)
        net: Any = self.network_
        return net.reference().graph

    @property
    def modality_weights_(self) -> pd.DataFrame:
        """How much each view counts in each training cell, (n_cells, n_views); rows sum to 1."""
        check_is_fitted(self)
        net: Any = self.network_
        return pd.DataFrame(net.reference().weights, columns=list(net.blocks.names))

    def modality_weights(self, X: Any) -> pd.DataFrame:
        """How much each view counts in each of these cells, (n_cells, n_views); rows sum to 1."""
        return self._weights(self._place(X))

    def graph(self, X: Any) -> sp.csr_matrix:
        """Connectivities of these cells, (n_cells, n_cells) CSR, symmetric, in [0, 1].

        Training cells are joined as in ``graph_``, new ones with the training cells among ``X``
        only: two new cells have no edge of their own.
        """
        return _among_themselves(self._place(X))

    def clusters(
        self,
        X: Any = None,
        n_clusters: int | None = None,
        *,
        resolution: float = 0.8,
        seed: int | None = None,
    ) -> np.ndarray:
        """Clusters of the graph by Leiden, as published: (n_cells,) int64.

        Parameters
        ----------
        X
            Cells; the training cells where left out.
        n_clusters
            How many; as many as come out at ``resolution`` where left out.
        resolution
            Of the modularity, 0.8 in Seurat; read where ``n_clusters`` is left out.
        seed
            Of Leiden; the method's own where left out.
        """
        graph = self.graph_ if X is None else self.graph(X)
        seed = self.seed if seed is None else seed
        return cluster(None, n_clusters, by="leiden", graph=graph, seed=seed,
                       resolution=resolution)  # fmt: skip

    def per_cell(self, bags: Bags) -> tuple[dict[str, np.ndarray], dict[str, sp.csr_matrix]]:
        """Weights of the views as columns, and the graph."""
        placed = self._place(bags)
        weights = {f"weight_{k}": v.to_numpy() for k, v in self._weights(placed).items()}
        return weights, {"connectivities": _among_themselves(placed)}

    def _weights(self, placed: Placed) -> pd.DataFrame:
        net: Any = self.network_
        return pd.DataFrame(placed.weights, columns=list(net.blocks.names))

    @torch.inference_mode()
    def _place(self, X: Any) -> Placed:
        network: Any = self.network_
        parts = [network.place(batch) for batch in self.pieces(self._read_new(X))]
        return Placed(
            np.concatenate([p.weights for p in parts]),
            sp.csr_matrix(sp.vstack([p.edges for p in parts])),
            np.concatenate([p.own for p in parts]),
        )

    def _fit(self, network: nn.Module, training: Training) -> None:
        assert isinstance(network, WNNNet)
        n = training.bags.n_instances
        if n < self.neighbors + 3:
            raise InputError(f"wnn: neighbors={self.neighbors} need more than {n} cells.")
        network.blocks.fit(training)
        for i, table in enumerate(whole_views(network, training, lambda b: network.blocks(b)[0])):
            k = max(1, min(self.components, table.shape[1] - 1, n - 1))
            network.keep(f"axes_{i}", PCA(k, random_state=self.seed).fit(table).components_.T)
            network.keep(f"center_{i}", table.mean(0, dtype=np.float64))
        points = whole_views(network, training, network.points)
        found = WeightedNeighbors.of(points, max(1, self.neighbors - 1), self.neighbors + 1,
                                     min(_CANDIDATES, n - 2))  # fmt: skip
        network.take(found, *spectral(found.graph, self.width))


def _among_themselves(placed: Placed) -> sp.csr_matrix:
    """(m, m) the edges that lead to cells which are among these, in both directions."""
    known = np.flatnonzero(placed.own >= 0)
    m = len(placed.own)
    # the training cell -> where it is among these
    at = sp.csr_matrix(
        (np.ones(len(known), np.float32), (placed.own[known], known)),
        shape=(placed.edges.shape[1], m),
    )
    there = sp.csr_matrix(placed.edges @ at)
    there.setdiag(0)  # of a cell that is given twice
    out = sp.csr_matrix(there.maximum(there.T), dtype=np.float32)
    out.eliminate_zeros()
    out.sort_indices()
    return out


def spectral(graph: sp.csr_matrix, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading eigenvectors of the normalised adjacency, and their eigenvalues.

    Parameters
    ----------
    graph
        (n, n) symmetric, not negative.
    width
        Eigenvectors, at most n - 1; the trivial one, the root of the degrees, is left out.

    Returns
    -------
    tuple
        (n, width) float64 of length 1, the largest entry of a column by magnitude positive; and
        (width,) eigenvalues, descending.
    """
    n = graph.shape[0]
    k = min(width, n - 1)
    degree = np.asarray(graph.sum(1), dtype=np.float64).reshape(-1)
    inverse = sp.diags(1 / np.sqrt(np.maximum(degree, 1e-12)))
    walk = inverse @ graph.astype(np.float64) @ inverse
    trivial = np.sqrt(degree / degree.sum())
    # moved from eigenvalue 1 to -1, below all others; where the graph falls apart, only this one
    # of the vectors of eigenvalue 1 goes
    if n <= _DENSE or k > n // 3:
        whole = walk.toarray() - 2 * np.outer(trivial, trivial)
        values, vectors = scipy.linalg.eigh(whole, subset_by_index=(n - k, n - 1))
    else:
        from scipy.sparse.linalg import LinearOperator, eigsh

        operator = LinearOperator(
            (n, n), dtype=np.float64, matvec=lambda x: walk @ x - 2 * trivial * (trivial @ x)
        )
        start = np.random.default_rng(0).normal(size=n)  # ARPACK would draw its own
        values, vectors = eigsh(operator, k, which="LA", v0=start)
    order = np.argsort(-values)
    values, vectors = values[order], vectors[:, order]
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(k)])
    return np.asarray(vectors * signs), values


class WNNNet(nn.Module):
    """What :class:`WNN` found, as buffers that take the length of what is loaded into them.

    Parameters
    ----------
    shape
        Of the views.
    neighbors
        Of a cell in the joint graph.
    clip
        Standardised values beyond it are cut.
    """

    basis: Tensor  # (n, width) eigenvectors times sqrt(n); 0 where the eigenvalue is below 0
    near: Tensor  # (n_views, n, k) the nearest cells in each view
    graph_data: Tensor  # (n_edges,) of a CSR matrix
    graph_indices: Tensor  # (n_edges,)
    graph_indptr: Tensor  # (n + 1,)

    def __init__(self, shape: Shape, *, neighbors: int, clip: float | None) -> None:
        super().__init__()
        self.blocks, self.neighbors = Blocks(shape.views, clip=clip), neighbors
        floats = ["basis", "graph_data", *_ARRAYS]
        for i in range(len(shape.views)):
            floats += [f"axes_{i}", f"center_{i}", f"points_{i}"]
        for name in floats:
            self.register_buffer(name, torch.zeros(0))
        for name in ("near", "graph_indices", "graph_indptr"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64))

    def keep(self, name: str, value: np.ndarray) -> None:
        """Fill a buffer with an array of any shape."""
        old = getattr(self, name)
        setattr(self, name, torch.as_tensor(np.ascontiguousarray(value)).to(old))

    def take(self, found: WeightedNeighbors, vectors: np.ndarray, values: np.ndarray) -> None:
        """Keep the neighbours of the training cells, and the eigenvectors of their graph.

        (n, width) and (width,) as :func:`spectral` gives them.
        """
        for i, x in enumerate(found.points):
            self.keep(f"points_{i}", x)
        for name in (*_ARRAYS, "near"):
            self.keep(name, getattr(found, name))
        for name in ("data", "indices", "indptr"):
            self.keep(f"graph_{name}", getattr(found.graph, name))
        self.keep("basis", vectors * (values > 0) * np.sqrt(len(vectors)))

    def reference(self) -> WeightedNeighbors:
        """The training cells, among which others are placed."""
        held = {k: v.cpu().numpy() for k, v in self._buffers.items() if v is not None}
        n = len(held["basis"])
        graph = sp.csr_matrix(
            (held["graph_data"], held["graph_indices"], held["graph_indptr"]), shape=(n, n)
        )
        points = tuple(held[f"points_{i}"] for i in range(len(self.blocks.names)))
        arrays = {name: held[name] for name in (*_ARRAYS, "near")}
        return WeightedNeighbors(points=points, graph=graph, joint=self.neighbors + 1,
                                 candidates=min(_CANDIDATES, n - 2), **arrays)  # fmt: skip

    def points(self, batch: Batch) -> list[Tensor]:
        """Principal components of each view, (n, k) float32, each row of length 1 (0 at the mean).

        In float64, so that a cell has the same ones in every batch.
        """
        out = []
        for i, x in enumerate(self.blocks(batch)[0]):
            center, axes = getattr(self, f"center_{i}"), getattr(self, f"axes_{i}")
            rows = (x.double() - center.double()) @ axes.double()
            length = rows.norm(dim=1, keepdim=True)
            out.append((rows / length.clamp(min=1e-12)).float())
        return out

    def place(self, batch: Batch) -> Placed:
        """Where the cells of a batch lie among the training cells."""
        return self.reference().place([x.cpu().numpy() for x in self.points(batch)])

    def forward(self, batch: Batch) -> Output:
        """Code of each cell, (n, width), as ``raw``: its neighbours' eigenvectors, summed."""
        reference, edges = self.reference(), self.place(batch).edges
        degrees = [np.asarray(a.sum(1), dtype=np.float64).ravel() for a in (edges, reference.graph)]
        here, there = (sp.diags(1 / np.sqrt(np.maximum(d, 1e-12))) for d in degrees)
        codes = here @ edges @ there @ self.basis.cpu().numpy()
        return Output(torch.as_tensor(codes).to(self.basis))

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        if f"{prefix}basis" not in state:
            raise InputError(
                "this wnn was saved by an earlier smalti, which could place no new cells and kept "
                "less than that takes: fit it again."
            )
        for name, empty in list(self._buffers.items()):
            if empty is not None and f"{prefix}{name}" in state:  # the number of cells is known now
                setattr(self, name, empty.new_zeros(state[f"{prefix}{name}"].shape))
        super()._load_from_state_dict(state, prefix, *args)


__all__ = ["WNN", "WNNNet", "spectral"]
