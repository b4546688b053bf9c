"""smalti: learn a patient, a slide or a tissue from its pieces.

Every public name is loaded at first use, so that ``import smalti`` costs nothing. The names are
written once, in ``__init__.pyi``, for type checkers and for the import.
"""

import lazy_loader

from smalti._version import __version__ as __version__

_loaded, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    return _loaded("plot" if name == "pl" else name)  # as scanpy's users type it
