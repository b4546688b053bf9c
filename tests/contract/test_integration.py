"""Every method of integration keeps the contract."""

import numpy as np
import pytest

from smalti import contract
from smalti.bags import as_bags
from smalti.contract import integration
from smalti.core.registry import methods
from smalti.integrate import BlockPCA

# scvi-tools takes seconds to be imported, and trains totalVI
QUICK = {"totalvi": {"check_clone"}}
# fits of all epochs: the other autoencoders stand for it
SLOW = {(m, "check_finds_what_no_modality_shows") for m in ("dae", "sae")}
# two fits more of a library that makes one sweep
SLOW |= {("mofa", "check_resumes")}


def cases():
    for cls in methods("integrate").values():
        for check in contract.checks("integrate"):
            slow = check.__name__ not in QUICK.get(cls.name, {check.__name__})
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


class ReadsKinds(BlockPCA):
    """Codes that tell the kinds where a column of the cells says them, and noise elsewhere."""

    def transform(self, X):
        codes = np.random.default_rng(0).normal(size=super().transform(X).shape)
        bags = as_bags(X)
        if "kind" in bags.instance:
            kinds = np.unique(bags.instance["kind"], return_inverse=True)[1]
            codes[:, 0] = 50 * kinds
        return codes


def test_a_cheat_is_caught():
    with pytest.raises(AssertionError, match="of kinds that the modalities tell apart"):
        integration.check_finds_what_no_modality_shows(ReadsKinds)
