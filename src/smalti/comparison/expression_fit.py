"""``Slides``: the arena of expression: tiles of slides that are left out in turn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti.bags import Bags
from smalti.comparison.arena import Arena
from smalti.comparison.cache import Answer
from smalti.comparison.hiding import Hidden
from smalti.comparison.splits import Split
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod, default_view
from smalti.genes.read import as_vectors
from smalti.genes.units import gene_positions, measured
from smalti.scores.expression_limits import gene_table, reliability_ceiling
from smalti.scores.expression_metrics import expression_scores, pcc_beyond
from smalti.solve.best_genes import best_predicted


class Slides(Arena):
    """Tiles that are left out in turn; a fit answers with its predictions of them.

    Parameters
    ----------
    bags
        Slides.
    parts
        (training, test) positions of tiles of each fold.
    seeds
        Of the fits; the first alone where a method has no randomness.
    top, nan, view
        As in :func:`smalti.compare_expression`.
    hidden
        Genes of each fold that are hidden from training.
    by
        What was left out, in a word.
    """

    title, units = "expression", "tiles"

    def __init__(
        self, bags: Bags, parts: list[tuple[np.ndarray, np.ndarray]], seeds: Sequence[int],
        top: int, nan: str, view: str | None = None, hidden: list[Hidden] | None = None, *,
        by: str = "donor",
    ) -> None:  # fmt: skip
        self.bags, self.parts, self.seeds = bags, parts, list(seeds)
        self.top, self.nan, self.view, self.hidden = top, nan, view, hidden
        self.about, self.by = repr(bags), by
        sha = hashlib.sha256(bags.digest.encode())
        for train, test in parts:
            sha.update(train.tobytes() + b"|" + test.tobytes())
        self.digest = sha.hexdigest()[:16]
        self._best: dict[Any, list[str]] = {}
        self._vectors: dict[str, Any] = {}

    def splits(self, method: Any) -> list[Split]:
        """Every fold with every seed; the repeat is the seed."""
        seeds = self.seeds if method.stochastic else self.seeds[:1]
        return [Split(s, k, *part) for k, part in enumerate(self.parts) for s in seeds]

    def seed(self, method: Any, split: Split) -> int:
        """The repeat."""
        return split.repeat

    def counted(self, split: Split) -> dict[str, int]:
        """Tiles, slides and donors."""
        row: dict[str, int] = {}
        for name, rows in (("train", split.train), ("test", split.test)):
            slides = np.unique(self.bags.index[rows])
            row |= {f"{name}_tiles": len(rows), f"{name}_slides": len(slides)}
            if self.bags.donor is not None:
                row[f"{name}_donors"] = len(np.unique(self.bags.donors[slides]))
        return row

    def keeps(self, split: Split) -> bool:
        """Predictions of the first seed are part of the table."""
        return split.repeat == self.seeds[0]

    def identity(self, method: Any) -> str:
        """Settings; of a file of vectors what it holds, for it may be written anew."""
        file = getattr(method, "vectors", None)
        if isinstance(file, (str, Path)) and file != "random":
            if str(file) not in self._vectors:
                self._vectors[str(file)] = as_vectors(file)
            method = clone(method).set_params(vectors=self._vectors[str(file)])
        return super().identity(method)

    def key(self, method: Any, split: Split) -> str:
        """Positions and donors, which the table's digest leaves out; and the hidden genes."""
        hidden = "" if self.hidden is None else self.hidden[split.fold].digest
        return f"{self.bags.asked_digest} {hidden}"

    def fit(self, method: Any, split: Split) -> Answer:
        """Predicted expression of the test tiles, and of which genes."""
        seen, asked = (None, None) if self.hidden is None else self.hidden[split.fold].split(method)
        if seen is not None:
            method.set_params(genes=seen)
        method.fit(self.bags.keep(split.train))
        names = method.genes_ if asked is None else asked
        predicted = self._predicted(method, split.test, names)
        return Answer({"predicted": predicted}, {"genes": list(names)})

    def _predicted(self, method: Any, test: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Of the test tiles; where a method reads whole slides, in the midst of the others.

        An oracle reads what was measured: it gets the test tiles alone.
        """
        if not method.slides or method.oracle:
            return method.forward(self.bags.keep(test), names)
        some = np.unique(self.bags.index[test])
        rows = np.flatnonzero(np.isin(self.bags.index, some))
        return method.forward(self.bags[some], names)[np.isin(rows, test)]

    def score(self, method: Any, split: Split, answer: Answer) -> dict[str, float]:
        """The forms of Pearson and errors; beside them the table of genes, for the first seed."""
        names, predicted = tuple(answer.note["genes"]), answer.arrays["predicted"]
        train, test = self.bags.keep(split.train), self.bags.keep(split.test)
        true = measured(test, view=method.counts, genes=names, units=method.units)
        best = self._chosen(method, names, split.fold, train)
        at = {g: i for i, g in enumerate(names)}
        nan: Any = self.nan
        scores = expression_scores(
            predicted, true, test.index, chosen=[at[g] for g in best] if best else None,
            top=self.top, nan=nan,
        )  # fmt: skip
        if method.units != "given":
            total = np.asarray(test.view(method.counts)[1].sum(1), dtype=np.float64).reshape(-1)
            scores["pcc_slide_beyond_depth"] = pcc_beyond(
                predicted, true, test.index, np.log1p(total), nan=nan
            )
        if self.keeps(split):
            answer.extra["genes"] = gene_table(names, best, predicted, true, test)
        return scores

    def _chosen(
        self, method: ExpressionMethod, names: tuple[str, ...], fold: int, train: Bags
    ) -> list[str]:
        """Genes that ridge predicts best in the training slides; never looks at the test fold."""
        if len(names) <= self.top:
            return []  # PCC@H is PCC@M then
        try:  # by one view for all methods, so that all are judged by the same genes
            view = self.view or default_view(train, method.counts)
        except InputError:
            return []
        key = (fold, view, method.units, names)
        if key not in self._best:
            target = measured(train, view=method.counts, genes=names, units=method.units)
            self._best[key] = [names[i] for i in best_predicted(train, view, target, self.top)]
        return self._best[key]

    def hidden_genes(self) -> pd.DataFrame:
        """fold, gene: the hidden genes of all folds."""
        rows = [(k, g) for k, fold in enumerate(self.hidden or []) for g in fold.unseen]
        return pd.DataFrame(rows, columns=["fold", "gene"])

    def ceilings(
        self, methods: Mapping[str, ExpressionMethod], answers: Mapping[Any, Answer]
    ) -> pd.DataFrame:
        """fold, gene, ceiling: by the genes of the first method in the table that has counts."""
        tables: dict[int, pd.DataFrame] = {}
        for (label, _, fold), answer in answers.items():
            method = methods[label]
            if fold in tables or method.units == "given":
                continue
            names, test = answer.note["genes"], self.bags.keep(self.parts[fold][1])
            counts = test.view(method.counts)[1][:, gene_positions(test, names, method.counts)]
            values = reliability_ceiling(counts, test.index, repeats=2)
            tables[fold] = pd.DataFrame({"fold": fold, "gene": names, "ceiling": values})
        if not tables:
            return pd.DataFrame({"fold": [], "gene": [], "ceiling": []})
        return pd.concat(tables.values(), ignore_index=True)
