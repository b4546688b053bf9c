"""Every method keeps the contract; so does one that is dropped in as a file."""

import importlib
import sys
import textwrap

import pytest

import smalti.mil
from smalti import contract
from smalti.core.registry import methods
from smalti.mil.base import Method


@pytest.mark.parametrize("check", contract.checks(), ids=lambda c: c.__name__)
@pytest.mark.parametrize("cls", methods().values(), ids=lambda c: c.name)
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
