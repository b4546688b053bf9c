from .case import Case, check
from .finding import Audit, Finding

__all__ = ["Audit", "Case", "Finding", "check"]
