"""``extract``: features of tiles as a view of the same bags."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.features.cache import FeatureCache, tiles_digest
from smalti.features.default import default_encoder
from smalti.features.dense import maps_of
from smalti.features.encoders import Encoder, make_encoder
from smalti.features.sources import Single, Source, Whole
from smalti.system.progress import Progress
from smalti.views import View

FLIPS = ("none", "mean", "all")


def extract(
    bags: Bags,
    encoder: Any = None,
    *,
    tiles: str = "tile",
    dense: bool = False,
    um_per_px: float | None = None,
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
        "efficientnet-lite0" (1, 2): a network that was trained on ImageNet, whose weights come as a
        package. "morphology" needs no weights: 115 features of stains, texture and nuclei. Nor
        does "nuclei": where they are (:class:`smalti.features.nuclei.NucleiMap`). Else a model of
        timm or of the hub, by name or preset ("coatnet", "convnextv2", "xcit", "resnet50", "uni",
        ...), or an encoder of your own (:class:`smalti.features.encoders.Encoder`).
        "efficientnet-lite0+morphology" puts the features of both into one view, a list makes a view
        of each. When left out: :func:`default_encoder`, which the notes of the bags name.
    tiles
        Name of that view.
    dense
        One forward over each slide instead of one for each tile, and means of its map over the
        tiles (see :func:`dense_features`): tiles in their surroundings, which are other numbers.
        For convolutional networks and slides that were read as pictures.
    um_per_px
        Of ``dense``: µm of a pixel that the network sees; that of the tiles as they are read when
        left out.
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
        the places and size of the tiles, of encoder and weights. A killed run goes on
        (``dense``: at the slide that it was at).
    n_jobs
        Processes of "morphology" and "nuclei".
    seed
        Of random weights.
    progress
        Show a bar; None: on a terminal or in a notebook.

    Returns
    -------
    Bags
        The same with view ``X_NAME`` (``X_NAME_dense``), (n, width) float32, as the first.

    Raises
    ------
    InputError
        If there is no view of tiles, weights cannot be had, no tile has any nucleus, or there are
        no dense features of this encoder or of these tiles.

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
    if not isinstance(encoder, str) and isinstance(encoder, Sequence):
        if not encoder:
            raise InputError("encoder=[] names none.")
        for one in reversed(encoder):  # the first is the first view
            bags = extract(
                bags, one, tiles=tiles, dense=dense, um_per_px=um_per_px, weights=weights,
                flips=flips, precision=precision, device=device, batch_size=batch_size,
                cache=cache, n_jobs=n_jobs, seed=seed, progress=progress,
            )  # fmt: skip
        return bags
    notes: tuple[str, ...] = ()
    if encoder is None:
        encoder, why = default_encoder(dense)
        notes = (why,)
    made = Extraction.of(
        encoder, tiles=tiles, dense=dense, um_per_px=um_per_px, weights=weights, flips=flips,
        precision=precision, device=device, batch_size=batch_size, n_jobs=n_jobs, seed=seed,
    )  # fmt: skip
    return made(dataclasses.replace(bags, notes=(*bags.notes, *notes)), cache, progress)


@dataclasses.dataclass(frozen=True)
class Extraction:
    """Encoders that are ready to make one view, of any slides (see :func:`extract`).

    Attributes
    ----------
    encoders
        Whose features stand side by side in the view.
    tiles, um_per_px, batch_size
        As :func:`extract` takes them.
    how
        What a model keeps, so that it can make the view again.
    """

    encoders: tuple[Encoder, ...]
    tiles: str
    um_per_px: float | None
    batch_size: int
    how: Mapping[str, Any]

    @classmethod
    def of(
        cls, encoder: Any, *, tiles: str = "tile", dense: bool = False,
        um_per_px: float | None = None, weights: str = "pretrained", flips: str = "none",
        precision: str = "32", device: str = "auto", batch_size: int = 32, n_jobs: int = 1,
        seed: int = 0,
    ) -> Self:  # fmt: skip
        """By the arguments of :func:`extract`.

        Raises
        ------
        InputError
            If they cannot be, or weights cannot be had.
        """
        if um_per_px is not None and not dense:
            raise InputError(
                "um_per_px= is for dense=True: tiles have the scale that they are read at."
            )
        if flips not in FLIPS:
            raise InputError(f"flips={flips!r} is not one of {', '.join(FLIPS)}.")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be 1 or more.")
        named = encoder.split("+") if isinstance(encoder, str) else [encoder]
        made = [make_encoder(e, weights=weights, precision=precision, device=device, n_jobs=n_jobs,
                             seed=seed) for e in named]  # fmt: skip
        for one in made:
            if dense:
                maps_of(one)  # refuses those that have none
            if flips == "mean" and getattr(one, "placed", False):
                raise InputError(
                    f"{one.name!r} says where things are in a tile, which a mean over flips blurs: "
                    "take flips='none' or 'all'."
                )
        how = {"encoder": encoder if isinstance(encoder, str) else None, "weights": str(weights),
               "flips": flips, "dense": dense, "um_per_px": um_per_px, "precision": precision,
               "seed": seed, "identity": [one.identity for one in made]}  # fmt: skip
        return cls(tuple(made), tiles, um_per_px, batch_size, how)

    @property
    def name(self) -> str:
        """Of the view."""
        return f"X_{'+'.join(one.name for one in self.encoders)}" + "_dense" * self.how["dense"]

    def how_of(self, bags: Bags) -> dict[str, Any]:
        """What is kept of the view of some slides: the colours of their tiles too."""
        stain = ((bags.origin or {}).get("made") or {}).get(self.tiles, {}).get("stain")
        return dict(self.how) if stain is None else {**self.how, "stain": stain}

    def __call__(self, bags: Bags, cache: Any, progress: bool | None) -> Bags:
        """The bags with the view, as the first."""
        self._check(bags)
        dense, flips = self.how["dense"], self.how["flips"]
        for one in self.encoders:
            if hasattr(one, "recut"):  # a net that was trained on tiles of one scale
                bags = one.recut(bags)
        view, notes = bags.x[self.tiles], bags.notes
        tables: list[np.ndarray] = []
        names: list[str] = []
        for one in self.encoders:
            source = Whole(one, bags, view, self.um_per_px) if dense else \
                Single(one, bags, view, self.batch_size)  # fmt: skip
            tables.append(_table(source, bags, view, flips, cache, progress))
            names += source.features
            notes += one.check(tables[-1]) if hasattr(one, "check") else ()
        table = np.concatenate(tables, axis=-1) if len(tables) > 1 else tables[0]
        name, origin = self.name, dict(bags.origin or {})
        origin["made"] = {**origin.get("made", {}), name: self.how_of(bags)}
        new = {name: table}
        if flips == "all":
            new = {f"{name}_{k}" if k else name: np.ascontiguousarray(table[:, k])
                   for k in range(8)}  # fmt: skip
        return dataclasses.replace(
            bags, x={**new, **{k: v for k, v in bags.x.items() if k not in new}},
            features={**bags.features, **dict.fromkeys(new, tuple(names))},
            notes=notes, origin=origin,
        )  # fmt: skip

    def _check(self, bags: Bags) -> None:
        if self.tiles not in bags.x:
            raise InputError(
                f"no view {self.tiles!r} of tiles; there are {', '.join(bags.x)}. Read slides with "
                "sm.read_slides, or name the view: tiles=..."
            )
        view = bags.x[self.tiles]
        if len(view.shape) != 4 or view.shape[1] != 3 or view.dtype != np.uint8:
            raise InputError(
                f"view {self.tiles!r} holds {view.dtype} of shape {tuple(view.shape[1:])}: tiles "
                "are uint8, (3, height, width)."
            )


def _table(
    source: Source, bags: Bags, view: View, flips: str, cache: Any, progress: bool | None
) -> np.ndarray:
    """(n, width) or, of all flips, (n, 8, width), from the cache where they are there."""
    width, turns, parts = len(source.features), 1 if flips == "none" else 8, []
    with Progress(progress, source.encoder.name) as bar:
        bar.start("tiles", bags.n_instances)
        for start, stop in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
            text = f"{source.key(start, stop, flips)} {tiles_digest(view, start, stop)}"
            store = FeatureCache(cache, hashlib.sha256(text.encode()).hexdigest(),
                                 half=source.encoder.half)  # fmt: skip
            step = source.block or stop - start
            for at in range(start, stop, step):
                end = min(at + step, stop)
                shape = (end - at, *((8,) if flips == "all" else ()), width)
                make = partial(_made, source, at, end, turns, flips)
                parts.append(store.block(at - start, shape, make))
                bar.advance(steps=end - at)
    return np.concatenate(parts)


def _made(source: Source, start: int, stop: int, turns: int, flips: str) -> np.ndarray:
    stack = source.read(start, stop, turns)
    return stack if flips == "all" else stack.mean(1, dtype=np.float32)
