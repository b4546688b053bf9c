"""Whether an attribution means something, where in a tile it lies, what an augmentation spoils."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
