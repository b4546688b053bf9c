"""Weighted nearest neighbours: ours beside muon's on the same points, time and agreement.

    python benchmarks/weighted_neighbors.py --cells 1000
    SMALTI_DATA=... python benchmarks/weighted_neighbors.py --citeseq
    python benchmarks/weighted_neighbors.py --cells 20000 --alone     # ours only

muon is asked twice: given neighbours as scanpy leaves them, by distance, and sorted by number, as
its Jaccard index takes for granted. Its searches are approximate.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np

import smalti as sm
from smalti.datasets import planted_modalities
from smalti.solve.weighted_neighbors import WeightedNeighbors

NEAR, CANDIDATES = 20, 200


def points_of(bags: sm.Bags) -> list[np.ndarray]:
    """Principal components of length 1, as WNN has them."""
    model = sm.integrate.WNN(neighbors=NEAR, progress=False).fit(bags)
    return list(model.network_.reference().points)


def muon_of(points: list[np.ndarray], *, ordered: bool) -> tuple[np.ndarray, object, float]:
    """muon's weights, its connectivities and its seconds."""
    import anndata
    import muon
    import scanpy

    tables = {}
    for i, x in enumerate(points):
        tables[f"view{i}"] = table = anndata.AnnData(x)
        table.obs_names = [str(j) for j in range(len(x))]
        table.var_names = [f"{i}_{j}" for j in range(x.shape[1])]
        scanpy.pp.neighbors(table, n_neighbors=NEAR, use_rep="X", transformer="sklearn")
        if ordered:
            table.obsp["distances"].sort_indices()
    both = muon.MuData(tables)
    began = time.perf_counter()
    muon.pp.neighbors(both, n_neighbors=NEAR, n_multineighbors=min(CANDIDATES, both.n_obs - 2))
    seconds = time.perf_counter() - began
    return both.obs[[f"{k}:mod_weight" for k in tables]].to_numpy(), both.obsp["connectivities"], \
        seconds  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--cells", type=int, default=1000, help="simulated")
    ask.add_argument("--citeseq", action="store_true", help="the real set instead")
    ask.add_argument("--alone", action="store_true", help="ours only")
    args = ask.parse_args()
    if args.citeseq:
        bags = sm.read(Path(os.environ["SMALTI_DATA"]) / "citeseq/pbmc10k_citeseq.h5ad")
    else:
        bags = planted_modalities(args.cells, counts=True, effect=8.0)
    points = points_of(bags)
    began = time.perf_counter()
    ours = WeightedNeighbors.of(points, NEAR - 1, NEAR + 1, min(CANDIDATES, len(points[0]) - 2))
    seconds = time.perf_counter() - began
    print(f"ours: {len(points[0]):,} cells in {seconds:.2f} s; weights {ours.weights.min():.3f} to "
          f"{ours.weights.max():.3f}, s.d. {ours.weights[:, 0].std():.3f}")  # fmt: skip
    for ordered in () if args.alone else (True, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights, graph, theirs = muon_of(points, ordered=ordered)
        shared = graph.multiply(ours.graph).count_nonzero() / ours.graph.nnz
        print(f"muon, {'sorted' if ordered else 'as scanpy leaves them'}: {theirs:.1f} s, "
              f"{theirs / seconds:.0f} times ours; weights differ by "
              f"{np.abs(weights - ours.weights).mean():.4f}, their correlation "
              f"{np.corrcoef(weights[:, 0], ours.weights[:, 0])[0, 1]:.3f}; edges shared "
              f"{shared:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
