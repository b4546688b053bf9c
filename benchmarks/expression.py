"""Ridge path against scikit-learn's RidgeCV, and one block head against separate networks.

``python benchmarks/expression.py [--repeats 3]``. Both sides run in turn in one process; the ratio
of the medians is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from smalti.nn.gene_head import GeneHead
from smalti.solve.ridge import ridge_path, tune

GENES, ALPHAS = 3467, tuple(float(a) for a in np.logspace(-1, 6, 20))


def race(*sides: Callable[[], object], repeats: int) -> list[float]:
    """Median seconds of each side, run in turn."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for own, side in zip(times, sides, strict=True):
            start = time.perf_counter()
            side()
            own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in times]


def ridge(n: int, d: int, donors: int, genes: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / d**0.5
    y = x[:, :20] @ rng.normal(size=(min(20, d), genes)) + 5 * rng.normal(size=(n, genes))
    groups = np.arange(n) % donors
    folds = list(LeaveOneGroupOut().split(x, groups=groups))

    def ours() -> tuple[float, np.ndarray]:
        alpha = ALPHAS[int(tune(x, y, groups, ALPHAS).argmin())]
        return alpha, ridge_path(x, y).solution(alpha)[0]

    def by_donor() -> float:
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS, cv=folds))
        return float(model.fit(x, y)[-1].alpha_)

    def by_tile() -> float:  # its closed form, which leaves single tiles out: neighbours leak
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS))
        return float(model.fit(x, y)[-1].alpha_)

    seconds = race(ours, by_donor, by_tile, repeats=repeats)
    print(
        f"ridge, {n} tiles x {d} features, {genes} genes, {len(ALPHAS)} penalties, {donors} donors"
    )
    print(f"  smalti, leave one donor out        {seconds[0]:8.2f} s   chose {ours()[0]:.3g}")
    peers = {
        "RidgeCV(cv=leave one donor out)": (seconds[1], by_donor()),
        "RidgeCV(), leaves tiles out    ": (seconds[2], by_tile()),
    }
    for name, (own, alpha) in peers.items():
        print(f"  {name}    {own:8.2f} s   {own / seconds[0]:.1f}x   chose {alpha:.3g}")


def head(k: int, n: int, genes: int, repeats: int) -> None:
    """A trunk that costs something (a small convolutional net) under K heads."""
    from smalti.nn.tile_net import TileNet

    torch.manual_seed(0)
    groups = tuple(int(g) for g in np.random.default_rng(0).integers(k, size=genes))
    trunk, one = TileNet(), GeneHead(160, groups, 128)
    parts = [(TileNet(), GeneHead(160, (0,) * groups.count(g), 128)) for g in range(k)]
    tiles = torch.rand(n, 3, 112, 112)

    def together() -> None:
        one(trunk(tiles))[0].square().mean().backward()

    def apart() -> None:
        for net, own in parts:
            own(net(tiles))[0].square().mean().backward()

    seconds = race(together, apart, repeats=repeats)
    print(f"{k} groups of {genes} genes, {n} tiles of 112 px, forward and backward")
    print(f"  one trunk, one block head          {seconds[0]:8.2f} s")
    print(f"  {k} networks                         {seconds[1]:8.2f} s   "
          f"{seconds[1] / seconds[0]:.1f}x")  # fmt: skip


def main() -> None:
    """Ridge against scikit-learn's, and the block head against networks apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of all sizes; for a trial")
    args = parser.parse_args()
    genes, n, width, few = (int(args.share * size) for size in (GENES, 3000, 512, 800))
    ridge(n, width, 8, genes, args.repeats)
    ridge(few, 2 * width, 5, genes, args.repeats)
    head(5, max(2, int(64 * args.share)), genes, args.repeats)


if __name__ == "__main__":
    main()
