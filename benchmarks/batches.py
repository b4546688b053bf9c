"""Batches: what corrections and batch= are worth, where the truth is known.

    python benchmarks/batches.py --strength 1 --seeds 10 --cache runs/cache
    python benchmarks/batches.py --strength 3 --only umint --corrections none scaled
    python benchmarks/batches.py --strength 2 --only totalvi --seeds 3 --corrections none
    SMALTI_DATA=... python benchmarks/batches.py --set her2st --seeds 10

Simulated cells (sm.datasets.planted_batches), a set of its own for each seed, so that differences
between rows are paired by set, and intervals are of new sets. Clusters by k-means into as many as
there are types. Strength 0 is the same cells without a batch effect: what a correction costs there
it costs for nothing.

her2st: labelled spots of seven tumours, one section of each; RNA, and the shares of cell types that
its authors deconvolved from that RNA, so that the second modality is no measurement of its own. A
tumour is a batch and a patient at once: what a correction takes away may be biology. Seeds are
other 80 % of the same spots, and intervals are corrected for that.
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import smalti as sm

MIXING = ["ilisi", "kbet", "graph_connectivity"]
SHOWN = ["ari_kmeans", "fmi_kmeans", "silhouette", "davies_bouldin", *MIXING, "unique_purity"]


def methods(of: str, only: str) -> dict[str, object]:
    """Those that are compared; block_pca and each modality alone always run too.

    totalVI takes minutes, and runs where ``only`` names it.
    """
    batch = "patient" if of == "her2st" else "batch"
    if only.startswith("totalvi"):
        return {"totalvi": sm.make("totalvi"), "totalvi + batch": sm.make("totalvi", batch=batch)}
    return {
        "umint": sm.make("umint:fast"),
        "umint + batch": sm.make("umint:fast", batch=batch),
        "ae": sm.make("ae:modality-fast"),
        "ae + batch": sm.make("ae:modality-fast", batch=batch),
    }


def folds(args: argparse.Namespace) -> pd.DataFrame:
    """One row for each set (or split of the real set), method, input and metric."""
    chosen = {k: m for k, m in methods(args.set, args.only).items() if args.only in k}
    how = dict(corrections=args.corrections, by="kmeans", n_jobs=1, progress=False,
               cache=args.cache)  # fmt: skip
    if args.set == "her2st":
        table = sm.compare_integration(
            chosen, her2st(args.cells), label="pathologist_label", batch="patient",
            leave_out=["undetermined"], seeds=args.seeds, **how,
        )  # fmt: skip
        return table.folds.assign(set=table.folds["repeat"])
    parts = []
    for seed in range(args.seeds):
        cells = sm.datasets.planted_batches(args.cells or 600, strength=args.strength, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = sm.compare_integration(chosen, cells, batch="batch", seeds=[seed], **how)
        # a set of its own, of which no cell is in another: nothing to correct an interval for
        parts.append(table.folds.assign(set=seed, n_test=0))
    return pd.concat(parts, ignore_index=True)


def her2st(most: int | None) -> sm.Bags:
    """Spots that a pathologist labelled, and whose cell types were deconvolved; loose."""
    root = os.environ.get("SMALTI_DATA")
    if not root:
        raise SystemExit("SMALTI_DATA is not set: it names the folder of the real data.")
    spots = ad.read_h5ad(Path(root) / "her2st/her2st_33sections_785genes.h5ad")
    shares = np.asarray(spots.obsm["celltype_props_major"])
    there = (spots.obs["pathologist_label"] != "").to_numpy() & np.isfinite(shares).all(axis=1)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(there))[:most]
    spots = spots[np.sort(rows)].copy()
    print(f"{len(spots):,} spots, {spots.obs['patient'].nunique()} tumours")
    return sm.read(spots, x={"rna": "X", "types": "obsm/celltype_props_major"})


def paired(wide: pd.DataFrame, sizes: pd.DataFrame, row: str, other: str, metric: str) -> str:
    """Mean difference of two rows over the sets, with its 95 % interval, in words."""
    gap = (wide.loc[row, metric] - wide.loc[other, metric]).to_numpy()
    if len(gap) < 2:
        return f"{gap.mean():+.3f}, of one set"
    found = sm.scores.corrected_test(gap, *sizes.loc[row])
    low, high = found["low"], found["high"]
    word = "more" if low > 0 else "less" if high < 0 else "not told apart"
    return f"{gap.mean():+.3f} ({low:+.3f} to {high:+.3f}): {word}"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--set", choices=("planted", "her2st"), default="planted")
    ask.add_argument("--strength", type=int, choices=range(4), default=2)
    ask.add_argument("--seeds", type=int, default=10, help="simulated sets")
    ask.add_argument("--cells", type=int, help="600 simulated, all of her2st where left out")
    ask.add_argument("--only", default="", help="methods whose label holds this text")
    ask.add_argument("--corrections", nargs="+", default=["none", "scaled", "harmony", "combat"])
    ask.add_argument("--cache", type=Path)
    args = ask.parse_args()
    table = folds(args).query("metric in @SHOWN")
    wide = table.pivot_table(index=["method", "set"], columns="metric", values="value", sort=False)
    shown = [k for k in SHOWN if k in wide]  # purity: where one batch alone has a type
    print(wide.groupby("method", sort=False).mean()[shown].round(3).to_string())
    sizes = table.groupby("method")[["n_train", "n_test"]].mean()
    wide["mixing"] = wide[MIXING].mean(axis=1)
    there = list(dict.fromkeys(table["method"]))
    pairs = [(k, k.partition(", ")[0]) for k in there if ", " in k]
    pairs += [(k, k.removesuffix(" + batch")) for k in there if k.endswith(" + batch")]
    pairs += [(k, "block_pca") for k in there if k in ("umint", "ae")]
    for row, other in pairs:
        if other in there:
            print(f"\n{row}, against {other}:")
            for metric in [k for k in ("ari_kmeans", "mixing", "unique_purity") if k in wide]:
                print(f"  {metric}: {paired(wide, sizes, row, other, metric)}")


if __name__ == "__main__":
    main()
