"""Sites: what harmonisation inside the fold gives, and whether shuffled labels stay at chance.

    python benchmarks/sites.py --cohorts 20 --out sites.csv

Simulated cohorts of 60 donors of six sites (``planted_sites``: three features, each site shifts and
stretches them). ``bag_mean`` learns them as they are, behind ``site_combat``, and behind
``site_combat_transductive``. A row is a design (as many cases at each site, or not), folds (of
donors, or each site left out) and a way to learn. Columns: mean AUROC over the cohorts with its
standard error, with the labels that are true and with labels shuffled between donors. ``all sites
at once, told the labels`` is what not to do: ComBat of the bag means of all donors with the label
among its covariates, before the folds.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import smalti as sm
from pairs import markdown
from smalti.comparison.protocols import protocol_of

DESIGNS = {"even": 0.0, "uneven": 0.6}
FOLDS = {"donors": None, "sites": "leave-one-site-out"}
WAYS = {"as it is": None, "site_combat": "site_combat",
        "site_combat_transductive": "site_combat_transductive"}  # fmt: skip
TOLD = "all sites at once, told the labels"


def auroc(bags: sm.Bags, splits: str | None, step: str | None, seed: int) -> float:
    """Mean over the folds that have both classes."""
    found = []
    for split in protocol_of(bags, splits, folds=5, seed=seed).splits:
        test = bags[split.test]
        truth = test.labels == bags.task.positive
        if truth.all() or not truth.any():
            continue
        model = sm.mil.BagMean(preprocess=step, progress=False).fit(bags[split.train])
        p = model.predict_proba(test)[:, list(model.classes_).index(bags.task.positive)]
        found.append(roc_auc_score(truth, p))
    return float(np.mean(found)) if found else np.nan


def told(bags: sm.Bags) -> sm.Bags:
    """Bag means after a ComBat that knows all donors and their labels."""
    import combatlearn

    means = pd.DataFrame([bag.table().mean(0) for bag in bags]).astype(float)
    moved = combatlearn.ComBat(
        pd.Series(bags.bag["site"].to_numpy()), method="fortin",
        discrete_covariates=pd.Series(bags.labels),
    ).fit_transform(means)  # fmt: skip
    return sm.Bags.from_list([row[None].repeat(2, 0) for row in moved.to_numpy()], y=bags.labels,
                             donor=bags.donors, site=bags.bag["site"].to_numpy(),
                             positive="case")  # fmt: skip


def row(design: str, folds: str, way: str, cohorts: int) -> dict[str, object]:
    """Mean AUROC of true labels and of shuffled ones."""
    true, shuffled = [], []
    for seed in range(cohorts):
        bags = sm.datasets.planted_sites(60, n_sites=6, n_features=3, effect=1.2, shift=3.0,
                                         unequal=DESIGNS[design], seed=seed)  # fmt: skip
        other = bags.with_target(np.random.default_rng(seed).permutation(bags.labels),
                                 positive="case")  # fmt: skip
        for found, own in ((true, bags), (shuffled, other)):
            own = told(own) if way == TOLD else own
            found.append(auroc(own, FOLDS[folds], WAYS.get(way), seed))
    out: dict[str, object] = {"design": design, "folds": folds, "learned": way}
    for name, values in (("AUROC", true), ("shuffled", shuffled)):
        there = np.array(values)[np.isfinite(values)]
        out |= {name: there.mean(), f"{name} error": there.std(ddof=1) / len(there) ** 0.5}
    return out


def main(argv: list[str] | None = None) -> pd.DataFrame:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--read", type=Path, help="a table that was kept")
    parser.add_argument("--markdown", action="store_true", help="the table as docs have it")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    rows = []
    for design in [] if asked.read else DESIGNS:
        for folds in FOLDS:
            ways = [*WAYS, TOLD] if folds == "donors" else ["as it is", "site_combat_transductive"]
            rows += [row(design, folds, way, asked.cohorts) for way in ways]
    table = pd.DataFrame(rows) if asked.read is None else pd.read_csv(asked.read)
    print(markdown(table) if asked.markdown else table.round(3).to_string(index=False))
    if asked.out is not None:
        table.to_csv(asked.out, index=False)
    return table


if __name__ == "__main__":
    main()
