"""How many steps hierarchical MIL needs: chosen on simulations, before the real cohorts were run.

Driver cells among cells of several types (``driver_cohort``), cohorts of 20, 60 and 200 patients,
weak and strong: AUROC on 200 other patients of the same law, by epochs and learning rate; how many
fits were still falling; and the paired difference to the setting with the highest mean.

    python benchmarks/defaults.py --seeds 5
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.datasets import driver_cohort

SETTINGS = [(100, 1e-3), (500, 1e-3), (100, 5e-3), (200, 5e-3), (500, 5e-3)]  # epochs, lr


def main() -> None:
    """Fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", default="20,60,200")
    parser.add_argument("--most", type=int, default=200, help="cells of a patient")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for n in map(int, asked.sizes.split(",")):
        for seed in range(asked.seeds):
            for rate in (0.05, 0.2):
                law = dict(
                    cells=(50, asked.most), driver_rate=rate, driver_type="T1", law_seed=seed
                )
                train = driver_cohort(n, **law, seed=2 * seed)
                test = driver_cohort(200, **law, seed=2 * seed + 1)
                for epochs, lr in SETTINGS:
                    began = time.perf_counter()
                    model = sm.mil.HierMIL(epochs=epochs, lr=lr, seed=seed, progress=False).fit(
                        train
                    )
                    seconds = time.perf_counter() - began
                    p = model.predict_proba(test)[:, 1]
                    rows.append({
                        "patients": n, "cohort": f"{seed} {rate}", "epochs": epochs, "lr": lr,
                        "auroc": roc_auc_score(test.labels == model.classes_[1], p),
                        "falling": not model.converged_, "seconds": seconds,
                    })  # fmt: skip
                    print(*rows[-1].values(), flush=True)
    table = pd.DataFrame(rows)
    keys = ["patients", "epochs", "lr"]
    out = table.groupby(keys)[["auroc", "falling", "seconds"]].mean().round(3)
    wide = table.pivot_table(index=["patients", "cohort"], columns=["epochs", "lr"], values="auroc")
    best = wide.mean().idxmax()
    for n in wide.index.get_level_values(0).unique():
        gap = wide.loc[n].sub(wide.loc[n][best], axis=0)
        half = 1.96 * gap.std(ddof=1) / np.sqrt(len(gap))
        for setting in gap:
            out.loc[(n, *setting), "to best"] = f"{gap[setting].mean():+.3f} ± {half[setting]:.3f}"
    print(f"best over all sizes: epochs {best[0]}, lr {best[1]}")
    print(out.to_string())


if __name__ == "__main__":
    main()
