"""CloudPred's simulations: disease is in the proportions of the cell types alone.

    python benchmarks/proportions.py --seeds 5

400 training and 200 test patients of 500 fresh cells. "oracle": a penalised logistic model of the
true proportions and their squares, which no method can be expected to pass. margin 0 is the
published recipe, whose ranges touch; margin 20 parts them.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from smalti.datasets import proportion_cohort
from smalti.mil import (
    BagMean,
    BagStatistics,
    CloudPred,
    MixtureClass,
    TypeComposition,
    TypePseudobulk,
)

METHODS = {
    "cloudpred": CloudPred(epochs=20),
    "cloudpred, polynomial alone": CloudPred(joint=False),
    "mixture_class": MixtureClass(centers=10),
    "bag_mean": BagMean(),
    "bag_statistics": BagStatistics(),
    "type_pseudobulk": TypePseudobulk(),
    "type_composition": TypeComposition(),
    "type_composition, plain shares": TypeComposition(log_ratio=False),
}


def oracle(train, test):
    """AUROC with the true proportions and their squares."""

    def features(bags):
        share = bags.bag.filter(like="share_").to_numpy()
        return np.hstack([share, share**2])

    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, max_iter=3000))
    model.fit(features(train), train.labels)
    return roc_auc_score(test.labels, model.predict_proba(features(test))[:, 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", help="with commas; all when left out")
    parser.add_argument("--patients", type=int, default=400, help="to train; half as many to test")
    parser.add_argument("--cells", type=int, default=500, help="of a patient")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    columns = [(k, m) for k in ("signature", "interaction") for m in (0, 20)]
    asked = args.methods.split(",") if args.methods else list(METHODS)
    found = {name: [[] for _ in columns] for name in ("oracle", *asked)}
    for c, (kind, margin) in enumerate(columns):
        for seed in range(args.seeds):
            law = dict(cells=args.cells, margin=margin, law_seed=seed)
            train = proportion_cohort(kind, args.patients, seed=2 * seed, **law)
            test = proportion_cohort(kind, args.patients // 2, seed=2 * seed + 1, **law)
            found["oracle"][c].append(oracle(train, test))
            for name in asked:
                method = METHODS[name]
                method.set_params(seed=seed, progress=False).fit(train)
                p = method.predict_proba(test)[:, 1]
                found[name][c].append(roc_auc_score(test.labels, p))
        print(f"{kind}, margin {margin}", {k: np.round(v[c], 3).tolist() for k, v in found.items()},
              flush=True)  # fmt: skip
    print("\n| AUROC | " + " | ".join(f"{k}, margin {m}" for k, m in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, values in found.items():
        cells = [f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for v in values]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
