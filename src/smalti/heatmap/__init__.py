"""Files of a heat map: pictures, GeoJSON for QuPath, OME-TIFF, SpatialData, a page to look into."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
