"""Batches: what corrections and batch= are worth, where the truth is known.

    python benchmarks/batches.py --strength 1 --seeds 10 --cache runs/cache
    python benchmarks/batches.py --strength 3 --only umint --corrections none scaled

Simulated cells (sm.datasets.planted_batches), a set of its own for each seed, so that differences
between rows are paired by set, and intervals are of new sets. Clusters by k-means into as many as
there are types. Strength 0 is the same cells without a batch effect: what a correction costs there
it costs for nothing.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import smalti as sm

MIXING = ["ilisi", "kbet", "graph_connectivity"]
SHOWN = ["ari_kmeans", "fmi_kmeans", "silhouette", "davies_bouldin", *MIXING, "unique_purity"]


def methods() -> dict[str, object]:
    """Those that are compared; block_pca and each modality alone always run too."""
    return {
        "umint": sm.make("umint:fast"),
        "umint + batch": sm.make("umint:fast", batch="batch"),
        "ae": sm.make("ae:modality-fast"),
        "ae + batch": sm.make("ae:modality-fast", batch="batch"),
    }


def folds(args: argparse.Namespace) -> pd.DataFrame:
    """One row for each set, method, input and metric."""
    chosen = {k: m for k, m in methods().items() if args.only in k}
    parts = []
    for seed in range(args.seeds):
        cells = sm.datasets.planted_batches(args.cells, strength=args.strength, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = sm.compare_integration(
                chosen, cells, batch="batch", corrections=args.corrections, by="kmeans",
                seeds=[seed], n_jobs=1, progress=False, cache=args.cache,
            )  # fmt: skip
        parts.append(table.folds.assign(set=seed))
    return pd.concat(parts, ignore_index=True)


def paired(wide: pd.DataFrame, row: str, other: str, metric: str) -> str:
    """Mean difference of two rows over the sets, with its 95 % interval, in words."""
    gap = (wide.loc[row, metric] - wide.loc[other, metric]).to_numpy()
    if len(gap) < 2:
        return f"{gap.mean():+.3f}, of one set"
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap))
    low, high = gap.mean() - half, gap.mean() + half
    word = "more" if low > 0 else "less" if high < 0 else "no difference shown"
    return f"{gap.mean():+.3f} ({low:+.3f} to {high:+.3f}): {word}"


def main() -> None:
    # coverage.py beside this script is not the package that numba (of scib-metrics) asks for
    here = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != here]
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--strength", type=int, choices=range(4), default=2)
    ask.add_argument("--seeds", type=int, default=10, help="simulated sets")
    ask.add_argument("--cells", type=int, default=600)
    ask.add_argument("--only", default="", help="methods whose label holds this text")
    ask.add_argument("--corrections", nargs="+", default=["none", "scaled", "harmony", "combat"])
    ask.add_argument("--cache", type=Path)
    args = ask.parse_args()
    table = folds(args).query("metric in @SHOWN")
    wide = table.pivot_table(index=["method", "set"], columns="metric", values="value", sort=False)
    print(wide.groupby("method", sort=False).mean()[SHOWN].round(3).to_string())
    wide["mixing"] = wide[MIXING].mean(axis=1)
    there = list(dict.fromkeys(table["method"]))
    pairs = [(k, k.partition(", ")[0]) for k in there if ", " in k]
    pairs += [(k, k.removesuffix(" + batch")) for k in there if k.endswith(" + batch")]
    pairs += [(k, "block_pca") for k in there if k in ("umint", "ae")]
    for row, other in pairs:
        if other in there:
            print(f"\n{row}, against {other}:")
            for metric in ("ari_kmeans", "mixing", "unique_purity"):
                print(f"  {metric}: {paired(wide, row, other, metric)}")


if __name__ == "__main__":
    main()
