"""Every method of expression keeps the contract."""

import numpy as np
import pytest

from smalti import contract
from smalti.contract import expression
from smalti.core.registry import methods
from smalti.expression import Ridge

# fits of all epochs: of these networks where all is run, of the others always
NETWORKS = {"deep_association", "fine_tune", "sgn"}
LEARNS = {"check_learns_what_tiles_show", "check_shuffled"}
# each of their fits is many
OF_MANY = {"ensemble", "gene_ensemble", "fine_tune"}
# fits more, of what the base class does alike for all
ALIKE = {"check_genes", "check_sparse_counts", "check_errors"}


def cases():
    for cls in methods("expression").values():
        for check in contract.checks("expression"):
            slow = cls.name in NETWORKS and check.__name__ in LEARNS | ALIKE
            slow |= cls.name in OF_MANY and check.__name__ == "check_resumes"
            marks = [pytest.mark.slow] if slow else []
            reason = cls.unavailable()
            marks += [] if reason is None else [pytest.mark.skip(reason=reason)]
            yield pytest.param(cls, check, id=f"{cls.name}-{check.__name__}", marks=marks)


@pytest.mark.parametrize(("cls", "check"), list(cases()))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_contract(cls, check):
    check(cls)


class ReadsFields(Ridge):
    """It predicts where the hidden fields stand beside the tiles, and noise elsewhere."""

    def predict(self, X, genes=None):
        guess = super().predict(X, genes)
        if "field_0" in X.instance:
            return guess
        return np.random.default_rng(0).normal(size=guess.shape).astype(np.float32)


def test_a_cheat_is_caught():
    with pytest.raises(AssertionError, match="of genes that tiles show"):
        expression.check_learns_what_tiles_show(ReadsFields)
