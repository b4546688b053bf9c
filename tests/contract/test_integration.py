"""Every method of integration keeps the contract."""

import pytest

from smalti import contract
from smalti.registry import methods


@pytest.mark.parametrize("check", contract.checks("integrate"), ids=lambda c: c.__name__)
@pytest.mark.parametrize("cls", methods("integrate").values(), ids=lambda c: c.name)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_contract(cls, check):
    reason = cls.unavailable()
    if reason:
        pytest.skip(reason)
    check(cls)
