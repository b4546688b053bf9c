"""Stain normalisation: each slide's colours brought to those of one reference.

A slide is measured by its own pixels alone, so nothing of one slide reaches another. The reference
is fixed, or measured on pictures that the user names: those of training.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.tiles.image import SlideImage
from smalti.tiles.open import open_image
from smalti.tiles.stain import macenko, vahadane
from smalti.tiles.tissue import tissue_mask
from smalti.tiles.view import TileView

How: TypeAlias = Literal["macenko", "vahadane", "reinhard"]
METHODS = ("macenko", "vahadane", "reinhard")
_OD = -np.log(np.maximum(np.arange(256), 1) / 255)
_TOP = 99.0  # percentile that counts as the full amount of a stain
_THUMBNAIL = 1024

# lms of RGB, and its logarithms turned (Ruderman, Cronin & Chiao 1998)
_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LAB = np.diag(1 / np.sqrt([3, 6, 2])) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])


@dataclasses.dataclass(frozen=True)
class Colours:
    """What a slide looks like, as a method of normalisation sees it.

    Attributes
    ----------
    how
        The method.
    stains
        (2, 3) optical density in R, G, B of haematoxylin and eosin, rows of length 1; of reinhard
        (2, 3) mean and s.d. of l, alpha and beta.
    amount
        (2,) of either stain, its 99th percentile; of reinhard not used.
    """

    how: str
    stains: np.ndarray
    amount: np.ndarray

    def note(self) -> dict[str, Any]:
        """As a model keeps it."""
        return {"how": self.how, "stains": self.stains.tolist(), "amount": self.amount.tolist()}

    @classmethod
    def of_note(cls, note: Mapping[str, Any]) -> Self:
        """What a model kept."""
        return cls(str(note["how"]), np.array(note["stains"]), np.array(note["amount"]))


# of the pictures that Macenko's method is mostly used with, as published with its code
REFERENCE = {
    "macenko": Colours("macenko", np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]]),
                       np.array([1.9705, 1.0308])),
}  # fmt: skip


def measure_colours(rgb: np.ndarray, how: How = "macenko") -> Colours:
    """Measure the colours of stained pixels.

    Parameters
    ----------
    rgb
        (..., height, width, 3) uint8 of tissue: tiles of a slide, or pixels of its thumbnail.
    how
        "macenko" (extreme directions of the densities), "vahadane" (sparse factors of them), or
        "reinhard" (mean and s.d. of l alpha beta).

    Returns
    -------
    Colours
        For :class:`Normalizer`, as source or as target.

    Raises
    ------
    InputError
        If ``how`` is unknown, or hardly a pixel is stained.

    References
    ----------
    Reinhard et al. (2001), IEEE Comput. Graph. Appl. 21(5):34; Macenko et al. (2009), ISBI,
    1107-1110; Vahadane et al. (2016), IEEE Trans. Med. Imaging 35:1962.
    """
    if how not in METHODS:
        raise InputError(f"how={how!r} is not one of {', '.join(METHODS)}.")
    if how == "reinhard":
        lab = _to_lab(rgb.reshape(-1, 3))
        return Colours(how, np.stack([lab.mean(0), np.maximum(lab.std(0), 1e-3)]), np.ones(2))
    stains = (macenko if how == "macenko" else vahadane)(rgb)[:2]
    amounts = _OD[rgb.reshape(-1, 3)] @ np.linalg.pinv(stains)
    top = np.percentile(np.maximum(amounts, 0), _TOP, axis=0)
    return Colours(how, stains, np.maximum(top, 1e-3))


@dataclasses.dataclass(frozen=True)
class Normalizer:
    """Pixels of one slide in the colours of another.

    Attributes
    ----------
    source, target
        What the slide looks like, and what it is to look like; of one method.
    """

    source: Colours
    target: Colours

    @property
    def digest(self) -> str:
        """Of both, for caches of features."""
        sha = hashlib.sha256(self.source.how.encode())
        for part in (self.source, self.target):
            sha.update(part.stains.tobytes() + part.amount.tobytes())
        return sha.hexdigest()[:16]

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Recolour.

        Parameters
        ----------
        rgb
            (..., height, width, 3) uint8.

        Returns
        -------
        ndarray
            Of the same shape, uint8. White stays white but for "reinhard", which moves all pixels.
        """
        pixels, (a, b) = rgb.reshape(-1, 3), (self.source, self.target)
        if a.how == "reinhard":
            lab = (_to_lab(pixels) - a.stains[0]) / a.stains[1] * b.stains[1] + b.stains[0]
            return _from_lab(lab).reshape(rgb.shape)
        amounts = np.maximum(_OD[pixels] @ np.linalg.pinv(a.stains), 0)
        light = 255 * np.exp(-(amounts / a.amount * b.amount) @ b.stains)
        return np.rint(light).clip(0, 255).astype(np.uint8).reshape(rgb.shape)


def _to_lab(pixels: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 to l, alpha, beta."""
    return np.asarray(np.log10((pixels.astype(float) + 1) / 256 @ _LMS.T) @ _LAB.T)


def _from_lab(lab: np.ndarray) -> np.ndarray:
    light = 10 ** (lab @ np.linalg.inv(_LAB).T) @ np.linalg.inv(_LMS).T * 256 - 1
    return np.asarray(np.rint(light).clip(0, 255).astype(np.uint8))


def normalized(
    bags: Bags, stain: How = "macenko", *, stain_target: Any = None, tiles: str = "tile"
) -> Bags:
    """Slides whose tiles are read in the colours of one reference.

    Parameters
    ----------
    bags
        Slides whose tiles are cut from pictures (:func:`smalti.read_slides`).
    stain
        The method, as in :func:`measure_colours`. Each slide is measured by the tissue of its own
        thumbnail of 1,024 pixels, whose pixels are means: of very large slides its darkest nuclei
        are paler.
    stain_target
        What all are to look like, by **training** slides: the path of one, pictures,
        (..., height, width, 3) uint8, or :class:`Colours` of :func:`measure_colours`. None: a fixed
        reference, of "macenko" and "vahadane".
    tiles
        The view of tiles.

    Returns
    -------
    Bags
        The same; pixels are changed when tiles are read. Caches of features know of it, and models
        that are fitted on it: a slide that they cut themselves is normalised alike.

    Raises
    ------
    InputError
        If tiles are not cut from pictures, there is no fixed reference, target and method differ,
        or a slide shows no stain; with its name.
    """
    view: Any = bags.x.get(tiles)
    rows = np.arange(bags.n_instances)
    if hasattr(view, "rows") and hasattr(view, "base"):
        view, rows = view.base, view.rows
    if not isinstance(view, TileView):
        raise InputError(f"view {tiles!r} is not cut from pictures: read slides with "
                         "sm.read_slides, or call a Normalizer on your tiles.")  # fmt: skip
    wanted = reference(stain, stain_target)
    maps = {i: Normalizer(_of_slide(view.images[i], stain), wanted)
            for i in np.unique(view.of[rows])}  # fmt: skip
    nothing = next(iter(maps.values()))
    new = TileView(
        view.images, view.of[rows], view.centers[rows], view.side, view.size, pad=view.pad,
        through=view.through, recolour=[maps.get(i, nothing) for i in range(len(view.images))],
    )  # fmt: skip
    origin = dict(bags.origin or {})
    origin["made"] = {**origin.get("made", {}), tiles: {"stain": wanted.note()}}
    return dataclasses.replace(bags, x={**bags.x, tiles: new}, origin=origin)


def reference(stain: str, stain_target: Any = None) -> Colours:
    """What slides are to look like (see :func:`normalized`).

    Raises
    ------
    InputError
        If there is no such method, it has no fixed reference and none is given, or another method
        measured the one that is.
    """
    if stain not in METHODS:
        raise InputError(f"stain={stain!r} is not one of {', '.join(METHODS)}.")
    if stain_target is None:
        if stain == "reinhard":
            raise InputError("reinhard has no fixed reference: give a training slide, "
                             "stain_target=...")  # fmt: skip
        return dataclasses.replace(REFERENCE["macenko"], how=stain)
    if isinstance(stain_target, (str, Path)):
        return _of_slide(open_image(stain_target), stain)
    if not isinstance(stain_target, Colours):
        return measure_colours(np.asarray(stain_target), stain)  # type: ignore[arg-type]
    if stain_target.how != stain:
        raise InputError(f"the target was measured by {stain_target.how!r}, and stain={stain!r}: "
                         "take the same.")  # fmt: skip
    return stain_target


def _of_slide(image: SlideImage, how: str) -> Colours:
    """Of the tissue of a thumbnail."""
    small, scale = image.thumbnail(_THUMBNAIL)
    tissue = tissue_mask(small, None if image.um_per_px is None else image.um_per_px / scale)
    try:
        return measure_colours(small[tissue][None], how)  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"the stain of {image.path.name} cannot be measured: {error}") from error
