"""Genes hidden from training: who sees which genes in a comparison, and the controls beside it."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.comparison.unseen import unseen_genes
from smalti.core.registry import make
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod
from smalti.genes.read import as_vectors
from smalti.genes.sets import GeneSets
from smalti.genes.units import gene_names, measured, most_variable
from smalti.genes.vectors import GeneVectors


@dataclasses.dataclass(frozen=True)
class Hidden:
    """The genes of one fold: seen in training, and hidden."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]

    def split(self, method: ExpressionMethod) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The genes to fit on, and those to predict: a method without zero-shot sees the hidden."""
        return (self.seen if method.zero_shot else self.unseen), self.unseen

    @property
    def digest(self) -> str:
        """Of both lists."""
        text = "\t".join(self.seen) + "\n" + "\t".join(self.unseen)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass
class Hiding:
    """How genes are hidden (see :func:`smalti.compare_expression`)."""

    protocol: Any
    n: int
    vectors: Any
    sets: GeneSets | None
    genes: Any
    notes: list[str] = dataclasses.field(default_factory=list)

    def of(
        self, bags: Bags, parts: list[tuple[np.ndarray, np.ndarray]],
        methods: dict[str, ExpressionMethod],
    ) -> list[Hidden]:  # fmt: skip
        """The genes of each fold, chosen by its training slides alone.

        ``parts`` are positions of the slides of each fold: (n_train,) and (n_test,).
        """
        first = next(iter(methods.values()))
        self._check_own(methods)
        return [self.fold(bags.keep(train), first.counts, first.units) for train, _ in parts]

    def _vectors(self) -> GeneVectors:
        if self.vectors is None or (isinstance(self.vectors, str) and self.vectors == "random"):
            raise InputError(
                "unseen= needs vectors of the genes, vectors=...: a file of them, or what "
                "sm.genes.gene_vectors (smalti genes vectors) makes; the control with random "
                "vectors runs by itself."
            )
        return as_vectors(self.vectors)

    def _check_own(self, methods: dict[str, ExpressionMethod]) -> None:
        named = () if isinstance(self.protocol, str) else tuple(map(str, self.protocol))
        for label, method in methods.items():
            own = method.genes
            if not method.zero_shot or own is None or isinstance(own, (int, np.integer)):
                continue
            both = sorted(set(map(str, own)) & set(named))
            if both:
                raise InputError(
                    f"leak: {label} is to be fitted on {len(both)} of the unseen genes "
                    f"({', '.join(both[:5])}): take them out of its genes=."
                )
            self._note(f"genes= of {label} is not used: all genes but the hidden train.")

    def fold(self, train: Bags, view: str = "counts", units: str = "log1p_cp10k") -> Hidden:
        """Seen and hidden genes of some training slides.

        Raises
        ------
        InputError
            If fewer than three genes have a vector.
        """
        table = self._vectors()
        names = gene_names(train, view) if self.genes is None or isinstance(
            self.genes, (int, np.integer)) else tuple(map(str, self.genes))  # fmt: skip
        if isinstance(self.genes, (int, np.integer)):
            values = measured(train, view=view, genes=names, units=units)
            names = tuple(names[i] for i in most_variable(values, int(self.genes)))
        known = table.positions(names) >= 0
        lost = [g for g, there in zip(names, known, strict=True) if not there]
        names = tuple(g for g, there in zip(names, known, strict=True) if there)
        if len(names) < 3:
            table.take(lost or names)
            raise InputError(f"{len(names)} genes have a vector: too few to hide some.")
        if lost:
            self._note(f"{len(lost):,} genes have no vector and are left out ({lost[0]}, ...).")
        unseen = unseen_genes(train, names, self.protocol, self.n, view=view, units=units,
                              sets=self.sets)  # fmt: skip
        if isinstance(self.protocol, str) and self.protocol == "highest":
            self._note("unseen genes are those of highest mean: the easiest to predict.")
        hidden = set(unseen)
        seen = tuple(g for g in names if g not in hidden)
        twins = _twins(table, seen, unseen)
        if twins:
            self._note(
                f"leak: {len(twins)} seen genes have the very vector of an unseen one "
                f"({', '.join(twins[:5])}): another name of it, or the same text. They were taken "
                "out of training."
            )
        return Hidden(tuple(g for g in seen if g not in set(twins)), unseen)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _twins(table: GeneVectors, seen: tuple[str, ...], unseen: tuple[str, ...]) -> list[str]:
    """Seen genes that share their vector with an unseen one."""
    rows: dict[bytes, str] = {}
    for gene, row in zip(unseen, table.x[table.positions(unseen)], strict=True):
        rows[np.ascontiguousarray(row).tobytes()] = gene
    mine = table.x[table.positions(seen)]
    return [g for g, row in zip(seen, mine, strict=True)
            if row.any() and np.ascontiguousarray(row).tobytes() in rows]  # fmt: skip


def controls(vectors: Any) -> dict[str, ExpressionMethod]:
    """Label -> what every claim about unseen genes must beat."""
    return {
        "bilinear": make("bilinear", vectors=vectors),
        "bilinear, random vectors": make("bilinear", vectors="random"),
        "nearest_gene": make("nearest_gene", vectors=vectors),
        "all seen genes": make("nearest_gene", vectors=vectors, k=None),
    }


def trained_on(label: str, method: ExpressionMethod) -> str:
    """Label of a method in a comparison of unseen genes: whether it saw them."""
    if method.zero_shot:
        return label
    return f"{label.removesuffix(' (oracle)')}, trained on them (oracle)"
