"""Bags to phenotype: one file per method; a class in a file of this folder is a method.

Nothing is listed here. ``smalti.mil.ABMIL`` looks through the files of the folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.mil.abmil import ABMIL
    from smalti.mil.bag_mean import BagMean
    from smalti.mil.bag_statistics import BagStatistics
    from smalti.mil.cloudpred import CloudPred
    from smalti.mil.covariates import Covariates
    from smalti.mil.hier_mil import HierMIL
    from smalti.mil.majority import Majority
    from smalti.mil.mi_net import MiNet
    from smalti.mil.mi_net_ds import MINetDS
    from smalti.mil.mifv import MiFV
    from smalti.mil.mixmil import MixMIL
    from smalti.mil.mixture_class import MixtureClass
    from smalti.mil.mixture_patient import MixturePatient
    from smalti.mil.pooling import MaxPooling, MeanPooling
    from smalti.mil.protocell4p import ProtoCell4P
    from smalti.mil.pseudobulk import Pseudobulk
    from smalti.mil.scrat import ScRAT
    from smalti.mil.type_composition import TypeComposition
    from smalti.mil.type_pseudobulk import TypePseudobulk

    __all__ = [
        "ABMIL", "BagMean", "BagStatistics", "CloudPred", "Covariates", "HierMIL", "MINetDS",
        "Majority", "MaxPooling", "MeanPooling", "MiFV", "MiNet", "MixMIL", "MixtureClass",
        "MixturePatient", "ProtoCell4P", "Pseudobulk", "ScRAT", "TypeComposition",
        "TypePseudobulk",
    ]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    from smalti.registry import find

    return find("mil", name)


def __dir__() -> list[str]:
    from smalti.registry import methods

    return sorted(cls.__name__ for cls in methods("mil").values())
