"""Slides, their features and genes as the options of ``smalti expression`` name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.cli.genes import names_of
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags


def open_slides(
    path: Path, recipe: dict[str, Any], *, images: Path | None, slide: str | None,
    donor: str | None, cache: Path | None,
) -> Bags:  # fmt: skip
    """Slides with their features, as a recipe says.

    Raises
    ------
    InputError
        If there is no such path.
    """
    from smalti.features import extract
    from smalti.io.slides import read_slides, read_tiles

    if not path.exists():
        raise InputError(f"no file or folder {path}: check the path.")
    if recipe.get("x") is not None:
        return _with_features(path, str(recipe["x"]), slide, donor)
    if path.suffix == ".csv":
        bags = read_tiles(path.parent, path, slide=slide, donor=donor)
    else:
        cut: dict[str, Any] = {
            k: recipe.get(k) for k in ("tile_um", "tile_px", "um_per_px", "size")
        }
        bags = read_slides(path, images=images, slide=slide, donor=donor, **cut)
    if recipe.get("encoder") is None:
        return bags
    more: dict[str, Any] = {} if recipe.get("weights") is None else {"weights": recipe["weights"]}
    return extract(bags, recipe["encoder"], cache=cache, **more)


def _with_features(path: Path, x: str, slide: str | None, donor: str | None) -> Bags:
    """Spots whose features are in the table."""
    from smalti.io.anndata import read

    if path.suffix not in (".h5ad", ".zarr"):
        raise InputError(f"--x {x} is a key of an .h5ad or .zarr, and {path.name} is neither.")
    if slide is None:
        raise InputError(f"which slide is a spot of {path.name} on? Name the column, --slide NAME.")
    return read(path, sample=slide, donor=donor, x={x: x, "counts": "X"})


def genes_of(text: str) -> Any:
    """A number, names with commas, or the lines of a file."""
    if text.isdigit():
        return int(text)
    return names_of(text, "--genes")
