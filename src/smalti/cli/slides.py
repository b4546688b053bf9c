"""Slides, their features and genes as the options of ``smalti expression`` name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from smalti.cli.genes import names_of
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags


TileUm: TypeAlias = Annotated[float | None, typer.Option(help="Edge of a tile in µm.")]
TilePx: TypeAlias = Annotated[float | None, typer.Option(help="Edge of a tile in slide pixels.")]
UmPerPx: TypeAlias = Annotated[
    float | None, typer.Option(help="µm per pixel of the images, where nothing says it.")
]
PitchUm: TypeAlias = Annotated[
    float | None, typer.Option(help="µm between neighbouring spots: gives or checks µm per pixel.")
]
Size: TypeAlias = Annotated[int | None, typer.Option(help="Pixels of a tile as it is read.")]
Tiles: TypeAlias = Annotated[
    str | None, typer.Option(help="Where tiles are: spots, grid or nuclei. Spots where there are.")
]
Overlap: TypeAlias = Annotated[
    float | None, typer.Option(help="Of a grid: share of its edge that tiles have in common.")
]
TissueMin: TypeAlias = Annotated[
    float | None, typer.Option(help="Least share of tissue in a tile: 0.1 of a grid, else 0.")
]
Edge: TypeAlias = Annotated[
    str | None, typer.Option(help="Of tiles that leave the image: error, drop, or pad (white).")
]
Xy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Pixel positions of the spots: a key of obsm, or two columns of obs with a comma."
    ),
]
Counts: TypeAlias = Annotated[
    str | None, typer.Option(help="Counts of an .h5ad: X (where left out) or layers/NAME.")
]
Unlisted: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of genes that some slide does not list: drop (where left out), zero or error."
    ),
]
CUT = ("tile_um", "tile_px", "um_per_px", "pitch_um", "size", "tiles", "overlap", "tissue_min",
       "edge", "xy", "counts", "unlisted")  # fmt: skip
"""Options that say how tiles are cut, as :func:`smalti.read_slides` names them."""


def recipe_of(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a verb was asked about tiles and features, of all its arguments; a model keeps it."""
    return {name: options[name] for name in CUT} | more


def again(recipe: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a model for other slides: how long their pixels are is theirs to say."""
    kept = {k: v for k, v in recipe.items() if k not in ("um_per_px", "pitch_um")}
    return kept | {k: options[k] for k in CUT if options.get(k) is not None}


def open_slides(
    path: Path, recipe: dict[str, Any], *, images: Path | None, slide: str | None,
    donor: str | None, cache: Path | None, model: Any = None,
) -> Bags:  # fmt: skip
    """Slides with their features, as a recipe says; tiles as long as those of a fitted model.

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
        return _with_features(path, str(recipe["x"]), slide, donor, recipe.get("counts") or "X")
    if path.suffix == ".csv":
        bags = read_tiles(path.parent, path, slide=slide, donor=donor)
    else:
        # models of earlier versions keep fewer of these
        cut = {k: recipe[k] for k in CUT if recipe.get(k) is not None}
        if "," in cut.get("xy", ""):
            cut["xy"] = [column.strip() for column in cut["xy"].split(",")]
        bags = read_slides(path, images=images, slide=slide, donor=donor, **cut)
    if model is not None:
        bags = model.recut(bags)
    if recipe.get("encoder") is None:
        return bags
    more: dict[str, Any] = {} if recipe.get("weights") is None else {"weights": recipe["weights"]}
    return extract(bags, recipe["encoder"], cache=cache, **more)


def _with_features(path: Path, x: str, slide: str | None, donor: str | None, counts: str) -> Bags:
    """Spots whose features are in the table."""
    from smalti.io.anndata import read

    if path.suffix not in (".h5ad", ".zarr"):
        raise InputError(f"--x {x} is a key of an .h5ad or .zarr, and {path.name} is neither.")
    if slide is None:
        raise InputError(f"which slide is a spot of {path.name} on? Name the column, --slide NAME.")
    return read(path, sample=slide, donor=donor, x={x: x, "counts": counts})


def genes_of(text: str) -> Any:
    """A number, names with commas, or the lines of a file."""
    if text.isdigit():
        return int(text)
    return names_of(text, "--genes")
