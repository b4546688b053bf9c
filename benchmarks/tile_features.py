"""Tiles per second of ``features.extract`` against the plain loop over timm, side by side.

``python benchmarks/tile_features.py [--tiles 32] [--encoders resnet50,coatnet]``. Weights are
random: they change no time. Both sides run in turn on the same tiles; the ratio counts.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from PIL import Image

import smalti as sm
from smalti.bags import Bags
from smalti.features.encoders import Backbone
from smalti.features.presets import preset_of
from smalti.features.pretrained import timm


def plain(name: str, tiles: np.ndarray, half: bool, batch: int) -> tuple[object, object]:
    """The loop that everybody writes: PIL, timm's transform, the model."""
    library = timm()
    model = library.create_model(preset_of(name).model, num_classes=0).eval()
    # the whole tile, as here: timm would cut off its rim
    config = library.data.resolve_model_data_config(model) | {"crop_pct": 1.0}
    transform = library.data.create_transform(**config, is_training=False)

    def run() -> np.ndarray:
        parts = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            for start in range(0, len(tiles), batch):
                images = [
                    Image.fromarray(t.transpose(1, 2, 0)) for t in tiles[start : start + batch]
                ]
                parts.append(model(torch.stack([transform(i) for i in images])).float().numpy())
        return np.concatenate(parts)

    return model, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--encoders", default="resnet50,coatnet,convnextv2,xcit")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 255, (args.tiles, 3, 224, 224), dtype=np.uint8)
    bags = Bags.from_rows({"tile": tiles}, np.zeros(args.tiles, dtype=int))
    start = time.perf_counter()
    sm.features.extract(bags, "morphology", progress=False)
    print(f"{'morphology':<12}        {args.tiles / (time.perf_counter() - start):7.1f} tiles/s")
    for name in args.encoders.split(","):
        for precision in ("32", "bf16"):
            model, loop = plain(name, tiles, precision == "bf16", args.batch)
            encoder = Backbone(name, "random", precision, "cpu", 0)
            encoder.model.load_state_dict(model.state_dict())
            seconds: list[list[float]] = [[], []]
            for _ in range(args.repeats):
                start = time.perf_counter()
                wanted = loop()
                seconds[0].append(time.perf_counter() - start)
                start = time.perf_counter()
                found = sm.features.extract(bags, encoder, batch_size=args.batch, progress=False)
                seconds[1].append(time.perf_counter() - start)
            theirs, ours = (args.tiles / statistics.median(s) for s in seconds)
            r = np.corrcoef(found.table().ravel(), wanted.ravel())[0, 1]
            print(f"{name:<12} {precision:>4}  {ours:7.2f} tiles/s, timm's loop {theirs:7.2f}: "
                  f"{ours / theirs:.2f}x   (features r {r:.4f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
