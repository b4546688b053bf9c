from .annotated import Annotated
from .expression import ExpressionComparison
from .integration import IntegrationComparison
from .own_splits import given_folds
from .phenotype import Comparison
from .planning import Plan, plan, plan_expression, plan_integration
from .splits import Split, donor_folds, split_digest
from .unseen import unseen_genes

__all__ = [
    "Annotated",
    "Comparison",
    "ExpressionComparison",
    "IntegrationComparison",
    "Plan",
    "Split",
    "donor_folds",
    "given_folds",
    "plan",
    "plan_expression",
    "plan_integration",
    "split_digest",
    "unseen_genes",
]
