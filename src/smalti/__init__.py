"""smalti: learn a patient, a slide or a tissue from its pieces.

Every public name is loaded at first use, so that ``import smalti`` costs nothing. The names are
written once, in ``__init__.pyi``, for type checkers and for the import.

What it is doing goes to Python's own logging, under the name "smalti"; there is no other switch::

    logging.basicConfig()  # to standard error, as of any package
    logging.getLogger("smalti").setLevel(logging.INFO)  # a line for each fit; WARNING: trouble only
"""

import lazy_loader

from smalti._version import __version__ as __version__

_loaded, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*_names, "pl"])  # as scanpy's users type it


def __getattr__(name: str) -> object:
    return _loaded("plot" if name == "pl" else name)


def __dir__() -> list[str]:
    return __all__
