"""Every method of integration keeps the contract."""

import pytest

from smalti import contract
from smalti.core.registry import methods

# muon compiles its distance in every fit, some 15 s: what fits it is slow. A graph that is given
# stands for muon's in tests/integrate.
SLOW = {("totalvi", "check_finds_what_no_modality_shows")}


def cases():
    for cls in methods("integrate").values():
        for check in contract.checks("integrate"):
            slow = cls.name == "wnn" and check.__name__ != "check_clone"
            slow |= (cls.name, check.__name__) in SLOW
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(cls, check, id=f"{cls.name}-{check.__name__}", marks=marks)


@pytest.mark.parametrize(("cls", "check"), list(cases()))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_contract(cls, check):
    reason = cls.unavailable()
    if reason:
        pytest.skip(reason)
    check(cls)
