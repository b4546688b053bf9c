from .files import FORMATS, write
from .geojson import write_geojson
from .ome_tiff import write_ome_tiff
from .page import write_page

__all__ = ["FORMATS", "write", "write_geojson", "write_ome_tiff", "write_page"]
