"""``ZeroShotMethod``: expression of genes that were never measured in training, by what they mean.

Design:

- A gene is a vector (:class:`~smalti.genes.vectors.GeneVectors`) and, where there is text, its
  words. The method keeps the whole table with its model, so that genes can be asked for later.
- ``network.genes(table)`` says once per call what does not depend on a tile; ``forward(batch)``
  finds it in ``batch.genes`` and puts tiles and genes together. In training ``batch.genes`` is the
  :class:`~smalti.nn.gene_table.GeneTable` of the genes of the step.
- A prediction of one gene does not depend on which others are asked for: what a network looks up
  of other genes, it looks up among the seen ones.
- ``vectors="random"`` gives each gene a vector that means nothing: the control of every claim.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from smalti.bags import Bags
from smalti.core.fit import FittedState
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod, named
from smalti.genes.read import as_vectors
from smalti.genes.vectors import GeneVectors, random_vectors
from smalti.nn.gene_graph import nearest_genes
from smalti.nn.gene_table import GeneTable

_NEAR = 10  # seen genes that say how near a gene is to them


class ZeroShotMethod(ExpressionMethod):
    """Tiles and vectors of genes to expression: what all such methods share."""

    zero_shot: ClassVar[bool] = True
    words: ClassVar[bool] = False  # whether it reads the words of the genes' texts

    vectors: Any = None  # GeneVectors, or a file of them; "random": the control

    # ---------------------------------------------------------------- the genes

    def _candidates(self, names: tuple[str, ...]) -> tuple[str, ...]:
        self.vectors_ = self._read_vectors()
        if self.vectors_ is None:
            return names
        known = self.vectors_.positions(names) >= 0
        kept = tuple(g for g, there in zip(names, known, strict=True) if there)
        lost = [g for g, there in zip(names, known, strict=True) if not there]
        explicit = self.genes is not None and not isinstance(self.genes, (int, np.integer))
        if (lost and explicit) or len(kept) < max(2, len(names) // 20):
            self.vectors_.take(names)  # says which, and why
        if lost:
            warnings.warn(
                f"{self.name}: {len(lost):,} of {len(names):,} genes have no vector and are left "
                f"out: {', '.join(lost[:5])}{' ...' * (len(lost) > 5)}.",
                UserWarning, stacklevel=6,
            )  # fmt: skip
        return kept

    def _read_vectors(self) -> GeneVectors | None:
        """The table; None: a vector is drawn for any gene."""
        if isinstance(self.vectors, str) and self.vectors == "random":
            return None
        if self.vectors is None:
            raise InputError(
                f"{self.name} predicts genes by vectors of what they mean: give vectors=..., a "
                "file of them, or what sm.genes.gene_vectors (smalti genes vectors) makes; "
                "vectors='random' is the control."
            )
        found = as_vectors(self.vectors)
        if found.tokens is None or self._reads_words():
            return found
        return dataclasses.replace(found, tokens=None, offsets=None, segment=None)

    def _reads_words(self) -> bool:
        """Whether it reads words, as it is set."""
        return self.words

    def known(self, genes: Any) -> GeneVectors:
        """The vectors of some genes, in their order.

        Raises
        ------
        InputError
            If some have none; with their names and the likely reason.
        """
        names = named(genes)
        return random_vectors(names) if self.vectors_ is None else self.vectors_.take(names)

    def _meaning(self) -> tuple[int, ...]:
        one = self.known(self.genes_[:1])
        return one.width, one.width if one.tokens is None else int(one.tokens.shape[1])

    def gene_table(self, names: tuple[str, ...], device: torch.device) -> GeneTable:
        """Some genes as the network reads them, the seen ones beside them."""
        seen = self._fitting_width(self.known(self.genes_))
        bank = GeneTable.of(seen, np.arange(len(self.genes_)), device, self._dtype)
        if names == self.genes_:
            return bank
        wanted = self._fitting_width(self.known(names))
        return GeneTable.of(wanted, self._own(names), device, self._dtype, bank)

    def _own(self, names: tuple[str, ...]) -> np.ndarray:
        """(len(names),) position among the seen genes, under whatever name; -1: unseen."""
        if self.vectors_ is None:
            keys, seen = list(names), list(self.genes_)
        else:
            keys, seen = (self.vectors_.positions(g).tolist() for g in (names, self.genes_))
        place = {key: i for i, key in enumerate(seen)}
        return np.array([place.get(key, -1) for key in keys], dtype=np.int64)

    def _fitting_width(self, vectors: GeneVectors) -> GeneVectors:
        """The vectors, where they are as wide as those of training."""
        if vectors.width != self.shape_.meaning[0]:
            raise InputError(
                f"{self.name} was fitted on vectors of {self.shape_.meaning[0]} numbers, and these "
                f"({vectors.source}) have {vectors.width}: take those that it was fitted with."
            )
        return vectors

    def _ready(self, names: tuple[str, ...], device: torch.device) -> tuple[Any, None]:
        network: Any = self.network_
        return network.genes(self.gene_table(names, device)), None

    # ---------------------------------------------------------------- how far to believe it

    def nearness(self, genes: Any) -> pd.DataFrame:
        """How near genes are to those of training.

        Parameters
        ----------
        genes
            Names.

        Returns
        -------
        DataFrame
            One row per gene: ``gene``; ``seen``, whether it was in training; ``nearest``, the seen
            gene of the most similar vector (cosine of centred vectors, itself left out);
            ``similarity`` to it; ``similarity_10``, mean of the ten nearest; ``percentile``, the
            share of seen genes whose own similarity to the other seen genes is lower, 0 to 1.
        """
        check_is_fitted(self)
        names = named(genes)
        bank, wanted = self.known(self.genes_).x, self.known(names).x
        center = bank.mean(0, dtype=np.float64).astype(bank.dtype)
        bank, wanted = unit_rows(bank - center), unit_rows(wanted - center)
        own = self._own(names)
        best, at = _most_alike(wanted, bank, own)
        usual = np.sort(_most_alike(bank, bank, np.arange(len(bank)))[0][:, 0])
        share = np.searchsorted(usual, best[:, 0], side="left") / len(usual)
        return pd.DataFrame({
            "gene": names, "seen": own >= 0, "nearest": np.asarray(self.genes_)[at[:, 0]],
            "similarity": best[:, 0], "similarity_10": best.mean(1), "percentile": share,
        })  # fmt: skip

    def confidence(self, X: Any, genes: Any) -> pd.DataFrame:
        """How far to believe the predictions of genes on slides.

        Parameters
        ----------
        X
            Slides.
        genes
            Names.

        Returns
        -------
        DataFrame
            The columns of :meth:`nearness`, and ``shared``: the correlation over tiles of the
            gene's prediction with the mean prediction of all seen genes. Near 1, the map shows what
            all genes have in common, cellularity for one, and nothing of this gene (NaN for a
            single tile). :class:`~smalti.expression.gene_ensemble.GeneEnsemble` adds the agreement
            of its members and the correlation to expect.
        """
        guess, common = self.predict(X, genes), self.predict(X).mean(1, keepdims=True)
        return self.nearness(genes).assign(shared=_correlation(guess, common))

    def _about(self, bags: Bags, names: tuple[str, ...]) -> pd.DataFrame:
        return self.confidence(bags, names)

    # ---------------------------------------------------------------- files

    def fitted_state(self) -> FittedState:
        """The vectors of all genes, so that any can be asked for; none where they are drawn."""
        if self.vectors_ is None:
            return FittedState()
        return FittedState({"genes": self.vectors_.note()}, self.vectors_.arrays())

    @classmethod
    def from_state(cls, settings: dict[str, Any], state: FittedState) -> Self:
        """With the vectors that the file holds; they are the setting too, where it was no file."""
        found = None
        if "genes" in state.note:
            found = GeneVectors.of(state.note["genes"], state.arrays)
            if GeneVectors.is_setting(settings["vectors"]):
                settings = settings | {"vectors": found}
        method = cls(**settings)
        method.vectors_ = found
        return method


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each column of x with y, (n, 1); NaN where one is constant."""
    x, y = (a.astype(np.float64) - a.mean(0, dtype=np.float64) for a in (x, y))
    length = np.linalg.norm(x, axis=0) * np.linalg.norm(y)
    return np.divide((x * y).sum(0), length, out=np.full(x.shape[1], np.nan), where=length > 1e-9)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows of length 1, (n, width); rows of 0 stay."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def _most_alike(
    wanted: np.ndarray, bank: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) largest cosines of rows of length 1, falling, and where they are; itself left out."""
    k = min(_NEAR, max(1, len(bank) - 1))
    at = nearest_genes(torch.as_tensor(wanted), torch.as_tensor(bank), k, torch.as_tensor(own))
    best = np.stack([(wanted * bank[column]).sum(1) for column in at.numpy().T], axis=1)
    return best, at.numpy()
