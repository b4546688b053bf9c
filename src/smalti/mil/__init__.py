"""Bags to phenotype: one file per method; a class in a file of this folder is a method.

Nothing is listed here. ``smalti.mil.ABMIL`` looks through the files of the folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.mil.abmil import ABMIL
    from smalti.mil.bag_mean import BagMean
    from smalti.mil.bag_statistics import BagStatistics
    from smalti.mil.majority import Majority
    from smalti.mil.mi_net import MiNet
    from smalti.mil.mi_net_ds import MINetDS
    from smalti.mil.mifv import MiFV
    from smalti.mil.pooling import MaxPooling, MeanPooling

    __all__ = [
        "ABMIL", "BagMean", "BagStatistics", "MINetDS", "Majority", "MaxPooling", "MeanPooling",
        "MiFV", "MiNet",
    ]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    from smalti.method import Method

    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"smalti.mil.{found.name}")
        value = vars(module).get(name)
        if isinstance(value, type) and issubclass(value, Method):
            return value
    raise AttributeError(f"no method class {name!r} in smalti.mil; see smalti.methods().")


def __dir__() -> list[str]:
    from smalti.method import methods

    return sorted(cls.__name__ for cls in methods().values())
