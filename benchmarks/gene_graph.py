"""Attention of genes on their nearest genes, beside dense attention with a mask: same result.

Each row is a process of its own, so that its peak of memory is its own. "graph" finds the edges
(timed apart) and attends over them; "dense" makes all genes x genes logits of a head, adds -inf
where there is no edge, and takes the softmax, a head at a time.

    python benchmarks/gene_graph.py [--genes 4000,15000] [--k 10] [--width 256] [--repeats 3]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from smalti.nn.gene_graph import GeneGraphAttention, nearest_genes


def dense(layer: GeneGraphAttention, v: Tensor, mask: Tensor) -> Tensor:
    """The same as ``layer(v, near)[0]``; ``mask`` (g, g) is 0 where there is an edge, else -inf."""
    rows = layer.key(v).unflatten(1, (layer.heads, -1))
    heard, spoken = (rows * layer.listen).sum(2), (rows * layer.speak).sum(2)
    message = []
    for h in range(layer.heads):
        score = F.leaky_relu(heard[:, h, None] + spoken[:, h], 0.2) + mask
        message.append(score.softmax(1) @ rows[:, h])
    return v + torch.tanh(layer.gate(torch.cat(message, 1))) * layer.value(v)


def peak() -> float:
    """Most memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call, repeats: int) -> float:
    """Seconds, the best of some."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def one(kind: str, backward: bool, genes: int, args: argparse.Namespace) -> None:
    """Print seconds for the edges, seconds a pass, MiB above the start, checksum."""
    torch.manual_seed(0)
    layer = GeneGraphAttention(args.width)
    v = F.normalize(torch.randn(genes, args.width), dim=1)
    base = peak()
    start = time.perf_counter()
    near = nearest_genes(v, v, args.k, torch.arange(genes))
    edges = time.perf_counter() - start
    if kind == "dense":
        mask = torch.full((genes, genes), -torch.inf).scatter_(1, near, 0.0)
    v.requires_grad_(backward)
    got: list[float] = []

    def step() -> None:
        with torch.set_grad_enabled(backward):
            out = dense(layer, v, mask) if kind == "dense" else layer(v, near)[0]
        got[:] = [float(out.detach().double().square().sum())]
        if backward:
            v.grad = None
            out.square().sum().backward()
            got.append(float(v.grad.double().norm()))

    seconds = timed(step, args.repeats)
    print(edges, seconds, peak() - base, *got)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", default="4000,15000")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=float, default=12, help="GiB dense may take")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one[0], args.one[1] == "both", int(args.one[2]), args)
        return
    print(f"k={args.k}, width={args.width}, 4 heads, float32, {torch.get_num_threads()} threads")
    for genes in args.genes.split(","):
        for way in ("forward", "both"):
            seconds = {}
            for kind in ("graph", "dense"):
                # the backward pass keeps, of each head, the signs, the softmax, and some more
                need = int(genes) ** 2 * 4 / 2**30 * (12 if way == "both" else 5)
                if kind == "dense" and need > args.memory:
                    print(f"{genes:>6} genes  {way:8} dense  left out: about {need:.0f} GiB")
                    continue
                command = [sys.executable, *sys.argv, "--one", kind, way, genes]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                edges, seconds[kind], extra, *sums = map(float, out.split())
                print(
                    f"{genes:>6} genes  {way:8} {kind:6} {seconds[kind]:8.4f} s  {extra:7.0f} MiB  "
                    f"edges {edges:.2f} s  sums {' '.join(f'{s:.7g}' for s in sums)}"
                )
            if len(seconds) == 2:
                print(f"{'':15}{way:8} ratio  {seconds['dense'] / seconds['graph']:8.1f} x")


if __name__ == "__main__":
    main()
