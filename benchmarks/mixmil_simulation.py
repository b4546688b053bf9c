"""MixMIL's simulation (10 binomial outputs, 1,000 + 200 bags of 50 instances, 30 features).

    python benchmarks/mixmil_simulation.py --seeds 5 [--authors] [--tolerance 3e-4]

Bag Spearman of u and instance AUROC of the attention for the 10 % of instances with most true
weight, on the 200 test bags: at the start (mean model, uniform attention) and after training. The
authors' notebook, one seed, ± standard error over the outputs: 0.6004 and 0.5000 at the start,
0.8316 ± 0.0111 and 0.9362 ± 0.0078 at the end. ``--authors`` fits their package (``mixmil`` 0.1.2,
which needs ``torch_scatter``) to the same bags, where it is installed. ``--tolerance`` fits a
second time with early stopping on the bound, over ``--patience`` epochs. Seconds are of the
processor. For the speed of a step see ``bench.py mixmil``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from smalti.datasets import mixmil_bags
from smalti.mil import MixMIL


def score(u, attention, bags):
    """Spearman over the bags and AUROC over the instances, mean over the outputs."""
    rho, auc = [], []
    for j in range(u.shape[1]):
        rho.append(spearmanr(u[:, j], bags.bag[f"u_{j}"])[0])
        key = bags.instance[f"key_{j}"].to_numpy(bool)
        auc.append(roc_auc_score(key, attention[:, j]) if np.ptp(attention[:, j]) > 1e-6 else 0.5)
    return np.mean(rho), np.mean(auc)


def ours(train, test, seed, **settings):
    """Scores, seconds and epochs."""
    began = time.process_time()
    model = MixMIL(seed=seed, progress=False, **settings).fit(train)
    seconds = time.process_time() - began
    _, instance, bag = model.forward(test)
    epochs = (model.history_["stage"] == "train").sum()
    return [*score(bag["embedding"], instance["attention"], test), seconds, epochs]


def theirs(train, test, seed, epochs):
    """Scores at the start and at the end, and seconds of the training without its start."""
    from mixmil import MixMIL as Theirs

    mean, sd = train.table().mean(0), train.table().std(0) * np.sqrt(train.shape[1])
    x, new = (torch.as_tensor(((b.table() - mean) / sd).reshape(len(b), -1, train.shape[1])).float()
              for b in (train, test))  # fmt: skip
    f, y = torch.ones(len(train), 1), torch.as_tensor(np.asarray(train.labels)).float()
    torch.manual_seed(seed)
    found = []
    with contextlib.redirect_stderr(io.StringIO()):  # a bar that verbose=False does not hide
        model = Theirs.init_with_mean_model(x, f, y, "binomial", n_trials=2)
    began = time.process_time()
    for n in (0, epochs):
        model.train(x, f, y, n_epochs=n, verbose=False)
        w = model.get_weights(new)[0].flatten(0, 1).numpy()
        found += score(model.predict(new).numpy(), w, test)
    return [*found, time.process_time() - began, epochs]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("--posterior", default="full")
    parser.add_argument("--bags", type=int, default=1000, help="to train; a fifth as many to test")
    parser.add_argument("--tolerance", type=float, default=0.0, help="fit again, stopped early")
    parser.add_argument("--patience", type=int, default=50, help="epochs, for --tolerance")
    parser.add_argument("--authors", action="store_true")
    args = parser.parse_args()
    early = f"smalti, tolerance={args.tolerance:g}, patience={args.patience}"
    rows = {"smalti": [], early: [], "mixmil 0.1.2": []}
    for seed in range(args.seeds):
        bags = mixmil_bags(args.bags + args.bags // 5, law_seed=seed, seed=seed)
        train, test = bags[: args.bags], bags[args.bags :]
        start = ours(train, test, seed, epochs=0)[:2]
        settings = {"epochs": args.epochs, "posterior": args.posterior}
        rows["smalti"].append([*start, *ours(train, test, seed, **settings)])
        if args.tolerance:
            stopped = ours(train, test, seed, tolerance=args.tolerance, patience=args.patience,
                           **settings)  # fmt: skip
            rows[early].append([*start, *stopped])
        if args.authors:
            try:
                rows["mixmil 0.1.2"].append(theirs(train, test, seed, args.epochs))
            except ImportError as error:
                print(f"the authors' package cannot be imported ({error}): smalti alone")
                args.authors = False
        for name, found in rows.items():
            if found:
                print(f"seed {seed} {name}: " + " ".join(f"{v:.4f}" for v in found[-1]), flush=True)
    print("\n| | Spearman, start | AUROC, start | Spearman, end | AUROC, end | seconds | epochs |")
    print("|---" * 7 + "|")
    for name, found in rows.items():
        if found:
            mean, sd = np.mean(found, 0), np.std(found, 0, ddof=min(1, len(found) - 1))
            cells = [f"{m:.4f} ± {s:.4f}" for m, s in zip(mean[:4], sd[:4], strict=True)]
            print(f"| {name} | {' | '.join(cells)} | {mean[4]:.0f} | {mean[5]:.0f} |")


if __name__ == "__main__":
    main()
