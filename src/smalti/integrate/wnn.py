"""Weighted nearest neighbours: one graph of cells from several modalities, made by muon."""

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

from smalti.batch import Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.io.tables import plain_anndata
from smalti.nn.modalities import Blocks, whole_views
from smalti.system.extras import absent, calling, global_numpy_seed, need

_CANDIDATES = 200  # neighbours in each modality among which the joint ones are sought (Seurat's)
_DENSE = 500  # cells up to which eigenvectors are computed of the whole matrix


class WNN(Integration):
    """A graph of cells that trusts, cell by cell, the modality whose neighbours predict it best.

    Each view is standardised and reduced to ``components`` principal components, the rows scaled
    to length 1 as in Seurat; ``muon.pp.neighbors`` then weights the modalities in each cell (Hao
    et al. 2021, STAR Methods) and makes the graph of the ``neighbors`` nearest cells by the
    weighted distance, with UMAP's connectivities.

    The graph is the result, ``graph_``; cluster that. What stands for it as an embedding are the
    leading eigenvectors of D^-1/2 A D^-1/2 without the trivial one (A: connectivities, D:
    their sums), from which UMAP starts too, here times their eigenvalue and the root of the
    number of cells, so that noisy directions count less in distances.

    It embeds the cells that it was fitted on and no others. muon compiles its distance anew in
    every fit, which takes some 15 s however few the cells.

    Attributes
    ----------
    graph_
        (n_cells, n_cells) CSR float32, symmetric: connectivities in [0, 1].
    modality_weights_
        (n_cells, n_views) DataFrame float32, rows sum to 1.

    Raises
    ------
    InputError
        In ``fit``: if muon is not installed, or there are too few cells.
    """

    name: ClassVar[str] = "wnn"
    reference: ClassVar[str] = "Hao et al. (2021), Cell 184:3573-3587"
    cite: ClassVar[tuple[str, ...]] = ("hao2021", "bredikhin2022")
    reconstructs: ClassVar[bool] = False
    transductive: ClassVar[bool] = True
    missing: ClassVar[bool] = False

    components: Count = 30  # of each view, at most its features - 1
    neighbors: Count = 20  # of a cell, in each view and in the joint graph
    width: Count = 64  # eigenvectors
    clip: Positive | None = 10.0  # standardised values beyond it are cut

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot run here (muon is not installed), or None."""
        return absent("muon")

    def network(self, shape: Shape) -> nn.Module:
        """Buffers that the fit fills."""
        return WNNNet(shape, clip=self.clip)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One call of the library."""
        yield Sweep(step=self._fit, name="muon")

    @classmethod
    def example(cls) -> WNN:
        """Few components, and wide neighbourhoods that a few hundred cells can tell apart by."""
        return cls(components=10, neighbors=60, width=8)

    @property
    def graph_(self) -> sp.csr_matrix:
        """Connectivities of the cells in the order of the bags' instances, (n_cells, n_cells)."""
        check_is_fitted(self)
        net: Any = self.network_
        n = len(net.codes)
        parts = (net.graph_data, net.graph_indices, net.graph_indptr)
        return sp.csr_matrix(tuple(p.cpu().numpy() for p in parts), shape=(n, n))

    @property
    def modality_weights_(self) -> pd.DataFrame:
        """How much each view counts in each cell."""
        check_is_fitted(self)
        net: Any = self.network_
        return pd.DataFrame(net.weights.cpu().numpy(), columns=list(net.blocks.names))

    def _fit(self, network: nn.Module, training: Training) -> None:
        assert isinstance(network, WNNNet)
        names, n = network.blocks.names, training.bags.n_instances
        if n < self.neighbors + 3:
            raise InputError(f"wnn: neighbors={self.neighbors} need more than {n} cells.")
        network.blocks.fit(training)
        tables = whole_views(network, training, lambda batch: network.blocks(batch)[0])
        points = [unit_components(t, self.components, self.seed) for t in tables]
        graph, weights = weighted_graph(
            dict(zip(names, points, strict=True)), self.neighbors, self.seed
        )
        codes = spectral(graph, self.width)
        for key, value in (("codes", codes), ("weights", weights), ("graph_data", graph.data)):
            network.register_buffer(key, torch.as_tensor(value.copy()).to(getattr(network, key)))
        network.graph_indices = torch.as_tensor(graph.indices.astype(np.int64))
        network.graph_indptr = torch.as_tensor(graph.indptr.astype(np.int64))


def unit_components(table: np.ndarray, components: int, seed: int) -> np.ndarray:
    """(n, k) principal components of a view, each row of length 1 (or 0, if it is the mean)."""
    k = max(1, min(components, table.shape[1] - 1, len(table) - 1))
    rows = PCA(k, random_state=seed).fit_transform(table)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def weighted_graph(
    points: dict[str, np.ndarray], neighbors: int, seed: int
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Weighted nearest neighbours by muon.

    Parameters
    ----------
    points
        View name -> (n, k) coordinates of the same cells.
    neighbors
        Of a cell.
    seed
        Of muon's approximate search.

    Returns
    -------
    tuple
        (n, n) connectivities and (n, n_views) weights of the views, rows sum to 1.
    """
    with calling("muon"), global_numpy_seed(seed):  # muon warns when it is imported, too
        muon, scanpy = need("muon"), need("scanpy")
        tables = {}
        for i, rows in enumerate(points.values()):
            data = plain_anndata(rows.astype(np.float32), f"{i}_")
            # exact: scanpy 1.11 fails on what the approximate search of pynndescent 0.7 returns
            scanpy.pp.neighbors(data, n_neighbors=neighbors, use_rep="X", random_state=seed,
                                transformer="sklearn")  # fmt: skip
            tables[f"view{i}"] = data  # muon joins names by ":", which a view's may hold
        cells = muon.MuData(tables)
        muon.pp.neighbors(
            cells, n_neighbors=neighbors, n_bandwidth_neighbors=neighbors,
            n_multineighbors=min(_CANDIDATES, cells.n_obs - 2), random_state=seed,
        )  # fmt: skip
    weights = cells.obs[[f"{k}:mod_weight" for k in tables]].to_numpy()
    return sp.csr_matrix(cells.obsp["connectivities"]), weights


def spectral(graph: sp.csr_matrix, width: int) -> np.ndarray:
    """Leading eigenvectors of the normalised adjacency, times eigenvalue and sqrt(n).

    Parameters
    ----------
    graph
        (n, n) symmetric, not negative.
    width
        Eigenvectors, at most n - 1; the trivial one, the root of the degrees, is left out.

    Returns
    -------
    np.ndarray
        (n, width) float64; the largest entry of a column by magnitude is positive.
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
    return np.asarray(vectors * signs * np.maximum(values, 0) * np.sqrt(n))


class WNNNet(nn.Module):
    """What :class:`WNN` found, as buffers that take the length of what is loaded into them.

    Parameters
    ----------
    shape
        Of the views.
    clip
        Standardised values beyond it are cut.
    """

    codes: Tensor  # (n, width)
    weights: Tensor  # (n, n_views)
    graph_data: Tensor  # (n_edges,) of a CSR matrix
    graph_indices: Tensor  # (n_edges,)
    graph_indptr: Tensor  # (n + 1,)

    def __init__(self, shape: Shape, *, clip: float | None) -> None:
        super().__init__()
        self.blocks = Blocks(shape.views, clip=clip)
        for name in ("codes", "weights", "graph_data"):
            self.register_buffer(name, torch.zeros(0))
        for name in ("graph_indices", "graph_indptr"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64))

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        for name, empty in list(self._buffers.items()):
            if empty is not None and f"{prefix}{name}" in state:  # the number of cells is known now
                setattr(self, name, empty.new_zeros(state[f"{prefix}{name}"].shape))
        super()._load_from_state_dict(state, prefix, *args)


__all__ = ["WNN", "WNNNet", "spectral", "unit_components", "weighted_graph"]
