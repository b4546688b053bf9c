"""Where tissue is: rules for a mask on drawn slides of known truth, and on real ones.

    python benchmarks/tissue.py                              # drawn slides: overlap with the truth
    SMALTI_DATA=... python benchmarks/tissue.py --real       # and real pictures
    python benchmarks/tissue.py --out runs/tissue            # and pictures of the outlines

Overlap is intersection over union (IoU) with the drawn truth; of a slide without tissue 1 where the
mask is empty. Of HER2+ it is that of the spots that the authors chose as lying under tissue with
those of which half the tile is in the mask, over the whole array; of GlaS and of the
immunohistochemistry, which are tissue all over, the share of the pixels (GlaS: of glands) in it; of
GlaS on glass, that with the shape that the picture was cut to.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.filters import gaussian, threshold_otsu

from smalti.tiles.stain import HED_TO_OD
from smalti.tiles.tissue import tidy, tissue_mask

UM = 4.0  # µm of a pixel of the drawn slides
GLASS = 243
Case = tuple[str, np.ndarray, np.ndarray]  # name, (h, w, 3) uint8, (h, w) bool


# ---------------------------------------------------------------- the rules


def colour(rgb: np.ndarray) -> np.ndarray:
    """Otsu on the range of the channels, within 0.05 to 0.15: the rule of smalti before."""
    pixels = rgb / np.float32(255)
    signal = pixels.max(2) - pixels.min(2)
    if signal.max() < 0.02:
        signal = -np.log10((pixels.mean(2) * 255 + 1) / 256)
    signal = gaussian(signal, 1, mode="nearest")
    threshold = threshold_otsu(signal) if np.ptp(signal) > 0 else 0.05
    return signal > np.clip(threshold, 0.05, 0.15)


def saturation(rgb: np.ndarray) -> np.ndarray:
    """Otsu on the saturation of HSV after a median of 7 pixels, as CLAM has it."""
    high, low = rgb.max(2).astype(np.float32), rgb.min(2).astype(np.float32)
    signal = np.rint(255 * (high - low) / np.maximum(high, 1)).astype(np.uint8)
    signal = ndimage.median_filter(signal, 7)
    return signal > (threshold_otsu(signal) if np.ptp(signal) else 255)


def density(rgb: np.ndarray) -> np.ndarray:
    """Otsu on the mean optical density."""
    signal = gaussian(-np.log((rgb.astype(np.float32) + 1) / 256).mean(2), 1, mode="nearest")
    return signal > (threshold_otsu(signal) if np.ptp(signal) > 1e-6 else np.inf)


def tidied(rule: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """A rule with specks dropped and small holes filled, as ours has them."""
    return lambda rgb, um: tidy(rule(rgb), um)


RULES: dict[str, Callable[..., np.ndarray]] = {
    "colour (before)": lambda rgb, um: colour(rgb),
    "colour, tidied": tidied(colour),
    "saturation, tidied": tidied(saturation),
    "density, tidied": tidied(density),
    "smalti": tissue_mask,
}


# ---------------------------------------------------------------- drawn slides


def shape(side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) bool: a few rounded pieces away from the edge."""
    field = gaussian(rng.normal(size=(side, side)), side / 14)
    y, x = np.mgrid[:side, :side] / side - 0.5
    field = field / field.std() - 12 * np.maximum(np.hypot(x, y) - 0.33, 0)
    return tidy(field > 0.2, UM)


def stained(side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) optical density of stroma and nuclei."""
    eosin = 0.35 + 0.12 * np.clip(gaussian(rng.normal(size=(side, side)), 4) * 12, -2, 2)
    nuclei = gaussian((rng.random((side, side)) < 0.06).astype(float), 1.2)
    amounts = np.stack([1.2 * nuclei / nuclei.max(), eosin], axis=2)
    return amounts @ HED_TO_OD[:2]


def fat(side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) bool: walls between fat cells of some 90 µm."""
    n = int((side * UM / 90) ** 2)
    seeds = np.ones((side, side), bool)
    seeds[tuple(rng.integers(0, side, (2, n)))] = False
    near = ndimage.distance_transform_edt(seeds, return_distances=False, return_indices=True)
    label = near[0] * side + near[1]
    return (np.diff(label, axis=0, prepend=-1) != 0) | (np.diff(label, axis=1, prepend=-1) != 0)


def light(density: np.ndarray, rng: np.random.Generator, glass: np.ndarray | int) -> np.ndarray:
    """Optical density as pixels on glass, with noise."""
    picture = glass * np.exp(-density) + rng.normal(0, 2, density.shape)
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def stroke(side: int) -> np.ndarray:
    """(side, side) bool: a ring of pen, partly over what is in the middle."""
    y, x = np.mgrid[:side, :side]
    ring = np.abs(np.hypot(x - 0.5 * side, y - 0.45 * side) - 0.42 * side)
    return ring < 0.012 * side


def drawn(side: int, seed: int = 0) -> Iterator[Case]:
    """Slides whose tissue is known."""
    rng = np.random.default_rng(seed)
    truth, body = shape(side, rng), stained(side, rng)
    on = body * truth[..., None]
    none, everywhere = np.zeros_like(truth), np.ones_like(truth)
    yield "usual", light(on, rng, GLASS), truth
    yield "pale (stain x 0.3)", light(on * 0.3, rng, GLASS), truth
    yield "very pale (stain x 0.12)", light(on * 0.12, rng, GLASS), truth
    pale = on * np.where(np.arange(side) < side // 2, 1, 0.2)[None, :, None]
    yield "dark beside pale", light(pale, rng, GLASS), truth
    # a cut through fat shows whole cells: none is open towards the glass
    walls = truth & (fat(side, rng) | ~ndimage.binary_erosion(truth))
    half = walls | (truth & (np.arange(side) < side // 2))
    yield "fat", light(body * 0.7 * half[..., None], rng, GLASS), truth
    for name, ink in {"green": (30, 140, 60), "blue": (40, 60, 170), "black": (25, 25, 28),
                      "red": (200, 30, 50)}.items():  # fmt: skip
        marked = light(on, rng, GLASS)
        soft = gaussian(stroke(side).astype(float), 1)[..., None] * 0.95
        marked = np.rint(marked * (1 - soft) + np.array(ink) * soft).astype(np.uint8)
        yield f"{name} pen", marked, truth & ~stroke(side)
    yellow = np.array([250, 244, 226])
    yield "yellow glass", light(on * 0.5, rng, yellow), truth
    y, x = np.mgrid[:side, :side] / side - 0.5
    yield "uneven light", light(on * 0.5, rng, (250 - 60 * np.hypot(x, y))[..., None]), truth
    dust = gaussian((rng.random(truth.shape) < 3e-4).astype(float), 1) * 5
    dusty = np.maximum(on, np.minimum(dust, 0.8)[..., None])
    yield "dust", light(dusty, rng, GLASS), truth
    grey = light(on, rng, GLASS).mean(2, keepdims=True)
    yield "grey picture", np.repeat(grey, 3, axis=2).astype(np.uint8), truth
    yield "glass alone", light(0 * on, rng, GLASS), none
    yield "white (255)", np.full((side, side, 3), 255, np.uint8), none
    yield "tissue all over", light(body, rng, GLASS), everywhere
    yield "pale tissue all over", light(body * 0.3, rng, GLASS), everywhere


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union; 1 where both are empty."""
    union = (mask | truth).sum()
    return float((mask & truth).sum() / union) if union else 1.0


# ---------------------------------------------------------------- real pictures


def real(data: Path, n_glas: int | None) -> Iterator[tuple[str, np.ndarray, float, Callable]]:
    """Name, picture, µm of a pixel, and mask -> score."""
    from PIL import Image
    from skimage.data import immunohistochemistry

    from smalti.tiles import open_image

    def shrunk(path: Path, k: int) -> np.ndarray:
        return np.asarray(Image.open(path).convert("RGB").reduce(k))

    yield "IHC, all of it", immunohistochemistry(), 0.5, np.mean
    rng = np.random.default_rng(0)
    for path in sorted((data / "glas" / "images").glob("*.jpg"))[:n_glas]:
        rgb = shrunk(path, 4)  # 2.5 µm
        gland = np.asarray(Image.open(data / "glas" / "masks" / f"{path.stem}.png")) > 0
        gland = gland[2::4, 2::4][: rgb.shape[0], : rgb.shape[1]]
        part = (slice(gland.shape[0]), slice(gland.shape[1]))
        yield "GlaS, glands", rgb, 2.48, lambda m, g=gland, p=part: m[p][g].mean()
        yield "GlaS, all of it", rgb, 2.48, np.mean
        for name, strength in (("GlaS on glass", 1.0), ("GlaS on glass, x 0.3", 0.3)):
            body = -np.log((rgb.astype(float) + 1) / 256) * strength
            h, w = body.shape[:2]
            truth = np.zeros((3 * h, 3 * w), bool)
            y, x = np.mgrid[:h, :w]
            truth[h : 2 * h, w : 2 * w] = np.hypot(y / h - 0.5, x / w - 0.5) < 0.48
            wide = np.pad(body, ((h, h), (w, w), (0, 0))) * truth[..., None]
            yield name, light(wide, rng, GLASS), 2.48, lambda m, t=truth: overlap(m, t)
    for path in sorted((data / "her2st" / "images").glob("*.jpg")):
        image = open_image(path)
        rgb, scale = image.thumbnail(2048)
        spots, chosen = array_of(data, path.stem)
        yield (
            "HER2+, spots",
            rgb,
            0.73 / scale,
            lambda m, s=spots * scale, c=chosen, r=50 * scale: overlap(under(m, s, r), c),
        )


def under(mask: np.ndarray, spots: np.ndarray, radius: float) -> np.ndarray:
    """(n,) bool: half of the square about a spot is in the mask."""
    from smalti.tiles import tissue_share

    return tissue_share(mask, 1.0, spots - radius, round(2 * radius)) >= 0.5


def array_of(data: Path, slide: str) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) places of all spots of an array, and which the authors chose as under tissue."""
    import anndata as ad

    obs = ad.read_h5ad(data / "her2st" / "her2st_5sections_counts.h5ad", backed="r").obs
    own = obs[obs["slide"].astype(str) == slide]
    grid = own[["array_x", "array_y"]].to_numpy(float)
    to = np.linalg.lstsq(np.c_[grid, np.ones(len(grid))],
                         own[["image_x", "image_y"]].to_numpy(float))[0]  # fmt: skip
    whole = np.stack(np.meshgrid(np.arange(1, 34), np.arange(1, 36)), axis=-1).reshape(-1, 2)
    there = {(round(x), round(y)) for x, y in grid}
    chosen = np.array([(int(x), int(y)) in there for x, y in whole])
    return np.c_[whole, np.ones(len(whole))] @ to, chosen


# ---------------------------------------------------------------- the table


def outlined(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    edge = ndimage.binary_dilation(mask, iterations=2) & ~mask
    return np.where(edge[..., None], np.array([0, 160, 60], np.uint8), rgb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=700, help="pixels of a drawn slide")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--real", action="store_true", help="also the pictures in SMALTI_DATA")
    parser.add_argument("--glas", type=int, help="of GlaS, the first so many")
    parser.add_argument("--out", type=Path, help="folder for pictures of the outlines")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    seen: set[str] = set()

    def score(case: str, rgb: np.ndarray, um: float, of: Callable) -> None:
        masks = {name: rule(rgb, um) for name, rule in RULES.items()}
        rows.extend({"case": case, "rule": n, "score": float(of(m))} for n, m in masks.items())
        if args.out and (case not in seen or case.startswith("HER2")):
            from PIL import Image

            args.out.mkdir(parents=True, exist_ok=True)
            both = [outlined(rgb, masks[n]) for n in ("colour (before)", "smalti")]
            name = case.replace(" ", "_").replace(",", "")
            file = args.out / f"{name}_{len(rows) // len(RULES)}.png"
            Image.fromarray(np.concatenate(both, axis=1)).save(file)
        seen.add(case)

    for seed in range(args.seeds):
        for case, rgb, truth in drawn(args.side, seed):
            score(case, rgb, UM, lambda m, t=truth: overlap(m, t))
    if args.real:
        for case, rgb, um, of in real(Path(os.environ["SMALTI_DATA"]), args.glas):
            score(case, rgb, um, of)
    table = pd.DataFrame(rows).pivot_table("score", "case", "rule", sort=False)
    table.loc["mean of the drawn"] = table.iloc[: len(list(drawn(64)))].mean()
    print("| case | " + " | ".join(table.columns) + " |")
    print("|---|" + "---|" * len(table.columns))
    for case, row in table.iterrows():
        print(f"| {case} | " + " | ".join(f"{v:.3f}" for v in row) + " |")


if __name__ == "__main__":
    main()
