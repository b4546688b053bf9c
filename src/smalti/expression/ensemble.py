"""Several methods, backbones or seeds as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.optimize import nnls
from sklearn.base import clone
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core.registry import made
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod
from smalti.expression.output import with_target
from smalti.solve.leave_out import tuning_folds


class Ensemble(ExpressionMethod):
    """The mean of several methods, or their best mixture on tiles that they were not fitted on.

    Members may read different views (backbones), have other losses or groups of genes, or differ
    in nothing but their seed. ``how="stack"`` weighs them by non-negative least squares on
    predictions of left-out training donors (stacking), relative to each gene's variance; weights
    sum to 1. The members are then fitted on all training donors.
    """

    name: ClassVar[str] = "ensemble"
    reference: ClassVar[str] = "Wolpert (1992), Neural Netw. 5:241"
    cite: ClassVar[tuple[str, ...]] = ("wolpert1992",)
    stochastic: ClassVar[bool] = True

    # names ("mlp:team"), methods, or {"method": "ridge", "x": "X_resnet50", ...}
    members: Any = ("ridge", "knn", "mlp:team")  # methods, by name or as they are
    how: Literal["mean", "stack"] = "mean"  # all alike; "stack": by weights learned in inner folds

    def team(self) -> list[ExpressionMethod]:
        """The members, unfitted, each with a seed of its own.

        Raises
        ------
        InputError
            If there are no members.
        """
        given = (self.members,) if isinstance(self.members, (str, Mapping)) else self.members
        if not len(given):
            raise InputError("ensemble: members=() names no method.")
        return [self._member(spec, i) for i, spec in enumerate(given)]

    def _member(self, spec: Any, i: int) -> ExpressionMethod:
        method = made(spec)
        if not isinstance(method, ExpressionMethod) or method.oracle:
            raise InputError(f"ensemble: {spec!r} does not predict expression from tiles.")
        if method.preprocess is not None:
            raise InputError(
                f"ensemble: preprocess={method.preprocess!r} of member {method.name} belongs to "
                "the ensemble: set it there."
            )
        return method.set_params(
            counts="counts", genes=None, units="given", seed=self.seed + 1000 * i, progress=False,
            accelerator=self.accelerator, precision=self.precision,
        )  # fmt: skip

    def inner_methods(self) -> list[Any]:
        """The members too, however they were named."""
        return [*super().inner_methods(), *self.team()]

    def views(self, bags: Bags) -> list[str]:
        """The views of all members, the first member's first."""
        return list(dict.fromkeys(v for member in self._placed(bags) for v in member.views(bags)))

    def _placed(self, bags: Bags) -> list[ExpressionMethod]:
        """The members; those that name no view read this ensemble's."""
        members = self.team()
        for member in members:
            if member.x is None and self.x is not None and not member.images:
                member.x = self.x
        return members

    def _inputs(self, bags: Bags) -> Bags:
        for member in self._placed(bags):
            member._inputs(bags)  # each refuses what it cannot read
        names = self.views(bags)
        return dataclasses.replace(
            bags, x={k: bags.x[k] for k in names}, target=None, kind=None,
            features={k: v for k, v in bags.features.items() if k in names},
            present={k: v for k, v in bags.present.items() if k in names},
        )  # fmt: skip

    def groups_of(self, genes: Sequence[str], target: np.ndarray) -> np.ndarray:
        """Group codes of each member, one after another."""
        return np.concatenate([m.groups_of(genes, target) for m in self.team()])

    def network(self, shape: Shape) -> nn.Module:
        """The networks of the members."""
        return _Team(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Weigh, then fit every member."""

        def step(network: nn.Module, training: Training) -> None:
            assert isinstance(network, _Team)
            members = self._placed(training.bags)
            whole = with_target(training.bags, training.target, shape.outputs)
            with torch.enable_grad():  # members follow gradients of their own
                fitted = [clone(member).fit(whole) for member in members]
                if self.how == "stack" and len(members) > 1:
                    network.weight = _stacked(members, whole).to(network.weight)
            for member, part in zip(fitted, network.members, strict=True):
                part.load_state_dict(member.network_.state_dict())

        yield Sweep(step=step, name="members")

    @classmethod
    def example(cls) -> Ensemble:
        """Two quick ones."""
        return cls(members=("ridge", "pls"), how="stack")


class _Team(nn.Module):
    weight: Tensor

    def __init__(self, method: Ensemble, shape: Shape) -> None:
        super().__init__()
        members, n_genes = method.team(), len(shape.outputs)
        tables = [k for k, v in shape.views.items() if len(v) == 1]
        images = [k for k, v in shape.views.items() if len(v) == 3]
        self.reads = [m.x or (images if m.images else [method.x or tables[0]])[0] for m in members]
        self.members = nn.ModuleList(
            member.network(dataclasses.replace(
                shape, views={view: shape.views[view]},
                groups=shape.groups[i * n_genes : (i + 1) * n_genes],
            ))
            for i, (member, view) in enumerate(zip(members, self.reads, strict=True))
        )  # fmt: skip
        self.register_buffer("weight", torch.full((len(members),), 1 / len(members)))

    def forward(self, batch: Batch) -> Output:
        parts = [
            member(Batch({view: batch.views[view]}, batch.segments, batch.instance, batch.bag)).raw
            for member, view in zip(self.members, self.reads, strict=True)
        ]
        return Output(torch.stack([w * p for w, p in zip(self.weight, parts, strict=True)]).sum(0))


def _stacked(members: list[ExpressionMethod], bags: Bags) -> Tensor:
    """(n_members,) weights by predictions of left-out donors (or slides, or strips)."""
    folds, _ = tuning_folds(bags)
    target = bags.table("counts").astype(np.float64)
    sd = target.std(0)
    scale = np.divide(1, sd, out=np.zeros_like(sd), where=sd > 1e-9)
    gram, cross = np.zeros((len(members), len(members))), np.zeros(len(members))
    for fold in np.unique(folds):
        held = np.flatnonzero(folds == fold)
        rest, here = bags.keep(folds != fold), bags.keep(held)
        parts = [((clone(m).fit(rest).predict(here) - target.mean(0)) * scale).ravel()
                 for m in members]  # fmt: skip
        table = np.stack(parts, axis=1)
        gram += table.T @ table
        cross += table.T @ ((target[held] - target.mean(0)) * scale).ravel()
    # ||P w - y||^2 = ||L' w - L^-1 P'y||^2 + constant, with P'P = L L'
    root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) * np.eye(len(gram)) + 1e-300)
    weight, _ = nnls(root.T, np.linalg.solve(root, cross))
    total = weight.sum()
    weight = weight / total if total > 0 else np.full(len(members), 1 / len(members))
    return torch.as_tensor(weight)
