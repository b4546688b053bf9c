"""``extract``: features of tiles as a view of the same bags."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.features.cache import BLOCK, FeatureCache, tiles_digest
from smalti.features.encoders import Encoder, make_encoder
from smalti.system.progress import Progress
from smalti.views import View, read_rows

FLIPS = ("none", "mean", "all")


def extract(
    bags: Bags,
    encoder: Any = "morphology",
    *,
    tiles: str = "tile",
    weights: str = "pretrained",
    flips: str = "none",
    precision: str = "32",
    device: str = "auto",
    batch_size: int = 32,
    cache: str | Path | None = None,
    n_jobs: int = 1,
    seed: int = 0,
    progress: bool | None = None,
) -> Bags:
    """Extract features of every tile.

    Parameters
    ----------
    bags
        With a view of tiles, (n, 3, height, width) uint8.
    encoder
        "morphology" needs no weights: some 140 features of stains, texture and nuclei. Nor does
        "nuclei": where they are (:class:`smalti.features.nuclei.NucleiMap`). Else a model of timm
        or of the hub, by name or preset ("coatnet", "convnextv2", "xcit", "resnet50",
        "uni", ...), or an encoder of your own (:class:`smalti.features.encoders.Encoder`).
    tiles
        Name of that view.
    weights
        Of a model: "pretrained"; "random" (a control); or the path of a .safetensors file.
    flips
        "mean": average over the eight flips and rotations of a tile, which have no meaning on a
        slide. "all": views X_NAME (as it is) and X_NAME_1 .. X_NAME_7, for augmentation.
    precision
        "32" or "bf16", of a model.
    device
        "cpu" or "cuda"; auto takes a GPU where there is one.
    batch_size
        Tiles in a step of a model.
    cache
        Folder that keeps features, so that they are computed once: by digests of the pictures, of
        the places and size of the tiles, of encoder and weights. A killed run goes on.
    n_jobs
        Processes of "morphology" and "nuclei".
    seed
        Of random weights.
    progress
        Show a bar; None: on a terminal only.

    Returns
    -------
    Bags
        The same with view ``X_NAME``, (n, width) float32, as the first.

    Raises
    ------
    InputError
        If there is no view of tiles, weights cannot be had, or no tile has any nucleus.

    Warns
    -----
    UserWarning
        Tiles without nuclei, of "nuclei"; they stay in ``notes``.

    Examples
    --------
    >>> import smalti as sm
    >>> slides = sm.datasets.planted_slides(1, 4, images=True, seed=0)
    >>> slides = sm.features.extract(slides, "morphology", progress=False)
    >>> name, x = slides.view()
    >>> name, x.shape[0] == slides.n_instances
    ('X_morphology', True)
    """
    if flips not in FLIPS:
        raise InputError(f"flips={flips!r} is not one of {', '.join(FLIPS)}.")
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} must be 1 or more.")
    if tiles not in bags.x:
        raise InputError(
            f"no view {tiles!r} of tiles; there are {', '.join(bags.x)}. Read slides with "
            "sm.read_slides, or name the view: tiles=..."
        )
    view = bags.x[tiles]
    if len(view.shape) != 4 or view.shape[1] != 3 or view.dtype != np.uint8:
        raise InputError(
            f"view {tiles!r} holds {view.dtype} of shape {tuple(view.shape[1:])}: tiles are uint8, "
            "(3, height, width)."
        )
    made = make_encoder(encoder, weights=weights, precision=precision, device=device,
                        n_jobs=n_jobs, seed=seed)  # fmt: skip
    if hasattr(made, "recut"):  # a net that was trained on tiles of one scale
        bags = made.recut(bags)
        view = bags.x[tiles]
    if flips == "mean" and getattr(made, "placed", False):
        raise InputError(
            f"{made.name!r} says where things are in a tile, which a mean over flips blurs: take "
            "flips='none' or 'all'."
        )
    pixel = tile_pixels(bags, view)
    names = tuple(made.features)
    turns = 1 if flips == "none" else 8
    parts = []
    with Progress(progress, made.name) as bar:
        bar.start("tiles", bags.n_instances)
        for start, stop in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
            key = _key(made, view, start, stop, flips, pixel[start:stop])
            store = FeatureCache(cache, key, half=made.half)
            for at in range(start, stop, BLOCK):
                end = min(at + BLOCK, stop)
                shape = (end - at, *((8,) if flips == "all" else ()), len(names))
                make = partial(_block, made, view, pixel, at, end, turns, flips, batch_size)
                parts.append(store.block(at - start, shape, make))
                bar.advance(steps=end - at)
    table = np.concatenate(parts)
    notes = made.check(table) if hasattr(made, "check") else ()
    name = f"X_{made.name}"
    new = {name: table}
    if flips == "all":
        new = {f"{name}_{k}" if k else name: np.ascontiguousarray(table[:, k]) for k in range(8)}
    return dataclasses.replace(
        bags, x={**new, **{k: v for k, v in bags.x.items() if k not in new}},
        features={**bags.features, **dict.fromkeys(new, names)},
        notes=(*bags.notes, *notes),
    )  # fmt: skip


def tile_pixels(bags: Bags, view: View) -> np.ndarray:
    """(n,) µm of a pixel of each tile as it is read; NaN where that is not known."""
    if "um_per_px" not in bags.bag:
        return np.full(bags.n_instances, np.nan)
    slide = bags.bag["um_per_px"].to_numpy(float)[bags.index]
    rows = np.arange(bags.n_instances)
    if hasattr(view, "rows") and hasattr(view, "base"):
        view, rows = view.base, view.rows
    if not hasattr(view, "images"):
        if "tile_um_per_px" in bags.bag:  # of files that may be resized when they are read
            return bags.bag["tile_um_per_px"].to_numpy(float)[bags.index]
        return slide
    return slide * view.side[view.of[rows]] / view.size


def turned(tiles: np.ndarray, k: int) -> np.ndarray:
    """Tiles (n, 3, H, W) turned by k % 4 quarters, mirrored before that where k > 3."""
    out = tiles[..., ::-1] if k > 3 else tiles
    return np.ascontiguousarray(np.rot90(out, k % 4, axes=(2, 3)))


def _block(
    encoder: Encoder, view: View, pixel: np.ndarray, start: int, stop: int, turns: int, flips: str,
    batch_size: int,
) -> np.ndarray:  # fmt: skip
    parts = []
    for at in range(start, stop, batch_size):
        end = min(at + batch_size, stop)
        tiles = np.asarray(read_rows(view, at, end))
        each = [encoder.encode(turned(tiles, k) if k else tiles, pixel[at:end])
                for k in range(turns)]  # fmt: skip
        stack = np.stack(each, axis=1)
        parts.append(stack if flips == "all" else stack.mean(1, dtype=np.float32))
    return np.concatenate(parts)


def _key(encoder: Encoder, view: View, start: int, stop: int, flips: str, pixel: np.ndarray) -> str:
    text = (
        f"{encoder.identity} {flips} {np.unique(pixel).tolist()} {tiles_digest(view, start, stop)}"
    )
    return hashlib.sha256(text.encode()).hexdigest()
