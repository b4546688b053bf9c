from . import (
    comparison,
    datasets,
    explain,
    expression,
    features,
    genes,
    heatmap,
    integrate,
    leaks,
    loaders,
    mil,
    plot,
    preprocess,
    scores,
    tiles,
)
from . import plot as pl
from ._version import __version__
from .bags import Bags
from .comparison.annotation import AnnotationComparison, compare_annotation
from .comparison.expression import ExpressionComparison, compare_expression
from .comparison.integration import IntegrationComparison, compare_integration
from .comparison.modality_prediction import ModalityPrediction, compare_modality_prediction
from .comparison.phenotype import compare
from .comparison.phenotype_table import Comparison
from .comparison.search.own import Search
from .comparison.splits import donor_split
from .core.citation import citation
from .core.load import load
from .core.registry import make, methods, register
from .errors import InputError
from .expression.base import ExpressionMethod
from .integrate.annotator import Annotator
from .integrate.base import Integration
from .io.anndata import read
from .io.arrange import arrange
from .io.cells import to_anndata
from .io.droplets import empty_droplets
from .io.features import read_features
from .io.gather import gather
from .io.slides import read_slides, read_tiles
from .leaks.run import audit
from .mil.base import Method
from .mil.many import fit_many
from .task import Task

__all__ = [
    "AnnotationComparison",
    "Annotator",
    "Bags",
    "Comparison",
    "ExpressionComparison",
    "ExpressionMethod",
    "InputError",
    "Integration",
    "IntegrationComparison",
    "Method",
    "ModalityPrediction",
    "Search",
    "Task",
    "__version__",
    "arrange",
    "audit",
    "citation",
    "compare",
    "compare_annotation",
    "compare_expression",
    "compare_integration",
    "compare_modality_prediction",
    "comparison",
    "datasets",
    "donor_split",
    "empty_droplets",
    "explain",
    "expression",
    "features",
    "fit_many",
    "gather",
    "genes",
    "heatmap",
    "integrate",
    "leaks",
    "load",
    "loaders",
    "make",
    "methods",
    "mil",
    "pl",
    "plot",
    "preprocess",
    "read",
    "read_features",
    "read_slides",
    "read_tiles",
    "register",
    "scores",
    "tiles",
    "to_anndata",
]
