r"""Time, memory and clusters of integration at the size of open chromatin, from sparse counts.

    python benchmarks/atac.py --out atac.csv             # 20,000 cells, 2,000 genes, 100,000 peaks
    python benchmarks/atac.py --steps tfidf --methods block_pca umint:fast   # every peak as it is
    python benchmarks/atac.py --together together.csv    # one comparison of all, steps fitted once
    python benchmarks/atac.py --toy

Ten types that both modalities tell in part; some 4 % of the peaks of a cell are not 0, and depths
differ by a factor of e^0.6. Each method runs in a process of its own, at its defaults (peaks by
``lsi=50``) or with the steps that ``--steps`` names for the peaks. "peak" is the most memory of the
process, with the data and the packages in it; "seconds" are of fit and embed; ARI is of k-means in
as many clusters as there are types; "depth" is the largest correlation of a column of the embedding
with the log of the sum of the peaks. Each is run once. ``--together`` is ``compare_integration`` of
all methods, one seed, in one process: seconds of a fit then count the steps that all share, which
are fitted once, and "peak" is of the whole comparison. Wants Linux, for memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

METHODS = ("block_pca", "umint:fast", "umint", "ae", "dae", "sae", "mofa", "wnn",
           "multigrate")  # fmt: skip
TYPES, BLOCK = 10, 500
GENE_STEPS = "normalize,log1p,genes=2000"


def rows(rate: np.ndarray, kind: np.ndarray, depth: np.ndarray, rng) -> sp.csr_matrix:
    """Poisson counts (n, d) of types (n_types, d) and depths (n,), made in blocks of cells."""
    parts = []
    for at in range(0, len(kind), BLOCK):
        some = slice(at, at + BLOCK)
        mean = (rate[kind[some]] * depth[some, None]).astype(np.float32)
        draw = rng.random(mean.shape, dtype=np.float32)
        first = draw < -np.expm1(-mean)  # waiting times: where one event comes, the rest follow
        left = np.maximum(mean[first] + np.log1p(-draw[first]), 0)
        found = sp.csr_matrix(first, dtype=np.float32)
        found.data += rng.poisson(left)
        parts.append(found)
    return sp.vstack(parts, format="csr")


def simulate(cells: int, genes: int, peaks: int, seed: int = 0):
    """Bags of RNA and peaks, each cell with its type."""
    import smalti as sm

    law, rng = np.random.default_rng(0), np.random.default_rng([seed, 1])
    kind = rng.choice(TYPES, size=cells, p=law.dirichlet(np.full(TYPES, 3.0)))
    markers = np.where(law.random((TYPES, genes)) < 0.03, 4.0, 1.0)
    told = law.random((TYPES, peaks)) < 0.03
    opened = np.where(told, law.choice([3.0, 1 / 3], (TYPES, peaks)), 1.0)
    rna = law.lognormal(-2.5, 1.3, genes) * markers
    atac = law.gamma(0.6, 0.05 / 0.6, peaks) * opened
    views = {
        "rna": rows(rna, kind, rng.lognormal(0, 0.4, cells), rng),
        "atac": rows(atac, kind, rng.lognormal(-0.18, 0.6, cells), rng),
    }
    types = pd.DataFrame({"cell_type": [f"T{i}" for i in kind]})
    return sm.Bags.from_rows(views, np.arange(cells), instance=types)


def fit_one(name: str, steps: str, folder: str, limits: dict) -> dict:
    """Fit and embed once, in a process of its own."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    import smalti as sm

    warnings.simplefilter("ignore")
    bags = bags_of(folder)
    kind = bags.instance["cell_type"].to_numpy()
    depth = np.log1p(np.asarray(bags.x["atac"].sum(1)).reshape(-1))
    given = {} if not steps else {"preprocess": {"rna": GENE_STEPS, "atac": steps}}
    method = sm.make(name, progress=False, **given, **limits)
    began = time.perf_counter()
    model = method.fit(bags)
    z = model.transform(bags)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = KMeans(TYPES, n_init=10, random_state=0).fit_predict(z)
    live = z[:, z.std(0) > 1e-6 * max(float(z.std()), 1e-12)]
    r = np.corrcoef(live.T, depth)[-1, :-1]
    return {"method": name, "peaks by": steps or "lsi=50", "seconds": round(seconds, 1),
            "peak GiB": round(peak, 2), "ARI": round(adjusted_rand_score(kind, found), 3),
            "depth": round(float(np.abs(r).max()), 2),
            "found": model.modalities_[-1].found}  # fmt: skip


def compare_all(names: list[str], folder: str, out: str) -> dict:
    """All methods in one comparison, whose scores go to a file as they come."""
    import smalti as sm

    warnings.simplefilter("ignore")
    began = time.perf_counter()
    table = sm.compare_integration(names, bags_of(folder), label="cell_type", seeds=1, n_jobs=1,
                                   cache=f"{out}.cache")  # fmt: skip
    table.folds.to_csv(out, index=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": round(time.perf_counter() - began, 1), "peak GiB": round(peak, 2),
            "failed": table.failures["method"].tolist()}  # fmt: skip


def bags_of(folder: str):
    """What was simulated, with its types."""
    import smalti as sm

    views = {k: sp.load_npz(Path(folder, f"{k}.npz")) for k in ("rna", "atac")}
    kind = np.load(Path(folder, "kind.npy"), allow_pickle=False)
    types = pd.DataFrame({"cell_type": kind})
    return sm.Bags.from_rows(views, np.arange(len(kind)), instance=types)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--peaks", type=int, default=100_000)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--steps", default="", help="for the peaks; the default when left out")
    parser.add_argument("--limit", type=float, default=3600, help="seconds of a method")
    parser.add_argument("--out", type=Path, help="CSV; a row is added after each method")
    parser.add_argument("--toy", action="store_true", help="300 cells, 100 genes, 2,000 peaks")
    parser.add_argument("--together", help="CSV of scores: all methods in one comparison")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        what, *rest = json.loads(args.call)
        print(json.dumps({"fit": fit_one, "compare": compare_all}[what](*rest)))
        return
    if args.toy:
        args.cells, args.genes, args.peaks, args.methods = 300, 100, 2000, ["block_pca"]
    with tempfile.TemporaryDirectory() as folder:
        bags = simulate(args.cells, args.genes, args.peaks)
        share = bags.x["atac"].nnz / np.prod(bags.x["atac"].shape)
        print(f"{bags}; {100 * share:.1f} % of the peaks of a cell are not 0")
        for name, view in bags.x.items():
            sp.save_npz(Path(folder, f"{name}.npz"), view, compressed=False)
        np.save(Path(folder, "kind.npy"), bags.instance["cell_type"].to_numpy(dtype=str))
        del bags
        calls = [["fit", name, args.steps, folder, {}] for name in args.methods]
        if args.together:
            calls = [["compare", args.methods, folder, args.together]]
        for what in calls:
            name, call = what[1], json.dumps(what)
            try:
                done = subprocess.run(
                    [sys.executable, __file__, "--call", call], text=True, capture_output=True,
                    timeout=args.limit, check=False,
                )  # fmt: skip
                row = (json.loads(done.stdout.splitlines()[-1]) if not done.returncode else
                       {"method": name, "found": done.stderr.strip().splitlines()[-1]})  # fmt: skip
            except subprocess.TimeoutExpired:
                row = {"method": name, "found": f"not done after {args.limit:g} s"}
            print(row, flush=True)
            if args.out:
                pd.DataFrame([row]).to_csv(args.out, mode="a", index=False,
                                           header=not args.out.exists())  # fmt: skip


if __name__ == "__main__":
    main()
