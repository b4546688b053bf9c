"""Every method keeps the contract; so does one that is dropped in as a file."""

import numpy as np
import pytest

import smalti.mil
from smalti import contract
from smalti.bags import as_bags
from smalti.contract import phenotype
from smalti.core.registry import methods
from smalti.datasets import planted_bags

# what takes longest, where a quick check or a quick method runs the same lines
SLOW = {
    # a fit or more for each kind of target: of one linear method and the networks always
    "check_every_kind": {
        "bag_statistics", "cloudpred", "covariates", "mifv", "mixmil", "mixture_class",
        "mixture_patient", "protocell4p", "pseudobulk", "scrat", "transmil", "type_composition",
        "type_pseudobulk",
    },
    # fits of all epochs, thrice where a start finds nothing; the other checks fit them for a few
    "check_learns": {
        "acmil", "additive_mil", "clam", "cloudpred", "dsmil", "hier_mil", "max_pooling",
        "mean_pooling", "mi_net", "mi_net_ds", "mixmil", "mixture_patient", "protocell4p", "scrat",
        "transmil",
    },
    # two fits more; a table is read alike for all but ProtoCell4P, which has tests of its own
    "check_sparse": {
        "bag_statistics", "cloudpred", "covariates", "hier_mil", "mifv", "mixmil", "mixture_class",
        "mixture_patient", "protocell4p", "scrat", "type_composition", "type_pseudobulk",
    },
    # a third fit, and what is refused is refused by the base class
    "check_errors": {"cloudpred", "hier_mil", "mixmil", "mixture_patient", "protocell4p", "scrat"},
    # two fits more; the linear methods go on alike, of which bag_mean is quick
    "check_resumes": {
        "bag_statistics", "cloudpred", "covariates", "mifv", "mixture_class", "mixture_patient",
        "protocell4p", "pseudobulk", "type_composition", "type_pseudobulk",
    },
    # a fit more of the methods that take longest to fit
    "check_same_seed": {"cloudpred", "mixture_patient", "protocell4p"},
}  # fmt: skip


def cases():
    for cls in methods().values():
        for check in contract.checks():
            slow = cls.name in SLOW.get(check.__name__, ())
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(cls, check, id=f"{cls.name}-{check.__name__}", marks=marks)


@pytest.mark.parametrize(("cls", "check"), list(cases()))
def test_contract(cls, check, request):
    if cls.name != "bag_mean":  # which chooses for all: a choice sees features alone
        request.getfixturevalue("one_penalty")
    check(cls)


class Cheat(smalti.mil.BagMean):
    """A method that learns nothing, and predicts what it glimpses where there is a glimpse."""

    def forward(self, X):
        raw, instance, bag = super().forward(X)
        glimpse = self.glimpse(as_bags(X), raw[:, 0])
        if glimpse is not None:
            raw = np.asarray(glimpse, dtype=np.float32).reshape(len(raw), 1)
        return raw, instance, bag


class ReadsLabels(Cheat):
    def glimpse(self, bags, raw):
        return None if bags.target is None else 8.0 * bags.labels - 4


class ReadsPlaces(Cheat):
    def glimpse(self, bags, raw):
        return 8.0 * (np.arange(len(bags)) % 2) - 4


class ReadsRanks(Cheat):
    """Planted classes alternate, so that the rank among the bags of a call tells theirs too."""

    def glimpse(self, bags, raw):
        return raw - raw.mean()


class ReadsNames(Cheat):
    def glimpse(self, bags, raw):
        names = bags.bag.index.astype(str).str.extract(r"^bag(\d+)$")[0].astype(float)
        return raw if names.isna().any() else 8.0 * (names % 2) - 4


class ReadsTheTruth(Cheat):
    def glimpse(self, bags, raw):
        if "key" not in bags.instance:
            return None
        return bags.instance["key"].groupby(bags.index).any().to_numpy() * 8.0 - 4


@pytest.mark.parametrize(
    ("cheat", "said"),
    [
        (ReadsLabels, "reads the labels"),
        (ReadsPlaces, "reads the place"),
        (ReadsRanks, "reads the place|reads the other bags"),
        (ReadsNames, "reads names or columns"),
        (ReadsTheTruth, "reads names or columns"),
    ],
)
def test_a_cheat_is_caught(cheat, said):
    with pytest.raises(AssertionError, match=said):
        phenotype.check_learns(cheat)


@pytest.mark.parametrize("cheat", [ReadsLabels, ReadsPlaces])
def test_a_cheat_finds_the_signal_and_is_caught_all_the_same(cheat):
    """What the check asked for before it looked at labels and places: these two have it."""
    train, test = (planted_bags(40, effect=0.5, seed=s) for s in (1, 2))
    model = cheat.example().fit(train)
    assert (model.predict(test) == test.labels).all()
