"""A step of one bag beside a plain PyTorch loop: microseconds of the processor, in turns.

    OMP_NUM_THREADS=1 python benchmarks/step.py

102 bags like Musk2, gated attention, Adam as PyTorch makes it and its fused form. Medians (least to
most). Other measurements of the step:

    OMP_NUM_THREADS=1 python benchmarks/step.py --large      # GFLOP/s in 32 and 16 bits
    OMP_NUM_THREADS=1 python benchmarks/step.py --compile    # with torch.compile, twice

``--large``: a step of 38,400 x 1,024 and the bare product of its attention. ``--compile``: 16 bags
a step of the same two kinds, the network compiled for any length, in a process with an empty cache
of code and in one that finds it; it needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

import smalti as sm
from peers import Gated, loop_step
from rows import epoch_musk2 as musk2
from smalti.core import training
from smalti.core.stage import Gradient
from smalti.core.store import Store
from smalti.system.progress import Progress


def runner_of(
    arrays: list[np.ndarray], labels: np.ndarray, *, epochs: int = 1, precision: str = "32-true",
    batch_size: int = 1,
) -> training.Runner:  # fmt: skip
    bags = sm.Bags.from_list(arrays, labels)
    method = sm.mil.ABMIL(gated=True, encoder="none", standardize=False,
                          attention_width=musk2.HIDDEN, accelerator="cpu")  # fmt: skip
    fabric = training.make_fabric("cpu", 1, precision)
    store = Store(bags, fabric.device, torch.float32)
    fit = method.prepare(bags, np.arange(len(bags)), fabric.device)
    stage = Gradient(epochs=epochs, lr=1e-4, batch_size=batch_size, max_instances=10**9)
    return training.Runner(fabric, stage, store, fit)


def ours(arrays: list[np.ndarray], labels: np.ndarray, epochs: int) -> Callable[[], object]:
    first = runner_of(arrays, labels, epochs=epochs)
    return lambda: training.descend(
        training.Runner(first.fabric, first.stage, first.store, first.fit), progress=Progress(False)
    )


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of the processor of each, after a first time."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, run in ways.items():
            began = time.process_time()
            run()
            if turn:
                found[way].append(time.process_time() - began)
    return found


def slides(share: float) -> tuple[list[np.ndarray], np.ndarray]:
    return musk2.bags_of([int(2400 * share)] * 16, 1024, np.random.default_rng(0))


def large(rounds: int, share: float) -> None:
    """GFLOP/s of a step and of the product that is most of it."""
    arrays, labels = slides(share)
    x, w = torch.from_numpy(np.concatenate(arrays)), torch.randn(1024, 2 * musk2.HIDDEN)
    flops = 2 * x.shape[0] * x.shape[1] * w.shape[1]  # forward, and again for the weights
    units = np.arange(len(arrays))
    for kind, precision in (("float32", "32-true"), ("bfloat16", "bf16-mixed")):
        runner = runner_of(arrays, labels, precision=precision, batch_size=len(arrays))
        a, b = x.to(getattr(torch, kind)), w.to(getattr(torch, kind))
        g = torch.ones(len(a), b.shape[1], dtype=a.dtype)
        ways = {"product": lambda a=a, b=b: a @ b,
                "gradient of the weights": lambda a=a, g=g: a.T @ g,
                "step": lambda runner=runner: runner.step(units)}  # fmt: skip
        for way, some in in_turns(ways, rounds).items():
            rates = sorted((1 + (way == "step")) * flops / s / 1e9 for s in some)
            print(f"{kind}, {way}: {statistics.median(rates):.0f} GFLOP/s ({rates[0]:.0f} to "
                  f"{rates[-1]:.0f})")  # fmt: skip


def compiled(rounds: int, share: float) -> None:
    """Steps with the network as it is and compiled, and what compiling takes."""
    for kind, (arrays, labels) in (("Musk2", musk2.data(share)), ("slides", slides(share))):
        ways, order = {}, np.random.default_rng(0)
        orders = [np.sort(order.choice(len(arrays), min(16, len(arrays)), False)) for _ in range(6)]
        for way in ("as it is", "compiled"):
            runner = runner_of(arrays, labels, batch_size=16)
            if way == "compiled":
                runner.module = torch.compile(runner.module, dynamic=True)
            ways[way] = lambda r=runner, orders=orders: [r.step(units) for units in orders]
        began = sum(os.times()[:4])
        ways["compiled"]()  # and the processes that compile
        first = sum(os.times()[:4]) - began
        found = {way: statistics.median(some) for way, some in in_turns(ways, rounds).items()}
        plain, made = (found[way] / len(orders) for way in ways)
        pays = f"{first / (plain - made):,.0f} steps" if made < plain else "never"
        print(f"{kind}: {plain * 1e3:.2f} ms a step as it is, {made * 1e3:.2f} compiled; the first "
              f"six took {first:.1f} s, which {pays} earn back", flush=True)  # fmt: skip


def twice(args: argparse.Namespace) -> None:
    """The same in two processes, of which the second finds the code of the first."""
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "filled"):
            print(f"cache of code {cache}:", flush=True)
            subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--compile", "--rounds",
                 str(args.rounds), "--share", str(args.share), "--child"],
                env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": folder,
                                  "TORCHINDUCTOR_COMPILE_THREADS": "1"}, check=True,
            )  # fmt: skip


def plain(
    arrays: list[np.ndarray], labels: np.ndarray, epochs: int, *, fused: bool | None
) -> Callable[[], object]:
    x, y = [torch.from_numpy(a) for a in arrays], torch.from_numpy(labels).float()
    net, order = Gated(x[0].shape[1], musk2.HIDDEN), np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=fused)

    def run() -> None:
        for _ in range(epochs):
            for j in order.permutation(len(x)).tolist():
                optimizer.zero_grad()
                loop_step(net, [x[j]], y[j : j + 1]).backward()
                optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=5, help="in a turn")
    parser.add_argument("--share", type=float, default=1.0, help="of the bags; for a trial")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.large:
        return large(args.rounds, args.share)
    if args.compile:
        return compiled(args.rounds, args.share) if args.child else twice(args)
    arrays, labels = musk2.data(args.share)
    ways = {
        "smalti": ours(arrays, labels, args.epochs),
        "loop": plain(arrays, labels, args.epochs, fused=None),
        "loop, fused Adam": plain(arrays, labels, args.epochs, fused=True),
    }
    steps = args.epochs * len(arrays)
    found = {way: [s / steps * 1e6 for s in some]
             for way, some in in_turns(ways, args.rounds).items()}  # fmt: skip
    for way, some in found.items():
        ratio = statistics.median(a / b for a, b in zip(found["smalti"], some, strict=True))
        print(f"{way}: {statistics.median(some):.0f} microseconds a step ({min(some):.0f} to "
              f"{max(some):.0f}); smalti takes {ratio:.2f} times that")  # fmt: skip


if __name__ == "__main__":
    main()
