"""A step of one bag beside a plain PyTorch loop: microseconds of the processor, in turns.

    OMP_NUM_THREADS=1 python benchmarks/step.py

102 bags like Musk2, gated attention, Adam as PyTorch makes it and its fused form. Medians (least to
most).
"""

from __future__ import annotations

import argparse
import statistics
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


def ours(arrays: list[np.ndarray], labels: np.ndarray, epochs: int) -> Callable[[], object]:
    bags = sm.Bags.from_list(arrays, labels)
    method = sm.mil.ABMIL(gated=True, encoder="none", standardize=False,
                          attention_width=musk2.HIDDEN, accelerator="cpu")  # fmt: skip
    fabric = training.make_fabric("cpu", 1, "32-true")
    store = Store(bags, fabric.device, torch.float32)
    fit = method.prepare(bags, np.arange(len(bags)), fabric.device)
    stage = Gradient(epochs=epochs, lr=1e-4, batch_size=1)
    return lambda: training.descend(
        training.Runner(fabric, stage, store, fit), progress=Progress(False)
    )


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
    args = parser.parse_args()
    torch.set_num_threads(1)
    arrays, labels = musk2.data(args.share)
    ways = {
        "smalti": ours(arrays, labels, args.epochs),
        "loop": plain(arrays, labels, args.epochs, fused=None),
        "loop, fused Adam": plain(arrays, labels, args.epochs, fused=True),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for run in ways.values():
        run()  # what is made once
    for _ in range(args.rounds):
        for way, run in ways.items():
            began = time.process_time()
            run()
            found[way].append((time.process_time() - began) / args.epochs / len(arrays) * 1e6)
    for way, some in found.items():
        ratio = statistics.median(a / b for a, b in zip(found["smalti"], some, strict=True))
        print(f"{way}: {statistics.median(some):.0f} microseconds a step ({min(some):.0f} to "
              f"{max(some):.0f}); smalti takes {ratio:.2f} times that")  # fmt: skip


if __name__ == "__main__":
    main()
