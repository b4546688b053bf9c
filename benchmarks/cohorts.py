"""Three real cohorts: all patient methods and baselines, repeated folds grouped by patient.

    SMALTI_DATA=... python benchmarks/cohorts.py --set covid --repeats 5 --cache runs/

One set of settings per method for all three, none chosen by their scores: the methods' defaults,
but for fewer epochs, mixtures and draws where a fit would take minutes (see METHODS). Killed runs
go on from the cache.
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

import anndata
import pandas as pd

import smalti as sm
from smalti.mil import (
    ABMIL,
    BagMean,
    CloudPred,
    Covariates,
    HierMIL,
    MixMIL,
    MixtureClass,
    MixturePatient,
    ProtoCell4P,
    ScRAT,
)

METHODS = {
    "abmil": ABMIL(gated=True, widths=(64,)),
    "hier_mil HA": HierMIL(),
    "hier_mil CTA": HierMIL(cell_attention=False),
    "scrat": ScRAT(epochs=10, augment=50, predict_draws=10),  # as the authors' stored log
    "protocell4p": ProtoCell4P(group="cell_type"),
    "cloudpred": CloudPred(epochs=50),
    "mixture_class": MixtureClass(centers=(5, 10)),
    "mixture_patient": MixturePatient(centers=(1, 2, 5)),
    "mixmil": MixMIL(epochs=500),
}
SETS = {
    # name: file, arguments of read, folds, preprocessing
    "covid": ("covid_gloscope_pca.h5ad", dict(sample="patient", donor="patient",
              label="phenotype", positive="Healthy", x={"X_pca": "X"}), 4, None),
    "kidney": ("kidney_igan_glomeruli.h5ad", dict(sample="sampleID", donor="sampleID",
               label="status", cell_type="Cell_type", bag_columns=["sex", "Age"]), 5, "scale"),
    "melanoma": ("melanoma_scfeatures.h5ad", dict(sample="patient", donor="patient",
                 label="condition"), 5, "genes=1000,scale,pca=20"),
}  # fmt: skip


def read(name):
    """Bags of a cohort."""
    root = os.environ.get("SMALTI_DATA")
    if not root:
        raise SystemExit("SMALTI_DATA is not set: it names the folder of the real data.")
    file, settings, folds, preprocess = SETS[name]
    adata = anndata.read_h5ad(Path(root) / "cohorts" / file)
    if name == "kidney":
        order = pd.CategoricalDtype(["<30", "30-60", ">60"], ordered=True)
        adata.obs["status"] = adata.obs["status"].astype(str).astype(order)
        adata.obs["Cell_type"] = adata.obs["Cell_type"].astype(str)
    return sm.read(adata, **settings), folds, preprocess


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=[*SETS], required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--methods", help="with commas; all when left out")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--jobs", type=int, help="worker processes; 1: none")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    bags, folds, preprocess = read(args.set)
    chosen = METHODS
    if args.set == "kidney":
        both = dict(covariates=("sex", "Age"))
        chosen = chosen | {
            "covariates": Covariates(**both),
            "bag_mean + covariates": BagMean(**both),
            "hier_mil HA + covariates": HierMIL(**both),
            "mixmil + covariates": MixMIL(epochs=500, **both),
        }
    if args.methods:
        asked = args.methods.split(",")
        if absent := [n for n in asked if n not in chosen]:
            print(f"No settings for {', '.join(absent)} (there are {', '.join(chosen)}): left out.")
        chosen = {k: v for k, v in chosen.items() if k in asked}
    table = sm.compare(chosen, bags, folds=folds, repeats=args.repeats, preprocess=preprocess,
                       cache=args.cache, n_jobs=args.jobs, progress=False)  # fmt: skip
    show(table, args.repeats)


def show(table, repeats):
    """Print markdown: mean, s.d. over the folds, and the paired difference to the best baseline."""
    print(f"\n{table.about}\n")
    metrics = [m for m in table.metrics if m not in ("brier", "log_loss")][:6]
    summary = table.summary()
    rival = table.best_baseline()
    gaps = table.against(rival).set_index("method")
    heads = ["method", *metrics, f"s.d. of repeats ({metrics[0]})", "s a fit",
             f"{metrics[0]} less that of `{rival}`, 95 % interval"]  # fmt: skip
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    seconds = table.folds.groupby("method")["seconds"].mean()
    for method in summary["method"].drop_duplicates():
        part = summary[summary.method == method].set_index("metric")
        cells = [f"{part.loc[m, 'mean']:.3f} ± {part.loc[m, 'sd_folds']:.3f}" for m in metrics]
        name = f"`{method}`" + (" (baseline)" if method in table.baselines else "")
        spread = f"{part.loc[metrics[0], 'sd_repeats']:.3f}" if repeats > 1 else ""
        gap = "" if method == rival else in_words(gaps.loc[method])
        print(f"| {name} | {' | '.join(cells)} | {spread} | {seconds[method]:.1f} | {gap} |")
    null = table.chance()
    print(f"\nRandom scores, one a donor, in these folds: {null['metric']} {null['mean']:.3f}, "
          f"s.d. {null['sd']:.3f}, 5 to 95 %: {null['low']:.3f} to {null['high']:.3f}."
          )  # fmt: skip
    print(f"{table.headline()}.")
    for note in table.notes:
        print(f"Note: {note}")


def in_words(gap):
    """A row of ``table.against`` for a cell of a table."""
    if gap["verdict"] in ("tied", "undefined"):
        return gap["verdict"]
    return f"{gap['difference']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f}): {gap['verdict']}"


if __name__ == "__main__":
    main()
