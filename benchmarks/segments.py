"""What it costs that sums over a bag are right at any length, side by side in one run.

A slice is summed in pieces of 80 rows and then the pieces (``smalti/segment.py``); "row by row"
adds row to row in float32, which is off by 6 % at 10^7 rows. Forward and backward, in turns: the
pooling alone, and a step of the whole network. Bags of 512 features.

    python benchmarks/segments.py                    # time: pieces / row by row
    python benchmarks/segments.py --rows 10000000    # errors of both at so many rows of one column
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

import smalti as sm
from smalti import segment
from smalti.batch import Batch, Shape
from smalti.segment import Segments
from smalti.task import Task

WIDTH = 512
SHAPES = ("1x1000", "1x10000", "1x50000", "20x1000", "50x300", "1000x20")  # bags x rows of each
PIECES = segment._sum


def row_by_row(x: torch.Tensor, weight: torch.Tensor | None, parts: Segments) -> torch.Tensor:
    return segment._plain_sum(x, weight, parts.offsets)


def mean(x: torch.Tensor, score: torch.Tensor, parts: Segments) -> torch.Tensor:
    return segment.mean(x, parts)


def attention(x: torch.Tensor, score: torch.Tensor, parts: Segments) -> torch.Tensor:
    return segment.total(x, parts, segment.softmax(score, parts)[:, 0])


def attend(x: torch.Tensor, score: torch.Tensor, parts: Segments) -> torch.Tensor:
    return segment.attend(x, x, parts)


def jobs(lengths: list[int]) -> dict[str, Callable[[], object]]:
    """Forward and backward of the poolings, and of two networks."""
    torch.manual_seed(0)
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    n, parts = int(offsets[-1]), Segments.of(offsets)
    x, score = torch.randn(n, WIDTH), torch.randn(n, 1)
    shape = Shape({"x": (WIDTH,)}, Task(kind="binary", classes=(0, 1)), len(lengths))
    nets = {m.name: m.network(shape).train() for m in (sm.mil.MeanPooling(), sm.mil.ABMIL())}

    def pool(kind: Callable[..., torch.Tensor]) -> None:
        inputs = x.requires_grad_(), score.requires_grad_()
        kind(*inputs, parts).sum().backward()
        x.grad = score.grad = None

    def step(net: torch.nn.Module) -> None:
        net(Batch({"x": x.detach()}, Segments.of(offsets))).raw.sum().backward()
        net.zero_grad()

    poolings = {k.__name__: lambda k=k: pool(k) for k in (mean, attention, attend)}
    return poolings | {f"{k}, a step": lambda net=net: step(net) for k, net in nets.items()}


def in_turns(job: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Seconds row by row, and the ratio of pieces to it: lower quartiles of CPU time."""
    taken: dict[Callable, list[float]] = {row_by_row: [], PIECES: []}
    for i in range(rounds + 2):
        for way in list(taken)[:: 1 if i % 2 else -1]:
            segment._sum = way
            began = time.thread_time()
            job()
            taken[way] += [time.thread_time() - began] if i > 1 else []
    segment._sum = PIECES
    plain, pieces = (statistics.quantiles(t, n=4)[0] for t in taken.values())
    return plain, pieces / plain


def errors(n: int) -> None:
    """Relative error of the mean of noise about 10, and of the sum of a softmax."""
    x = 10 + torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    parts = Segments.of(torch.tensor([0, n]))
    for name, way in (("row by row", row_by_row), ("pieces", PIECES)):
        segment._sum = way
        mean_, whole = segment.mean(x, parts).double(), segment.softmax(x, parts).double().sum()
        off = (mean_ / x.double().mean() - 1).abs().item()
        print(f"{n:,} rows, {name}: mean off by {off:.1e}, softmax sums to {whole:.7f}")
    segment._sum = PIECES


def main() -> None:
    """Ratios of time, or errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--rounds", type=int, default=0, help="of each; 0: by the size")
    parser.add_argument("--rows", type=int, help="errors at so many rows, and no times")
    args = parser.parse_args()
    if args.rows:
        errors(args.rows)
        return
    torch.set_num_threads(1)
    print("| bags x rows | job | ms row by row | pieces / row by row |\n|---|---|---|---|")
    for shape in args.shapes:
        count, rows = map(int, shape.split("x"))
        lengths = [rows] * count
        rounds = args.rounds or max(15, 300_000 // sum(lengths))
        for name, job in jobs(lengths).items():
            plain, ratio = in_turns(job, rounds)
            print(f"| {shape} | {name} | {1000 * plain:.2f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
