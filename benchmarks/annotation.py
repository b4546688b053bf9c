"""Labels of a reference for cells that were left out, and for a type that the reference lacks.

    python benchmarks/annotation.py --set sim --seeds 5
    SMALTI_DATA=... python benchmarks/annotation.py --set citeseq --seeds 3 --out runs/annotation

sim: eight donors, each with a shift of its own, four types; donors are left out in turn: a type
that the reference lacks is a new mix of states that it knows. state: counts, and the type that is
left out (2/2) is in a state of its own in both modalities, which is the case of the tutorial.
citeseq: one donor, so cells are left out; its labels are gates on the proteins, so that a method
that reads proteins is asked for what they say.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd

import smalti as sm


def simulated(seed: int, cells: int, effect: float) -> sm.Bags:
    """Cells of eight donors, whose means differ."""
    bags = sm.datasets.planted_modalities(cells, n_bags=8, effect=effect, seed=seed)
    rng = np.random.default_rng([seed, 5])
    moved = {k: (v + rng.normal(0, 0.2, (len(bags), v.shape[1]))[bags.index]).astype(np.float32)
             for k, v in bags.x.items()}  # fmt: skip
    return dataclasses.replace(bags, x=moved)


def new_state(seed: int, cells: int, effect: float) -> sm.Bags:
    """Counts of eight donors: four types of two states, and one of a third state."""
    bags = sm.datasets.planted_modalities(
        2 * cells, features=(120, 14), clusters=3, effect=effect, counts=True, n_bags=8, seed=seed
    )  # fmt: skip
    kind = bags.instance["kind"].to_numpy()
    return bags.keep(np.isin(kind, ["0/0", "0/1", "1/0", "1/1", "2/2"]))


def citeseq(cells: int | None) -> sm.Bags:
    """The shared CITE-seq set, or some of it."""
    root = os.environ.get("SMALTI_DATA")
    if not root:
        raise SystemExit("SMALTI_DATA is not set: it names the folder of the real data.")
    bags = sm.read(Path(root) / "citeseq/pbmc10k_citeseq.h5ad")
    return bags if cells is None else bags[:cells]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--set", choices=("sim", "state", "citeseq"), default="sim")
    ask.add_argument("--methods", nargs="+", default=["umint:fast", "block_pca"])
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--folds", type=int, default=4)
    ask.add_argument("--cells", type=int, help="2,000 of those simulated, all of citeseq where "
                     "left out; of state about half are used")  # fmt: skip
    ask.add_argument(
        "--effect", type=float, default=5.0, help="of those simulated: distance of two states"
    )
    ask.add_argument("--unseen", nargs="*", help="types to leave out of a reference, one at a "
                     "time; all where left out, none of an empty list")  # fmt: skip
    ask.add_argument("--out", type=Path, help="folder for tables and pages")
    args = ask.parse_args()
    label, parts, strange = ("cell_type" if args.set == "citeseq" else "kind"), [], []
    made = {"sim": simulated, "state": new_state}
    if args.set == "state" and args.unseen is None:
        args.unseen = ["2/2"]
    for seed in range(args.seeds):
        bags = citeseq(args.cells) if args.set == "citeseq" else \
            made[args.set](seed, args.cells or 2000, args.effect)  # fmt: skip
        chosen = {m: sm.make(m, seed=seed, progress=False) for m in args.methods}
        table = sm.compare_annotation(chosen, bags, label=label, folds=args.folds, seed=seed,
                                      unseen=True if args.unseen is None else args.unseen,
                                      progress=False)  # fmt: skip
        print(table, flush=True)
        parts.append(table.folds.assign(seed=seed))
        strange.append(table.unseen.assign(seed=seed))
        if args.out:
            table.write(args.out / f"seed{seed}")
            table.report(args.out / f"seed{seed}" / "report.html")
    each = pd.concat(parts).groupby(["method", "metric", "seed"], sort=False)["value"].mean()
    print(each.groupby(["method", "metric"], sort=False).agg(["mean", "min", "max"]).round(4))
    print(pd.concat(parts).groupby("method", sort=False)["seconds"].mean().round(1).to_string())
    far = pd.concat(strange)
    if len(far):
        by = far.groupby(["method", "label"], sort=False)[["auroc", "found", "false_alarms"]]
        print(by.agg(["mean", "min"]).round(3).to_string())


if __name__ == "__main__":
    main()
