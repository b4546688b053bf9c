"""Every method of integration keeps the contract."""

from typing import ClassVar

import numpy as np
import pytest

from smalti import contract
from smalti.bags import as_bags
from smalti.contract import integration
from smalti.core.registry import methods
from smalti.integrate import BlockPCA

# scvi-tools takes seconds to be imported, and trains these
QUICK = {"totalvi": {"check_clone"}, "multivi": {"check_clone"}}
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


class ChoosesEasyCells(BlockPCA):
    """It asks for cells of which one modality says all."""

    example_cells: ClassVar = {"tied": 1.0}


class ReadsRNA(BlockPCA):
    """PCA of one modality, on cells of its own choice."""

    example_cells: ClassVar = {"features": (40, 60), "effect": 12.0}

    @classmethod
    def example(cls):
        return cls(width=8, modality="rna")


@pytest.mark.parametrize(
    ("cheat", "message"),
    [
        (ReadsKinds, "of kinds that the modalities tell apart"),
        (ReadsRNA, "of kinds that the modalities tell apart"),
        (ChoosesEasyCells, r"example_cells may not set \['tied'\]"),
    ],
)
def test_a_cheat_is_caught(cheat, message):
    with pytest.raises(AssertionError, match=message):
        integration.check_finds_what_no_modality_shows(cheat)
