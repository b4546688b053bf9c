"""``compare``: methods on the same folds, with the baselines that everyone should have to beat."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from smalti._version import __version__
from smalti.bags import Bags
from smalti.comparison.lineup import new_label
from smalti.comparison.splits import Split, donor_folds, given_folds, split_digest
from smalti.comparison.table import ScoreTable
from smalti.core.registry import make, methods
from smalti.errors import InputError
from smalti.mil.base import Method
from smalti.mil.many import fit_many
from smalti.preprocess import spec_text, steps_of
from smalti.scores.metrics import METRICS, score
from smalti.scores.statistics import corrected_test
from smalti.system.tables import write_table
from smalti.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Candidate: TypeAlias = str | Method | Pipeline

# What a fit may die of (of numbers, of memory, of a lost worker) without the others.
FAILURES = (ValueError, RuntimeError, ArithmeticError, MemoryError)


@dataclasses.dataclass
class Comparison(ScoreTable):
    """Scores of several methods on the same splits of the donors.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about
        As in :class:`~smalti.scores.table.Scores`.
    predictions
        One row per method, repeat, fold and test bag: bag, donor, true, predicted, p_CLASS.
    task
        The task of the whole set.
    """

    unit: ClassVar[str] = "test folds, split by donor"

    predictions: pd.DataFrame
    task: Task

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of this kind of task, the default one first."""
        return METRICS[self.task.kind]

    def against(self, reference: str, metric: str | None = None) -> pd.DataFrame:
        """Paired differences to a reference, with the corrected resampled t-test."""
        metric = metric or self.metrics[0]
        scores = self._scores(metric)
        wide = scores.pivot_table(
            index=["repeat", "fold"], columns="method", values="value", dropna=False
        )  # a method whose metric is NaN in every fold stays
        if reference not in wide:
            raise InputError(f"no method {reference!r} in this comparison: {list(wide)}.")
        n_train, n_test = scores["n_train"].mean(), scores["n_test"].mean()
        rows = [
            {"method": m, "reference": reference, "metric": metric}
            | corrected_test((wide[m] - wide[reference]).to_numpy(), n_train, n_test)
            for m in wide if m != reference
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        write_table(self.predictions, folder / "predictions.csv")

    def counts(self) -> dict[str, str]:
        """Bags, donors, repeats and the sizes of the folds."""
        folds = self.folds[["repeat", "fold", "n_train", "n_test"]].drop_duplicates()
        n_train, n_test = folds["n_train"], folds["n_test"]
        return {
            "test bags": f"{self.predictions['bag'].nunique():,}",
            "donors": f"{self.predictions['donor'].nunique():,}",
            "repeats": f"{folds['repeat'].nunique()}",
            "fits per method": f"{len(folds)}",
            "bags per fit": f"{n_train.min():,} to train, {n_test.min():,} to test"
            if n_train.nunique() == n_test.nunique() == 1
            else f"{n_train.min():,} to {n_train.max():,} to train, "
            f"{n_test.min():,} to {n_test.max():,} to test",
        }

    def figures(self) -> dict[str, Figure]:
        """Scores, and the ROC curves of a binary task."""
        from smalti.plot import plot_roc

        figures = super().figures()
        if self.task.kind == "binary":
            figures["ROC curves"] = plot_roc(self.predictions)
        return figures


def compare(
    candidates: Iterable[Candidate] | Mapping[str, Candidate],
    bags: Bags,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    splits: Sequence[Any] | None = None,
    preprocess: Any = None,
    strategy: str = "auto",
    progress: bool | None = None,
    cache: str | Path | None = None,
) -> Comparison:
    """Fit and score methods on the same splits by donor.

    Parameters
    ----------
    candidates
        Names or instances of methods, or scikit-learn pipelines that end in one; a mapping gives
        them labels of your own. The baselines (majority, bag mean, bag statistics; pseudobulk
        where the features are counts, type means and composition where there is a cell type)
        always run too, and one with the covariates that any of the methods reads.
    bags
        With a target and a donor.
    folds, repeats, seed
        Repeated stratified k-fold grouped by donor. Each fit gets its own seed.
    splits
        Your own pairs of training and test positions instead.
    preprocess
        Steps for all methods that have none of their own, fitted on the training donors of each
        fold: "normalize,log1p,genes=2000,scale,pca=50" (see :mod:`smalti.preprocess`).
    strategy
        How to run the fits (see :func:`smalti.fit_many`).
    progress
        Show a bar; None: on a terminal only.
    cache
        Folder that keeps the predictions of each method as it is done; a comparison that was
        killed goes on from it.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If no donor is named, or every method fails.
    """
    if bags.task is None:
        raise InputError("these bags have no target: name it (label=, target= or y=).")
    if isinstance(candidates, (str, Method, Pipeline)):
        candidates = [candidates]
    parts = (
        given_folds(bags, splits)
        if splits is not None
        else donor_folds(bags, folds=folds, repeats=repeats, seed=seed)
    )
    chosen, notes = _line_up(candidates, bags, preprocess)
    digest = split_digest(parts, bags)
    # a training fold may hold too few values to infer the kind from: it is that of all bags
    told = dataclasses.replace(bags, kind=bags.task.kind)
    frames, failure = [], None
    for label, method in chosen.items():
        try:
            frame = _predict(method, told, parts, digest, strategy, progress, cache)
        except FAILURES as error:
            what = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            notes.append(f"{label} was left out: {what}{error}")
            failure = error
            continue
        frames.append(frame.assign(method=label))
    if not frames:
        raise InputError("no method could be run. " + " ".join(notes)) from failure
    predictions = pd.concat(frames, ignore_index=True)
    columns = ["method", *(c for c in predictions.columns if c != "method")]
    done = predictions["method"].unique()
    return Comparison(
        folds=_score(predictions, bags.task, parts), predictions=predictions[columns],
        digest=digest, task=bags.task, notes=tuple([*bags.notes, *notes]), about=repr(bags),
        settings={m: chosen[m].get_params(deep=False)
                  | {"preprocess": spec_text(steps_of(chosen[m].preprocess))} for m in done},
        baselines=tuple(m for m in done if chosen[m].baseline),
    )  # fmt: skip


def _line_up(
    candidates: Iterable[Candidate] | Mapping[str, Candidate], bags: Bags, preprocess: Any
) -> tuple[dict[str, Method], list[str]]:
    """Label -> method, with the baselines; and notes on those that cannot learn this target."""
    given: list[tuple[str | None, Candidate]] = (
        list(candidates.items()) if isinstance(candidates, Mapping)
        else [(None, c) for c in candidates]
    )  # fmt: skip
    chosen: dict[str, Method] = {}
    for label, candidate in given:
        method = make(candidate) if isinstance(candidate, str) else candidate
        if isinstance(method, Pipeline):
            method = _whole(method)
        if not isinstance(method, Method):
            raise InputError(f"{candidate!r} is neither the name of a method nor a method.")
        chosen[new_label(label, method, chosen)] = method
    notes = []
    for name, cls in methods().items():
        reason = cls().unfit_for(bags) if cls.baseline and name not in chosen else None
        if reason:
            told = [c for c in bags.instance if not is_numeric_dtype(bags.instance[c])]
            if told or "cell_type" not in reason:  # nothing that could be a type: nothing is amiss
                notes.append(f"baseline {name} was left out: {reason}.")
        elif cls.baseline and not isinstance(chosen.setdefault(name, cls()), cls):
            raise InputError(f"{name!r} is the name of a baseline: choose another label.")
    # whoever reads covariates must beat a baseline that reads them too
    read = {c for m in chosen.values() for c in getattr(m, "covariates", ())}
    for name, cls in methods().items():
        if read and cls.baseline and "covariates" in cls().get_params():
            told = cls().set_params(covariates=tuple(sorted(read)))
            chosen.setdefault(f"{name} + covariates", told)
    assert bags.task is not None
    kind = bags.task.kind
    for label, method in chosen.items():
        if preprocess is not None and method.preprocess is None and not method.counts:
            chosen[label] = clone(method).set_params(preprocess=preprocess)
    for label in [n for n, m in chosen.items() if m.task and _other_scale(m.task, kind)]:
        notes.append(f"{label} has task={chosen[label].task!r}, the target is {kind}: left out.")
        del chosen[label]
    for label in [n for n, m in chosen.items() if kind not in m.kinds]:
        notes.append(f"{label} cannot learn a {kind} target and was left out.")
        del chosen[label]
    return chosen, notes


def _whole(pipeline: Pipeline) -> Method:
    """A pipeline as a method with the steps before it."""
    *steps, (_, method) = pipeline.steps
    if not isinstance(method, Method):
        raise InputError(f"the last step of a pipeline must be a method, not {method!r}.")
    if method.preprocess is not None:
        raise InputError("the pipeline's method has a preprocess of its own: name one of them.")
    return clone(method).set_params(preprocess=tuple(step for _, step in steps))


def _other_scale(one: str, two: str) -> bool:
    """Whether predictions of one kind cannot be scored as the other."""
    return one != two and bool({one, two} & {"regression", "multilabel", "binomial"})


def _predict(
    method: Method,
    bags: Bags,
    splits: list[Split],
    digest: str,
    strategy: str,
    progress: bool | None,
    cache: str | Path | None,
) -> pd.DataFrame:
    """Predictions of one method on all test folds; from the cache where they are there."""
    settings = {
        k: v for k, v in method.get_params(deep=False).items()
        if k not in ("progress", "accelerator", "preprocess")
    }  # fmt: skip
    settings["preprocess"] = spec_text(steps_of(method.preprocess))
    key = f"{__version__} {method.name} {sorted(settings.items())} {digest} {bags.digest}"
    file = Path(cache) / f"{method.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.csv" \
        if cache is not None else None  # fmt: skip
    if file is not None and file.exists():
        return _read_cell(file, bags, splits)
    jobs = [
        (clone(method).set_params(seed=method.seed + 1000 * s.repeat + s.fold), s.train)
        for s in splits
    ]
    began = time.perf_counter()
    fitted = fit_many(jobs, bags, strategy=strategy, progress=progress)
    seconds = (time.perf_counter() - began) / len(jobs)
    rows = [_test(m, bags, s) for m, s in zip(fitted, splits, strict=True)]
    frame = pd.concat(rows, ignore_index=True).assign(seconds=round(seconds, 3))
    if file is not None:
        write_table(frame, file)
    return frame


def _test(model: Method, bags: Bags, split: Split) -> pd.DataFrame:
    """Predictions of one fit on its test bags; a class that training lacked has probability 0."""
    frame = _truth(bags, split)
    raw = model.forward(bags[split.test])[0]
    predicted = model.task_.decide(raw)
    whole = bags.task
    assert whole is not None
    if whole.several:
        for j, name in enumerate(whole.classes):
            frame[f"predicted_{name}"] = predicted[:, j]
    else:
        frame["predicted"] = predicted
    if not whole.is_classifier:
        return frame
    p = model.task_.probabilities(raw)
    place = {c: i for i, c in enumerate(model.task_.classes)}
    for c in whole.classes:
        frame[f"p_{c}"] = p[:, place[c]] if c in place else 0.0
    return frame


def _truth(bags: Bags, split: Split) -> pd.DataFrame:
    """The test bags of a split, their donors and what is true of them."""
    test, task = bags[split.test], bags.task
    assert task is not None
    alone = bags.donor == "bag" and "bag" not in bags.bag
    frame = pd.DataFrame({
        "repeat": split.repeat, "fold": split.fold, "bag": test.bag.index,
        "donor": test.bag.index if alone else test.bag[bags.donor],
    }).reset_index(drop=True)  # fmt: skip
    several = task.several
    names = [f"true_{c}" for c in task.classes] if several else ["true"]
    frame[names] = test.labels.reshape(len(test), -1)
    return frame


def _read_cell(file: Path, bags: Bags, splits: list[Split]) -> pd.DataFrame:
    """Predictions kept by an earlier run; of a text file only what the bags do not say is taken.

    Ids such as "01" and classes such as "None" would come back as something else.
    """
    assert bags.task is not None
    classes = bags.task.is_classifier and bags.task.kind != "multilabel"
    text = {"predicted": str} if classes else None
    kept = pd.read_csv(file, converters=text, float_precision="round_trip")
    frame = pd.concat([_truth(bags, s) for s in splits], ignore_index=True)
    for name in kept.columns.drop(frame.columns):
        frame[name] = kept[name]
    if classes:
        frame["predicted"] = _as_classes(kept["predicted"].to_numpy(), bags.task)
    return frame


def _score(predictions: pd.DataFrame, task: Task, splits: list[Split]) -> pd.DataFrame:
    """The tidy table of scores, computed from the predictions alone."""
    sizes = {(s.repeat, s.fold): (len(s.train), len(s.test)) for s in splits}
    rows = []
    for (method, repeat, fold), part in predictions.groupby(["method", "repeat", "fold"],
                                                            sort=False):  # fmt: skip
        several = task.several
        truth, guess = (
            part[[f"{w}_{c}" for c in task.classes]].to_numpy() if several
            else _as_classes(part[w].to_numpy(), task)
            for w in ("true", "predicted")
        )  # fmt: skip
        p = None if not task.is_classifier else part[[f"p_{c}" for c in task.classes]].to_numpy()
        n_train, n_test = sizes[repeat, fold]
        rows += [
            {"method": method, "repeat": repeat, "fold": fold, "metric": name, "value": value,
             "n_train": n_train, "n_test": n_test, "seconds": part["seconds"].iloc[0]}
            for name, value in score(task, truth, guess, p).items()
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _as_classes(values: np.ndarray, task: Task) -> np.ndarray:
    """Classes as the task knows them; a table read from a file may hold them as text."""
    known = {str(c): c for c in task.classes}
    return np.array([known.get(str(v), v) for v in values]) if task.classes else values
