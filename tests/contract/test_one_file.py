"""A method of each of the four kinds costs one file, and no other edit.

The file is put into the folder of its room; it is then found by name and keeps the whole contract.
"""

import importlib
import sys

import pytest

import smalti
from smalti import contract
from smalti.core.registry import make, methods

HEAD = '''
"""A toy."""

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from smalti import segment
from smalti.batch import Output
from smalti.core.stage import Sweep
'''

TOYS = {
    # name: (room, class, source)
    "toy_pool": (
        "mil",
        "ToyPool",
        '''
from smalti.mil.base import NetworkMethod
from smalti.nn import Standardize, encoder


class ToyPool(NetworkMethod):
    """Log-sum-exp pooling of encoded instances."""

    name: ClassVar[str] = "toy_pool"
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
''',
    ),
    "toy_code": (
        "integrate",
        "ToyCode",
        '''
from smalti.integrate.network import NetworkIntegration
from smalti.nn.autoencoder import Autoencoder


class ToyCode(NetworkIntegration):
    """The plain autoencoder with another activation."""

    name: ClassVar[str] = "toy_code"
    reference: ClassVar[str] = "nowhere"
    hidden: int = 32  # units of the hidden layers

    def network(self, shape):
        return Autoencoder(shape.views, hidden=self.hidden, width=self.width, per="modality",
                           clip=self.clip, activation=torch.tanh)

    @classmethod
    def example(cls):
        return cls(hidden=32, width=16, epochs=12, batch_size=32, lr=3e-3)
''',
    ),
    "toy_ridge": (
        "expression",
        "ToyRidge",
        '''
from smalti.expression.base import ExpressionMethod, linear_map
from smalti.solve.ridge import ridge_path


class ToyRidge(ExpressionMethod):
    """Ridge of one penalty."""

    name: ClassVar[str] = "toy_ridge"
    reference: ClassVar[str] = "nowhere"
    alpha: float = 10.0  # the penalty

    def network(self, shape):
        return Net(shape.x[0], len(shape.outputs))

    def plan(self, shape):
        def step(network, training):
            path = ridge_path(training.bags.table(), training.target)
            linear_map(network, *path.solution(self.alpha))

        yield Sweep(step=step, name="ridge")


class Net(nn.Module):
    def __init__(self, n_features, n_genes):
        super().__init__()
        self.linear = nn.Linear(n_features, n_genes).requires_grad_(False)

    def forward(self, batch):
        return Output(self.linear(batch.x))
''',
    ),
    "toy_alike": (
        "expression",
        "ToyAlike",
        '''
from smalti.expression.base import linear_map
from smalti.expression.zero_shot import ZeroShotMethod
from smalti.solve.ridge import ridge_path


class ToyAlike(ZeroShotMethod):
    """An unseen gene is the mean of the seen ones, weighted by how alike their vectors are."""

    name: ClassVar[str] = "toy_alike"
    reference: ClassVar[str] = "nowhere"
    alpha: float = 10.0  # penalty of ridge
    sharp: float = 8.0  # of the weights

    def network(self, shape):
        return Net(self, shape)

    def plan(self, shape):
        def step(network, training):
            path = ridge_path(training.bags.table(), training.target)
            linear_map(network, *path.solution(self.alpha))

        yield Sweep(step=step, name="ridge")

    @classmethod
    def example(cls):
        return cls(vectors="random")


class Net(nn.Module):
    def __init__(self, method, shape):
        super().__init__()
        self.sharp = method.sharp
        self.linear = nn.Linear(shape.x[0], len(shape.outputs)).requires_grad_(False)

    def genes(self, table):
        alike = F.normalize(table.x, dim=1) @ F.normalize(table.seen.x, dim=1).T  # (g, n_seen)
        share = (self.sharp * alike).softmax(1)
        own, seen = table.own.clamp(min=0), table.own >= 0
        share = torch.where(seen[:, None], F.one_hot(own, share.shape[1]).to(share), share)
        return share @ self.linear.weight, share @ self.linear.bias

    def forward(self, batch):
        return Output(F.linear(batch.x, *batch.genes))
''',
    ),
}


@pytest.fixture
def toy(request, tmp_path, monkeypatch):
    room, name, source = TOYS[request.param]
    package = importlib.import_module(f"smalti.{room}")
    (tmp_path / f"{request.param}.py").write_text(HEAD + source)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield room, name, request.param
    sys.modules.pop(f"smalti.{room}.{request.param}", None)


# the networks are fitted a dozen times
NETWORKS = {"toy_pool", "toy_code"}
RUN = [pytest.param(t, marks=pytest.mark.slow) if t in NETWORKS else t for t in TOYS]


@pytest.mark.parametrize("toy", RUN, indirect=True)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_method_is_one_file(toy):
    room, class_name, name = toy
    cls = methods(room)[name]
    assert getattr(getattr(smalti, room), class_name) is cls
    assert type(make(name)) is cls
    for check in contract.checks(room):
        check(cls)
