"""Losses over genes, side by side in one run: ratios, on whatever machine this is.

    python benchmarks/gene_loss.py covariance   # (a) by Gram matrices against G x G matrices
    python benchmarks/gene_loss.py groups       # (b) K groups in one loss against K losses
    python benchmarks/gene_loss.py exact        # (c) relative error near the optimum, in float32

Calls take turns, so that what else the machine does falls on both; the best of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from smalti.expression.losses.composite import CompositeLoss, covariance_loss

Step = Callable[[], object]


def naive(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    gap = torch.cov(pred.T) - torch.cov(target.T)
    return gap.square().sum() / pred.shape[1] ** 2


def known_gram(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """|PP'|^2 + |YY'|^2 - 2 |PY'|^2, which subtracts large numbers."""
    p, y = pred - pred.mean(0), target - target.mean(0)
    total = (p @ p.T).square().sum() + (y @ y.T).square().sum() - 2 * (p @ y.T).square().sum()
    return total / (len(p) - 1) ** 2 / pred.shape[1] ** 2


def step(loss: Callable[..., torch.Tensor], pred: torch.Tensor, target: torch.Tensor) -> Step:
    leaf = pred.clone().requires_grad_()
    return lambda: torch.autograd.grad(loss(leaf, target), leaf)


def turns(calls: dict[str, Step], repeats: int) -> dict[str, float]:
    """Best milliseconds of each."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - began))
    return best


def show(title: str, times: dict[str, float], ours: str) -> None:
    print(title)
    for name, ms in times.items():
        print(f"  {name:24} {ms:9.3f} ms   {ms / times[ours]:6.1f} x")


def covariance(tiles: int, genes: int, repeats: int) -> None:
    pred, target = torch.randn(2, tiles, genes)
    loss = covariance_loss(pred, target), naive(pred, target)
    print(f"B={tiles}, G={genes}; values {loss[0]:.9g} and {loss[1]:.9g}")
    forward = {"Gram": lambda: covariance_loss(pred, target), "naive": lambda: naive(pred, target)}
    show("forward", turns(forward, repeats), "Gram")
    both = {"Gram": step(covariance_loss, pred, target), "naive": step(naive, pred, target)}
    show("forward and backward", turns(both, repeats), "Gram")


def groups(tiles: int, genes: int, repeats: int) -> None:
    pred, target = torch.randn(2, tiles, genes)
    order = np.random.default_rng(0).permutation(genes)
    for k in (5, 60):
        parts = np.array_split(order, k)
        whole = CompositeLoss(0.4, 0.3)
        grouped = CompositeLoss(0.4, 0.3, groups=parts)
        index = [torch.as_tensor(p) for p in parts]

        def apart(
            p: torch.Tensor, y: torch.Tensor, index: list = index, loss: CompositeLoss = whole
        ) -> torch.Tensor:
            return torch.stack([loss(p[:, i], y[:, i]) for i in index]).mean()

        calls = {"no groups": step(whole, pred, target), "groups": step(grouped, pred, target),
                 "separate losses": step(apart, pred, target)}  # fmt: skip
        show(f"{k} groups, forward and backward", turns(calls, repeats), "groups")


def exact(tiles: int, genes: int, repeats: int) -> None:
    target = torch.randn(tiles, genes, dtype=torch.float64)
    print("relative error of the value in float32, prediction = target + noise")
    for noise in (1e-1, 1e-2, 1e-3):
        pred = target + noise * torch.randn_like(target)
        right = covariance_loss(pred, target)
        errors = [float(abs(f(pred.float(), target.float()) / right - 1))
                  for f in (covariance_loss, naive, known_gram)]  # fmt: skip
        print("  noise {:g}: ours {:.1e}, naive {:.1e}, PP' - YY' {:.1e}".format(noise, *errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("covariance", "groups", "exact"))
    parser.add_argument("--tiles", type=int, default=64)
    parser.add_argument("--genes", type=int, default=3467)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    globals()[args.what](args.tiles, args.genes, args.repeats)


if __name__ == "__main__":
    main()
