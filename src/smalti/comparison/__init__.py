"""Who takes part, the race of all fits, and the table that it ends in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
