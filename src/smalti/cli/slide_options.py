"""Options about slides, tiles, features and genes, which the verbs of expression share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from smalti.cli.genes import GENES
from smalti.cli.options import READ

TILES, FEATURES = "The tiles", "Features of the tiles"
"""Panels of the help."""

TileUm: TypeAlias = Annotated[
    float | None, typer.Option(help="Edge of a tile in µm.", rich_help_panel=TILES)
]
Patches: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the patches files of CLAM, which say how long its tiles are.",
        rich_help_panel=READ,
    ),
]
TilePx: TypeAlias = Annotated[
    float | None, typer.Option(help="Edge of a tile in slide pixels.", rich_help_panel=TILES)
]
UmPerPx: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="µm per pixel of the images, where nothing says it: a number, a column, or by slide, "
        "A1=0.5,B1=0.46.",
        rich_help_panel=TILES,
    ),
]
PitchUm: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="µm between neighbouring spots: gives or checks µm per pixel.", rich_help_panel=TILES
    ),
]
Size: TypeAlias = Annotated[
    int | None, typer.Option(help="Pixels of a tile as it is read.", rich_help_panel=TILES)
]
Tiles: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Where tiles are: spots, grid (of bins, summed), nuclei, or ready (of HEST). Spots "
        "where there are.",
        rich_help_panel=TILES,
    ),
]
Overlap: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Of a grid: share of its edge that tiles have in common.", rich_help_panel=TILES
    ),
]
Tissue: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Where the tissue is, unless as found: folder of .geojson (QuPath) or .png masks "
        "named as the slides are, one file, or SLIDE=FILE,SLIDE=FILE. Of SpatialData: "
        "shapes.",
        rich_help_panel=TILES,
    ),
]
TissueMin: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Least share of tissue in a tile: 0.1 of a grid, else 0.", rich_help_panel=TILES
    ),
]
Edge: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of tiles that leave the image: error, drop, or pad (white).", rich_help_panel=TILES
    ),
]
Xy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Pixel positions of the spots: a key of obsm, or two columns of obs with a comma.",
        rich_help_panel=READ,
    ),
]
Counts: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Counts of an .h5ad: X (where left out) or layers/NAME.", rich_help_panel=READ
    ),
]
Unlisted: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of genes that some slide does not list: drop (where left out), zero or error.",
        rich_help_panel=READ,
    ),
]
Bins: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of Visium HD: width of the bins in µm (8 where left out), or cells, where Space "
        "Ranger segmented them.",
        rich_help_panel=READ,
    ),
]
Only: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Names of the slides to read, with commas; all when left out.", rich_help_panel=READ
    ),
]
Platform: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Reader of spatialdata-io for a folder of another instrument: merscope, cosmx, ...",
        rich_help_panel=READ,
    ),
]
Columns: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of a table of ready tiles: columns that are no genes.", rich_help_panel=READ
    ),
]
Id: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--id", help="Of a table of ready tiles: column of their names: ID.", rich_help_panel=READ
    ),
]
File: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--path",
        help="Of a table of ready tiles: column of their files: path.",
        rich_help_panel=READ,
    ),
]
Flips: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Features of the eight flips of a tile: none, mean, or all (for mlp with flips).",
        rich_help_panel=FEATURES,
    ),
]
Stain: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Colours of the slides brought to one reference: macenko, vahadane, or reinhard "
        "(which needs --stain-target).",
        rich_help_panel=TILES,
    ),
]
StainTarget: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Picture of a training slide, which all are to look like.", rich_help_panel=TILES
    ),
]
Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=-1,
        help="Processes that make features; -1: every core. One where left out.",
        rich_help_panel=FEATURES,
    ),
]
Slides: TypeAlias = Annotated[
    Path,
    typer.Argument(
        help="Slides: .h5ad of spots with pixel positions, or a folder of them, of Space Ranger "
        "(Visium, Visium HD, as GEO has it), Xenium, HEST or images; SpatialData .zarr; or a table "
        ".csv of ready tiles.",
        show_default=False,
    ),
]
Images: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Folder of the slides' images, named as the slides are; one file; or "
        "SLIDE=FILE,SLIDE=FILE. Of SpatialData: name of an image.",
        rich_help_panel=READ,
    ),
]
Slide: TypeAlias = Annotated[
    str | None, typer.Option(help="Column that names the slide.", rich_help_panel=READ)
]
Encoder: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="efficientnet-lite0 (where left out, if it is installed), morphology (else), or a "
        "model of timm by name; A+B: both as one view; A,B: as two.",
        rich_help_panel=FEATURES,
    ),
]
Dense: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--dense",
        help="Features of tiles in their surroundings: one forward over a whole slide.",
        rich_help_panel=FEATURES,
    ),
]
X: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--x",
        help="Features that the .h5ad has already, a key of obsm such as X_uni: no images.",
        rich_help_panel=FEATURES,
    ),
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of the encoder, or of fine_tune: pretrained, random, or a .safetensors file.",
        rich_help_panel=FEATURES,
    ),
]
Cache: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder that keeps features.", rich_help_panel=FEATURES)
]
Genes: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Genes to predict: a number (those of most variance in training), names with commas, "
        "or a text file with one a line. All when left out.",
        rich_help_panel=GENES,
    ),
]
