"""Features of tiles: without weights, of pretrained networks, or of a net trained on the tiles."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
