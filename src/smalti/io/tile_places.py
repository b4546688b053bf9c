"""Where tiles of feature files lie, as TRIDENT, CLAM and STAMP write it.

All three keep upper left corners in ``coords``. TRIDENT and CLAM count pixels of the full picture,
and say the edge of a tile in attributes of ``coords`` (CLAM of its *patches* file only); STAMP
counts µm, and says the edge in attributes of the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.io.h5_rows import all_rows
from smalti.io.stored import element, open_h5
from smalti.io.tile_table import narrow
from smalti.system.reading import reading

_OLD_PX, _OLD_UM = 224, 256.0  # of STAMP before it wrote units: a tile, and how long it is


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the tiles of one slide are.

    Attributes
    ----------
    corner
        (n, 2) x, y of the upper left corner, as stored; NaN where the file has none.
    unit
        "px" of the full picture, "um", or None: not known.
    edge
        Of a tile in that unit; None: not known.
    read_px
        Pixels of a tile as the encoder read it; None: not known.
    extent
        Width and height of the full picture in pixels, where the file says it.
    um_per_px
        µm of a pixel of the full picture, where the file says it.
    """

    corner: np.ndarray
    unit: str | None = None
    edge: float | None = None
    read_px: int | None = None
    extent: tuple[int, int] | None = None
    um_per_px: float | None = None

    def um(self, um_per_px: float | None) -> tuple[np.ndarray, float | None]:
        """(n, 2) centres in µm and the edge of a tile; NaN and None where they are not known."""
        return self._in("um", um_per_px)

    def px(self, um_per_px: float | None) -> tuple[np.ndarray, float | None]:
        """(n, 2) centres in pixels of the full picture and the edge; NaN and None as above."""
        return self._in("px", None if um_per_px is None else 1 / um_per_px)

    def _in(self, unit: str, factor: float | None) -> tuple[np.ndarray, float | None]:
        shift, factor = self.to_centre(unit, factor)
        if np.isnan(factor):
            return np.full(self.corner.shape, np.nan), None
        return (self.corner.astype(np.float64) + shift) * factor, 2 * shift * factor

    def to_centre(self, unit: str, factor: float | None) -> tuple[float, float]:
        """What to add to a corner, and to multiply that with, for a centre in px or um.

        ``factor`` is of the other unit; both are NaN where they are not known.
        """
        factor = 1.0 if self.unit == unit else factor
        if self.unit is None or self.edge is None or factor is None:
            return np.nan, np.nan
        return self.edge / 2, factor


def places(file: Any, path: Path, n: int) -> Places:
    """Of an open feature file of ``n`` tiles.

    Raises
    ------
    InputError
        If coordinates or lengths are no numbers, or not as many as there are tiles.
    """
    coords = element(file, "coords", path)
    if coords is None:
        return Places(narrow(np.full((n, 2), np.nan)))
    with reading(path, "coords"):
        stored = all_rows(coords, path)
        root, own = dict(file.attrs), dict(coords.attrs)
    stored = stored.reshape(-1, stored.shape[-1] if stored.ndim else 1)
    if len(stored) != n or stored.shape[1] < 2 or stored.dtype.kind not in "fiu":
        raise InputError(f"{path}: coords of {stored.dtype} and shape {stored.shape} for {n} "
                         "tiles.")  # fmt: skip
    corner = stored[:, :2]
    wrong = np.flatnonzero(~np.isfinite(corner).all(1))
    if len(wrong):
        raise InputError(f"{path}: coords of tile {wrong[0]} are {corner[wrong[0]]}: make it "
                         "again.")  # fmt: skip
    corner = narrow(corner)
    with reading(path, "the attributes of coords"):
        if "feats" in file or "patch_embeddings" in file or {"unit", "tile_size_um"} & set(root):
            return _stamp(root, corner, path)
        return Places(corner, "px", _edge(own, path), _whole(own, "patch_size", path),
                      _extent(own, path), _positive(own, "um_per_px", path))  # fmt: skip


def patches_of(path: Path) -> Places:
    """Of the file that CLAM writes before it makes features.

    Raises
    ------
    InputError
        If it has no coordinates, or does not say how long a tile is.
    """
    with open_h5(path) as file:
        coords = element(file, "coords", path)
        if coords is None:
            raise InputError(f"{path} has no coords: give the folder of patches that CLAM made.")
        found = places(file, path, len(coords))
    if found.edge is None:
        raise InputError(f"{path}: coords have no attribute patch_size: say how long a tile is in "
                         "pixels of the full slide, tile_px=...")  # fmt: skip
    return found


# ---------------------------------------------------------------- what each of them says


def _stamp(root: Mapping[str, Any], corner: np.ndarray, path: Path) -> Places:
    """STAMP's; before it wrote units, 256 µm were 224 steps."""
    unit = root.get("unit", "um" if "tile_size_um" in root else None)
    unit = unit.decode() if isinstance(unit, bytes) else unit
    read_px = _whole(root, "tile_size_px", path)
    if unit in ("um", "µm"):
        edge = _positive(root, "tile_size_um", path) or _positive(root, "tile_size", path)
        return Places(corner, "um", edge, read_px)
    if unit in ("px", "pixel", "pixels"):
        return Places(corner, "px", _positive(root, "tile_size", path), read_px)
    if unit is not None:
        raise InputError(f"{path}: unit {unit!r} of coords is neither um nor px: mend the "
                         "attribute.")  # fmt: skip
    if round(_positive(root, "tile_size", path) or _step(corner)) == _OLD_PX:
        return Places(narrow(corner / _OLD_PX * _OLD_UM), "um", _OLD_UM, _OLD_PX)
    return Places(corner)


def _step(corner: np.ndarray) -> float:
    """The least distance of two columns or rows; 0 where there is one of each."""
    steps = [np.diff(np.unique(values)) for values in corner.T]
    return min((float(s.min()) for s in steps if len(s)), default=0.0)


def _edge(own: Mapping[str, Any], path: Path) -> float | None:
    """Edge in pixels of the full picture; ``patch_size`` alone counts those of its own level."""
    whole = _positive(own, "patch_size_level0", path)
    if whole is not None:
        return whole
    size = _positive(own, "patch_size", path)
    if size is None:
        return None
    scanned, read = (_positive(own, f"{w}_magnification", path) for w in ("level0", "target"))
    if scanned is not None and read is not None:
        return size * scanned / read
    level = own.get("patch_level", 0)
    if "downsample" not in own and level:
        raise InputError(
            f"{path}: patches are of level {level}, and how much smaller that is is not said: say "
            "how long a tile is in pixels of the full slide, tile_px=..."
        )
    more = _positive(own, "custom_downsample", path) or 1.0
    return size * (_positive(own, "downsample", path) or 1.0) * more


def _extent(own: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    """Of the full picture: TRIDENT says it, CLAM that of the level."""
    wide, high = (_whole(own, f"level0_{side}", path) for side in ("width", "height"))
    if wide and high:
        return wide, high
    level = np.ravel(own.get("level_dim", ()))
    if len(level) != 2 or level.dtype.kind not in "fiu":
        return None
    more = np.broadcast_to(np.ravel(own.get("downsample", 1.0))[:2], (2,))
    return int(level[0] * more[0]), int(level[1] * more[1])


def _positive(attrs: Mapping[str, Any], name: str, path: Path) -> float | None:
    """A length; of two, along x and y, the first. TRIDENT writes 'None' for what it does not know.

    Raises
    ------
    InputError
        If it is no positive number.
    """
    value = attrs.get(name)
    if value is None or (isinstance(value, (str, bytes)) and value in ("None", b"None")):
        return None
    first = np.ravel(np.asarray(value))[:1]
    if len(first) != 1 or first.dtype.kind not in "fiu" or not 0 < float(first[0]) < np.inf:
        raise InputError(f"{path}: {name} of coords is {value}: make it again.")
    return float(first[0])


def _whole(attrs: Mapping[str, Any], name: str, path: Path) -> int | None:
    value = _positive(attrs, name, path)
    return None if value is None else max(1, round(value))
