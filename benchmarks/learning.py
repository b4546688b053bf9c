"""What learning curves say of simulated cohorts whose truth is known.

    python benchmarks/learning.py                    # 80 cohorts of each kind
    python benchmarks/learning.py --cohorts 2 --donors 20

A donor is a point of many features, three of which differ between two classes; the method is a
logistic regression. Printed: how often the last doubling of the donors is called improving, flat or
worsening, beside what it truly gains, and how often the interval at twice the donors holds the true
mean, and how wide it is.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from smalti.scores.learning import extrapolated, learning_gains

SHARES = (0.25, 0.5, 0.75, 1.0)


def drawn(rng: np.random.Generator, n: int, width: int, effect: float) -> tuple:
    y = np.arange(n) % 2
    x = rng.normal(size=(n, width))
    x[:, :3] += effect * y[:, None]
    return x, y


def fitted(x: np.ndarray, y: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=0.1, max_iter=300).fit(x, y)


def truth(n: int, width: int, effect: float) -> float:
    """Mean AUROC of fits on n donors, on thousands of others."""
    rng = np.random.default_rng(99)
    x, y = drawn(rng, 4000, width, effect)
    each = [roc_auc_score(y, fitted(*drawn(rng, n, width, effect)).decision_function(x))
            for _ in range(60)]  # fmt: skip
    return float(np.mean(each))


def curve(n: int, width: int, effect: float, repeats: int, seed: int) -> pd.DataFrame:
    """A cohort of n donors as ``comparison.learning`` has it."""
    rng = np.random.default_rng([n, seed])
    x, y = drawn(rng, n, width, effect)
    rows = []
    for repeat in range(repeats):
        folds = StratifiedKFold(5, shuffle=True, random_state=10 * seed + repeat).split(x, y)
        for fold, (train, test) in enumerate(folds):
            order = rng.permutation(train)
            groups = [order[y[order] == c] for c in (0, 1)]
            for share in SHARES:
                own = np.concatenate([g[: round(share * len(g))] for g in groups])
                value = roc_auc_score(y[test], fitted(x[own], y[own]).decision_function(x[test]))
                rows.append({"method": "m", "share": share, "donors": len(own), "repeat": repeat,
                             "fold": fold, "metric": "roc_auc", "value": value,
                             "n_train": len(own), "n_test": len(test)})  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    """Cohorts with an effect and without, of one and of five repeats."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cohorts", type=int, default=80)
    parser.add_argument("--donors", type=int, nargs="+", default=[40, 100])
    asked = parser.parse_args()
    for n in asked.donors:
        for effect in (0.0, 0.7):
            now, later = truth(int(0.8 * n), 20, effect), truth(int(1.6 * n), 20, effect)
            for repeats in (1, 5):
                words, ends = [], []
                for seed in range(asked.cohorts):
                    own = curve(n, 20, effect, repeats, seed)
                    words.append(learning_gains(own, "roc_auc", margin=0.01, freedom=4)["curve"][0])
                    ends.append(extrapolated(own, "roc_auc", "m", 1.6 * n))
                low, high = np.array(ends).T
                held = ((low <= later) & (later <= high)).mean()
                said = {w: words.count(w) for w in ("improving", "flat", "worsening", "not told")}
                print(f"{n} donors, effect {effect}, {repeats} repeats: true {now:.3f}, at twice "
                      f"{later:.3f}; {said}; interval holds {held:.2f}, median width "
                      f"{np.median(high - low):.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
