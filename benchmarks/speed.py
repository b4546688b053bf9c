"""Speed side by side in one run: ratios, on whatever machine this is.

    python benchmarks/speed.py epoch      # (a) ragged, padded, loop, torchmil: one training epoch
    python benchmarks/speed.py fits       # (b) 100 Musk1 fits: the usual way, one by one, as a job
    python benchmarks/speed.py matmul     # (c) share of the machine's matrix-product rate

torchmil is optional (``pip install "smalti[bench]"``); without it its row is left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

import smalti as sm
from peers import Gated, loop_step, padded_step, torchmil_step, usual_fit
from smalti.batch import Shape
from smalti.core.stage import Gradient
from smalti.core.store import Store, pack
from smalti.task import Task

HIDDEN = 128


def log_normal(
    rng: np.random.Generator, n: int, median: float, sigma: float, top: int
) -> np.ndarray:
    return np.clip(np.exp(rng.normal(np.log(median), sigma, n)), 1, top).astype(int)


def musk2_like(rng: np.random.Generator, n: int = 102) -> np.ndarray:
    """Lengths from 1 to 1,044 with mean 65."""
    lengths = log_normal(rng, n, 14.0, 1.6, 1044)
    lengths[:2] = 1, 1044
    return np.maximum(1, (lengths * 65 / lengths.mean()).astype(int)).clip(1, 1044)


def timed(call: Callable[[], object], repeats: int) -> float:
    """Best seconds of several after one warm-up: others on the machine can only slow us down."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def our_epoch(bags: sm.Bags, batch_size: int, precision: str) -> Callable[[], object]:
    """One epoch by our own loop: same network, Adam, the same order of bags."""
    from smalti.core import training
    from smalti.system.progress import Progress

    method = sm.mil.ABMIL(
        gated=True, encoder="none", standardize=False, attention_width=HIDDEN, accelerator="cpu",
        precision=precision,
    )  # fmt: skip
    fabric = training.make_fabric("cpu", 1, precision)
    store = Store(bags, fabric.device, torch.float32)
    fit = method.prepare(bags, np.arange(len(bags)), fabric.device)
    stage = Gradient(epochs=1, lr=1e-4, batch_size=batch_size, max_instances=10**9)

    def run() -> None:
        training.run([stage], fit, bags, store, fabric, progress=Progress(False))

    return run


def peer_epoch(step: Callable, net: torch.nn.Module, bags: list[torch.Tensor], y: torch.Tensor,
               batch_size: int) -> Callable[[], object]:  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
    order = np.random.default_rng(0).permutation(len(bags))

    def run() -> None:
        for i in range(0, len(bags), batch_size):
            group = order[i : i + batch_size]
            optimizer.zero_grad()
            step(net, [bags[j] for j in group], y[group]).backward()
            optimizer.step()

    return run


def compare_epochs(
    name: str, lengths: np.ndarray, width: int, batch_size: int, repeats: int
) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((n, width), dtype=np.float32) for n in lengths]
    labels = np.arange(len(arrays)) % 2
    bags = sm.Bags.from_list(arrays, labels)
    tensors, y = [torch.from_numpy(a) for a in arrays], torch.from_numpy(labels).float()
    print(f"\n(a) {name}: {len(lengths)} bags of {lengths.min()}-{lengths.max()} (mean "
          f"{lengths.mean():.0f}) x {width}, {batch_size} bags a step; padding would hold "
          f"{padded_share(lengths, batch_size):.1f} times the instances")  # fmt: skip
    runs = {
        "smalti, ragged": our_epoch(bags, batch_size, "32-true"),
        "smalti, ragged, bf16": our_epoch(bags, batch_size, "bf16-mixed"),
        "per-bag loop": peer_epoch(loop_step, Gated(width, HIDDEN), tensors, y, batch_size),
        "padded": peer_epoch(padded_step, Gated(width, HIDDEN), tensors, y, batch_size),
    }
    try:
        from torchmil.models import ABMIL

        model = ABMIL(in_shape=(width,), att_dim=HIDDEN, gated=True)
        runs["torchmil"] = peer_epoch(torchmil_step, model, tensors, y, batch_size)
    except ImportError:
        print("torchmil is not installed: its row is left out")
    seconds = {k: timed(v, repeats) for k, v in runs.items()}
    ours = seconds["smalti, ragged"]
    for k, s in seconds.items():
        print(f"  {k:22s} {s * 1e3:10.1f} ms an epoch   {s / ours:6.2f} x smalti's time")


def padded_share(lengths: np.ndarray, batch_size: int) -> float:
    order = np.random.default_rng(0).permutation(len(lengths))
    held = sum(lengths[g].max() * len(g) for g in np.array_split(
        order, range(batch_size, len(order), batch_size)))  # fmt: skip
    return float(held / lengths.sum())


def epochs(share: float) -> None:
    rng = np.random.default_rng(1)
    compare_epochs("like Musk2", musk2_like(rng, int(102 * share)), 166, 16, 7)
    # 16 slides of median 10,000 tiles, cut to a quarter so that padded copies fit in memory
    compare_epochs("like slides", log_normal(rng, 16, 2500 * share, 1.0, 25_000), 1024, 16,
                   3)  # fmt: skip


def fits(n: int, epochs: int) -> None:
    bags = sm.datasets.load("musk1")
    folds = sm.datasets.folds("musk1").reshape(-1, len(bags))
    folds = np.concatenate([folds, folds])[:n]
    method = sm.mil.ABMIL(epochs=epochs, accelerator="cpu")
    jobs = [(sm.make("abmil", **(method.get_params() | {"seed": i})), np.flatnonzero(~f))
            for i, f in enumerate(folds)]  # fmt: skip
    x = torch.from_numpy(bags.table())
    few = max(1, n // 25)
    right, began = [], time.perf_counter()
    for f in folds[:few]:
        train = bags[~f].table()
        mean, sd = map(torch.from_numpy, (train.mean(0), train.std(0) + 1e-6))
        parts = [(x[a:b] - mean) / sd for a, b in zip(bags.offsets, bags.offsets[1:], strict=False)]
        y = torch.from_numpy(bags.labels).float()
        keep = np.flatnonzero(~f)
        net = usual_fit([parts[i] for i in keep], y[keep], epochs)
        right += [float((net(parts[i]) > 0) == (y[i] > 0)) for i in np.flatnonzero(f)]
    usual = (time.perf_counter() - began) / few
    print(f"\n(b) Musk1, {n} fits of {epochs} epochs, seconds a fit")
    print(f"  the usual way (one bag a step, loop; {few} fits timed)  {usual:6.3f}   "
          f"accuracy {np.mean(right):.3f}")  # fmt: skip
    base = None
    ways = {"one after another": 1, "processes": -1, "by what pays (the default)": None}
    for way, n_jobs in ways.items():
        began = time.perf_counter()
        fitted = sm.fit_many(jobs, bags, n_jobs=n_jobs)
        seconds = (time.perf_counter() - began) / n
        base = base or seconds
        hits = np.concatenate([m.predict(bags[f]) == bags.labels[f]
                               for m, f in zip(fitted, folds, strict=True)])  # fmt: skip
        print(f"  smalti, {way:46s} {seconds:6.3f}   accuracy {hits.mean():.3f}   "
              f"{usual / seconds:5.1f} x as usual, {base / seconds:4.2f} x one by one",
              flush=True)  # fmt: skip


def matmul(share: float) -> None:
    n, width = int(40_000 * share), 1024
    a, b = torch.randn(n, width), torch.randn(width, 2 * HIDDEN)
    rate = 2 * n * width * 2 * HIDDEN / timed(lambda: a @ b, 15)
    lengths = log_normal(np.random.default_rng(0), 16, 2500 * share, 0.5, 10_000)
    bags = sm.Bags.from_list(
        [np.random.default_rng(i).standard_normal((m, width), dtype=np.float32)
         for i, m in enumerate(lengths)], np.arange(16) % 2)  # fmt: skip
    method = sm.mil.ABMIL(gated=True, encoder="none", standardize=False, attention_width=HIDDEN)
    net = method.network(Shape({"x": (width,)}, Task(kind="binary", classes=(0, 1)), 16)).train()
    store = Store(bags, torch.device("cpu"), torch.float32)
    batch = store.batch(pack(np.arange(16), bags.lengths, 16, 10**9)[0])
    y = torch.arange(16) % 2
    task = bags.task

    def step() -> None:
        net.zero_grad()
        task.loss(net(batch).raw, y).mean().backward()

    rows = bags.n_instances
    forward = 2 * rows * width * 2 * HIDDEN
    flops = 2 * forward  # forward, and the gradient of the weights; features need none
    got = flops / timed(step, 15)
    print(f"\n(c) gated attention step at {rows} x {width}: {got / 1e9:.0f} GFLOP/s of "
          f"{rate / 1e9:.0f} measured for the bare product: {got / rate:.0%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="*", default=["epoch", "fits", "matmul"])
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--share", type=float, default=1.0, help="of all sizes; for a trial")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if "epoch" in args.what:
        epochs(args.share)
    if "fits" in args.what:
        fits(args.fits, args.epochs)
    if "matmul" in args.what:
        matmul(args.share)


if __name__ == "__main__":
    main()
