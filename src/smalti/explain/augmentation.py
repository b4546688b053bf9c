"""Which augmentations leave what a tile says as it was: a screening before any training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Generator

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.explain.tile_distances import (
    ALIGNED,
    Distance,
    head_distance,
    nuclei_distance,
    ssim_distance,
    stain_distance,
    weighted_distances,
)
from smalti.features.sources import tile_pixels
from smalti.system.files import atomic_folder, atomic_write
from smalti.system.tables import write_table
from smalti.tiles.augment import KINDS, Augment, apply, parse
from smalti.views import read_rows, take

# Of a distance, as a share of that between different tiles of one slide. A judgement: an augmented
# tile should stay nearer to itself than half the way to another tile; structure is stricter, as
# SSIM of different tiles is near its floor.
THRESHOLDS = {"ssim": 0.35, "lpips": 0.35}
THRESHOLD = 0.5
_SHOWN = 6  # tiles on the contact sheet


@dataclasses.dataclass(frozen=True)
class Screening:
    """What :func:`screen_augmentations` found.

    Attributes
    ----------
    table
        A row per candidate and distance: ``candidate``; ``distance``; ``mean`` and ``sd`` over the
        tiles; ``ratio`` of the mean to that of different tiles of one slide; ``threshold`` of the
        ratio; ``decides``, whether the distance counts for this candidate; ``accepted``, the
        verdict on the candidate; ``why``.
    accepted
        Names that passed, in the order given.
    examples
        "original" and each candidate -> the same few tiles, (k, 3, H, W) uint8.
    notes
        What was not measured, and how to have it.
    """

    table: pd.DataFrame
    accepted: tuple[str, ...]
    examples: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()

    def transform(self, p: float = 0.5) -> Augment:
        """The accepted augmentations as one; ``d4`` takes the place of the flips it holds.

        For training: ``sm.expression.FineTune(augment=screening.transform().names)``.
        """
        names = self.accepted
        if "d4" in names:
            names = tuple(n for n in names if n == "d4" or parse(n)[0].order == 1)
        return Augment(names, p)

    def contact_sheet(self, path: str | Path | None = None, *, overwrite: bool = False) -> Axes:
        """Draw tiles as they were and under each candidate, with distances and verdicts.

        Parameters
        ----------
        path
            Also write it there (PNG, or as the suffix says).
        overwrite
            Replace a file that is there.

        Raises
        ------
        InputError
            If the file is there already, or cannot be written.
        """
        from smalti.plot.contact_sheet import plot_contact_sheet

        axes = plot_contact_sheet(self.examples, self.table)
        figure: Any = axes.figure
        if path is not None:
            with atomic_write(path, overwrite=overwrite) as temporary:
                figure.savefig(temporary, format=Path(path).suffix.lstrip(".") or "png")
        return axes

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``screening.csv``, ``contact_sheet.png`` and, if any, ``notes.txt``; all or none.

        Parameters
        ----------
        folder
            A new one, or an empty one.
        overwrite
            Replace any other, with all that is in it.

        Raises
        ------
        InputError
            If the folder holds files, or cannot be written.
        """
        with atomic_folder(folder, overwrite=overwrite) as trial:
            write_table(self.table, trial / "screening.csv")
            self.contact_sheet(trial / "contact_sheet.png")
            if self.notes:
                (trial / "notes.txt").write_text("\n".join(self.notes) + "\n", encoding="utf-8")
        return Path(folder)


def screen_augmentations(
    tiles: Any,
    candidates: str | Sequence[str] | None = None,
    *,
    model: Any = None,
    um_per_px: float | None = None,
    n: int = 64,
    seed: int = 0,
    perceptual: Distance | Mapping[str, Distance] | None = None,
    thresholds: Mapping[str, float] | None = None,
    trunk: str | Path | None = None,
) -> Screening:
    """Compare tiles with their augmented selves, and that with the distance between tiles.

    Distances: ``stain`` (Wasserstein distance of haematoxylin and eosin), ``nuclei`` (change of
    their number), ``ssim`` (1 - structural similarity [1]), ``head`` (change of a model's
    prediction); ``deep`` (cosine of the features of EfficientNet-Lite0), ``lpips`` [2] and ``dino``
    (cosine of features [3]) where their weights are on this machine. Each is divided by its mean
    between random pairs of different tiles of the same slide, so that a threshold means the same
    for all of them; which threshold is right remains a judgement.

    Symmetries of the square are accepted as they are: tissue has no up, so they change no label,
    whatever a network's features say. Mixup is rejected as it is, for it changes the target.
    Where pixels move (shift, scale, rotation), distances pixel by pixel (ssim, lpips) are shown
    but do not decide.

    Parameters
    ----------
    tiles
        (n, 3, H, W) uint8 of one slide, or :class:`~smalti.Bags` with a view "tile".
    candidates
        Names with strengths as in :class:`smalti.tiles.augment.Augment`; all kinds when left out.
    model
        Fitted model to keep predictions of: its ``predict`` takes (n, 3, H, W) uint8 and returns
        (n, n_genes). The distance is 1 - Pearson over genes; with fewer than three outputs, the
        squared difference.
    um_per_px
        Of a tile's pixel; from the bags when left out.
    n
        Tiles to try, spread over the slides, two or more of each.
    seed
        Of tiles, pairs and augmentations.
    perceptual
        Distances of your own: (a, b), both (n, 3, H, W) uint8 -> (n,); or several by name.
    thresholds
        Distance -> largest ratio to accept; 0.35 for ssim and lpips and 0.5 for others by default.

    trunk
        A .safetensors file of torchvision's AlexNet, which ``lpips`` stands on; its linear heads
        come with the package lpips.

    Returns
    -------
    Screening
        Table, accepted names, example tiles.

    Raises
    ------
    InputError
        If tiles are no images, there are fewer than two of a slide, a name is not known, or the
        trunk is not AlexNet.

    References
    ----------
    - [1] Wang, Z. et al. (2004). Image quality assessment. IEEE Trans. Image Process. 13:600.
    - [2] Zhang, R. et al. (2018). The unreasonable effectiveness of deep features as a perceptual
      metric. CVPR. arXiv:1801.03924
    - [3] Caron, M. et al. (2021). Emerging properties in self-supervised vision transformers.
      ICCV. arXiv:2104.14294
    """
    names = tuple(KINDS if candidates is None else np.atleast_1d(candidates).tolist())
    if not names:
        raise InputError("candidates names no augmentation: leave it out to try all.")
    kinds = {name: parse(name)[0] for name in names}
    images, slide, pixel = _sample(tiles, n, seed, um_per_px)
    distances: dict[str, Distance] = {
        "stain": stain_distance, "nuclei": nuclei_distance(pixel), "ssim": ssim_distance
    }  # fmt: skip
    if model is not None:
        distances["head"] = head_distance(model)
    found, notes = weighted_distances(trunk)
    distances |= found
    if perceptual is not None:
        distances |= perceptual if isinstance(perceptual, Mapping) else {"perceptual": perceptual}
    limits = {d: THRESHOLDS.get(d, THRESHOLD) for d in distances}
    unknown = sorted(set(thresholds or {}) - set(limits))
    if unknown:
        raise InputError(f"thresholds names {unknown[0]!r}, not one of {', '.join(limits)}.")
    limits |= thresholds or {}
    partner = _partners(slide, seed)
    yardstick = {d: float(np.mean(f(images, images[partner]))) for d, f in distances.items()}
    rows, examples = [], {"original": images[:_SHOWN]}
    for name, kind in kinds.items():
        draws = Generator().manual_seed(seed)
        changed = apply(name, torch.from_numpy(images), draws).numpy()
        examples[name] = changed[:_SHOWN]
        if kind.order > 1:
            rows.append({"candidate": name, "distance": "none", "decides": False, "accepted": True,
                         "why": "exact symmetry: not screened"})  # fmt: skip
            continue
        lines = []
        for d, measure in distances.items():
            values = np.asarray(measure(images, changed), dtype=float)
            ratio = float(values.mean() / yardstick[d]) if yardstick[d] > 0 else np.nan
            lines.append({"candidate": name, "distance": d, "mean": values.mean(),
                          "sd": values.std(), "ratio": ratio, "threshold": limits[d],
                          "decides": kind.keeps_label
                          and not (kind.moves and d in ALIGNED)})  # fmt: skip
        rows += _judge(lines, kind.keeps_label)
    table = pd.DataFrame(rows).reindex(columns=[
        "candidate", "distance", "mean", "sd", "ratio", "threshold", "decides", "accepted", "why",
    ])  # fmt: skip
    verdict = table.groupby("candidate", sort=False)["accepted"].first()
    return Screening(table, tuple(verdict.index[verdict]), examples, notes)


def _judge(lines: list[dict[str, Any]], keeps_label: bool) -> list[dict[str, Any]]:
    """A candidate passes if each distance that counts does; NaN (no spread) does not count."""
    over = [x["distance"] for x in lines if x["decides"] and x["ratio"] > x["threshold"]]
    why = f"over the threshold: {', '.join(over)}" if over else "under all thresholds"
    if not keeps_label:
        why = "changes the target"
    return [{**x, "accepted": keeps_label and not over, "why": why} for x in lines]


def _sample(
    tiles: Any, n: int, seed: int, um_per_px: float | None
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Some tiles, the slide of each, and micrometres of their pixel."""
    draw = np.random.default_rng(seed)
    if isinstance(tiles, Bags):
        if "tile" not in tiles.x:
            raise InputError(f"no view 'tile' in the bags; there are {', '.join(tiles.x)}.")
        view, slide = tiles.x["tile"], tiles.index
    else:
        view = tiles.numpy() if isinstance(tiles, torch.Tensor) else np.asarray(tiles)
        slide = np.zeros(len(view), dtype=int)
    if len(view.shape) != 4 or view.shape[1] != 3 or view.dtype != np.uint8:
        raise InputError(f"tiles of shape {tuple(view.shape)} and {view.dtype}: screening needs "
                         "(n, 3, height, width) uint8.")  # fmt: skip
    many = np.flatnonzero(np.bincount(slide) > 1)  # a slide of one tile has no pair
    order = draw.permutation(np.flatnonzero(np.isin(slide, draw.permutation(many)[: n // 2])))
    turn = pd.Series(slide[order]).groupby(slide[order]).cumcount().to_numpy()
    rows = np.sort(order[np.argsort(turn, kind="stable")[:n]])  # as many of each slide as can be
    if len(rows) < 2:
        raise InputError("screening compares different tiles of a slide: give two of one, or more.")
    if um_per_px is None and isinstance(tiles, Bags):
        lengths = tile_pixels(tiles, view)[rows]
        um_per_px = float(lengths.mean()) if np.isfinite(lengths).all() else None
    part = np.array(read_rows(take(view, rows), 0, len(rows)))
    return part, slide[rows], um_per_px


def _partners(slide: np.ndarray, seed: int) -> np.ndarray:
    """Another tile of the same slide for each: the next one on a random round trip."""
    draw = np.random.default_rng(seed + 1)
    partner = np.empty(len(slide), dtype=int)
    for value in np.unique(slide):
        tour = draw.permutation(np.flatnonzero(slide == value))
        partner[tour] = np.roll(tour, 1)
    return partner
