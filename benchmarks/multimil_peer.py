"""MultiMIL (multimil 1.0) beside ABMIL: the same cohorts, the same folds of donors.

multimil needs Python 3.12, an environment of its own (some 6 GB, torch for CUDA comes along):

    python benchmarks/multimil_peer.py make runs           # here: data, folds, our scores
    python3.12 -m venv mm && mm/bin/pip install multimil==1.0.0
    mm/bin/python benchmarks/multimil_peer.py peer runs    # there: its predictions
    python benchmarks/multimil_peer.py tell runs           # here: the table

Cohorts: "covid", 20 patients of 500 cells (16 Covid, 4 healthy; 50 components); "planted", 60
donors of some 200 instances x 16, some shifted in those that are positive; "planted numbers", of
which the share of shifted ones is to be predicted. MultiMIL as its manual has it: a latent of cells
(here standardised by training donors), sub-bags of 128 cells of a sample, 200 epochs at most,
stopping by a tenth of the training cells. Its prediction of a sample is the mean over its sub-bags.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

FOLDS, REPEATS = 4, 2  # four healthy patients are the fewest of a class


def cohorts() -> dict:
    """Name -> bags."""
    import smalti as sm

    found = {
        "planted": sm.datasets.planted_bags(60, mean_length=200, n_features=16, effect=1.2, seed=0),
        "planted numbers": sm.datasets.planted_bags(60, mean_length=200, n_features=16, effect=1.2,
                                                    kind="regression", seed=0),
    }  # fmt: skip
    if "SMALTI_DATA" in os.environ:
        path = Path(os.environ["SMALTI_DATA"]) / "cohorts" / "covid_gloscope_pca.h5ad"
        found["covid"] = sm.read(path, sample="patient", label="phenotype", donor="patient")
    return found


def make(folder: Path, epochs: int, small: bool) -> None:
    """Write data and folds, and what our methods score on them."""
    import smalti as sm
    from smalti.comparison.splits import donor_folds

    folder.mkdir(exist_ok=True)
    for name, bags in cohorts().items():
        if small and name != "planted":
            continue
        parts = donor_folds(bags, folds=FOLDS, repeats=1 if small else REPEATS, seed=0)
        test = np.stack(
            [np.isin(np.arange(len(bags)), p.test) for p in parts]
        )  # (n_splits, n_bags)
        labels = np.asarray(bags.labels).astype(float if bags.task.kind == "regression" else str)
        np.savez(folder / f"{name}.npz", x=bags.table().astype(np.float32), bag=bags.index,
                 label=labels, test=test)  # fmt: skip
        splits = [(np.flatnonzero(~t), np.flatnonzero(t)) for t in test]
        started = time.process_time()
        methods = [sm.mil.ABMIL(preprocess="scale", progress=False,
                                **({"epochs": epochs} if epochs else {}))]  # fmt: skip
        table = sm.compare(methods, bags, splits=splits, n_jobs=1, progress=False)
        table.predictions.to_csv(folder / f"{name}.ours.csv", index=False)
        print(name, table.summary(table.metrics[0]), time.process_time() - started, sep="\n")


def peer(folder: Path, epochs: int) -> None:
    """Fit MultiMIL on each split; one row of predictions for each test bag."""
    warnings.simplefilter("ignore")
    import anndata as ad
    import torch
    from multimil.model import MILClassifier

    for path in sorted(folder.glob("*.npz")):
        data = np.load(path)
        x, bag, label = data["x"], data["bag"], data["label"]
        numbers = label.dtype.kind == "f"
        classes = [] if numbers else sorted(set(label))
        rows = []
        for s, test in enumerate(data["test"]):
            started = time.process_time()
            torch.manual_seed(s)
            np.random.seed(s)  # noqa: NPY002  # multimil draws from it
            train = ~test[bag]
            mean, sd = x[train].mean(0), x[train].std(0)
            y = (label - label[~test].mean()) / label[~test].std() if numbers else label
            parts = {}
            for side, own in (("train", train), ("test", ~train)):
                obs = pd.DataFrame({"sample": [f"s{b}" for b in bag[own]], "target": y[bag[own]]},
                                   index=[f"c{i}" for i in np.flatnonzero(own)])  # fmt: skip
                parts[side] = ad.AnnData((x[own] - mean) / sd, obs=obs)
            kinds = {"regression": ["target"]} if numbers else {"classification": ["target"]}
            named = {"continuous_covariate_keys": ["target"]} if numbers else {}
            keys = ["sample"] if numbers else ["target", "sample"]
            MILClassifier.setup_anndata(parts["train"], categorical_covariate_keys=keys, **named)
            model = MILClassifier(parts["train"], sample_key="sample", **kinds)
            model.train(max_epochs=epochs or 200, accelerator="cpu", enable_progress_bar=False)
            new = MILClassifier.load_query_data(parts["test"], reference_model=model,
                                                accelerator="cpu")  # fmt: skip
            new.get_model_output()
            rows += said(parts["test"], s, label, classes, time.process_time() - started)
            pd.DataFrame(rows).to_csv(folder / f"{path.stem}.theirs.csv", index=False)
            print(path.stem, s, f"{time.process_time() - started:.0f} s", flush=True)


def said(cells, split: int, label: np.ndarray, classes: list, seconds: float) -> list[dict]:
    """One row for each test sample: the mean over its sub-bags of what MultiMIL predicted."""
    found = np.asarray(cells.obsm["full_predictions_target"], float)
    if classes and not np.allclose(found.sum(1), 1, atol=1e-3):  # logits
        found = np.exp(found - found.max(1, keepdims=True))
        found /= found.sum(1, keepdims=True)
    found = pd.DataFrame(found.reshape(len(cells), -1), columns=classes or ["value"])
    means = found.groupby(cells.obs["sample"].astype(str).to_numpy()).mean()
    out = []
    for sample, row in means.iterrows():
        bag = int(str(sample)[1:])
        out.append({"split": split, "bag": bag, "true": label[bag], "seconds": seconds}
                   | {f"p_{c}": row[c] for c in means})  # fmt: skip
    return out


def tell(folder: Path) -> None:
    """Scores of both, and their paired difference."""
    from sklearn.metrics import r2_score, roc_auc_score

    from smalti.scores.statistics import corrected_test

    print(
        "| cohort | score | multimil | abmil | abmil less multimil (95 %) |\n|---|---|---|---|---|"
    )
    for path in sorted(folder.glob("*.theirs.csv")):
        name = path.name.removesuffix(".theirs.csv")
        theirs, ours = pd.read_csv(path), pd.read_csv(folder / f"{name}.ours.csv")
        data = np.load(folder / f"{name}.npz")
        n_test = data["test"].sum(1).mean()
        n_train, label = data["test"].shape[1] - n_test, data["label"]
        ours = ours[ours["method"] == "abmil"]
        numbers = label.dtype.kind == "f"
        two = {"theirs": [], "ours": []}
        order = ours.groupby(["repeat", "fold"], sort=True).ngroup().to_numpy()
        for s, test in enumerate(data["test"]):
            own = theirs[theirs["split"] == s].set_index("bag")
            same = ours[order == s]
            if numbers:
                scale = label[~test]
                two["theirs"].append(r2_score(own["true"], own["p_value"] * scale.std()
                                              + scale.mean()))  # fmt: skip
                two["ours"].append(r2_score(same["true"], same["predicted"]))
                continue
            positive = sorted(set(map(str, label)))[-1]
            two["theirs"].append(roc_auc_score(own["true"].astype(str) == positive,
                                               own[f"p_{positive}"]))  # fmt: skip
            two["ours"].append(
                roc_auc_score(same["true"].astype(str) == positive, same[f"p_{positive}"])
            )
        gap = np.array(two["ours"]) - np.array(two["theirs"])
        test = corrected_test(gap, n_train, n_test)
        mean = {k: f"{np.mean(v):.3f}" for k, v in two.items()}
        print(f"| {name} | {'R²' if numbers else 'AUROC'} | {mean['theirs']} | {mean['ours']} | "
              f"{gap.mean():+.3f} ({test['low']:+.3f} to {test['high']:+.3f}) |")  # fmt: skip


def main() -> None:
    """See the head of the file."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("what", choices=["make", "peer", "tell"])
    ask.add_argument("folder", type=Path)
    ask.add_argument("--epochs", type=int, default=0, help="at most; of each its own when left out")
    ask.add_argument("--small", action="store_true", help="one cohort, one repeat")
    args = ask.parse_args()
    if args.what == "make":
        make(args.folder, args.epochs, args.small)
    elif args.what == "peer":
        peer(args.folder, args.epochs)
    else:
        tell(args.folder)


if __name__ == "__main__":
    sys.exit(main())
