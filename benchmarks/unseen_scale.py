"""15,000 genes for a slide of 3,000 spots: time and memory after features, for each method.

    python benchmarks/unseen_scale.py

"once" computes what genes need once per call, as `predict` does; "per batch" computes it again
for every 256 tiles, as code does that encodes the genes inside its loop. Each row is a process of
its own, so that peaks are its own; "beside" is the memory before the prediction (packages, model,
vectors of genes).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

GENES, SPOTS, SEEN, BATCH = 15_000, 3_000, 12_000, 256
NAMES = ("bilinear", "sgn", "deep_association")


def data(n_tiles: int, words: bool):  # type: ignore[no-untyped-def]
    """A slide with features (1,024), maps of nuclei, and vectors of 15,000 genes with words."""
    import pandas as pd

    import smalti as sm

    rng = np.random.default_rng(0)
    names = tuple(f"G{i}" for i in range(GENES))
    tokens = offsets = None
    if words:  # as many as names and GO terms of a human gene have
        offsets = np.concatenate([[0], rng.integers(8, 48, GENES).cumsum()])
        tokens = rng.normal(size=(offsets[-1], 256)).astype(np.float16)
    vectors = sm.genes.GeneVectors(
        names, rng.normal(size=(GENES, 256)).astype(np.float32), "random", tokens, offsets
    )
    side = int(np.ceil(np.sqrt(n_tiles)))
    xy = np.stack(np.divmod(np.arange(n_tiles), side), axis=1) * 100.0
    views = {"X_uni": rng.normal(size=(n_tiles, 1024)).astype(np.float32),
             "X_nuclei": rng.poisson(2.0, (n_tiles, 96)).astype(np.float32)}  # fmt: skip
    instance = pd.DataFrame({"x_um": xy[:, 0], "y_um": xy[:, 1]})
    bags = sm.Bags.from_rows(views, np.zeros(n_tiles, dtype=int), instance=instance)
    return bags, vectors


def fitted(name: str):  # type: ignore[no-untyped-def]
    """A model that has seen 12,000 genes; its weights do not matter here."""
    import dataclasses

    import smalti as sm

    bags, vectors = data(64, name == "sgn")
    counts = np.random.default_rng(1).poisson(1.0, (64, SEEN)).astype(np.float32)
    bags = dataclasses.replace(
        bags, x={**bags.x, "counts": counts}, features={"counts": vectors.names[:SEEN]}
    )
    settings = {"bilinear": {"alpha": 1e3, "beta": 1e3, "level": 1e3}}.get(name, {"epochs": 1})
    model = sm.make(name, vectors=vectors, x="X_uni", progress=False, accelerator="cpu", **settings)
    return model.fit(bags), vectors


def once(name: str, how: str, precision: str) -> dict[str, float]:
    """Seconds and peak memory of one prediction."""
    model, vectors = fitted(name)
    model.set_params(precision=precision)
    bags, _ = data(SPOTS, False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    if how == "once":
        out = model.predict(bags, vectors.names)
    else:
        pieces = [np.arange(i, min(i + BATCH, SPOTS)) for i in range(0, SPOTS, BATCH)]
        out = np.concatenate([model.predict(bags.keep(p), vectors.names) for p in pieces])
    seconds = time.perf_counter() - start
    assert out.shape == (SPOTS, GENES)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "peak": peak, "beside": before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "HOW", "PRECISION"))
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--share", type=float, default=1.0, help="of genes and spots, for a trial")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    if args.share < 1:
        globals().update({k: int(globals()[k] * args.share) for k in ("GENES", "SPOTS", "SEEN")})
    if args.one:
        print(json.dumps(once(*args.one)))
        return
    rows: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    cases = [(m, h, "32-true") for m in args.methods
             for h in ("once", "per batch")]  # fmt: skip
    if "sgn" in args.methods:
        cases.append(("sgn", "once", "bf16-mixed"))
    for _ in range(args.repeats):
        for case in cases:  # interleaved: a busy moment hits all
            command = [sys.executable, __file__, "--share", str(args.share), "--one", *case]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.setdefault(case, []).append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{GENES:,} genes x {SPOTS:,} spots, best of {args.repeats}")
    for (method, how, precision), found in rows.items():
        best = min(found, key=lambda r: r["seconds"])
        print(f"{method:17} {how:10} {precision:11} {best['seconds']:7.2f} s  peak "
              f"{best['peak']:.2f} GiB (beside {best['beside']:.2f})")  # fmt: skip
    for method in args.methods:
        slow, fast = (min(r["seconds"] for r in rows[method, h, "32-true"])
                      for h in ("per batch", "once"))  # fmt: skip
        print(f"{method}: once is {slow / fast:.1f}x as fast as per batch")


if __name__ == "__main__":
    main()
