from .grid import grid_centers, nucleus_centers
from .image import SlideImage
from .open import open_image
from .tissue import tile_quality, tissue_mask, tissue_share
from .view import TileView

__all__ = [
    "SlideImage",
    "TileView",
    "grid_centers",
    "nucleus_centers",
    "open_image",
    "tile_quality",
    "tissue_mask",
    "tissue_share",
]
