# Made by `make stubs` from the files of this folder; do not edit.

from .abmil import ABMIL
from .acmil import ACMIL
from .additive import AdditiveMIL
from .bag_mean import BagMean
from .bag_statistics import BagStatistics
from .base import Method, NetworkMethod
from .clam import CLAM
from .cloudpred import CloudPred
from .covariates import Covariates
from .dsmil import DSMIL
from .dtfd import DTFD
from .hier_mil import HierMIL
from .majority import Majority
from .mi_graph import MiGraph
from .mi_net import MiNet
from .mi_net_ds import MINetDS
from .mifv import MiFV
from .mixmil import MixMIL
from .mixture_class import MixtureClass
from .mixture_patient import MixturePatient
from .pooling import MaxPooling, MeanPooling
from .protocell4p import ProtoCell4P
from .pseudobulk import Pseudobulk
from .scrat.method import ScRAT
from .transmil import TransMIL
from .type_composition import TypeComposition
from .type_pseudobulk import TypePseudobulk

__all__ = [
    "ABMIL",
    "ACMIL",
    "CLAM",
    "DSMIL",
    "DTFD",
    "AdditiveMIL",
    "BagMean",
    "BagStatistics",
    "CloudPred",
    "Covariates",
    "HierMIL",
    "MINetDS",
    "Majority",
    "MaxPooling",
    "MeanPooling",
    "Method",
    "MiFV",
    "MiGraph",
    "MiNet",
    "MixMIL",
    "MixtureClass",
    "MixturePatient",
    "NetworkMethod",
    "ProtoCell4P",
    "Pseudobulk",
    "ScRAT",
    "TransMIL",
    "TypeComposition",
    "TypePseudobulk",
]
