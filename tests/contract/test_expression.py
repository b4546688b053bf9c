"""Every method of expression keeps the contract."""

import pytest

from smalti import contract
from smalti.core.registry import methods


def cases():
    for cls in methods("expression").values():
        for check in contract.checks("expression"):
            yield pytest.param(cls, check, id=f"{cls.name}-{check.__name__}")


@pytest.mark.parametrize(("cls", "check"), list(cases()))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_contract(cls, check):
    check(cls)
