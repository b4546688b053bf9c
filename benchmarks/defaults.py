"""How many steps methods need: chosen on simulations, before any real cohort was run.

Driver cells among cells of several types (``driver_cohort``), cohorts of 20, 60 and 200 patients,
weak and strong: AUROC on 200 other patients of the same law, by epochs and learning rate; how many
fits were still falling; and the paired difference to the setting with the highest mean.

    python benchmarks/defaults.py --seeds 3
    python benchmarks/defaults.py --methods abmil,mi_net --settings 100:1e-3,300:1e-3 --sizes 20,60
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

SETTINGS = "100:1e-3,500:1e-3,100:5e-3,200:5e-3,500:5e-3"  # epochs:lr


def fits(name: str, sizes: list[int], seeds: int, most: int, settings: list[tuple[int, float]]):
    """One row per cohort and setting."""
    for n in sizes:
        for seed in range(seeds):
            for rate in (0.05, 0.2):
                law = dict(cells=(50, most), driver_rate=rate, driver_type="T1", law_seed=seed)
                train = driver_cohort(n, **law, seed=2 * seed)
                test = driver_cohort(200, **law, seed=2 * seed + 1)
                for epochs, lr in settings:
                    began = time.perf_counter()
                    model = sm.make(name, epochs=epochs, lr=lr, seed=seed, progress=False)
                    p = model.fit(train).predict_proba(test)[:, 1]
                    yield {
                        "patients": n, "cohort": f"{seed} {rate}", "epochs": epochs, "lr": lr,
                        "auroc": roc_auc_score(test.labels == model.classes_[1], p),
                        "falling": not model.converged_, "seconds": time.perf_counter() - began,
                    }  # fmt: skip


def report(table: pd.DataFrame) -> str:
    """Means by size and setting, and paired differences to the best over all sizes."""
    out = table.groupby(["patients", "epochs", "lr"])[["auroc", "falling", "seconds"]].mean()
    out = out.round(3)
    wide = table.pivot_table(index=["patients", "cohort"], columns=["epochs", "lr"], values="auroc")
    best = wide.mean().idxmax()
    for n in wide.index.get_level_values(0).unique():
        gap = wide.loc[n].sub(wide.loc[n][best], axis=0)
        half = 1.96 * gap.std(ddof=1) / np.sqrt(len(gap))
        for setting in gap:
            out.loc[(n, *setting), "to best"] = f"{gap[setting].mean():+.3f} ± {half[setting]:.3f}"
    return f"best over all sizes: epochs {best[0]}, lr {best[1]}\n{out.to_string()}"


def main() -> None:
    """Fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="hier_mil", help="with commas")
    parser.add_argument("--settings", default=SETTINGS, help="EPOCHS:LR, with commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", default="20,60,200", help="patients, with commas")
    parser.add_argument("--most", type=int, default=200, help="cells of a patient")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    pairs = [one.split(":") for one in asked.settings.split(",")]
    settings = [(int(epochs), float(lr)) for epochs, lr in pairs]
    for name in asked.methods.split(","):
        rows = []
        for row in fits(name, [*map(int, asked.sizes.split(","))], asked.seeds, asked.most,
                        settings):  # fmt: skip
            rows.append(row)
            print(name, *row.values(), flush=True)
        print(f"\n{name}: {report(pd.DataFrame(rows))}\n", flush=True)


if __name__ == "__main__":
    main()
