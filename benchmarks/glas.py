"""GlaS: an image of colon glands as a bag of tiles, benign against malignant, folds by patient.

    SMALTI_DATA=... python benchmarks/glas.py --out runs/glas --cache runs/cache
    SMALTI_DATA=... python benchmarks/glas.py --out runs/net --net     # a small net from scratch
    SMALTI_DATA=... python benchmarks/glas.py --scales     # tiles of other sizes, a linear model

Features of each view: "lite0" (a tile cut out, seen at 224 px), "lite0 dense" (means of one map of
the whole picture), "morphology", and as controls what is no histology: the mean colour of a tile,
and the size of the picture. Then whether maps follow the glands: AUROC of what a model says of each
cell of a picture for whether it is gland, by patient, beside the AUROC of its images.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.comparison.splits import donor_folds

TILE = 96  # pixels of 0.62 µm: 60 µm
CELL = 32  # of the map of EfficientNet-Lite0: 20 µm
NETS = {"gated abmil": lambda: sm.mil.ABMIL(gated=True), "mi-net": lambda: sm.make("mi_net"),
        "mean pooling": lambda: sm.make("mean_pooling"),
        "mifv": lambda: sm.make("mifv")}  # fmt: skip
LITE = "efficientnet-lite0"
SCALES = ((64, 64), (96, 96), (128, 128), (192, 192), (256, 256), (None, None), (96, 224),
          (192, 96))  # side of a tile and side at which it is seen; None: the whole  # fmt: skip
VIEWS = ("lite0 dense", "lite0", "lite0+morphology", "morphology", "colour", "size")


def images(data: Path, *, tile: int = TILE, overlap: float = 0.0, size: int = TILE) -> sm.Bags:
    """The 85 images as bags of tiles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiles of lumen hold no tissue
        return sm.read_slides(
            data / "glas" / "images", table=data / "glas" / "labels.csv", slide="image",
            donor="patient", label="label", um_per_px=0.62, tile_px=tile, size=size,
            overlap=overlap, tissue_min=0.0,
        )  # fmt: skip


def seen_by(bags: sm.Bags, view: str, cache: Path) -> sm.Bags:
    """The same bags with one view of features."""
    if view == "colour":  # mean and s.d. of red, green and blue
        tiles = bags.x["tile"].read(0, bags.n_instances)  # (n, 3, side, side)
        x = np.concatenate([tiles.mean((2, 3)), tiles.std((2, 3))], axis=1).astype(np.float32)
    elif view == "size":
        sides = bags.bag[["width", "height"]].to_numpy(np.float32)
        x = np.column_stack([sides, sides.prod(1)])[bags.index]
    else:
        encoder = view.removesuffix(" dense").replace("lite0", LITE)
        more = {"dense": True} if view.endswith("dense") else {}
        found = sm.features.extract(bags, encoder, cache=cache, **more)
        x = np.asarray(found.table(next(iter(found.x))))
    return dataclasses.replace(bags, x={view: x}, features={})


def gland_share(bags: sm.Bags, masks: Path, side: int) -> np.ndarray:
    """(n_tiles,) share of each tile that is gland."""
    from PIL import Image

    out = np.empty(bags.n_instances)
    place = bags.instance[["x_px", "y_px"]].to_numpy(float) - side / 2
    for i, name in enumerate(bags.bag.index):
        mask = np.asarray(Image.open(masks / f"{name}.png")) > 0
        for row in range(bags.offsets[i], bags.offsets[i + 1]):
            x, y = np.rint(place[row]).astype(int)
            out[row] = mask[max(y, 0) : y + side, max(x, 0) : x + side].mean()
    return out


# ---------------------------------------------------------------- phenotype


def by_patient(found: pd.DataFrame, rng: np.random.Generator, draws: int = 1000) -> pd.DataFrame:
    """AUROC over all left-out images, mean over repeats, for each method and draw of patients.

    The first row of draws is the data; patients are drawn within their label where all images of a
    patient have one.
    """
    wide = found.pivot_table("p", ["method", "repeat"], "bag")  # (methods x repeats, images)
    first = found.drop_duplicates("bag").set_index("bag").loc[wide.columns]
    truth, patients = first["truth"].to_numpy(bool), first["donor"].to_numpy()
    rows_of = {p: np.flatnonzero(patients == p) for p in np.unique(patients)}
    times = [np.ones(len(truth))]  # how often each image is drawn
    for _ in range(draws):
        chosen = rng.choice(list(rows_of), len(rows_of))
        times.append(np.bincount(np.concatenate([rows_of[p] for p in chosen]),
                                 minlength=len(truth)).astype(float))  # fmt: skip
    ill, well = np.stack(times)[:, truth], np.stack(times)[:, ~truth]  # (draws + 1, of them)
    pairs = ill.sum(1) * well.sum(1)
    auc = {}
    for row, p in zip(wide.index, wide.to_numpy(), strict=True):
        gap = np.sign(p[truth][:, None] - p[~truth])  # (ill, well) who is above whom
        auc[row] = 0.5 + 0.5 * np.divide(((ill @ gap) * well).sum(1), pairs, where=pairs > 0,
                                         out=np.full(len(pairs), np.nan))  # fmt: skip
    each = pd.DataFrame(auc).T.groupby(level=0).mean().T
    return each[pairs > 0]  # draws of one label alone say nothing


def phenotype(bags: sm.Bags, args: argparse.Namespace) -> pd.DataFrame:
    """What each method on each view says of images of left-out patients."""
    parts = []
    for view in args.views:
        own = seen_by(bags, view, args.cache)
        control = view in ("colour", "size")
        nets = {} if control else {n: make() for n, make in NETS.items() if n in args.methods}
        table = sm.compare(nets or ["bag_mean"], own, folds=args.folds, repeats=args.repeats,
                           cache=args.cache)  # fmt: skip
        table.write(args.out / view.replace(" ", "_"), overwrite=True)
        print(view, table, sep="\n", flush=True)
        held = table.predictions
        parts.append(held[held["method"] != "majority"].assign(view=view))
    found = pd.concat(parts)
    found["p"], found["truth"] = found["p_malignant"], found["true"].astype(str) == "malignant"
    found["method"] = found["view"] + ": " + found["method"]
    return found


def table_of(found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """AUROC with its interval by patients; and differences of the same method on two views."""
    drawn = by_patient(found, np.random.default_rng(0))
    low, high = np.percentile(drawn.iloc[1:], [2.5, 97.5], axis=0)
    table = pd.DataFrame({"AUROC": drawn.iloc[0], "low": low, "high": high})
    rows = []
    for one, other in (("lite0", "morphology"), ("lite0 dense", "morphology"),
                       ("lite0 dense", "lite0"), ("lite0+morphology", "lite0")):  # fmt: skip
        for method in [m.removeprefix(f"{one}: ") for m in drawn if m.startswith(f"{one}: ")]:
            if f"{other}: {method}" in drawn:
                gap = drawn[f"{one}: {method}"] - drawn[f"{other}: {method}"]
                low, high = np.percentile(gap.iloc[1:], [2.5, 97.5])
                said = "better" if low > 0 else "worse" if high < 0 else "not told apart"
                rows.append({"view": one, "than": other, "method": method, "gap": gap.iloc[0],
                             "low": low, "high": high, "verdict": said})  # fmt: skip
    return table.sort_values("AUROC", ascending=False), pd.DataFrame(rows)


# ---------------------------------------------------------------- maps


class Whole(torch.nn.Module):
    """A picture to the logit of a method on the cells of the network's map."""

    def __init__(self, trunk: torch.nn.Module, model: Any) -> None:
        super().__init__()
        self.trunk, self.model = trunk, model

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        from smalti.batch import Batch
        from smalti.segment import Segments

        cells = self.trunk.forward_features(picture)[0].flatten(1).T  # (h w, channels)
        parts = Segments.of(torch.tensor([0, len(cells)]))
        return self.model.network_(Batch({"x": cells}, parts)).raw


def followed(values: np.ndarray, gland: np.ndarray, kept: np.ndarray) -> float:
    """AUROC of numbers of cells for whether they are gland."""
    truth = gland[kept] > 0.5
    if truth.all() or not truth.any():
        return np.nan
    return float(roc_auc_score(truth, values[kept]))


class Cams:
    """Signed Grad-CAM of a fitted method, from the pixels, at the cells of the network's map."""

    def __init__(self) -> None:
        self.trunk, _, mean, sd, _ = sm.features.backbone(LITE, weights="pretrained")
        self.scale, self.shift = 1 / (255 * sd), -mean / sd

    def __call__(self, model: Any, bags: sm.Bags, bag: int) -> np.ndarray:
        from PIL import Image

        name = bags.bag.index[bag]
        path = Path(os.environ["SMALTI_DATA"]) / "glas" / "images" / f"{name}.jpg"
        picture = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
        cam = sm.explain.grad_cam(
            Whole(self.trunk, model), (picture * self.scale + self.shift)[None], [0],
            layer=self.trunk.bn2, raw=True, upsample=False,
        )[0, 0]  # fmt: skip
        xy = bags.instance[["x_px", "y_px"]].iloc[bags.offsets[bag] : bags.offsets[bag + 1]]
        column, row = (xy.to_numpy(float) // CELL).astype(int).T
        return cam[row, column]


def maps(
    bags: sm.Bags, side: int, view: str, args: argparse.Namespace, cam: Cams | None = None
) -> pd.DataFrame:
    """One row per test image and kind of map."""
    data = Path(os.environ["SMALTI_DATA"])
    share = gland_share(bags, data / "glas" / "masks", side)
    tissue = bags.instance["tissue"].to_numpy(float)
    rows = []
    for name in ("gated abmil", "mi-net"):
        for split in donor_folds(bags, folds=args.folds, seed=0):
            fitted = NETS[name]().set_params(seed=0, progress=False).fit(bags[split.train])
            test = bags[split.test]
            told = fitted.attribute(test)
            p = fitted.predict_proba(test)[:, 1]
            for b, at in enumerate(split.test):
                here = slice(bags.offsets[at], bags.offsets[at + 1])
                own = slice(test.offsets[b], test.offsets[b + 1])
                kept = tissue[here] >= 0.5
                values_of = {str(k): told[k].to_numpy()[own] for k in told.columns.drop("bag")}
                if cam:
                    values_of["Grad-CAM"] = cam(fitted, bags, at)
                for kind, values in values_of.items():
                    rows.append({
                        "view": view, "model": name, "map": kind, "p": p[b],
                        "image": bags.bag.index[at], "patient": bags.donors[at],
                        "malignant": str(bags.labels[at]) == "malignant",
                        "auroc": followed(values, share[here], kept),
                    })  # fmt: skip
    return pd.DataFrame(rows)


def summed_up(found: pd.DataFrame) -> pd.DataFrame:
    """Mean over patients with its interval, both classes apart, beside the images' AUROC."""
    rng, rows = np.random.default_rng(0), []
    for (view, model, kind), part in found.groupby(["view", "model", "map"], sort=False):
        row = {"view": view, "model": model, "map": kind,
               "images": roc_auc_score(part["malignant"], part["p"])}  # fmt: skip
        for label, own in part.groupby("malignant"):
            each = own.groupby("patient")["auroc"].mean().dropna().to_numpy()
            drawn = rng.choice(each, (2000, len(each))).mean(1)
            low, high = np.percentile(drawn, [2.5, 97.5])
            word = "malignant" if label else "benign"
            row |= {word: f"{each.mean():.2f} ({low:.2f} to {high:.2f})",
                    f"{word}, above 0.5": f"{(each > 0.5).sum()} of {len(each)}"}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


@torch.inference_mode()
def scales(args: argparse.Namespace) -> None:
    """AUROC of a linear model on the mean feature of an image, by what the network sees at once."""
    from PIL import Image
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = Path(os.environ["SMALTI_DATA"]) / "glas"
    labels = pd.read_csv(data / "labels.csv").iloc[: args.images]
    trunk, _, mean, sd, _ = sm.features.backbone(LITE, weights="pretrained")
    y, patients = (labels["label"] == "malignant").to_numpy(), labels["patient"].to_numpy()
    for side, seen in SCALES[: args.sides]:
        rows = []
        for name in labels["image"]:
            picture = np.array(Image.open(data / "images" / f"{name}.jpg").convert("RGB"))
            x = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255 - mean) / sd
            if side is not None:  # (tiles, 3, side, side)
                x = x.unfold(2, side, side).unfold(3, side, side)[0].flatten(1, 2).transpose(0, 1)
            if seen != side:
                x = torch.nn.functional.interpolate(x, (seen, seen), mode="bilinear",
                                                    antialias=True)  # fmt: skip
            rows.append(torch.cat([trunk(part) for part in x.split(32)]).mean(0).numpy())
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        found = []
        for seed in range(5):
            folds = StratifiedGroupKFold(min(5, args.folds), shuffle=True, random_state=seed)
            p = cross_val_predict(model, np.stack(rows), y, groups=patients, cv=folds,
                                  method="decision_function")  # fmt: skip
            found.append(roc_auc_score(y, p))
        what = "the whole image" if side is None else f"tiles of {side} px seen at {seen} px"
        print(f"{what}: {np.mean(found):.3f} ± {np.std(found):.3f} over seeds", flush=True)


def net(args: argparse.Namespace) -> None:
    """A small convolutional net from scratch."""
    bags = images(Path(os.environ["SMALTI_DATA"]), size=48)[: args.images]
    settings = {"encoder": "histology", "epochs": args.epochs, "lr": 5e-4, "batch_size": 4}
    chosen = {"gated abmil, small net": sm.mil.ABMIL(gated=True, **settings),
              "max pooling, small net": sm.make("max_pooling", **settings),
              "mean pooling, small net": sm.make("mean_pooling", **settings)}  # fmt: skip
    tiles = {"tile": bags.x["tile"].read(0, bags.n_instances)}  # 85 images: 16 MB
    result = sm.compare(chosen, dataclasses.replace(bags, x=tiles), folds=args.folds,
                        repeats=args.repeats, cache=args.cache)  # fmt: skip
    result.write(args.out, overwrite=True)
    print(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/glas"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--net", action="store_true", help="a small net from scratch on the tiles")
    parser.add_argument("--scales", action="store_true", help="what the network sees at once")
    parser.add_argument("--sides", type=int, help="the first so many scales; for a trial")
    parser.add_argument("--epochs", type=int, default=10, help="of the small net")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--images", type=int, help="the first so many; for a trial")
    parser.add_argument("--views", nargs="+", default=list(VIEWS))
    parser.add_argument("--methods", nargs="+", default=list(NETS))
    args = parser.parse_args()
    if args.scales:
        scales(args)
        return
    if args.net:
        net(args)
        return
    data = Path(os.environ["SMALTI_DATA"])
    bags = images(data)[: args.images]
    args.out.mkdir(parents=True, exist_ok=True)
    found = phenotype(bags, args)
    found.to_csv(args.out / "predictions.csv", index=False)
    table, gaps = table_of(found)
    table.to_csv(args.out / "auroc.csv")
    print("\nAUROC over images of left-out patients, interval by patients")
    print(table.round(3).to_string())
    print(gaps.round(3).to_string(index=False))
    drawn = []
    if "lite0 dense" in args.views:
        cells = images(data, tile=CELL, size=CELL)[: args.images]
        drawn.append(maps(seen_by(cells, "lite0 dense", args.cache), CELL, "lite0 dense", args,
                          Cams()))  # fmt: skip
    if "morphology" in args.views:
        drawn.append(maps(seen_by(bags, "morphology", args.cache), TILE, "morphology", args))
    if not drawn:
        return
    for_glands = pd.concat(drawn)
    for_glands.to_csv(args.out / "maps.csv", index=False)
    print("\nAUROC of maps for glands, by patient; cells without tissue left out")
    print(summed_up(for_glands).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
