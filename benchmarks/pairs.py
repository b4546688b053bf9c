"""Samples of a donor beside each other: is p true, does the interval hold, what is found?

    python benchmarks/pairs.py --cohorts 400 --out pairs.csv

Simulated cohorts of pairs (control and stimulated), of which donors differ six times as much as
their samples do (``planted_pairs``). Models are fitted and scored by folds of donors as
``sm.compare(contrast="donor")`` does it. A row is a design and a way to learn: ``bag_mean`` (with
its middle penalty, which saves 25 fits of 26) as it is, and behind ``scale_batch=donor``, which
takes away the level of a donor before it learns. Columns: share of null cohorts with p <= 0.05 and
its standard error; the least p that there can be; mean concordance of null cohorts; share of
planted cohorts with p <= 0.05 (power), their mean concordance within donors and mean AUROC; share
of null cohorts with p <= 0.125, and of the p of ``compare(permutations=)``, where models are fitted
anew for all arrangements (four pairs only). ``--read A.csv B.csv --markdown`` prints tables that
were kept as a page of results has them.

    python benchmarks/pairs.py --part coverage --cohorts 2000

How often the interval over donors holds the concordance of the procedure, the mean over cohorts: a
model is the mean difference of the training donors, in five folds. Beside it a plain one of 95 %.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from scipy import stats

import smalti as sm
import smalti.nn.linear as linear
from smalti.comparison.arranged import arrangements, exchange_of
from smalti.comparison.phenotype_fit import Folds
from smalti.comparison.protocols import protocol_of
from smalti.scores.metrics import score
from smalti.scores.pairs import Within, of_predictions

EFFECT = 1.0
# pairs -> folds, features
DESIGNS = {"4_pairs": (4, 4, 8), "8_pairs": (8, 4, 8), "20_pairs": (20, 5, 8),
           "20_pairs_one_feature": (20, 5, 1)}  # fmt: skip
WAYS = {"as it is": None, "scale_batch=donor": "scale_batch=donor"}


def predictions(bags: sm.Bags, folds: int, way: str | None) -> tuple[pd.DataFrame, Folds]:
    """Of left-out donors."""
    arena = Folds(bags, protocol_of(bags, folds=folds), False, bags, contrast="donor")
    frames = []
    for split in arena.parts:
        method = sm.mil.BagMean(preprocess=way, progress=False)
        answer = arena.fit(method.set_params(seed=arena.seed(method, split)), split)
        frames.append(arena.predictions(split, answer))
    return pd.concat(frames, ignore_index=True), arena


def one(design: str, way: str, effect: float, seed: int, refit: bool = False) -> dict[str, float]:
    """What is said of one cohort."""
    pairs, folds, features = DESIGNS[design]
    bags = sm.datasets.planted_pairs(pairs, effect=effect, n_features=features, seed=seed)
    table, arena = predictions(bags, folds, WAYS[way])
    found = of_predictions(table, arena.task)
    areas = [
        score(arena.task, part["true"].to_numpy(), part["predicted"].to_numpy(),
              part[["p_ctrl", "p_stim"]].to_numpy())["roc_auc"]
        for _, part in table.groupby("fold")
    ]  # fmt: skip
    out = {"p": found.p, "within": found.mean,
           "auroc": float(np.mean(areas)), "least": found.least}  # fmt: skip
    if refit:
        null = [of_predictions(*_with_task(predictions(other, folds, WAYS[way]))).mean
                for other in arrangements(bags, exchange_of(bags), 99, seed)]  # fmt: skip
        p = (1 + sum(v >= found.mean - 1e-12 for v in null)) / (1 + len(null))
        out["refitted"] = max(p, exchange_of(bags).least(exchange_of(bags).label.astype(float), 99))
    return out


def _with_task(made: tuple[pd.DataFrame, Folds]) -> tuple[pd.DataFrame, sm.Task]:
    return made[0], made[1].task


def row(design: str, way: str, cohorts: int, planted: int, refits: int) -> dict[str, object]:
    """What is said of one design and way."""
    null = pd.DataFrame([one(design, way, 0.0, i) for i in range(cohorts)])
    other = pd.DataFrame([one(design, way, EFFECT, 10_000 + i) for i in range(planted)])
    below = float((null["p"] <= 0.05).mean())
    out: dict[str, object] = {
        "design": design, "learned": way, "null p <= 0.05": below,
        "error": (below * (1 - below) / cohorts) ** 0.5, "least p": null["least"].min(),
        "null within": null["within"].mean(),
        "power": float((other["p"] <= 0.05).mean()), "within": other["within"].mean(),
        "AUROC": other["auroc"].mean(), "cohorts": f"{cohorts}, {planted} planted",
    }  # fmt: skip
    if refits and DESIGNS[design][0] == 4 and WAYS[way] is None:
        again = pd.DataFrame([one(design, way, 0.0, i, refit=True) for i in range(refits)])
        out["refitted p <= 0.125"] = float((again["refitted"] <= 0.125).mean())
    out["p <= 0.125"] = float((null["p"] <= 0.125).mean())
    return out


def coverage(cohorts: int) -> pd.DataFrame:
    """How often intervals hold, by pairs, features and shift."""
    rows = []
    for n, d, effect in itertools.product((8, 20, 40), (1, 8), (0.0, 0.3, 0.7)):
        rng = np.random.default_rng([n, d, int(10 * effect)])
        right = np.zeros((cohorts, n))
        for i in range(cohorts):
            x = 0.7 * rng.normal(size=(n, d)) + effect * (np.arange(d) == 0)
            fold = np.arange(n) % 5
            for k in range(5):
                right[i, fold == k] = x[fold == k] @ x[fold != k].mean(0) > 0
        truth, held = right.mean(), []
        for own in right:
            ours = Within(np.arange(n), own, np.nan, np.nan).interval()
            plain = stats.binomtest(int(own.sum()), n).proportion_ci(method="exact")
            held.append([low <= truth <= high for low, high in (ours, plain)])
        rows.append([n, d, effect, truth, *np.mean(held, axis=0)])
    columns = ["pairs", "features", "shift", "concordance", "interval holds it", "plain 95 %"]
    return pd.DataFrame(rows, columns=columns)


def markdown(table: pd.DataFrame) -> str:
    """The table as a page of results has it."""
    rows = [
        list(table),
        ["---"] * table.shape[1],
        *table.round(3).astype(object).to_numpy().tolist(),
    ]
    words = [["–" if v != v else str(v) for v in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in words)


def main(argv: list[str] | None = None) -> pd.DataFrame:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--planted", type=int, default=200, help="cohorts with an effect")
    parser.add_argument("--refits", type=int, default=50, help="cohorts that are fitted anew")
    parser.add_argument("--only", choices=DESIGNS, help="one design")
    parser.add_argument("--way", choices=WAYS, help="one way to learn")
    parser.add_argument("--part", choices=["p", "coverage"], default="p")
    parser.add_argument("--read", type=Path, nargs="+", help="tables that were kept")
    parser.add_argument("--markdown", action="store_true", help="the table as docs have it")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message="scale_batch", category=UserWarning)
    rows = []
    with mock.patch.object(linear, "folds_by_donor", return_value=[]):  # no choice of a penalty
        fitted = asked.part == "p" and not asked.read
        for design in (DESIGNS if asked.only is None else [asked.only]) if fitted else []:
            for way in WAYS if asked.way is None else [asked.way]:
                began = time.perf_counter()
                rows.append(row(design, way, asked.cohorts, asked.planted, asked.refits))
                print(f"{design}, {way}: {time.perf_counter() - began:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    if asked.read:
        table = pd.concat(map(pd.read_csv, asked.read))
    elif asked.part == "coverage":
        table = coverage(asked.cohorts)
    print(markdown(table) if asked.markdown else table.round(3).to_string(index=False))
    if asked.out is not None:
        table.to_csv(asked.out, index=False)
    return table


if __name__ == "__main__":
    main()
