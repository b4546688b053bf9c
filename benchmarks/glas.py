"""GlaS: an image of colon glands as a bag of tiles, benign against malignant, folds by patient.

    SMALTI_DATA=... python benchmarks/glas.py --out runs/glas --cache runs/cache [--net]

Features need no weights ("morphology"); --net trains a small convolutional net instead.
Then: how much of the attention on test images lies inside glands, against the glands' area.
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
from smalti.comparison.splits import donor_folds

TILE = 96  # pixels of 0.62 µm: 60 µm


def images(data: Path, *, overlap: float, size: int) -> sm.Bags:
    """The 85 images as bags of tiles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiles of lumen hold no tissue
        return sm.read_slides(
            data / "glas" / "images", table=data / "glas" / "labels.csv", slide="image",
            donor="patient", label="label", um_per_px=0.62, tile_px=TILE, size=size,
            overlap=overlap, tissue_min=0.0,
        )  # fmt: skip


def gland_share(bags: sm.Bags, masks: Path) -> np.ndarray:
    """(n_tiles,) share of each tile that is gland."""
    from PIL import Image

    out = np.empty(bags.n_instances)
    for i, name in enumerate(bags.bag.index):
        mask = np.asarray(Image.open(masks / f"{name}.png")) > 0
        for row in range(bags.offsets[i], bags.offsets[i + 1]):
            x, y = bags.instance.iloc[row][["x_px", "y_px"]].astype(float)
            x0, y0 = int(x - TILE / 2), int(y - TILE / 2)
            out[row] = mask[y0 : y0 + TILE, x0 : x0 + TILE].mean()
    return out


def attention_in_glands(
    model: object, bags: sm.Bags, share: np.ndarray, seeds: int, folds: int
) -> pd.DataFrame:
    """One row per seed and test image: gland share of its attention, and of its area."""
    from sklearn.base import clone

    rows = []
    for seed in range(seeds):
        for split in donor_folds(bags, folds=folds, seed=seed):
            fitted = clone(model).set_params(seed=seed).fit(bags[split.train])
            test = bags[split.test]
            attention = fitted.attribute(test)["attention"].to_numpy()
            where = np.concatenate([np.arange(bags.offsets[b], bags.offsets[b + 1])
                                    for b in split.test])  # fmt: skip
            rng = np.random.default_rng(seed)
            for b in range(len(test)):
                own = slice(test.offsets[b], test.offsets[b + 1])
                a, g = attention[own], share[where[own]]
                null = [rng.permutation(a) @ g for _ in range(200)]
                patient = test.bag["patient"].iloc[b]
                rows.append({
                    "seed": seed, "image": test.bag.index[b], "patient": patient,
                    "label": test.labels[b], "attention": a @ g, "area": g.mean(),
                    "p": (np.sum(np.array(null) >= a @ g) + 1) / 201,
                })  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/glas"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--net", action="store_true", help="a small net from scratch on the tiles")
    parser.add_argument("--epochs", type=int, default=10, help="of the small net")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--images", type=int, help="the first so many; for a trial")
    args = parser.parse_args()
    data = Path(os.environ["SMALTI_DATA"])
    if args.net:
        bags = images(data, overlap=0.0, size=48)[: args.images]
        settings = {"encoder": "histology", "epochs": args.epochs, "lr": 5e-4, "batch_size": 4}
        chosen = {"gated abmil, small net": sm.mil.ABMIL(gated=True, **settings),
                  "max pooling, small net": sm.make("max_pooling", **settings),
                  "mean pooling, small net": sm.make("mean_pooling", **settings)}  # fmt: skip
        tiles = {k: v for k, v in bags.x.items() if k == "tile"}
        tiles["tile"] = tiles["tile"].read(0, bags.n_instances)  # 85 images: 16 MB
        bags = dataclasses.replace(bags, x=tiles)
    else:
        bags = images(data, overlap=0.5, size=TILE)[: args.images]
        bags = sm.features.extract(bags, "morphology", cache=args.cache)
        bags = dataclasses.replace(bags, x={"X_morphology": bags.x["X_morphology"]})
        chosen = {"gated abmil": sm.mil.ABMIL(gated=True), "max pooling": "max_pooling",
                  "mean pooling": "mean_pooling", "mi-net": "mi_net", "mifv": "mifv"}  # fmt: skip
    result = sm.compare(chosen, bags, folds=args.folds, repeats=args.repeats, cache=args.cache)
    result.write(args.out)
    print(result)
    gated = next(iter(chosen.values()))
    share = gland_share(bags, data / "glas" / "masks")
    found = attention_in_glands(gated, bags, share, min(args.repeats, 3), args.folds)
    found.to_csv(args.out / "attention.csv", index=False)
    for label, part in [("all", found), *found.groupby("label")]:
        gap = (part["attention"] - part["area"]).groupby(part["patient"]).mean()
        above = (part["p"] < 0.05).mean()
        print(
            f"{label}: attention in glands {part['attention'].mean():.3f}, area "
            f"{part['area'].mean():.3f}; difference by patient {gap.mean():+.3f} ± {gap.std():.3f}"
        )
        print(f"  {above:.0%} of images above their shuffled attention (p < 0.05)")


if __name__ == "__main__":
    main()
