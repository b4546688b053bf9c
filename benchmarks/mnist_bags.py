"""MNIST-bags by the paper's own rule: test AUC by number of training bags, beside table 1c.

Mean bag length 10, s.d. 2, 1,000 test bags from the test digits. A fifth of the training bags is
held out for early stopping; nothing is chosen on test bags. Needs MNIST (SMALTI_DATA or network).

    python benchmarks/mnist_bags.py [--sizes 50,100,200,400] [--seeds 5]
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import smalti as sm

# Ilse, Tomczak & Welling (2018), mean bag length 10
PUBLISHED = {
    "abmil": {50: 0.768, 100: 0.948, 200: 0.970, 400: 0.982},
    "gated abmil": {50: 0.753, 100: 0.916, 200: 0.974, 400: 0.983},
    "max_pooling": {50: 0.713, 100: 0.914, 200: 0.968, 400: 0.981},
    "mi_net": {50: 0.553, 100: 0.745, 200: 0.979, 400: 0.986},
}


def contenders(seed: int, epochs: int) -> dict[str, sm.Method]:
    """The paper's network and step (one bag, Adam 5e-4, decay 1e-4), by our loop."""
    common = dict(
        epochs=epochs, lr=5e-4, weight_decay=1e-4, batch_size=1, validation=0.2, patience=10,
        standardize=False, seed=seed,
    )  # fmt: skip
    mil = sm.mil
    return {
        "abmil": mil.ABMIL(attention_width=128, **common),
        "gated abmil": mil.ABMIL(gated=True, attention_width=128, **common),
        "max_pooling": mil.MaxPooling(**common),
        "mi_net": mil.MiNet(**common),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="50,100,200,400")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", default="abmil,gated abmil,max_pooling,mi_net")
    parser.add_argument("--tests", type=int, default=1000, help="test bags")
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    args = parser.parse_args()
    test = sm.datasets.mnist_bags(args.tests, split="test", seed=10_000)
    rows = []
    for size in map(int, args.sizes.split(",")):
        for name in args.methods.split(","):
            bag, instance, epochs = [], [], []
            for seed in range(args.seeds):
                train = sm.datasets.mnist_bags(size, seed=seed)
                model = contenders(seed, args.epochs)[name].fit(train)
                bag.append(roc_auc_score(test.labels, model.predict_proba(test)[:, 1]))
                epochs.append(len(model.history_))
                frame = model.attribute(test)
                column = next((c for c in ("attention", "score_1") if c in frame), None)
                if column:
                    inside = test.labels[test.index] == 1
                    key = test.instance["key"].to_numpy()[inside]
                    instance.append(roc_auc_score(key, frame[column].to_numpy()[inside]))
            rows.append({
                "bags": size, "method": name, "AUC": f"{np.mean(bag):.3f} ± {np.std(bag):.3f}",
                "published": PUBLISHED[name].get(size, ""),
                "instance AUC of the 9s": f"{np.mean(instance):.3f} ± {np.std(instance):.3f}"
                if instance else "", "epochs": round(float(np.mean(epochs))),
            })  # fmt: skip
            print(rows[-1], flush=True)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
