"""What bounds a step of MixMIL: each part beside what its arithmetic and its memory take at least.

    OMP_NUM_THREADS=1 python benchmarks/mixmil_roofline.py

The step of ``bench.py mixmil``: 64 bags of 50 x 30, 10 outputs, 8 draws. Microseconds of the
processor, in turns, medians. The least of a part is the greater of its operations at the rate of a
large product and its bytes, were it one pass, at the rate of a copy of its size, which the cache
holds; exponentials go at their own rate, measured. Small operations, of less than 100,000 numbers,
are counted as PyTorch is asked for them, backward too; one costs what it does in a chain of
products of 64 x 80 numbers, counted alike. The rest of a step is these, and Python.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import smalti as sm
from rows import mixmil as row
from smalti import segment
from smalti.core import training
from smalti.core.stage import Gradient
from smalti.core.store import Store

BAGS = 64


class Count(TorchDispatchMode):
    """How many operations are asked for, by the most numbers of a tensor that they touch."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in (*args, out) if isinstance(t, torch.Tensor)]
            self.sizes.append(max((t.numel() for t in tensors), default=0))
        return out


def step() -> Callable[[], object]:
    """A step of the row's method on its first 64 bags."""
    x, y = row.data(1.0)
    x, y = x[:BAGS], y[:BAGS]
    names = [f"y{j}" for j in range(row.OUTPUTS)]
    bags = sm.Bags.from_rows(
        x.reshape(-1, row.WIDTH), np.repeat(np.arange(BAGS), row.LENGTH),
        bag=pd.DataFrame(y, columns=names), target=names, kind="binomial",
    )  # fmt: skip
    method = sm.mil.MixMIL(epochs=1, draws=row.DRAWS, accelerator="cpu", progress=False)
    fabric = training.make_fabric("cpu", 1, "32-true")
    fit = method.prepare(bags, np.arange(BAGS), fabric.device)
    fit.network.mean.data.normal_(generator=torch.Generator().manual_seed(0))
    stage = next(s for s in method.plan(None) if isinstance(s, Gradient))
    runner = training.Runner(fabric, stage, Store(bags, fabric.device, torch.float32), fit)
    units = np.arange(BAGS)
    return lambda: runner.step(units)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=20, help="in a turn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    n, q, k = BAGS * row.LENGTH, row.WIDTH, row.OUTPUTS * row.DRAWS
    x, score, value, grad = (torch.randn(n, d) for d in (q, k, k, k))
    maps, pull = torch.randn(q, k), torch.randn(BAGS, k)
    slices = segment.Segments.of(torch.arange(0, n + 1, row.LENGTH))
    moving = [t.clone().requires_grad_() for t in (score, value)]
    few = torch.randn(BAGS, k, requires_grad=True)
    square, other = torch.randn(1536, 1536), torch.empty_like(score)
    whole = step()
    with Count() as count:
        whole()
    small = sum(size < 1e5 for size in count.sizes)

    def attend() -> None:
        torch.autograd.grad(segment.attend(*moving, slices), moving, pull)

    def chain() -> None:
        end = few
        for _ in range(20):
            end = end * 0.9
        torch.autograd.grad(end, few, pull)

    with Count() as chained:
        chain()
    ways: dict[str, Callable[[], object]] = {
        "step": whole,
        "products": lambda: (x @ maps, x @ maps),
        "their gradients": lambda: (x.T @ grad, x.T @ grad),
        "attention, and its gradient": attend,
        "large": lambda: square @ square,
        "copy": lambda: other.copy_(score),
        "exp": lambda: torch.exp2(score, out=other),
        "chain": chain,
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(args.rounds + 1):
        for way, run in ways.items():
            repeats = 1 if way == "large" else args.repeats
            began = time.process_time()
            for _ in range(repeats):
                run()
            if turn:  # the first makes what is made once
                found[way].append((time.process_time() - began) / repeats * 1e6)
    took = {way: statistics.median(some) for way, some in found.items()}
    rate, speed = 2 * 1536**3 / took["large"], 8 * n * k / took["copy"]  # a microsecond
    flops, wide, narrow = 4 * n * q * k, 4 * n * k, 4 * n * q
    least = {
        "products": max(flops / rate, 2 * (wide + narrow) / speed),
        "their gradients": max(flops / rate, 2 * (wide + narrow) / speed),
        # scores and values are read, shares and products written; and all of it once more
        "attention, and its gradient": max(took["exp"], 4 * wide / speed) + 4 * wide / speed,
    }
    rest = took["step"] - sum(took[part] for part in least)
    each = took["chain"] / len(chained.sizes)
    print(f"{rate / 1e3:.0f} GFLOP/s of a large product, {speed / 1e3:.0f} GB/s of a copy in the "
          f"cache, {took['exp'] / n / k * 1e3:.2f} ns an exponential, {each:.1f} microseconds a "
          "small operation.\n")  # fmt: skip
    print("| part | MFLOP | MB | least, us | alone, us |\n|---|---|---|---|---|")
    for part, floor in least.items():
        work = "" if part.startswith("att") else f"{flops / 1e6:.1f}"
        moved = 8 * wide if part.startswith("att") else 2 * (wide + narrow)
        print(f"| {part} | {work} | {moved / 1e6:.1f} | {floor:.0f} | {took[part]:.0f} |")
    print(f"| {small} small operations |  |  | {small * each:.0f} | {rest:.0f} (the rest) |")
    print(f"| step |  |  | {sum(least.values()) + small * each:.0f} | {took['step']:.0f} |")


if __name__ == "__main__":
    main()
