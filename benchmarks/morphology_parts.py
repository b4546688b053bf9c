"""What each part of `morphology` takes, and what is lost without it.

    SMALTI_DATA=... python benchmarks/morphology_parts.py --cache runs/cache

Milliseconds of one core for a tile of 224 px; then ridge on the HER2+ sections of patient C (each
left out, 785 genes) and bag_mean on GlaS (folds by patient) on the columns that are left.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import glas
import her2st
import smalti as sm
from smalti.features import morphology as m
from smalti.tiles.nuclei import describe, segment
from smalti.tiles.stain import separate

# part -> whether a column is of it
PARTS: dict[str, Callable[[str], bool]] = {
    "bands": lambda n: "_band" in n or "coherence" in n,
    "bands of h and e": lambda n: PARTS["bands"](n) and not n.startswith("grey"),
    "nuclei": lambda n: n.startswith("nuclei_"),
    "patterns": lambda n: n.startswith("lbp"),
    "co-occurrence": lambda n: "_glcm" in n,
}
FEWER = {
    "all": (),
    **{f"without {part}": (part,) for part in PARTS},
    "without nuclei and bands of h and e": ("nuclei", "bands of h and e"),
    "without nuclei and bands": ("nuclei", "bands"),
    "without nuclei, bands and patterns": ("nuclei", "bands", "patterns"),
    "colour and stains alone": tuple(PARTS),
}


def milliseconds(tiles: np.ndarray, um_per_px: float) -> pd.Series:
    """Median CPU time of each part over tiles (n, 3, H, W), the fastest of three rounds."""
    rounds = []
    for _ in range(3):
        rows = []
        for tile in tiles:
            rgb = np.ascontiguousarray(tile.transpose(1, 2, 0))
            stain = np.ascontiguousarray(np.moveaxis(separate(rgb), 2, 0))
            grey = rgb.mean(2, dtype=np.float32) / 255
            jobs = {
                "separation of stains": lambda rgb=rgb: separate(rgb),
                "colour": lambda rgb=rgb: m._colour(rgb),
                "stains": lambda stain=stain: m._stains(stain),
                "bands": lambda stain=stain, grey=grey: [
                    m._bands(p, um_per_px, "x") for p in (stain[0], stain[1], grey)
                ],
                "patterns": lambda grey=grey: m._patterns(grey),
                "co-occurrence": lambda stain=stain: [m._cooccurrence(p, "x") for p in stain[:2]],
                "nuclei": lambda stain=stain: describe(
                    segment(stain[0], um_per_px, 6.0, 10.0, "otsu"), um_per_px
                ),
                "all": lambda rgb=rgb: m.describe_tile(rgb, um_per_px),
            }
            row = {}
            for name, job in jobs.items():
                start = time.process_time()
                job()
                row[name] = 1000 * (time.process_time() - start)
            rows.append(row)
        rounds.append(pd.DataFrame(rows).median())
    return pd.concat(rounds, axis=1).min(axis=1)


def kept(names: tuple[str, ...], lost: tuple[str, ...]) -> np.ndarray:
    """Positions of the columns that no lost part has."""
    return np.flatnonzero([not any(PARTS[part](n) for part in lost) for n in names])


def her2(bags: sm.Bags, genes: tuple[str, ...] | int, cache: Path) -> None:
    """Ridge within patient C."""
    bags = dataclasses.replace(bags[np.flatnonzero(bags.bag["patient"] == "C")], donor="patient")
    x, names = bags.table("X_morphology"), tuple(bags.features["X_morphology"])
    views = {label: x[:, kept(names, lost)] for label, lost in FEWER.items()}
    bags = dataclasses.replace(
        bags, x={**views, "counts": bags.x["counts"]},
        features={"counts": bags.features["counts"]},
    )  # fmt: skip
    rows = {label: sm.make("ridge", x=label) for label in FEWER}
    result = sm.compare_expression(rows, bags, by="slide", genes=genes, cache=cache, view="all")
    found = result.folds[result.folds["metric"] == "pcc_slide"]
    found = found.groupby("method")["value"].mean()
    gaps = result.against("all", "pcc_slide").set_index("method")
    for label in FEWER:
        row = gaps.loc[label] if label in gaps.index else None
        said = ""
        if row is not None:
            said = f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
            said += f" {row['verdict']}"
        print(f"HER2+, {label} ({views[label].shape[1]} columns): {found[label]:.3f} {said}")


def glands(cache: Path, n: int | None) -> None:
    """bag_mean on GlaS: AUROC, and its difference, with intervals by patients."""
    data = Path(os.environ["SMALTI_DATA"])
    bags = sm.features.extract(glas.images(data)[:n], "morphology", cache=cache)
    x, names = bags.table("X_morphology"), tuple(bags.features["X_morphology"])
    parts = []
    for label, lost in FEWER.items():
        own = dataclasses.replace(bags, x={"x": x[:, kept(names, lost)]}, features={})
        held = sm.compare(["bag_mean"], own, folds=5, repeats=3, cache=cache).predictions
        held = held[held["method"] == "bag_mean"].assign(method=label)
        parts.append(held.assign(p=held["p_malignant"], truth=held["true"] == "malignant"))
    drawn = glas.by_patient(pd.concat(parts), np.random.default_rng(0))
    for label in FEWER:
        gap = drawn[label] - drawn["all"]
        low, high = np.percentile(gap.iloc[1:], [2.5, 97.5])
        print(f"GlaS, {label}: {drawn[label].iloc[0]:.3f} {gap.iloc[0]:+.3f} ({low:+.3f} to "
              f"{high:+.3f})")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--tiles", type=int, default=24)
    parser.add_argument("--spots", type=int, help="of a section, the first so many; for a trial")
    parser.add_argument("--rows", type=int, help="of the table, the first so many; for a trial")
    parser.add_argument("--images", type=int, help="of GlaS, the first so many; for a trial")
    args = parser.parse_args()
    for label in list(FEWER)[args.rows :] if args.rows else ():
        del FEWER[label]
    data = Path(os.environ["SMALTI_DATA"])
    view = her2st.sections(data, 224).x["tile"]
    at = np.linspace(0, view.shape[0] - 1, args.tiles).astype(int)
    print(milliseconds(np.concatenate([view.read(i, i + 1) for i in at]), 0.5).round(1).to_string())
    bags = her2st.first(her2st.sections(data, 112), args.spots)
    bags = sm.features.extract(bags, "morphology", cache=args.cache)
    her2(bags, her2st.hist2st(data), args.cache)
    glands(args.cache, args.images)


if __name__ == "__main__":
    main()
