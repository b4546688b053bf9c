"""Is a search of settings worth it on so few donors, and how hopeful is its score?

Simulated cohorts whose positive donors hold a quarter of shifted instances (or none). A method with
its settings as given, and with settings chosen by three inner folds of the donors; both are scored
on 400 new donors of the same law, which takes the place of an outer fold without its noise.
Cohorts are independent, so intervals are of their means (t, 95 %).

    python benchmarks/search.py --cohorts 8 --out search.csv    # goes on where it stopped
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import roc_auc_score

import smalti as sm

QUIET = {"progress": False, "accelerator": "cpu"}
EFFECTS = {"nothing": 0.0, "middle": 1.2}  # shift of key instances, in s.d.
METHODS = {
    # as given: the defaults but for epochs, 100 of which would take three times as long
    "abmil": (sm.mil.ABMIL(epochs=30, **QUIET), {
        "lr": (1e-4, 1e-2, "log"), "weight_decay": (1e-5, 1e-1, "log"),
        "dropout": [0.0, 0.25, 0.5], "widths": [(32,), (128, 64), (256, 128, 64)],
    }),
    "bag_mean": (sm.mil.BagMean(**QUIET), {
        "preprocess": ["pca=1", "pca=2", "pca=4", "scale", "scale,pca=2", "scale,pca=4", None],
        "class_weight": [None, "balanced"],
    }),
}  # fmt: skip


def auc(model, bags):
    return float(roc_auc_score(bags.labels, model.forward(bags)[0][:, 0]))


def cohort(name, donors, effect, seed, trials, sampler):
    """Inner score of the choice; AUROC on new donors as chosen and as given."""
    law = {"effect": EFFECTS[effect]}
    bags = sm.datasets.planted_bags(donors, seed=1000 * donors + seed, **law)
    new = sm.datasets.planted_bags(400, seed=10**6 + seed, **law)
    method, space = METHODS[name]
    method = method.set_params(seed=seed)
    began = time.perf_counter()
    search = sm.Search(method, space, trials=trials, folds=3, sampler=sampler).fit(bags)
    seconds = time.perf_counter() - began
    given = method.fit(bags)
    return {
        "method": name, "donors": donors, "effect": effect, "seed": seed, "trials": trials,
        "sampler": sampler, "inner": search.searched_["inner"], "new": auc(search, new),
        "as_given": auc(given, new), "seconds": seconds,
    }  # fmt: skip


def with_interval(values):
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} ({values.mean() - half:+.3f} to {values.mean() + half:+.3f})"


def summary(rows):
    """One row for each method, effect and number of donors."""
    out = []
    keys = ["method", "effect", "sampler", "trials", "donors"]
    for key, part in rows.groupby(keys, sort=False):
        out.append(dict(zip(keys, key, strict=True)) | {
            "cohorts": len(part), "inner": part["inner"].mean(), "new donors": part["new"].mean(),
            "as given": part["as_given"].mean(),
            "optimism": with_interval(part["inner"] - part["new"]),
            "gain": with_interval(part["new"] - part["as_given"]),
            "seconds": part["seconds"].mean(),
        })  # fmt: skip
    return pd.DataFrame(out).round(3)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=8)
    parser.add_argument("--donors", type=int, nargs="+", default=[20, 40, 100])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--effects", nargs="+", default=list(EFFECTS), choices=list(EFFECTS))
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [] if args.out is None or not args.out.exists() else \
        pd.read_csv(args.out).to_dict("records")  # fmt: skip
    names = ("method", "donors", "effect", "seed", "trials", "sampler")
    done = {tuple(row[k] for k in names) for row in rows}
    for seed, name, effect, donors in itertools.product(
        range(args.cohorts), args.methods, args.effects, args.donors
    ):
        asked = (name, donors, effect, seed, args.trials, args.sampler)
        if asked in done:
            continue
        rows.append(cohort(*asked))
        if args.out is not None:
            pd.DataFrame(rows).to_csv(args.out, index=False)
    print(summary(pd.DataFrame(rows)).to_string(index=False))


if __name__ == "__main__":
    main()
