"""Bags for a loop of one's own: a data set of PyTorch, and a data module of Lightning."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
