"""Do scores of cells point at what carries the prediction, and do the tests of them say so?

    python benchmarks/explanations.py --out explanations.csv

Cohorts of 40 donors with planted driver cells; five folds by donor, all numbers of left-out donors.
Beside methods of the package three that cannot find: attention at random (drawn for each cell, by
the seed or for good), and alike on all. Columns: AUROC of donors; AUROC of the driver cells of
positive donors by the scores; the area between deletion and insertion curves and random order with
its 95 % interval over donors; the same less that of the order by feature norm; agreement over seeds
and with permuted labels; the answer. With --null: the same on cohorts without drivers, how often
each answer is given. With --blind N: random attention alone, by one model a cohort, on new
donors.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti import segment
from smalti.datasets import driver_cohort
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep


class Blind(Method):
    """A linear model of an attended mean, whose attention knows nothing."""

    name = "blind"
    reference = "benchmarks/explanations.py"

    how: str = "random"

    def network(self, shape):
        return _Net(self.how, shape)

    def plan(self, shape):
        yield linear_sweep(penalties=(0.1,))


class _Net(BagLinear):
    def __init__(self, how, shape):
        super().__init__(shape.x[0], shape)
        stream = None if how == "by seed" else torch.Generator().manual_seed(0)
        self.register_buffer("axis", torch.randn(shape.x[0], generator=stream))
        self.how = how

    def attention(self, batch):
        noise = torch.sin(1000 * batch.x @ self.axis)[:, None]
        return segment.softmax((0 if self.how == "even" else 2) * noise, batch.segments)[:, 0]

    def features(self, batch):
        return segment.total(batch.x, batch.segments, self.attention(batch))

    def forward(self, batch):
        out = super().forward(batch)
        out.instance = {"attention": self.attention(batch)}
        return out


def methods():
    fast = dict(widths=(32,), epochs=60, lr=5e-3)
    return {
        "abmil": sm.mil.ABMIL(gated=True, **fast),
        "mi_net": sm.mil.MiNet(**fast),
        "mean_pooling": sm.mil.MeanPooling(**fast),
        "hier_mil": sm.mil.HierMIL(group="cell_type", epochs=60, lr=5e-3),
        "mixmil": sm.mil.MixMIL(epochs=150),
        "cloudpred": sm.mil.CloudPred(epochs=10),
        "mixture_class": sm.mil.MixtureClass(centers=(5,)),
        "random for good": Blind(),
        "random by seed": Blind(how="by seed"),
        "even": Blind(how="even"),
    }  # fmt: skip


def cohort(seed, donors, drivers):
    return driver_cohort(
        donors, cells=(60, 100), driver_rate=0.1, effect=4.0 * drivers, driver_type="T1",
        n_features=12, n_types=4, law_seed=seed, seed=seed,
    )  # fmt: skip


def found(bags, table, method, scores):
    """AUROC of the drivers by the scores, in positive donors."""
    frame = table.attributions[method]
    column = scores if scores in frame else f"{scores}_{bags.task.positive}"
    place = {name: i for i, name in enumerate(bags.bag.index)}
    values = []
    for name, part in frame.groupby("bag", sort=False):
        i = place[name]
        key = bags.instance["key"].to_numpy()[bags.offsets[i] : bags.offsets[i + 1]]
        if bags.labels[i] == 1:
            values.append(roc_auc_score(key, part[column]))
    return float(np.mean(values))


def rows_of(seed, args):
    bags = cohort(seed, args.donors, not args.null)
    chosen = methods()
    if args.methods:
        chosen = {k: m for k, m in chosen.items() if k in args.methods.split(",")}
    table = sm.compare(chosen, bags, folds=args.folds, n_jobs=1, progress=False, explain=True,
                       seed=seed)  # fmt: skip
    auc = table.summary("roc_auc").set_index("method")["mean"]
    for row in table.explanations.table().to_dict("records"):
        about = {"seed": seed, "auroc": auc[row["method"]],
                 "cells": found(bags, table, row["method"], row["scores"])}  # fmt: skip
        yield about | row


def blind(n):
    """Areas of random attention in n cohorts with drivers, and the answers."""
    law = dict(cells=(40, 60), driver_rate=0.1, effect=4, n_features=12, n_types=4)
    rows = []
    for i in range(n):
        train, test = (
            driver_cohort(m, law_seed=i, seed=2 * i + j, **law) for j, m in enumerate((40, 30))
        )
        model = Blind(seed=i, how="by seed", progress=False).fit(train)
        rows.append(sm.explain.faithfulness(model, test, seed=i).table().iloc[0])
    table = pd.DataFrame(rows)
    print(
        f"mean area {table['gain'].mean():+.4f}; interval above 0 in "
        f"{(table['gain_low'] > 0).mean():.3f}, below in {(table['gain_high'] < 0).mean():.3f}"
    )
    print(table["verdict"].value_counts().to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", help="with commas; all when left out")
    parser.add_argument("--donors", type=int, default=40)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--null", action="store_true", help="no driver cells")
    parser.add_argument("--blind", type=int, metavar="N", help="cohorts of random attention")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.blind:
        blind(args.blind)
        return
    table = pd.DataFrame([row for seed in range(args.seeds) for row in rows_of(seed, args)])
    if args.out is not None:
        table.to_csv(args.out, index=False)
    show(table)


def show(table):
    """A markdown table: means over seeds, and the answers that were given."""
    print("| scores | AUROC | cells | area (95 %) | beyond norm | rests on | other seed | permuted "
          "| answer |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for (method, scores), part in table.groupby(["method", "scores"], sort=False):
        one = part.select_dtypes("number").mean()
        many = part["verdict"].value_counts()
        said = "; ".join(f"{k}" + (f" ({n})" if len(part) > 1 else "") for k, n in many.items())
        warned = part["warnings"].iloc[0] if len(part) == 1 and part["warnings"].iloc[0] else ""
        print(f"| `{method}` {scores} | {one['auroc']:.2f} | {one['cells']:.2f} | "
              f"{one['gain']:+.2f} ({one['gain_low']:+.2f} to {one['gain_high']:+.2f}) | "
              f"{one['over_norm']:+.2f} | "
              f"{one['effective']:.0f} of {one['instances']:.0f} | {one['seeds']:.2f} | "
              f"{one['permuted']:.2f} | {said}{'; ' * bool(warned)}{warned} |")  # fmt: skip


if __name__ == "__main__":
    main()
