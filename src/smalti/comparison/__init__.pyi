from .annotated import Annotated
from .expression import ExpressionComparison
from .integration import IntegrationComparison
from .modality_prediction import ModalityPrediction
from .own_splits import given_folds
from .phenotype import Comparison
from .planning import Plan, plan, plan_expression, plan_integration, plan_modality_prediction
from .splits import Split, donor_folds, split_digest
from .unseen import unseen_genes

__all__ = [
    "Annotated",
    "Comparison",
    "ExpressionComparison",
    "IntegrationComparison",
    "ModalityPrediction",
    "Plan",
    "Split",
    "donor_folds",
    "given_folds",
    "plan",
    "plan_expression",
    "plan_integration",
    "plan_modality_prediction",
    "split_digest",
    "unseen_genes",
]
