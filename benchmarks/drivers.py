"""Planted driver cells: who predicts the patient, and who finds the cells.

    python benchmarks/drivers.py --methods hier_mil,mixmil --seeds 5 --out drivers.csv

Cohorts of 60 training and 60 test patients of 100 to 300 cells; a share of the cells of the
positive ones ("rarity") is shifted by "effect" standard deviations. AUROC of the test patients, and
average precision of the cell scores against the truth in the positive test patients together
(chance: the rarity itself). Cell score: signed contribution, else score, else attention or top key.
Rows that the CSV holds are not run again. Settings: the defaults, fewer epochs where a fit would
take minutes; the same for all cohorts, none chosen by these scores.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from smalti.datasets import driver_cohort
from smalti.mil import (
    ABMIL,
    BagMean,
    BagStatistics,
    CloudPred,
    HierMIL,
    MixMIL,
    MixtureClass,
    MixturePatient,
    ProtoCell4P,
    ScRAT,
    TypeComposition,
    TypePseudobulk,
)

METHODS = {
    "abmil": ABMIL(gated=True, widths=(64,)),
    "hier_mil": HierMIL(),
    "scrat": ScRAT(epochs=10, augment=50, draw=200, predict_draws=10),
    "protocell4p": ProtoCell4P(group="cell_type"),
    "cloudpred": CloudPred(epochs=20),
    "mixture_class": MixtureClass(centers=(5, 10)),
    "mixture_patient": MixturePatient(centers=2),
    "mixmil": MixMIL(epochs=500),
    "bag_mean": BagMean(),
    "bag_statistics": BagStatistics(),
    "type_pseudobulk": TypePseudobulk(),
    "type_composition": TypeComposition(),
}
RARITY, EFFECT = (0.01, 0.05, 0.2), (1.0, 2.0, 4.0)
SCORES = ("contribution_1", "score_1", "attention", "top_key")


def one(method, rarity, effect, seed):
    """AUROC of patients and average precision of cells, of one fit."""
    law = dict(driver_rate=rarity, effect=effect, cells=(100, 300), law_seed=seed)
    train, test = (driver_cohort(60, seed=2 * seed + i, **law) for i in range(2))
    began = time.perf_counter()
    model = method.set_params(seed=seed, accelerator="cpu", progress=False).fit(train)
    seconds = time.perf_counter() - began
    auc = roc_auc_score(test.labels, model.predict_proba(test)[:, 1])
    frame = model.attribute(test)
    name = next((s for s in SCORES if s in frame), None)
    ap = np.nan
    if name is not None:
        ill = test.labels[test.index] == 1
        ap = average_precision_score(test.instance["key"][ill], frame[name][ill])
    return auc, ap, name, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", help="with commas; all when left out")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("drivers.csv"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    names = args.methods.split(",") if args.methods else list(METHODS)
    if absent := [n for n in names if n not in METHODS]:
        print(f"No settings for {', '.join(absent)} (there are {', '.join(METHODS)}): left out.")
        names = [n for n in names if n in METHODS]
    if not names:
        return
    done = pd.read_csv(args.out) if args.out.exists() else pd.DataFrame()
    keys = ["method", "rarity", "effect", "seed"]
    there = set(map(tuple, done[keys].to_numpy(object))) if len(done) else set()
    for name, seed, rarity, effect in itertools.product(names, range(args.seeds), RARITY, EFFECT):
        if (name, rarity, effect, seed) in there:
            continue
        auc, ap, score, seconds = one(METHODS[name], rarity, effect, seed)
        row = dict(method=name, rarity=rarity, effect=effect, seed=seed, auc=auc, ap=ap,
                   score=score, seconds=seconds)  # fmt: skip
        done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
        done.to_csv(args.out, index=False)
    show(done[done["method"].isin(names)])


def show(done):
    """Two markdown tables."""
    for value, title in (
        ("auc", "AUROC of the patients"),
        ("ap", "average precision of the cells"),
    ):
        print(f"\n{title}\n")
        columns = list(itertools.product(RARITY, EFFECT))
        print("| method | " + " | ".join(f"{r:.0%}, {e:g} s.d." for r, e in columns) + " |")
        print("|---" * (len(columns) + 1) + "|")
        for name, part in done.groupby("method", sort=False):
            cells = []
            for r, e in columns:
                v = part[(part.rarity == r) & (part.effect == e)][value]
                spread = f" ± {v.std():.2f}" if len(v) > 1 else ""
                cells.append("-" if v.isna().all() else f"{v.mean():.2f}{spread}")
            print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
