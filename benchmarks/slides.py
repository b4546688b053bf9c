"""Cutting tiles from a large picture: tiles per second and memory, beside reading it as a whole.

    python benchmarks/slides.py [--px 10000] [--side 224]

Each case runs in a process of its own, so that the peak of resident memory is its own; what Python
and its packages take before anything is read is printed too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np


def picture(px: int, seed: int = 0) -> np.ndarray:
    """(px, px, 3) uint8 of smooth tissue with grain; hard to compress, as H&E is."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (px // 50 + 1, px // 50 + 1)).astype(np.float32)
    field = np.kron(coarse, np.ones((50, 50), np.float32))[:px, :px]
    out = np.empty((px, px, 3), np.uint8)
    for channel, (mean, spread) in enumerate([(205, 12), (140, 25), (185, 10)]):
        grain = rng.integers(-12, 13, (px, px), np.int8)
        out[..., channel] = (mean + spread * field + grain).clip(0, 255)
    return out


def write(folder: Path, px: int) -> list[Path]:
    """A tiled TIFF, one compressed by JPEG, and a JPG."""
    import tifffile
    from PIL import Image

    rgb = picture(px)
    files = [folder / "deflate.tif", folder / "jpeg.tif", folder / "flat.jpg"]
    for file, how in zip(files, ("zlib", "jpeg"), strict=False):
        tifffile.imwrite(file, rgb, photometric="rgb", tile=(256, 256), compression=how)
    Image.fromarray(rgb).save(files[2], quality=85)
    return files


def centers_of(file: Path, side: int) -> np.ndarray:
    from smalti.tiles import grid_centers, open_image

    image = open_image(file)
    return grid_centers(image.width, image.height, side)


def nothing(file: Path, side: int) -> int:
    """Packages alone."""
    centers_of(file, side)
    return 0


def by_view(file: Path, side: int) -> int:
    """Tiles in batches of 64."""
    from smalti.tiles import TileView, open_image

    centers = centers_of(file, side)
    view = TileView([open_image(file)], np.zeros(len(centers), int), centers, side, side)
    return sum(len(view.read(i, i + 64)) for i in range(0, len(centers), 64))


def by_slides(file: Path, side: int) -> int:
    """``read_slides`` (thumbnail, tissue, grid), then the tiles in batches of 64."""
    import smalti as sm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bags = sm.read_slides(file, tile_px=side, tissue_min=0.0)
    view = bags.x["tile"]
    return sum(len(view.read(i, i + 64)) for i in range(0, bags.n_instances, 64))


def naive(file: Path, side: int) -> int:
    """The whole picture as an array, and all tiles held at once."""
    import tifffile
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    rgb = tifffile.imread(file) if file.suffix == ".tif" else np.asarray(Image.open(file))
    corners = (centers_of(file, side) - side / 2).astype(int)
    tiles = np.stack([rgb[y : y + side, x : x + side] for x, y in corners])
    return len(tiles)


def measured(case: Callable[[Path, int], int], file: Path, side: int) -> tuple[int, float, float]:
    """Tiles, seconds and the peak of resident memory in MB; in a fresh process."""
    start = time.perf_counter()
    n = case(file, side)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return n, seconds, peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--px", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--file", default="", help="the files whose name holds this text")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        with context.Pool(1) as pool:
            files = pool.apply(write, (Path(folder), args.px))
        print(f"{'file':<12} {'case':<10} {'tiles':>6} {'s':>7} {'tiles/s':>8} {'peak MB':>8}")
        for file in (f for f in files if args.file in f.name):
            for case in (nothing, by_view, by_slides, naive):
                with context.Pool(1) as pool:
                    n, seconds, peak = pool.apply(measured, (case, file, args.side))
                print(f"{file.name:<12} {case.__name__:<10} {n:>6} {seconds:>7.1f} "
                      f"{n / seconds:>8.0f} {peak:>8.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
