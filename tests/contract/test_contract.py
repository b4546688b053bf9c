"""Every method keeps the contract; so does one that is dropped in as a file."""

import importlib
import sys
import textwrap

import numpy as np
import pytest

import smalti.mil
from smalti import contract
from smalti.bags import as_bags
from smalti.contract import phenotype
from smalti.core.registry import methods
from smalti.mil.base import Method

# six fits each, of the two methods that take longest to fit
SLOW = {("cloudpred", "check_every_kind"), ("protocell4p", "check_every_kind")}


def cases():
    for cls in methods().values():
        for check in contract.checks():
            slow = (cls.name, check.__name__) in SLOW
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(cls, check, id=f"{cls.name}-{check.__name__}", marks=marks)


@pytest.mark.parametrize(("cls", "check"), list(cases()))
def test_contract(cls, check):
    check(cls)


TOY = '''
"""A toy: the largest instance norm, read by a linear head."""
from typing import ClassVar
import torch
from torch import nn
from smalti import segment
from smalti.batch import Output
from smalti.mil.base import NetworkMethod
from smalti.nn import Standardize, encoder


class Toy(NetworkMethod):
    """Log-sum-exp pooling of encoded instances."""

    name: ClassVar[str] = "toy"
    reference: ClassVar[str] = "nowhere"
    sharpness: float = 1.0  # of the pooling

    def network(self, shape):
        return Net(self, shape)

    @classmethod
    def example(cls):
        return cls(widths=(16,), dropout=0.1, epochs=60, lr=0.01, batch_size=8)


class Net(nn.Module):
    def __init__(self, method, shape):
        super().__init__()
        self.scale = Standardize(shape.x)
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.head = shape.task.head(width)
        self.r = method.sharpness

    def forward(self, batch):
        h = self.encoder(self.scale(batch.x))
        z = segment.logsumexp(self.r * h, batch.segments) / self.r
        return Output(self.head(z), bag={"embedding": z}, instance={"norm": h.norm(dim=1)})
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(textwrap.dedent(TOY))
    monkeypatch.setattr(smalti.mil, "__path__", [*smalti.mil.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield
    sys.modules.pop("smalti.mil.toy", None)


def test_adding_a_method_is_one_file(toy):
    cls = methods()["toy"]
    assert issubclass(cls, Method)
    assert smalti.mil.Toy is cls
    for check in contract.checks():
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
    train, test = (smalti.datasets.planted_bags(40, effect=0.5, seed=s) for s in (1, 2))
    model = cheat.example().fit(train)
    assert (model.predict(test) == test.labels).all()
