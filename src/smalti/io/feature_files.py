"""Feature files as this package writes them: the layout of TRIDENT, and how the features were made.

``features`` (n_tiles, width), ``coords`` (n_tiles, 2) upper left corners in pixels of the full
picture with the attributes of TRIDENT and ``um_per_px``, ``feature_names``, and the attribute
``smalti`` of the file: JSON with the name of the view, how :func:`smalti.features.extract` made it,
and a digest of all that the file depends on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.stored import element
from smalti.system.files import atomic_write
from smalti.system.reading import reading

NOTE, NAMES = "smalti", "feature_names"
HOW = ("encoder", "weights", "flips", "dense", "um_per_px", "precision", "seed", "identity",
       "stain")  # fmt: skip
"""What :func:`smalti.features.extract` keeps of a view."""


@dataclasses.dataclass(frozen=True)
class Made:
    """What a file says of how its features were made.

    Attributes
    ----------
    view
        Name of the view of features.
    how
        As ``Bags.origin`` keeps it.
    key
        Digest of the picture, the places of the tiles and ``how``.
    """

    view: str
    how: Mapping[str, Any]
    key: str


def made_of(file: Any, path: Path) -> Made | None:
    """What an open file says; None of one that another program wrote.

    Raises
    ------
    InputError
        If what it says is damaged.
    """
    if NOTE not in file.attrs:
        return None
    with reading(path, f"the attribute {NOTE}"):
        text = file.attrs[NOTE]
        try:
            note = json.loads(text)
            made = Made(str(note["view"]), dict(note["how"]), str(note["key"]))
            if set(made.how) - set(HOW):
                raise ValueError
            return made
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: the attribute {NOTE} is damaged: make the features anew.") \
                from error  # fmt: skip


def names_of(file: Any, path: Path, width: int) -> tuple[str, ...]:
    """Names of the features of an open file; () where it says none.

    Raises
    ------
    InputError
        If there are more or fewer than features.
    """
    stored = element(file, NAMES, path)
    if stored is None:
        return ()
    with reading(path, NAMES):
        names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in stored[()])
    if len(names) != width:
        raise InputError(f"{path}: {len(names)} names of {width} features: make them anew.")
    return names


def write_features(
    path: Path, bags: Bags, table: np.ndarray, names: Sequence[str], made: Made, *, overwrite: bool
) -> None:
    """The file of one slide.

    Parameters
    ----------
    path
        The file.
    bags
        The slide, one bag with a view ``tile`` that is cut from its picture.
    table
        (n_tiles, width) features.
    names
        Of the features.
    made
        How they were made.
    overwrite
        Replace what is there.

    Raises
    ------
    InputError
        If something is there, or it cannot be written.
    """
    import h5py

    view: Any = bags.x["tile"]
    rows = np.arange(bags.n_instances)
    if hasattr(view, "rows") and hasattr(view, "base"):
        view, rows = view.base, view.rows
    side, image = int(view.side[0]), view.images[0]
    about = {"patch_size": view.size, "patch_size_level0": side, "level0_width": image.width,
             "level0_height": image.height, "name": path.stem}  # fmt: skip
    um = float(bags.bag["um_per_px"].iloc[0])
    note = {"view": made.view, "how": dict(made.how), "key": made.key}
    with atomic_write(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("features", data=table)
        coords = file.create_dataset("coords", data=view.corners[rows])
        coords.attrs.update(about if np.isnan(um) else about | {"um_per_px": um})
        file[NAMES] = np.array([n.encode() for n in names])
        file.attrs[NOTE] = json.dumps(note)
