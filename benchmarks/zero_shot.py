"""Genes that were never measured, on real HER2+ sections: protocols, methods, ablations, controls.

    SMALTI_DATA=... python benchmarks/zero_shot.py --split donor --unseen random
    SMALTI_DATA=... python benchmarks/zero_shot.py --split section --unseen blocks --group networks
    SMALTI_DATA=... python benchmarks/zero_shot.py --split section --unseen none --group networks
    SMALTI_DATA=... python benchmarks/zero_shot.py --split section --genes 785 --group switches \
        --vectors coexpression --encoder efficientnet-lite0 --preprocess scale,pca=64

Below the table stand paired differences with corrected 95 % intervals, in words: of each method to
bilinear ridge, of the switches of Deep Association to itself without them, and of each method to
the same with vectors that mean nothing. Folds that train on the same slides are few, so that such
an interval is wide: "not told apart" is no proof of "the same".

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
from smalti.scores.table import is_oracle

METRICS = ["pcc_slide", "pcc_slide_beyond_depth", "pcc_fold", "pcc_tile", "pcc_slide_chosen",
           "pcc_slide_h_optimistic", "pcc_fold_h_optimistic", "mse"]  # fmt: skip
GAPS = ("pcc_slide", "pcc_slide_beyond_depth")
SWITCHES = ("refined_edges", "all_genes", "local_prompts")
PARTS = ("no_nuclei", "no_prompts", "no_graph", "no_alignment", "towers")
TEXT = ("human_gene_descriptions.tsv.gz", "enrichr.GO_Biological_Process_2021.gmt.gz",
        "c2.cp.reactome.v7.0.symbols.gmt.gz")  # fmt: skip


def slides(data: Path, cache: Path, spots: int | None, encoder: str) -> sm.Bags:
    """The five sections with features of the tiles, and maps of their nuclei."""
    bags = sm.read_slides(
        data / "her2st" / "her2st_5sections_counts.h5ad", images=data / "her2st" / "images",
        slide="slide", donor="patient", tile_um=112, size=224,
    )  # fmt: skip
    bags = first(bags, spots)
    bags = sm.features.extract(bags, "nuclei", cache=cache)
    return sm.features.extract(bags, encoder, cache=cache)


def vectors(data: Path, cache: Path, encoder: str = "tfidf") -> sm.genes.GeneVectors:
    """Of names, GO terms and Reactome pathways of all human genes, with words.

    ``encoder`` is "tfidf" (TF-IDF and SVD) or "states:FOLDER" of a language model.
    """
    sources, genes = [data / "gene_sets" / name for name in TEXT], None
    if encoder != "tfidf":  # the words of 20,000 genes are many: of those that are asked for
        genes = hist2st(data)
    text = sm.genes.gene_text(genes, sources=sources, missing="drop")
    return sm.genes.gene_vectors(text, encoder=encoder, tokens=True, cache=cache, **(
        {"width": 256} if encoder == "tfidf" else {}))  # fmt: skip


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


def methods(group: str, epochs: int, preprocess: str | None = None) -> dict[str, object]:
    """Label -> method; bilinear ridge and the controls run by themselves.

    ``preprocess`` is of the features that networks read.
    """
    deep = {"epochs": epochs, "preprocess": preprocess}
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
    if group in ("switches", "words"):
        plain = {"deep_association": sm.make("deep_association", **deep)}
        return plain | {f"deep_association:{p}": sm.make(f"deep_association:{p}", **deep)
                        for p in (SWITCHES if group == "switches" else ("words",))}  # fmt: skip
    raise SystemExit(f"no group {group!r}: controls, networks, random, ablations, switches, words")


def gaps(result: sm.ExpressionComparison, reference: str, methods: list[str]) -> None:
    """Print paired differences to a reference."""
    for metric in GAPS:
        found = result.against(reference, metric).set_index("method")
        print(f"against {reference}, {metric}:")
        for name in found.index.intersection(methods, sort=False):
            row = found.loc[name]
            print(f"  {name:36} {row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}; "
                  f"{int(row['n'])} pairs) {row['verdict']}")  # fmt: skip


def all_gaps(result: sm.ExpressionComparison) -> None:
    """To bilinear ridge, to Deep Association as it is, and to vectors that mean nothing."""
    names = [n for n in result.folds["method"].unique() if not is_oracle(n)]
    gaps(result, "bilinear", names)
    if "deep_association" in names:
        gaps(result, "deep_association", [n for n in names if n.startswith("deep_association:")])
    for name in names:
        if f"{name}, random vectors" in names:
            gaps(result, f"{name}, random vectors", [name])


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
    parser.add_argument("--vectors", choices=["text", "coexpression", "states"], default="text")
    parser.add_argument("--model", help="folder of a language model, for --vectors states")
    parser.add_argument("--encoder", default="morphology", help="of the tiles")
    parser.add_argument("--genes", type=int, choices=[785], help="only the genes of Hist2ST")
    parser.add_argument("--group", default="controls")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--preprocess", help="of features that networks read: scale,pca=64")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="methods whose label holds this text")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--spots", type=int, help="of a section, the first; for a trial")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    data = Path(os.environ["SMALTI_DATA"])
    bags = slides(data, args.cache, args.spots, args.encoder)
    if args.vectors == "coexpression":
        meaning = coexpression(data)
    else:
        encoder = "tfidf" if args.vectors == "text" else f"states:{args.model}"
        meaning = vectors(data, args.cache, encoder)
    if args.split == "section":
        bags = bags[np.flatnonzero(bags.bag["patient"] == "C")]
        bags = dataclasses.replace(bags, donor="patient")
    listed = tuple(g for g in hist2st(data) if meaning.positions([g])[0] >= 0)
    hidden = None if args.unseen == "none" else args.unseen
    every = methods(args.group, args.epochs, args.preprocess)
    chosen = {k: v for k, v in every.items() if (args.only or "") in k}
    if args.group == "words" and meaning.tokens is None:
        raise SystemExit("--group words needs vectors with words: --vectors text or states")
    result = sm.compare_expression(
        chosen, bags, by="slide" if args.split == "section" else "donor", seeds=args.seeds,
        cache=args.cache, view=f"X_{args.encoder}", unseen=hidden, vectors=meaning,
        sets=sm.genes.read_gmt(data / "gene_sets" / TEXT[1]),
        genes=listed if hidden is None or args.genes else None,
    )  # fmt: skip
    what = f"{args.encoder}_{args.vectors}_{args.split}_{args.unseen}_{args.genes or 'all'}"
    more = f"_{args.preprocess}" if args.preprocess else ""
    result.write(args.out / f"{what}_{args.only or args.group}{more}")
    print(table(result).to_string())
    if hidden is not None:
        all_gaps(result)
    print(f"ceiling of Pearson within slides: {result.ceiling['ceiling'].mean():.3f}")
    for note in result.notes:
        print("note:", note)


if __name__ == "__main__":
    main()
