"""Principal components as they are, or each at variance 1: what the networks make of either.

Driver cells (``driver_cohort``) in the coordinates of a PCA of the training cells: AUROC on other
patients of the same law, with ``standardize`` and without, and the paired difference over the
cohorts. "flat": all features vary alike, but for the types; "falling": the last a tenth of the
first, and drivers are shifted by as many standard deviations in any; "signal first": falling, in
the order in which features tell drivers, so that the large components hold the signal.

    python benchmarks/standardize.py --seeds 8
    SMALTI_DATA=... python benchmarks/standardize.py --real --cache runs/    # the Covid set
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import smalti as sm
from cohorts import in_words, read
from smalti.datasets import driver_cohort
from smalti.mil import ABMIL, HierMIL, MeanPooling

METHODS = {
    "abmil": ABMIL(gated=True, widths=(64,)),
    "hier_mil": HierMIL(),
    "mean_pooling": MeanPooling(),
}
LEAST = {"flat": 1.0, "falling": 0.1, "signal first": 0.1}  # s.d. of the last feature, of the first


def cohort(spectrum, rate, seed, patients, tests, most):
    """Training and test patients in the principal components of the training cells."""
    law = {"cells": (most // 4, most), "driver_rate": rate, "law_seed": seed}
    both = [driver_cohort(n, **law, seed=2 * seed + i) for i, n in enumerate((patients, tests))]
    x, key = both[0].table(), both[0].instance["key"].to_numpy(bool)
    scale = np.geomspace(1.0, LEAST[spectrum], x.shape[1])
    if spectrum == "signal first":
        shift = np.abs(x[key].mean(0) - x[~key].mean(0))
        scale[np.argsort(-shift)] = scale.copy()
    pca = PCA(random_state=0).fit(x * scale)
    return [dataclasses.replace(b, x={"X_pca": pca.transform(b.table() * scale).astype("f4")})
            for b in both]  # fmt: skip


def auroc(method, standardize, seed, train, test):
    """On the test patients."""
    model = sm.make(method.name, **method.get_params() | {
        "standardize": standardize, "seed": seed, "progress": False,
    }).fit(train)  # fmt: skip
    return roc_auc_score(test.labels == model.classes_[1], model.predict_proba(test)[:, 1])


def simulated(args):
    """Every method on every cohort, both ways; means and paired intervals."""
    rows = []
    for spectrum in args.variances:
        for rate in (0.05, 0.2):
            for seed in range(args.seeds):
                train, test = cohort(spectrum, rate, seed, args.patients, args.tests, args.cells)
                for name in args.methods:
                    method = METHODS[name]
                    raw, z = (auroc(method, s, seed, train, test) for s in (False, True))
                    rows.append({
                        "method": name, "variances": spectrum, "drivers": f"{rate:.0%}",
                        "as they are": raw, "z-scored": z, "difference": raw - z,
                    })  # fmt: skip
                    print("#", *rows[-1].values(), flush=True)
    print("| method | variances | drivers | as they are | z-scored | difference, 95 % interval |")
    print("|---" * 6 + "|")
    for keys, part in pd.DataFrame(rows).groupby(["method", "variances", "drivers"], sort=False):
        d = part["difference"]
        low, high = stats.ttest_1samp(d, 0).confidence_interval() if len(d) > 1 else (np.nan,) * 2
        print(
            f"| `{keys[0]}` | {keys[1]} | {keys[2]} | {part['as they are'].mean():.3f} | "
            f"{part['z-scored'].mean():.3f} | {d.mean():+.3f} ({low:+.3f} to {high:+.3f}) |"
        )


def real(args):
    """The Covid set: each method both ways in the folds of ``cohorts.py``."""
    bags, folds, _ = read("covid")
    both = {name: METHODS[name] for name in args.methods}
    for name, method in list(both.items()):
        settings = method.get_params() | {"standardize": False}
        both[f"{name}, as they are"] = sm.make(method.name, **settings)
    table = sm.compare(both, bags, folds=folds, repeats=args.repeats, cache=args.cache, n_jobs=1,
                       progress=False)  # fmt: skip
    means = table.summary("roc_auc").query("metric == 'roc_auc'").set_index("method")["mean"]
    print("| method | as they are | z-scored | difference, 95 % interval |\n|---|---|---|---|")
    for name in args.methods:
        raw = f"{name}, as they are"
        gap = table.against(name).set_index("method").loc[raw]
        print(f"| `{name}` | {means[raw]:.3f} | {means[name]:.3f} | {in_words(gap)} |")


def main() -> None:
    """Simulated cohorts, or the real one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--cells", type=int, default=200, help="of a patient, at most")
    parser.add_argument("--variances", nargs="+", choices=LEAST, default=list(LEAST))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    real(args) if args.real else simulated(args)


if __name__ == "__main__":
    main()
