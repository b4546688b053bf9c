"""The chain on real slides: genes learned on HER2+ sections as a second view of the GlaS bags.

    SMALTI_DATA=... python benchmarks/chain.py --out runs/chain --cache runs/cache

Ridge on features of EfficientNet-Lite0 is fitted on the five HER2+ sections (breast, two patients)
and predicts 785 genes of each tile of GlaS (colon, 15 patients): another organ, stain and scanner.
No patient of GlaS is in the fit, so it is no leak; no measurement says whether the genes are right.
Then benign against malignant, folds by patient: from features, from predicted genes, from both.
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

import smalti as sm
from glas import by_patient
from her2st import first, hist2st, sections
from smalti.scores.exchange import Exchange

TILE_UM = 112  # of the spots of HER2+; in GlaS 181 pixels
ENCODER = "efficientnet-lite0"
SEEN, GENES = f"X_{ENCODER}", "X_genes"
VIEWS = {"features": (SEEN,), "genes": (GENES,), "both": (SEEN, GENES)}
METHODS = {"bag_mean": {}, "mean_pooling": {}, "abmil": {"gated": True}}


def genes_of_breast(data: Path, cache: Path, spots: int | None) -> sm.ExpressionMethod:
    """Ridge on the HER2+ sections; not one setting was chosen on GlaS."""
    slides = sections(data, TILE_UM)
    slides = sm.features.extract(first(slides, spots), ENCODER, cache=cache)
    return sm.make("ridge", genes=hist2st(data)).fit(slides)


def images(data: Path, cache: Path, n: int | None) -> sm.Bags:
    """The images of GlaS as bags of tiles of the same width in µm, with features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few tiles; some of lumen alone
        bags = sm.read_slides(
            data / "glas" / "images", table=data / "glas" / "labels.csv", slide="image",
            donor="patient", label="label", um_per_px=0.62, tile_um=TILE_UM, size=TILE_UM,
            tissue_min=0.0,
        )  # fmt: skip
        return sm.features.extract(bags[:n], ENCODER, cache=cache)


def compared(bags: sm.Bags, args: argparse.Namespace) -> pd.DataFrame:
    """What each method says of images of left-out patients, on each choice of views."""
    candidates = {
        f"{view}: {method}": sm.make(method, views=views, **settings)
        for view, views in VIEWS.items() for method, settings in METHODS.items()
    }  # fmt: skip
    table = sm.compare(candidates, bags, folds=args.folds, repeats=args.repeats, cache=args.cache)
    table.write(args.out, overwrite=True)
    print(table)
    found = table.predictions
    found = found[found["method"].isin(candidates)].copy()
    found["p"], found["truth"] = found["p_malignant"], found["true"].astype(str) == "malignant"
    return found


def said(found: pd.DataFrame) -> pd.DataFrame:
    """AUROC with its interval by patients, and what genes change, in words."""
    drawn = by_patient(found, np.random.default_rng(0))
    rows = []
    for method in METHODS:
        each = {view: drawn[f"{view}: {method}"] for view in VIEWS}
        row = {"method": method} | {view: _interval(auc) for view, auc in each.items()}
        for one, other in (("both", "features"), ("genes", "features")):
            gap = each[one] - each[other]
            low, high = np.percentile(gap.iloc[1:], [2.5, 97.5])
            word = "better" if low > 0 else "worse" if high < 0 else "not told apart"
            row[f"{one} - {other}"] = f"{_interval(gap, '+')}, {word}"
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(values: pd.Series, sign: str = "") -> str:
    low, high = np.percentile(values.iloc[1:], [2.5, 97.5])
    return " ".join((f"{values.iloc[0]:{sign}.3f}", f"({low:{sign}.3f} to {high:{sign}.3f})"))


def carriers(bags: sm.Bags, n: int = 9999) -> pd.DataFrame:
    """Per gene: do malignant images have more of it? Labels permuted where patients allow it."""
    values = np.asarray(bags.table(GENES), dtype=float)
    mean = np.add.reduceat(values, bags.offsets[:-1]) / bags.lengths[:, None]  # (n_images, n_genes)
    truth = (bags.labels == "malignant").astype(float)
    tested = Exchange.of(bags.labels, bags.donors).test(mean, truth, n)
    table = pd.DataFrame({"gene": bags.features[GENES], "difference": tested.slope, "p": tested.p})
    table["q"] = false_discovery_control(table["p"])
    return table.sort_values("p", ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/chain"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, help="the first so many; for a trial")
    parser.add_argument("--spots", type=int, help="of a section, the first so many; for a trial")
    args = parser.parse_args()
    data = Path(os.environ["SMALTI_DATA"])
    model = genes_of_breast(data, args.cache, args.spots)
    bags = model.embed(images(data, args.cache, args.images), key_added=GENES)
    args.out.mkdir(parents=True, exist_ok=True)
    found = compared(bags, args)
    table = said(found)
    table.to_csv(args.out / "views.csv", index=False)
    print("\nAUROC over images of left-out patients, interval by patients")
    print(table.to_string(index=False))
    genes = carriers(bags)
    genes.to_csv(args.out / "genes.csv", index=False)
    print(f"\n{(genes['q'] <= 0.05).sum()} of {len(genes)} predicted genes differ (q <= 0.05)")
    print(genes.head(20).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
