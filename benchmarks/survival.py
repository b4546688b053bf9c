"""Whether methods find a planted hazard, and nothing where there is none; and 198 real patients.

    python benchmarks/survival.py --out survival.csv     # planted hazards of five seeds, 40 of none
    python benchmarks/survival.py --patients breast      # a folder: data, page, scores

Planted: 120 donors of some 40 instances x 8; the share of key instances (0 to 0.2) makes the event
come earlier, 50-fold from end to end, a third is censored. "mean": as they are. "drivers": each bag
less its own mean, of which a bag mean sees nothing. "none": times are of other donors. Harrell's C
of left-out donors, five folds; "oracle" is the share itself.

Patients: 76 genes and four clinical columns of 198 women with breast cancer and no tumour in lymph
nodes (Desmedt et al. 2007; GSE7390), time to a distant metastasis in days, as scikit-survival
ships them. A woman is a bag of one. Read from an .h5ad by the command line, from file to page.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import smalti as sm

DONORS, FOLDS = 120, 5


def planted(design: str, seed: int, donors: int = DONORS) -> tuple[sm.Bags, np.ndarray]:
    """Bags, and the share of key instances of each, (n_bags,)."""
    how = {"mean_length": 40, "effect": 4.0, "seed": seed}
    bags = sm.datasets.planted_bags(donors, kind="survival", **how)
    share = np.bincount(bags.index, bags.instance["key"]) / bags.lengths
    if design == "none":
        order = np.random.default_rng(seed).permutation(donors)
        bag = bags.bag.assign(**{c: bags.bag[c].to_numpy()[order] for c in ("time", "event")})
        return dataclasses.replace(bags, bag=bag), share
    if design == "drivers":
        x = bags.table()
        means = np.add.reduceat(x, bags.offsets[:-1]) / bags.lengths[:, None]
        x = (x - means[bags.index]).astype(np.float32)
        bags = sm.Bags.from_rows(x, bags.bag.index.to_numpy()[bags.index], bag=bags.bag,
                                 target=("time", "event"), donor="donor")  # fmt: skip
    return bags, share


def scored(design: str, seed: int, methods: list, donors: int = DONORS) -> list[dict]:
    """Harrell's C of each method on left-out donors, of the oracle in the same folds."""
    bags, share = planted(design, seed, donors)
    table = sm.compare(methods, bags, folds=FOLDS, seed=seed, n_jobs=1, progress=False)
    rows = []
    for method in ["majority", "bag_mean", *(m.name for m in methods)]:
        own = table.folds.query("method == @method and metric == 'c_index'")["value"].mean()
        groups = table.risk_groups(method)
        rows.append({"method": method, "c_index": own, "log_rank_p": groups["p"].iloc[0]})
    risk = pd.Series(share, index=bags.bag.index)
    folds = table.predictions.query("method == 'majority'").groupby("fold")
    values = [sm.scores.concordance(f["true_time"], f["true_event"], risk[f["bag"]])
              for _, f in folds]  # fmt: skip
    rows.append({"method": "oracle", "c_index": np.mean(values), "log_rank_p": np.nan})
    return [{"design": design, "seed": seed, **row} for row in rows]


def interval(values: pd.Series) -> str:
    """Mean and the 95 % interval of Student's t over seeds."""
    v = values.dropna().to_numpy()
    half = stats.t.ppf(0.975, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0.0
    return f"{v.mean():.3f} ({v.mean() - half:.3f} to {v.mean() + half:.3f})"


def tell(found: pd.DataFrame) -> str:
    """The table of the page, as Markdown, and whether ABMIL is better than Cox on bag means."""
    lines = ["| design | seeds | method | Harrell's C (95 % over seeds) | log-rank p < 0.05 |",
             "|---|---|---|---|---|"]  # fmt: skip
    for (design, method), rows in found.groupby(["design", "method"], sort=False):
        p = rows["log_rank_p"].dropna()
        share = f"{(p < 0.05).sum()} of {len(p)}" if len(p) else ""
        lines.append(f"| {design} | {rows['seed'].nunique()} | `{method}` | "
                     f"{interval(rows['c_index'])} | {share} |")  # fmt: skip
    wide = found.pivot_table(index=["design", "seed"], columns="method", values="c_index")
    for design, rows in wide.groupby("design", sort=False):
        for method in sorted(set(rows.columns) - {"majority", "bag_mean", "oracle"}):
            gap = rows[method] - rows["bag_mean"]
            lines.append(f"\n{design}: {method} less bag_mean, paired by seed: {interval(gap)}.")
    return "\n".join(lines)


def patients(folder: Path, repeats: int, recalibrate: str | None) -> None:
    """Write the .h5ad of 198 patients, run what a user would, and print the table of the page."""
    import anndata as ad
    from sksurv.datasets import load_breast_cancer

    folder.mkdir(exist_ok=True)
    x, y = load_breast_cancer()
    names = [f"woman{i}" for i in range(len(x))]
    clinical = ["age", "er", "grade", "size"]
    obs = x[clinical].set_axis(names)
    grades = {"poorly differentiated": 3, "intermediate": 2, "well differentiated": 1}
    obs["grade"] = obs["grade"].astype(str).map(grades).fillna(0).astype(int)
    obs = obs.assign(er=obs["er"].astype(str), woman=names, days=y["t.tdm"],
                     metastasis=y["e.tdm"].astype(int))  # fmt: skip
    genes = x.drop(columns=clinical).set_axis(names).astype(np.float32)
    ad.AnnData(genes, obs=obs).write_h5ad(folder / "breast.h5ad")
    verb = [sys.executable, "-m", "smalti.cli", "compare", "breast.h5ad", "--sample", "woman",
            "--label", "days,metastasis", "--donor", "woman", "--methods", "abmil,mean_pooling",
            *(w for c in clinical for w in ("--covariate", c)), "--preprocess", "scale",
            "--folds", "5", "--repeats", str(repeats), "--out", "page", "--overwrite"]  # fmt: skip
    verb += [] if recalibrate is None else ["--recalibrate", recalibrate]
    print("$ " + " ".join(["smalti", *verb[3:]]))
    subprocess.run(verb, cwd=folder, check=True)
    page = folder / "page" / "report_files"
    scores, slopes = (pd.read_csv(page / f"{name}.csv") for name in ("scores", "calibration"))
    gains = pd.read_csv(folder / "page" / "summary.csv").query("metric == 'brier_gain'")
    last = slopes[slopes["time"] == slopes["time"].max()].set_index("method")
    day = f"{last['time'].iloc[0]:.0f}"
    print("| method | Harrell's C (95 %) | less the best baseline (95 %) | gain over Kaplan-Meier "
          f"| slope by day {day} (95 %) |\n|---|---|---|---|---|")  # fmt: skip
    for row in scores.to_dict("records"):
        gain = gains.set_index("method")["mean"][row["method"]]
        slope = last.loc[row["method"]]
        less = "" if row["verdict"] == "the reference" else \
            between(row, "difference") + f", {row['verdict']}"  # fmt: skip
        print(f"| `{row['method']}` | {between(row, 'c_index')} | {less} | {gain:.3f} | "
              f"{between(slope, 'slope')} |")  # fmt: skip


def between(row: Any, name: str) -> str:
    """A number and its interval, where it has one."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if np.isnan(low) else f" ({low:.3f} to {high:.3f})")


def main() -> None:
    """See the head of the file."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--out", type=Path, default=Path("survival.csv"))
    ask.add_argument("--seeds", type=int, default=5)
    ask.add_argument("--nulls", type=int, default=40)
    ask.add_argument("--donors", type=int, default=DONORS)
    ask.add_argument("--epochs", type=int, default=0, help="of ABMIL; its own when left out")
    ask.add_argument("--patients", type=Path)
    ask.add_argument("--repeats", type=int, default=3, help="of the patients' folds")
    ask.add_argument("--recalibrate", help="of the patients: cox")
    args = ask.parse_args()
    if args.patients is not None:
        patients(args.patients, args.repeats, args.recalibrate)
        return
    more = {"epochs": args.epochs} if args.epochs else {}
    rows = []
    for design, n in (("mean", args.seeds), ("drivers", args.seeds), ("none", args.nulls)):
        for seed in range(n):
            methods = [sm.mil.ABMIL(progress=False, **more)]
            rows += scored(design, seed, methods, args.donors)
            pd.DataFrame(rows).to_csv(args.out, index=False)
    print(tell(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
