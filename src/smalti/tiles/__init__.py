"""Tiles of slides: pictures, regions, tissue, grids, stains and nuclei."""

from smalti.tiles.grid import grid_centers, nucleus_centers
from smalti.tiles.image import SlideImage, open_image
from smalti.tiles.tissue import tile_quality, tissue_mask, tissue_share
from smalti.tiles.view import TileView

__all__ = [
    "SlideImage", "TileView", "grid_centers", "nucleus_centers", "open_image", "tile_quality",
    "tissue_mask", "tissue_share",
]  # fmt: skip
