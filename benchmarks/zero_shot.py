"""Genes that were never measured, on real HER2+ sections: protocols, methods, ablations, controls.

    SMALTI_DATA=... python benchmarks/zero_shot.py --split donor --unseen random
    SMALTI_DATA=... python benchmarks/zero_shot.py --split section --unseen blocks --group networks
    SMALTI_DATA=... python benchmarks/zero_shot.py --split section --unseen none --group networks

Splits: "donor" leaves patient B, then C out; "section" leaves each section of patient C out, the
others of the same patient train. --unseen none is the supervised setting of the same networks, on
the 785 genes of Hist2ST. Killed runs go on from --cache.
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
from her2st import first

METRICS = ["pcc_slide", "pcc_slide_beyond_depth", "pcc_fold", "pcc_tile", "pcc_slide_chosen",
           "pcc_slide_h_optimistic", "pcc_fold_h_optimistic", "mse"]  # fmt: skip
PARTS = ("no_nuclei", "no_prompts", "no_graph", "no_alignment", "towers")
TEXT = ("human_gene_descriptions.tsv.gz", "enrichr.GO_Biological_Process_2021.gmt.gz",
        "c2.cp.reactome.v7.0.symbols.gmt.gz")  # fmt: skip


def slides(data: Path, cache: Path, spots: int | None) -> sm.Bags:
    """The five sections with features of the tiles, and maps of their nuclei."""
    bags = sm.read_slides(
        data / "her2st" / "her2st_5sections_counts.h5ad", images=data / "her2st" / "images",
        slide="slide", donor="patient", tile_um=112, size=224,
    )  # fmt: skip
    bags = first(bags, spots)
    bags = sm.features.extract(bags, "nuclei", cache=cache)
    return sm.features.extract(bags, "morphology", cache=cache)


def vectors(data: Path, cache: Path) -> sm.genes.GeneVectors:
    """TF-IDF and SVD of names, GO terms and Reactome pathways of all human genes."""
    text = sm.genes.gene_text(sources=[data / "gene_sets" / name for name in TEXT])
    return sm.genes.gene_vectors(text, width=256, tokens=True, cache=cache)


def coexpression(data: Path) -> sm.genes.GeneVectors:
    """Of the 785 genes in the 22 sections of the six other patients, without their pictures."""
    path = data / "her2st" / "her2st_33sections_785genes.h5ad"
    others = sm.read(path, sample="slide", donor="patient", x={"counts": "X"})
    others = others[np.flatnonzero(~others.bag["patient"].isin(["B", "C"]))]
    return sm.genes.coexpression_vectors(others)


def hist2st(data: Path) -> tuple[str, ...]:
    """The 785 genes that Hist2ST and its successors are scored on."""
    import h5py

    with h5py.File(data / "her2st" / "her2st_5sections_counts.h5ad") as file:
        var = file["var"]
        return tuple(var[var.attrs["_index"]].asstr()[:][var["hist2st_hvg"][:].astype(bool)])


def methods(group: str, epochs: int) -> dict[str, object]:
    """Label -> method; bilinear ridge and the controls run by themselves."""
    deep = {"epochs": epochs}
    # a text tower half as wide and deep as the paper's: two cores, hundreds of fits
    sgn = {**deep, "gene_width": 128, "text_layers": 1, "max_words": 64}
    if group == "controls":
        return {
            "nearest_gene, 10 genes": sm.make("nearest_gene", k=10),
            "gene_ensemble of bilinear": sm.make("gene_ensemble"),
        }
    if group == "networks":
        return {"sgn": sm.make("sgn", **sgn),
                "deep_association": sm.make("deep_association", **deep)}  # fmt: skip
    if group == "random":
        return {"sgn, random vectors": sm.make("sgn", vectors="random", **sgn),
                "deep_association, random vectors": sm.make("deep_association", vectors="random",
                                                            **deep)}  # fmt: skip
    if group == "ablations":
        return {f"deep_association:{p}": sm.make(f"deep_association:{p}", **deep) for p in PARTS}
    raise SystemExit(f"no group {group!r}: controls, networks, random, ablations")


def table(result: sm.ExpressionComparison) -> pd.DataFrame:
    """Mean, spread over seeds (of the folds' mean) and over folds (of the seeds' mean)."""
    rows = []
    for name in result.folds["method"].unique():
        own = result.folds[result.folds["method"] == name]
        row = {"method": name, "seeds": own["repeat"].nunique()}
        for metric in METRICS:
            part = own[own["metric"] == metric]
            if part["value"].notna().any():
                seeds = part.groupby("repeat")["value"].mean()
                folds = part.groupby("fold")["value"].mean()
                spread = f" ± {seeds.std():.3f}" if len(seeds) > 1 else ""
                row[metric] = f"{seeds.mean():.3f}{spread} ({folds.std():.3f})"
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["donor", "section"], default="donor")
    parser.add_argument("--unseen", choices=["highest", "random", "blocks", "none"],
                        default="random")  # fmt: skip
    parser.add_argument("--vectors", choices=["text", "coexpression"], default="text")
    parser.add_argument("--genes", type=int, choices=[785], help="only the genes of Hist2ST")
    parser.add_argument("--group", default="controls")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="methods whose label holds this text")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--spots", type=int, help="of a section, the first; for a trial")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    data = Path(os.environ["SMALTI_DATA"])
    bags = slides(data, args.cache, args.spots)
    meaning = vectors(data, args.cache) if args.vectors == "text" else coexpression(data)
    if args.split == "section":
        bags = bags[np.flatnonzero(bags.bag["patient"] == "C")]
        bags = dataclasses.replace(bags, donor="patient")
    listed = tuple(g for g in hist2st(data) if meaning.positions([g])[0] >= 0)
    hidden = None if args.unseen == "none" else args.unseen
    chosen = {k: v for k, v in methods(args.group, args.epochs).items() if (args.only or "") in k}
    result = sm.compare_expression(
        chosen, bags, by="slide" if args.split == "section" else "donor", seeds=args.seeds,
        cache=args.cache, view="X_morphology", unseen=hidden, vectors=meaning,
        sets=sm.genes.read_gmt(data / "gene_sets" / TEXT[1]),
        genes=listed if hidden is None or args.genes else None,
    )  # fmt: skip
    what = f"{args.vectors}_{args.split}_{args.unseen}_{args.genes or 'all'}"
    result.write(args.out / f"{what}_{args.only or args.group}")
    print(table(result).to_string())
    print(f"ceiling of Pearson within slides: {result.ceiling['ceiling'].mean():.3f}")
    for note in result.notes:
        print("note:", note)


if __name__ == "__main__":
    main()
