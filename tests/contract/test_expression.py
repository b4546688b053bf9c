"""Every method of expression keeps the contract."""

import pytest

from smalti import contract
from smalti.core.registry import methods

# training anew on shuffled counts: of networks where all is run, of the others always
NETWORKS = {"deep_association", "fine_tune", "sgn"}


def cases():
    for cls in methods("expression").values():
        for check in contract.checks("expression"):
            slow = cls.name in NETWORKS and check.__name__ == "check_shuffled"
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(cls, check, id=f"{cls.name}-{check.__name__}", marks=marks)


@pytest.mark.parametrize(("cls", "check"), list(cases()))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_contract(cls, check):
    check(cls)
