"""Single cells of a file that does not fit in memory, drawn in block order and in any order.

    python benchmarks/block_order.py --quality                  # what comes out, over seeds
    python benchmarks/block_order.py --speed --folder DIR       # cells a second, cold page cache

``--quality``: UMINT and the autoencoder (their "fast" presets) on the PBMCs in citeseq of
$SMALTI_DATA, sorted by cell type, so that each run of neighbours is of one type; and on simulated
cells of 100 samples, sorted by sample, each with kinds of its own and a shift of its own in all
genes. An epoch is some buffers, each of so many runs; "all" is one buffer, the order of memory.
Balanced accuracy of the 15 nearest neighbours in the code (5 folds), ARI of k-means against the
types, and the error of reconstruction (mean square, all cells); then the differences from "all" of
the same seed: mean and 95 % interval (t).

``--speed``: batches of 256 of the files that benchmarks/out_of_core.py makes, sorted by sample
(made where they are not there), in a process each, after the system was made to forget the file.
``any``: as in memory, which is stopped after --seconds; ``blocks``: a whole epoch. Cells a second
on the clock, seconds of the processor per million cells, peak resident memory.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))
import out_of_core

BATCH = 256
STEPS = "normalize,log1p,scale"


# -------------------------------------------------------------------- quality


def pbmc(path, cells):
    """The PBMCs, sorted by type."""
    import anndata as ad

    source = Path(os.environ.get("SMALTI_DATA", "data")) / "citeseq" / "pbmc10k_citeseq.h5ad"
    table = ad.read_h5ad(source)
    table = table[np.random.default_rng(0).permutation(table.n_obs)[:cells]]
    table = table[np.argsort(table.obs["cell_type"].to_numpy(), kind="stable")].copy()
    table.obsm["protein"] = table.obsm.pop("protein_expression").to_numpy().astype(np.float32)
    # "unknown" lies between the types
    table.obs["kind"] = table.obs["cell_type"].astype(str).replace("unknown", "")
    table.write_zarr(path)


def cohort(path, cells, samples=100):
    """Simulated cells of samples that differ in their kinds and in all genes, sorted by sample."""
    import anndata as ad

    import smalti as sm

    law = {"features": (200, 20), "clusters": 3, "counts": True}
    bags = sm.datasets.planted_modalities(cells, **law, seed=0)
    rng = np.random.default_rng(1)
    kind = pd.factorize(bags.instance["kind"])[0]
    taste = rng.dirichlet(np.full(samples, 0.3), kind.max() + 1)  # (kinds, samples)
    sample = np.array([rng.choice(samples, p=taste[k]) for k in kind])
    rna = np.asarray(bags.table("rna"), dtype=np.float64)
    shift = rng.lognormal(0, 0.3, (samples, rna.shape[1]))
    rna = rng.poisson(rna * shift[sample]).astype(np.float32)
    order = np.argsort(sample, kind="stable")
    obs = pd.DataFrame({"kind": kind[order].astype(str), "sample": sample[order].astype(str)},
                       index=[f"c{i}" for i in range(cells)])  # fmt: skip
    table = ad.AnnData(sp.csr_matrix(rna[order]), obs=obs)
    table.obsm["protein"] = np.asarray(bags.table("protein"), dtype=np.float32)[order]
    table.write_zarr(path)


def drawn(cells, runs):
    """Have cells drawn in buffers of so many cells and runs; 0 cells: all at once."""
    from smalti.core import blocks, store

    class Given(blocks.Blocks):
        def __init__(self, views):
            super().__init__(views)
            self.buffer = max(1, cells // BATCH) * BATCH if cells else 2**62
            self.run = max(1, self.buffer // runs)

    store.Blocks = Given


def outcome(path, method, seed):
    """Accuracy of neighbours, ARI against the kinds, and the error of reconstruction."""
    from sklearn.cluster import KMeans
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    import smalti as sm
    from smalti.scores.clusters import cluster_scores

    bags = sm.read(path, x={"rna": "X", "protein": "obsm/protein"}, backed=True, columns=["kind"])
    steps = {"rna": "normalize,log1p,genes=1000,scale" if bags.x["rna"].shape[1] > 1000 else STEPS,
             "protein": "clr,scale"}  # fmt: skip
    model = sm.make(method, preprocess=steps, seed=seed, progress=False).fit(bags)
    z, made, given = model.transform(bags), model.reconstruct(bags), model.inputs(bags)
    kind = bags.instance["kind"].astype(str).to_numpy()
    known = kind != ""
    found = KMeans(len(np.unique(kind[known])), n_init=5, random_state=seed).fit_predict(z)
    error = np.mean([np.mean(np.square(np.clip(given[k], -10, 10) - made[k])) for k in made])
    near = cross_val_score(KNeighborsClassifier(15), z[known], kind[known], cv=5,
                           scoring="balanced_accuracy").mean()  # fmt: skip
    return near, cluster_scores(kind[known], found[known])["ari"], float(error)


def quality(args):
    from scipy.stats import t

    os.environ["SLURM_MEM_PER_NODE"] = "1"  # MiB: nothing is held in memory
    args.folder.mkdir(parents=True, exist_ok=True)
    print("| cells | method | buffers of an epoch | runs in one | neighbours | ARI | error | "
          "neighbours beside all | ARI beside all | error beside all |")  # fmt: skip
    print("|---" * 10 + "|", flush=True)
    for name, method in itertools.product(args.data, args.methods):
        path = args.folder / f"{name}_{args.cells[0] if args.cells else ''}.zarr"
        n = args.cells[0] if args.cells else {"pbmc": 6855, "cohort": 8000}[name]
        if not path.exists():
            globals()[name](path, n)
        base = None
        for buffers, runs in [(1, 1), *itertools.product(args.buffers, args.runs)]:
            drawn(0 if buffers == 1 else -(-n // buffers), runs)
            found = np.array([outcome(path, method, seed) for seed in range(args.seeds)])
            base = found if base is None else base
            apart = (found - base).T
            half = [t.ppf(0.975, args.seeds - 1) * a.std(ddof=1) / np.sqrt(args.seeds)
                    if args.seeds > 1 else np.nan for a in apart]  # fmt: skip
            told = " | ".join(f"{a.mean():+.4f} ± {h:.4f}"
                              for a, h in zip(apart, half, strict=True))  # fmt: skip
            means = " | ".join(f"{m:.4f}" for m in found.mean(0))
            what = "all | all" if buffers == 1 else f"{buffers} | {runs}"
            print(f"| {name} | {method} | {what} | {means} | {told} |", flush=True)


# -------------------------------------------------------------------- speed


def epoch(path, order, steps, seconds):
    """Batches of an epoch, no step taken: cells, and seconds on the clock."""
    import torch

    import smalti as sm
    from smalti.core.instances import Rows
    from smalti.core.store import Store

    os.environ["SLURM_MEM_PER_NODE"] = "1"
    bags = sm.read(path, backed=True)
    for step in sm.preprocess.steps_of(steps):
        bags = step.fit(bags).transform(bags)
    store = Store(bags, torch.device("cpu"), torch.float32)
    run = store.blocks.run
    if order == "any":
        store.blocks = None
    out_of_core.forget(path / "X")
    rows, began, cpu, n = Rows(), time.perf_counter(), time.process_time(), 0
    units = rows.epoch(np.arange(len(bags)), None, store, np.random.default_rng(0))
    rows.expect(store, units, 0)
    for at in range(0, len(units), BATCH):
        n += len(rows.batch(store, units[at : at + BATCH]).segments.offsets) - 1
        if order == "any" and time.perf_counter() - began > seconds:
            break
    return {"cells": n, "clock": time.perf_counter() - began, "run": run,
            "cpu": time.process_time() - cpu, "peak": out_of_core.peak()}  # fmt: skip


def speed(args):
    args.folder.mkdir(parents=True, exist_ok=True)
    print("| cells | kind | steps | order | cells a second | ratio | processor, s a million | "
          "peak, GiB | neighbours in a run |")  # fmt: skip
    print("|---" * 9 + "|", flush=True)
    for kind, n in itertools.product(args.kind, args.cells or [1_000_000]):
        raw, path = (args.folder / f"{kind}_{n}.{end}" for end in ("h5ad", "zarr"))
        if not path.exists():
            import smalti as sm

            out_of_core.make(raw, n, kind)
            sm.arrange(raw, path, sample="sample", progress=False)
            raw.unlink()
        for steps in ("", STEPS if kind == "sparse" else "scale"):
            before = None
            for order in ("any", "blocks"):
                done = subprocess.run([sys.executable, __file__, "--call", json.dumps(
                    [str(path), order, steps, args.seconds])], capture_output=True, text=True,
                    check=False)  # fmt: skip
                if done.returncode:
                    print(done.stderr.strip().splitlines()[-1])
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                rate = found["cells"] / found["clock"]
                before = rate if before is None else before
                cpu = found["cpu"] / found["cells"] * 1e6
                print(f"| {n:,} | {kind} | {steps or 'none'} | {order} | {rate:,.0f} | "
                      f"{rate / before:.1f} | {cpu:.1f} | {found['peak']:.2f} | "
                      f"{found['run'] if order == 'blocks' else 1:,} |", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quality", action="store_true", help="what comes out")
    parser.add_argument("--speed", action="store_true", help="how fast cells are drawn")
    parser.add_argument("--folder", type=Path, default=Path("block_order"), help="for files")
    parser.add_argument("--cells", type=int, nargs="+", help="all; --speed: 1,000,000")
    parser.add_argument("--data", nargs="+", choices=["pbmc", "cohort"], default=["pbmc", "cohort"])
    parser.add_argument("--methods", nargs="+", default=["umint:fast", "ae:fast"])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--buffers", type=int, nargs="+", default=[8], help="of an epoch")
    parser.add_argument("--runs", type=int, nargs="+", default=[4, 64], help="in a buffer")
    parser.add_argument("--kind", choices=["sparse", "dense"], nargs="+",
                        default=["dense", "sparse"])  # fmt: skip
    parser.add_argument("--seconds", type=float, default=30, help="of the slow order")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.call:
        print(json.dumps(epoch(Path(json.loads(args.call)[0]), *json.loads(args.call)[1:])))
        return
    if args.quality:
        quality(args)
    if args.speed:
        speed(args)


if __name__ == "__main__":
    main()
