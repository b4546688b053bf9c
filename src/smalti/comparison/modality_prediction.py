"""``compare_modality_prediction``: one modality of cells from the others, protein from RNA say."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from smalti.bags import Bags
from smalti.comparison.arena import Arena
from smalti.comparison.cache import Answer
from smalti.comparison.lineup import Lineup, line_up
from smalti.comparison.plain_predictions import (
    ComponentKNN,
    ComponentRidge,
    FeatureMean,
    FromComponents,
)
from smalti.comparison.race import race
from smalti.comparison.splits import Split, cell_splits, seeds_of
from smalti.comparison.table import ScoreTable
from smalti.errors import InputError
from smalti.integrate.base import Integration, as_cells
from smalti.integrate.halves import measured
from smalti.preprocess import apply_steps, fit_steps, guess_steps, modalities, steps_of
from smalti.scores.gene_correlations import pearson_genes
from smalti.scores.headline import signed
from smalti.scores.metrics import LOWER_IS_BETTER, named
from smalti.system.tables import write_table

if TYPE_CHECKING:
    from smalti.report.section import Section

_METRICS = ("pearson", "spearman", "root_mean_squared_error")


@dataclasses.dataclass(kw_only=True, repr=False)
class ModalityPrediction(ScoreTable):
    """Scores of one modality as predicted from the others, on cells that were held out.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about, identities, failures, audit
        As in :class:`~smalti.scores.table.Scores`; ``repeat`` is the seed.
    target
        The modality that was hidden.
    features
        method, repeat, feature, pearson, spearman, root_mean_squared_error.
    """

    unit: ClassVar[str] = "seeds"
    trains_on: ClassVar[str] = "cells"
    order: ClassVar[tuple[str, ...]] = _METRICS
    titles: ClassVar[dict[str, str]] = {"pearson": "Pearson correlation of a feature over cells"}

    target: str
    features: pd.DataFrame

    def by_feature(self, metric: str = "pearson") -> pd.DataFrame:
        """(n_features, n_methods) DataFrame: means over the seeds."""
        return self.features.pivot_table(index="feature", columns="method", values=metric,
                                         sort=False)  # fmt: skip

    def over_features(self, metric: str = "pearson") -> list[str]:
        """The best method beside the best baseline, paired over the features, as a sentence."""
        ranked = self.ranked(metric)
        own = ranked.loc[~ranked["baseline"], "method"]
        rival = self.best_baseline(metric)
        wide = self.by_feature(metric)
        if own.empty or rival is None or not {own.iloc[0], rival} <= set(wide):
            return []
        best = str(own.iloc[0])
        gap = (wide[best] - wide[rival]).dropna()
        if len(gap) < 3:
            return []
        ahead = int(((gap < 0) if metric in LOWER_IS_BETTER else (gap > 0)).sum())
        half = stats.t.ppf(0.975, len(gap) - 1) * gap.std() / len(gap) ** 0.5
        ends = f"{signed(gap.mean() - half, 3)} to {signed(gap.mean() + half, 3)}"
        return [
            f"Of the {len(gap)} features of {self.target}, {best} is ahead of {rival} in "
            f"{ahead or 'none'}, by {named(metric)}: mean difference "
            f"{signed(gap.mean(), 3)} (95 % interval over features {ends})"
        ]

    @property
    def deed(self) -> tuple[str, str]:  # type: ignore[override]
        """Verb, and what it is about."""
        return f"predicts {self.target}", f", in predicting {self.target}"

    def said(self) -> list[str]:
        """All that the table says, as sentences without their full stops."""
        return [*super().said(), *self.over_features()]

    def facts(self) -> dict[str, str]:
        """Target, features, cells, seeds."""
        n_train, n_test = self.folds["n_train"].min(), self.folds["n_test"].max()
        return {
            "predicted": self.target,
            "features": f"{self.features['feature'].nunique():,}",
            "seeds": f"{self.n_fits}",
            "cells per fit": f"{n_train:,} to train, {n_test:,} held out and scored",
        }

    def sections(self) -> list[Section]:
        """What a page of this comparison says, in order (see :mod:`smalti.comparison.page`)."""
        from smalti.comparison.page.order import PREDICTION, made

        return made(self, PREDICTION)

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        write_table(self.features, folder / "features.csv")


def compare_modality_prediction(
    candidates: Iterable[str | Integration] | Mapping[str, str | Integration],
    bags: Any,
    *,
    target: str,
    seeds: int | Sequence[int] = 3,
    n_jobs: int | None = None,
    progress: bool | None = None,
    cache: str | Path | None = None,
    scheduler: str | None = None,
) -> ModalityPrediction:
    """Predict one modality of held-out cells from the others.

    For each seed every method is fitted on 80 % of the cells (of the donors, where there are five
    or more), all modalities measured; of the others the target is hidden, and what the method
    makes of it is compared with what was measured. The mean of the training cells, ridge and
    nearest cells, both on 50 components of the other modalities, always run too.

    Parameters
    ----------
    candidates
        Names or instances of methods of :mod:`smalti.integrate` that take gaps and reconstruct; a
        mapping gives them labels of your own. UMINT's ``drop=0.3`` hides modalities in training.
    bags
        :class:`~smalti.Bags` with two or more views, or what :func:`smalti.read` reads as such.
    target
        The view to predict.
    seeds, n_jobs, progress, cache, scheduler
        As in :func:`smalti.compare_integration`.

    Returns
    -------
    ModalityPrediction
        Metrics: pearson and spearman of each feature over the held-out cells, and its root mean
        squared error, in the units that ``preprocess`` gives the target (centred log ratios of
        proteins), as means over the features; ``features`` has them one by one.

    Raises
    ------
    InputError
        If there is no such view or no other, a method takes no gaps or reconstructs nothing, or
        every method fails.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_modalities(200, counts=True, tied=1.0, effect=8.0, seed=0)
    >>> table = sm.compare_modality_prediction(
    ...     ["block_pca"], cells, target="protein", seeds=2, n_jobs=1, progress=False
    ... )
    >>> list(table.folds["method"].unique())
    ['block_pca', 'mean', 'ridge', 'knn']
    """
    arena, lineup, notes = prepared(candidates, bags, target=target, seeds=seeds)
    outcome = race(arena, lineup, n_jobs=n_jobs, progress=progress, cache=cache,
                   scheduler=scheduler)  # fmt: skip
    rows = [{"method": k, "repeat": seed, **row} for (k, seed, _), a in outcome.answers.items()
            for row in a.note["features"]]  # fmt: skip
    return ModalityPrediction(
        **outcome.table(lineup, notes), digest=arena.digest, about=arena.about, target=target,
        features=pd.DataFrame(rows),
    )  # fmt: skip


def prepared(
    candidates: Any, bags: Any, *, target: str, seeds: int | Sequence[int] = 3
) -> tuple[Cells, Lineup, list[str]]:
    """What a comparison of these arguments fits: its arena, who takes part, and notes.

    Raises
    ------
    InputError
        As :func:`compare_modality_prediction` does before the first fit.
    """
    cells = as_cells(bags).check()
    if target not in cells.x or len(cells.x) < 2:
        raise InputError(
            f"target={target!r} is to be predicted from other views; there are "
            f"{', '.join(cells.x)}."
        )
    lineup = line_up(candidates, Integration)
    for label, method in lineup.methods.items():
        if not (method.missing and method.reconstructs) or method.at_hand():
            raise InputError(
                f"{label} cannot predict a modality that cells lack: it takes no gaps, or "
                "reconstructs nothing. Methods that can: umint, block_pca, mofa and others."
            )
    for plain in (FeatureMean(), ComponentRidge(), ComponentKNN()):
        lineup.add_baseline(plain)
    parts, notes = cell_splits(cells, seeds_of(seeds))
    taken = [f"{m}." for m in modalities(cells)]  # in the units after its steps is it scored
    return Cells(cells, parts, target), lineup, [*cells.notes, *taken, *notes]


class Cells(Arena):
    """Cells of which 80 % train; a fit answers with the scores of each feature of the target."""

    title, units = "predictions", "cells"

    def __init__(self, bags: Bags, parts: list[Split], target: str) -> None:
        self.target, self.about = target, repr(bags)
        self.groups = bags.index if bags.donor is None else bags.donors[bags.index]
        self.cells = Bags.from_rows(
            bags.x, np.arange(bags.n_instances), features=bags.features, present=bags.present,
            kinds=bags.kinds,
        )  # fmt: skip
        at, there = list(bags.x).index(target), measured(bags)
        self.scored = there[:, at] & (
            there.sum(1) > 1
        )  # of which truth and something else is known
        self.parts = [dataclasses.replace(p, test=p.test[self.scored[p.test]]) for p in parts]
        self.digest = hashlib.sha256(f"{bags.digest} {target}".encode()).hexdigest()[:16]

    def splits(self, method: Any) -> list[Split]:
        """One for each seed."""
        return self.parts

    def seed(self, method: Any, split: Split) -> int:
        """The repeat."""
        return split.repeat

    def fit(self, method: Any, split: Split) -> Answer:
        """Scores of each feature of the held-out cells."""
        reason = method.unavailable()
        if reason is not None:
            raise InputError(reason)
        train, test = self.cells[split.train], self.cells[split.test]
        y, true, names = self._truth(train, test)
        others = [k for k in self.cells.x if k != self.target]
        if isinstance(method, FromComponents):
            rows = np.flatnonzero(self.scored[split.train])
            predicted = method.predicted(
                train[rows].only(others), y[rows], test.only(others),
                self.groups[split.train][rows], split.repeat,
            )  # fmt: skip
        else:
            predicted = self._hidden(method.fit(train), test, true)
        return Answer({}, {"features": _each(predicted, true, names)})

    def _truth(self, train: Bags, test: Bags) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The target of training and of test cells after its steps, and names of its features."""
        words = guess_steps(self.cells)
        steps, after = fit_steps(
            steps_of({k: v for k, v in words.items() if k == self.target}), train
        )
        y, true = after.table(self.target), apply_steps(steps, test).table(self.target)
        names = after.features.get(self.target)
        return y, true, list(names or map(str, range(y.shape[1])))

    def _hidden(self, model: Any, test: Bags, true: np.ndarray) -> np.ndarray:
        """(n_test, d) what a model makes of the target where it does not see it."""
        own = model.inputs(test)[self.target]
        own = own.toarray() if hasattr(own, "toarray") else own
        if own.shape != true.shape or not np.allclose(own, true, atol=1e-4):
            raise InputError(
                f"it decodes {self.target!r} in other units or of other features than the steps "
                "for its kind give: leave preprocess= of this view as it is."
            )
        gone = {**test.present, self.target: np.zeros(len(test), dtype=bool)}
        return model.reconstruct(dataclasses.replace(test, present=gone))[self.target]

    def score(self, method: Any, split: Split, answer: Answer) -> dict[str, float]:
        """Means over the features."""
        table = pd.DataFrame(answer.note["features"]).astype(dict.fromkeys(_METRICS, float))
        return {m: float(table[m].mean()) for m in _METRICS}


def _each(predicted: np.ndarray, true: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Scores of each feature; those that do not vary over the cells are left out.

    A constant prediction has the correlation 0: it says nothing of which cell has more.
    """
    varies = np.flatnonzero(np.ptp(true, axis=0) > 0)
    guess, truth = (np.asarray(v, dtype=np.float64)[:, varies] for v in (predicted, true))
    ranks = [stats.rankdata(v, axis=0) for v in (guess, truth)]
    scores = (
        np.nan_to_num(pearson_genes(guess, truth)),
        np.nan_to_num(pearson_genes(*ranks)),
        np.sqrt(((guess - truth) ** 2).mean(0)),
    )
    return [{"feature": names[int(j)]} | dict(zip(_METRICS, map(float, row), strict=True))
            for j, row in zip(varies, zip(*scores, strict=True), strict=True)]  # fmt: skip
