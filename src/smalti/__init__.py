"""smalti: learn a patient, a slide or a tissue from its pieces.

Every public name is loaded at first use, so that ``import smalti`` costs nothing. The names are
written once, in ``__init__.pyi``, for type checkers and for the import.
"""

import lazy_loader

from smalti._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
