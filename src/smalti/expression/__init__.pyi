# Made by `make stubs` from the files of this folder; do not edit.

from .base import ExpressionMethod
from .before_fit import predictable
from .bilinear import Bilinear
from .deep_association.method import DeepAssociation
from .ensemble import Ensemble
from .fine_tune import FineTune
from .gene_ensemble import GeneEnsemble
from .gene_mean import GeneMean
from .knn import KNN
from .mlp import MLP
from .nearest_gene import NearestGene
from .neighbour_mean import NeighbourMean
from .network import NetworkExpression
from .pls import PLS
from .ridge import Ridge
from .sgn.method import SGN
from .total_count import TotalCount
from .trees import Trees
from .zero_shot import ZeroShotMethod
from .zero_shot_network import NetworkZeroShot

__all__ = [
    "KNN",
    "MLP",
    "PLS",
    "SGN",
    "Bilinear",
    "DeepAssociation",
    "Ensemble",
    "ExpressionMethod",
    "FineTune",
    "GeneEnsemble",
    "GeneMean",
    "NearestGene",
    "NeighbourMean",
    "NetworkExpression",
    "NetworkZeroShot",
    "Ridge",
    "TotalCount",
    "Trees",
    "ZeroShotMethod",
    "predictable",
]
