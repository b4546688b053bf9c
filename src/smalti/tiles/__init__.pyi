from .augment import Augment
from .grid import grid_centers, nucleus_centers
from .heatmap import Heatmap
from .image import SlideImage
from .normalize import Colours, Normalizer, measure_colours, normalized
from .nuclei import find_nuclei
from .open import open_image
from .stain import separate
from .tissue import tile_quality, tissue_mask, tissue_share
from .view import TileView

__all__ = [
    "Augment",
    "Colours",
    "Heatmap",
    "Normalizer",
    "SlideImage",
    "TileView",
    "find_nuclei",
    "grid_centers",
    "measure_colours",
    "normalized",
    "nucleus_centers",
    "open_image",
    "separate",
    "tile_quality",
    "tissue_mask",
    "tissue_share",
]
