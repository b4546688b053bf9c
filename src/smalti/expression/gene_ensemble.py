"""Several fits, each without some of the genes: a mean, its spread, and how far to believe it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core.registry import made
from smalti.core.settings import Count
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.expression.losses.composite import correlation
from smalti.expression.output import as_slides, named, with_target
from smalti.expression.zero_shot import ZeroShotMethod
from smalti.nn.gene_table import GeneTable
from smalti.solve.leave_out import tuning_folds


class GeneEnsemble(ZeroShotMethod):
    """The mean of fits that each leave a part of the seen genes out, and what it is worth.

    ``confidence`` says of each gene how near it is to the seen ones, how far the members agree, and
    which correlation to expect. The latter is learned in training from genes that were left out:
    ``parts`` further fits leave out a part of the genes *and* a group of tiles (a donor, a slide, a
    strip), and the correlation that they reach there, as Fisher's z, is regressed on similarity to
    the seen genes and on how much the prediction varies.
    """

    name: ClassVar[str] = "gene_ensemble"
    reference: ClassVar[str] = "Breiman (1996), Mach. Learn. 24:123, over genes"
    cite: ClassVar[tuple[str, ...]] = ("breiman1996",)
    stochastic: ClassVar[bool] = True
    slides: ClassVar[bool] = True
    positions: ClassVar[bool] = False
    words: ClassVar[bool] = True

    method: Any = "bilinear"  # for unseen genes: a name, a method, or {"method": "sgn", ...}
    parts: Count = 5  # of the seen genes; each member leaves one out

    def _needs_positions(self) -> bool:
        return self.member(0)._needs_positions()

    def member(self, j: int) -> ZeroShotMethod:
        """Member ``j``, unfitted.

        Raises
        ------
        InputError
            If there are fewer than two parts, or the method does not predict unseen genes or has
            steps of its own.
        """
        if self.parts < 2:
            raise InputError(f"gene_ensemble: parts={self.parts} must be 2 or more.")
        method = made(self.method)
        if not isinstance(method, ZeroShotMethod) or isinstance(method, GeneEnsemble):
            raise InputError(f"gene_ensemble: {self.method!r} does not predict unseen genes.")
        if getattr(method, "bank", "seen") != "seen":
            raise InputError(
                "gene_ensemble: a member knows the genes that it has seen and no others: leave "
                "bank='seen'."
            )
        if method.preprocess is not None:
            raise InputError("gene_ensemble: preprocess= belongs to the ensemble: set it there.")
        found = getattr(self, "vectors_", None)
        return method.set_params(
            x=self.x or method.x, counts="counts", genes=None, units="given", progress=False,
            vectors="random" if found is None else found, seed=self.seed + 1000 * j,
            accelerator=self.accelerator, precision=self.precision,
        )  # fmt: skip

    def inner_methods(self) -> list[Any]:
        """The method of its members too, however it was named."""
        return [*super().inner_methods(), self.member(0)]

    def views(self, bags: Bags) -> list[str]:
        """Those of its members."""
        return self.member(0).set_params(counts=self.counts).views(bags)

    def part_of(self, n_genes: int) -> np.ndarray:
        """(n_genes,) which member leaves each seen gene out.

        Raises
        ------
        InputError
            If there are no more genes than parts.
        """
        if n_genes <= self.parts:
            raise InputError(f"gene_ensemble: {n_genes} genes are too few for {self.parts} parts.")
        return np.random.default_rng([self.seed, 41]).permutation(n_genes) % self.parts

    def network(self, shape: Shape) -> nn.Module:
        """The networks of the members."""
        return _Team(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Fit every member; then, with tiles left out too, learn what to expect."""

        def step(network: Any, training: Training) -> None:
            part = self.part_of(len(shape.outputs))
            bags = with_target(training.bags, training.target, shape.outputs)
            with torch.enable_grad():  # members follow gradients of their own
                for j, own in enumerate(network.members):
                    fitted = self._without(j, part, bags)
                    own.load_state_dict(fitted.network_.state_dict())
                network.expects.copy_(torch.as_tensor(self._calibrated(part, bags)))

        yield Sweep(step=step, name="members")

    def _without(self, j: int, part: np.ndarray, bags: Bags) -> ZeroShotMethod:
        kept = tuple(g for g, p in zip(bags.features["counts"] or (), part, strict=True) if p != j)
        return self.member(j).set_params(genes=kept).fit(bags)

    def _calibrated(self, part: np.ndarray, bags: Bags) -> np.ndarray:
        """(7,) coefficients of Fisher's z, s.d. of r about it, and the range that r had."""
        folds = tuning_folds(bags)[0]
        names = np.asarray(bags.features["counts"])
        rows, reached = [], []
        for j in range(self.parts):
            out = folds == np.unique(folds)[j % len(np.unique(folds))]
            held, rest = bags.keep(out), bags.keep(~out)
            model = self._without(j, part, rest)
            genes = tuple(names[part == j])
            guess, true = model.predict(held, genes), model.measured(held, genes)
            rows.append(_clues(model, genes, guess))
            reached.append(_within_slides(guess, true, held.index))
        clues, r = np.concatenate(rows), np.concatenate(reached)
        table = np.column_stack([clues, np.ones(len(clues))])
        fit = np.linalg.lstsq(table, np.arctanh(r.clip(-0.99, 0.99)), rcond=None)[0]
        low, high = np.quantile(r, [0.01, 0.99])  # no expectation beyond what was seen
        return np.array([*fit, (r - np.tanh(table @ fit).clip(low, high)).std(), low, high])

    # ---------------------------------------------------------------- how far to believe it

    def confidence(self, X: Any, genes: Any) -> pd.DataFrame:
        """What the predictions of genes on these slides are worth.

        Parameters
        ----------
        X
            Slides.
        genes
            Names.

        Returns
        -------
        DataFrame
            The columns of :meth:`ZeroShotMethod.confidence`; ``agreement``, the mean correlation
            over tiles of two members' predictions (NaN for a single tile); ``expected_pcc``, the
            correlation within a slide that left-out genes like this one reached on left-out tiles;
            and ``expected_sd``, how far such genes strayed from it (one number for all).
        """
        check_is_fitted(self)
        names, bags = named(genes), as_slides(X)
        each = self.spread(bags, names)
        out = super().confidence(bags, names)
        network: Any = self.network_
        *fit, sd, low, high = network.expects.double().numpy(force=True)
        clues = _clues(self, names, each.mean(0))
        expected = np.tanh(np.column_stack([clues, np.ones(len(clues))]) @ np.asarray(fit))
        return out.assign(agreement=_agreement(each), expected_pcc=expected.clip(low, high),
                          expected_sd=sd)  # fmt: skip

    def spread(self, X: Any, genes: Any) -> np.ndarray:
        """(parts, n_tiles, n_genes) float32: the prediction of each member."""
        outputs = self._outputs(self._read_new(X), named(genes))
        return np.concatenate(
            [out.extra["members"].float().numpy(force=True) for out, _ in outputs], axis=1
        )

    @classmethod
    def example(cls) -> GeneEnsemble:
        """Two members."""
        member = {"method": "bilinear", "alpha": 30.0, "beta": 0.1, "level": 0.1}
        return cls(method=member, vectors="random", parts=4)


class _Team(nn.Module):
    expects: Tensor

    def __init__(self, method: GeneEnsemble, shape: Shape) -> None:
        super().__init__()
        part = method.part_of(len(shape.outputs))
        self.kept = [np.flatnonzero(part != j) for j in range(method.parts)]
        self.members = nn.ModuleList(
            method.member(j).network(dataclasses.replace(
                shape, outputs=tuple(shape.outputs[i] for i in kept),
                groups=tuple(shape.groups[i] for i in kept),
            ))
            for j, kept in enumerate(self.kept)
        )  # fmt: skip
        self.register_buffer("expects", torch.zeros(7))

    def genes(self, table: GeneTable) -> list[Any]:
        """What each member must know, with the genes that it has seen."""
        out = []
        for member, kept in zip(self.members, self.kept, strict=True):
            network: Any = member
            at = torch.as_tensor(kept, device=table.x.device)
            bank = table.seen.take(at)
            bank.own, bank.bank = torch.arange(len(kept), device=at.device), None
            place = torch.full((len(table.seen) + 1,), -1, device=at.device)  # the last is for -1
            place[at] = bank.own
            own = place[table.own]
            out.append(network.genes(GeneTable(table.x, table.words, table.offsets, table.segment,
                                               own, bank)))  # fmt: skip
        return out

    def forward(self, batch: Batch) -> Output:
        each = torch.stack([
            member(Batch(batch.views, batch.segments, batch.instance, batch.bag, genes)).raw
            for member, genes in zip(self.members, batch.genes, strict=True)
        ])  # fmt: skip
        return Output(each.mean(0), extra={"members": each})


def _clues(model: ZeroShotMethod, genes: tuple[str, ...], guess: np.ndarray) -> np.ndarray:
    """(n_genes, 3): similarity to the nearest and to ten, and log s.d. of the prediction."""
    near = model.nearness(genes)
    varies = np.log(np.maximum(guess.std(0), 1e-6))
    return np.column_stack([near["similarity"], near["similarity_10"], varies]).astype(np.float64)


def _within_slides(guess: np.ndarray, true: np.ndarray, slide: np.ndarray) -> np.ndarray:
    """(n_genes,) mean over slides of the correlation over tiles; 0 for constant genes."""
    parts = [correlation(torch.as_tensor(guess[slide == s]), torch.as_tensor(true[slide == s]))
             for s in np.unique(slide) if (slide == s).sum() > 1]  # fmt: skip
    if not parts:
        return np.zeros(guess.shape[1])
    return torch.stack(parts).mean(0).numpy()


def _agreement(each: np.ndarray) -> np.ndarray:
    """(n_genes,) mean correlation of two members over the tiles."""
    m = len(each)
    if each.shape[1] < 2:
        return np.full(each.shape[2], np.nan)
    about = each - each.mean(1, keepdims=True)
    about /= np.maximum(np.linalg.norm(about, axis=1, keepdims=True), 1e-12)
    # of unit vectors: |sum|^2 = m + sum over pairs of their products
    return (np.square(about.sum(0)).sum(0) - m) / (m * (m - 1))
