"""Heat maps of one large slide: seconds of each file, features not made again; and the thumbnail.

A pyramid of random tissue is written to a temporary folder, with features of CLAM beside it, and
a model is fitted on a few small slides of the same features. `--px 20000 --side 200` has 10,000
tiles.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

KINDS = ("png", "svg", "tiles", "geojson", "ome-tiff", "html", "spatialdata")


def write_slide(file: Path, px: int) -> None:
    """A tiled pyramid of blots, each level the mean of the one above."""
    import tifffile

    rng = np.random.default_rng(0)
    small = rng.integers(90, 250, (px // 50 + 1, px // 50 + 1, 3), dtype=np.uint8)
    rgb = np.kron(small, np.ones((50, 50, 1), np.uint8))[:px, :px]
    levels = [rgb]
    while len(levels[-1]) > 1024:
        half = len(levels[-1]) // 2
        parts = levels[-1][: 2 * half, : 2 * half].reshape(half, 2, half, 2, 3)
        levels.append(parts.mean((1, 3)).astype(np.uint8))
    how = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg"}
    with tifffile.TiffWriter(file, bigtiff=True) as out:
        out.write(levels[0], subifds=len(levels) - 1, **how)
        for level in levels[1:]:
            out.write(level, subfiletype=1, **how)


def write_features(folder: Path, px: int, side: int) -> None:
    """Features of the slide, and of six small ones to learn from."""
    import h5py

    rng = np.random.default_rng(1)
    x, y = np.meshgrid(np.arange(0, px - side + 1, side), np.arange(0, px - side + 1, side))
    corner = np.column_stack([x.ravel(), y.ravel()])
    for k in range(7):
        at = corner if k == 6 else corner[:50]
        with h5py.File(folder / f"S{k}.h5", "w") as out:
            out["features"] = rng.normal(k % 2, 1, (len(at), 512)).astype(np.float32)
            out["coords"] = at


def fitted(folder: Path, side: int):
    import pandas as pd

    import smalti as sm

    table = pd.DataFrame({"slide": [f"S{k}" for k in range(6)], "label": [0, 1] * 3})
    bags = sm.read_features(folder, table, label="label", tile_px=side)
    return sm.mil.ABMIL(epochs=5, progress=False).fit(bags)


def timed(name: str, work: Callable[[], object]) -> object:
    start, cpu = time.perf_counter(), time.process_time()
    out = work()
    print(f"{name:<14} {time.perf_counter() - start:>7.2f} {time.process_time() - cpu:>7.2f}")
    return out


def main() -> None:
    import pandas as pd

    import smalti as sm
    from smalti.tiles.image import in_bands

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--px", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=200)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_slide(folder / "S6.tif", args.px)
        write_features(folder, args.px, args.side)
        model = fitted(folder, args.side)
        print(f"{'':<14} {'s':>7} {'CPU s':>7}")
        image = sm.tiles.open_image(folder / "S6.tif")
        timed("thumbnail", lambda: image.thumbnail(1024))
        extent = (image.width, image.height)
        timed("full size", lambda: in_bands(image._read, extent, (1024, 1024)))
        one = pd.DataFrame({"slide": ["S6"]})
        how = {"slides": {"S6": folder / "S6.tif"}, "tile_px": args.side, "um_per_px": 0.5}
        bags = timed("read", lambda: sm.read_features(folder / "S6.h5", one, **how))
        heat = timed("heatmap", lambda: model.heatmap(bags))
        print(f"{len(heat):,} tiles on {image.width:,} x {image.height:,} px")
        for kind in args.kinds:
            ending = sm.heatmap.FORMATS[kind]
            timed(kind, lambda e=ending: sm.heatmap.write(heat, folder / f"out{e}"))


if __name__ == "__main__":
    main()
