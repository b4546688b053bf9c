"""Every method of integration keeps the contract."""

import pytest

from smalti import contract
from smalti.core.registry import methods

# muon compiles its distance in every fit, some 15 s: what fits it is slow. A graph that is given
# stands for muon's in tests/integrate.
# scvi-tools trains totalVI: one fit that is saved stands for all
QUICK = {"wnn": {"check_clone"}, "totalvi": {"check_clone", "check_save_and_load"}}


def cases():
    for cls in methods("integrate").values():
        for check in contract.checks("integrate"):
            slow = check.__name__ not in QUICK.get(cls.name, {check.__name__})
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(cls, check, id=f"{cls.name}-{check.__name__}", marks=marks)


@pytest.mark.parametrize(("cls", "check"), list(cases()))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_contract(cls, check):
    reason = cls.unavailable()
    if reason:
        pytest.skip(reason)
    check(cls)
