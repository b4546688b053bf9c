"""The penalties of bilinear ridge: the whole grid of a split side by side with pair after pair.

    python benchmarks/bilinear_grid.py
    python benchmarks/bilinear_grid.py --features 1280 --genes 5000 --grid 25

Both start from the same decompositions and give the same errors (checked). "pair by pair" makes
the products of matrices of each pair of penalties, as smalti did before; "grid" makes one for each
penalty of the tiles. It is timed on a grid of 5 x 5 and counted up to the grid asked for, as the
whole would take minutes. "fit" is the whole method, tuning and solution, at that grid.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import smalti as sm
from smalti.solve.bilinear import BilinearPath, Side

FEW = 5  # penalties of a side where pairs are gone through


def pairs(path: BilinearPath, x: np.ndarray, t: np.ndarray, y: np.ndarray,
          alphas: np.ndarray) -> np.ndarray:  # fmt: skip
    """(len(alphas),) squared, by products of matrices for each pair."""
    xs, ts = path.tiles.scores(x), path.genes.scores(t)
    xs -= xs.mean(0)
    y = y - y.mean(0)
    live = y.any(0)
    y, ts = y[:, live], ts[live]
    over = 1 / np.sqrt((y**2).sum(0))
    y = y * over
    ts = np.hstack([ts, np.ones((len(ts), 1))]) * over[:, None]
    xx, tt, cross = xs.T @ xs, ts.T @ ts, xs.T @ y @ ts
    inner, out = np.hstack([path.inner, path.common[:, None]]), np.empty((len(alphas),) * 2)
    for i, a in enumerate(alphas):
        rows = path.tiles.shrunk(a)[:, None] * inner
        for j, b in enumerate(alphas):
            m = rows * np.append(path.genes.shrunk(b), 1.0)
            out[i, j] = len(ts) - 2 * (cross * m).sum() + ((xx @ m @ tt) * m).sum()
    return out / len(ts)


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Best seconds of some runs, and what came out."""
    best, out = np.inf, None
    for _ in range(repeats):
        start = time.perf_counter()
        out = call()
        best = min(best, time.perf_counter() - start)
    return best, out


def simulated(args: argparse.Namespace) -> tuple[sm.Bags, sm.genes.GeneVectors]:
    """Slides with features as correlated as those of a network, and genes with vectors."""
    rng = np.random.default_rng(0)
    n, g = args.slides * args.tiles, args.genes
    fall = np.arange(1, args.features + 1) ** -0.7
    x = (rng.normal(size=(n, args.features)) * fall) @ np.linalg.qr(
        rng.normal(size=(args.features, args.features)))[0]  # fmt: skip
    t = rng.normal(size=(g, args.width))
    low = rng.normal(size=(args.features, 8)) @ rng.normal(size=(8, args.width))
    mean = np.exp(0.1 * (x @ low @ t.T) / np.std(x @ low @ t[:50].T) + rng.normal(size=g) - 1)
    names = tuple(f"G{i}" for i in range(g))
    bags = sm.Bags.from_rows(
        {"X_net": x.astype(np.float32), "counts": rng.poisson(mean).astype(np.float32)},
        np.repeat(np.arange(args.slides), args.tiles), features={"counts": names},
    )  # fmt: skip
    return bags, sm.genes.GeneVectors(names, t.astype(np.float32), "simulated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=4)
    parser.add_argument("--tiles", type=int, default=200, help="of a slide")
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--width", type=int, default=256, help="of the vectors of genes")
    parser.add_argument("--grid", type=int, default=25, help="penalties of a side")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    bags, vectors = simulated(args)
    x, y = bags.table("X_net").astype(float), np.log1p(bags.table("counts").astype(float))
    t, out, hidden = vectors.x.astype(float), bags.index == 0, np.arange(args.genes) % 3 == 0
    path = BilinearPath(Side.of(x[~out], standardize=True), Side.of(t[~hidden], standardize=False),
                        y[~out][:, ~hidden])  # fmt: skip
    left = x[out], t[hidden], y[out][:, hidden]
    few, many = np.logspace(-1, 7, FEW), np.logspace(-1, 7, args.grid)
    slow, one = timed(lambda: pairs(path, *left, few), args.repeats)
    _, two = timed(lambda: path.errors(*left, few, few), 1)
    quick, _ = timed(lambda: path.errors(*left, many, many), args.repeats)
    np.testing.assert_allclose(one, two, rtol=1e-8)
    whole = slow * (args.grid / FEW) ** 2
    model = sm.make("bilinear", vectors=vectors, x="X_net", alphas=tuple(many), progress=False)
    fit, _ = timed(lambda: model.fit(bags), 1)
    print(f"{len(x)} tiles, {x.shape[1]} features, {args.genes} genes, {t.shape[1]} numbers a gene")
    print(f"one split, {args.grid} x {args.grid} penalties")
    print(f"  pair by pair {whole:8.2f} s ({slow:.2f} s for {FEW} x {FEW})")
    print(f"  grid         {quick:8.2f} s   {whole / quick:.0f}x as fast")
    print(f"fit, {3 * args.slides} splits: {fit:.1f} s; penalties "
          f"{', '.join(f'{p:.3g}' for p in model.network_.penalties.tolist())}")  # fmt: skip


if __name__ == "__main__":
    main()
