"""Every method keeps the contract; so does one that is dropped in as a file."""

import pytest

from smalti import contract
from smalti.core.registry import methods


@pytest.mark.parametrize("check", contract.checks(), ids=lambda c: c.__name__)
@pytest.mark.parametrize("cls", methods().values(), ids=lambda c: c.name)
def test_contract(cls, check):
    check(cls)
