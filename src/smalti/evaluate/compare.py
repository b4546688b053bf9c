"""``compare``: methods on the same folds, with the baselines that everyone should have to beat."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti._version import __version__
from smalti.bags import Bags
from smalti.errors import InputError
from smalti.evaluate.metrics import LOWER_IS_BETTER, METRICS, score
from smalti.evaluate.splits import Split, donor_folds, given_folds, split_digest
from smalti.evaluate.statistics import corrected_test
from smalti.io.files import atomic_folder
from smalti.io.table import read_table, write_table
from smalti.many import fit_many
from smalti.method import Method, make, methods
from smalti.task import Task


@dataclasses.dataclass
class Comparison:
    """Scores of several methods on the same splits.

    Attributes
    ----------
    folds
        Tidy: method, repeat, fold, metric, value, n_train, n_test.
    predictions
        One row per method, repeat, fold and test bag: bag, donor, true, predicted, p_CLASS.
    digest
        Of the splits; two comparisons with one digest can be set side by side.
    task
        The task of the whole set.
    settings
        Method -> its hyper-parameters.
    baselines
        Names of the methods that are baselines.
    notes
        Warnings of the data, and methods that could not be run.
    about
        The bags in one line.
    """

    folds: pd.DataFrame
    predictions: pd.DataFrame
    digest: str
    task: Task
    settings: dict[str, dict[str, Any]]
    baselines: tuple[str, ...]
    notes: tuple[str, ...]
    about: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of this kind of task, the default one first."""
        return METRICS[self.task.kind]

    def summary(self, metric: str | None = None) -> pd.DataFrame:
        """Per method and metric: mean, spread over folds, spread of repeats' means, folds counted.

        Sorted by the metric (default: the task's own), best first.
        """
        scores = self.folds if metric is None else self.folds.query("metric == @metric")
        by = scores.groupby(["method", "metric"], sort=False)["value"]
        table = by.agg(mean="mean", sd_folds="std", n_folds="count").reset_index()
        each = scores.groupby(["method", "metric", "repeat"])["value"].mean()
        spread = each.groupby(["method", "metric"]).std().rename("sd_repeats").reset_index()
        table = table.merge(spread, on=["method", "metric"])
        table["baseline"] = table["method"].isin(self.baselines)
        main = metric or self.metrics[0]
        sign = 1 if main in LOWER_IS_BETTER else -1
        rank = (sign * table.query("metric == @main").set_index("method")["mean"]).rank()
        order = table["method"].map(rank)
        columns = ["method", "metric", "mean", "sd_folds", "sd_repeats", "n_folds", "baseline"]
        return (
            table.assign(order=order)
            .sort_values("order", kind="stable")[columns]
            .reset_index(drop=True)
        )

    def against(self, reference: str, metric: str | None = None) -> pd.DataFrame:
        """Paired differences to a reference, with the corrected resampled t-test."""
        metric = metric or self.metrics[0]
        scores = self.folds.query("metric == @metric")
        wide = scores.pivot_table(index=["repeat", "fold"], columns="method", values="value")
        if reference not in wide:
            raise InputError(f"no method {reference!r} in this comparison: {list(wide)}.")
        n_train, n_test = scores["n_train"].mean(), scores["n_test"].mean()
        rows = [
            {"method": m, "reference": reference, "metric": metric}
            | corrected_test((wide[m] - wide[reference]).to_numpy(), n_train, n_test)
            for m in wide if m != reference
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        names = [m for m in self.metrics if m in set(self.folds["metric"])][:6]
        table = self.summary()
        best = {m: (table[table.metric == m].set_index("method")["mean"]
                    * (-1 if m in LOWER_IS_BETTER else 1)).idxmax() for m in names}  # fmt: skip
        rows = []
        for method in table["method"].drop_duplicates():
            cells = table[table.method == method].set_index("metric")
            row = {"method": method + (" (baseline)" if method in self.baselines else "")}
            for m in names:
                star = "*" if best[m] == method else " "
                row[m] = f"{cells.loc[m, 'mean']:.3f} ± {cells.loc[m, 'sd_folds']:.3f}{star}"
            rows.append(row)
        n = self.folds[["repeat", "fold"]].drop_duplicates().shape[0]
        text = pd.DataFrame(rows).to_string(index=False)
        tail = f"mean ± s.d. over {n} folds; * best. Splits by donor, digest {self.digest}."
        return "\n".join([self.about, "", text, "", tail, *(f"Note: {x}" for x in self.notes)])

    def save_table(self, path: str | Path) -> None:
        """Write the tidy table of folds as .csv or .parquet."""
        write_table(self.folds, path)

    def write(self, folder: str | Path) -> None:
        """Write folds.csv, summary.csv, predictions.csv and split.json into a folder, whole."""
        with atomic_folder(folder) as temporary:
            self._write_into(Path(temporary))

    def _write_into(self, folder: Path) -> None:
        write_table(self.folds, folder / "folds.csv")
        write_table(self.summary(), folder / "summary.csv")
        write_table(self.predictions, folder / "predictions.csv")
        note = {
            "smalti": __version__, "digest": self.digest, "data": self.about,
            "settings": self.settings, "notes": self.notes,
        }  # fmt: skip
        (folder / "split.json").write_text(json.dumps(note, indent=1, default=str))

    def report(self, path: str | Path, **kwargs: Any) -> None:
        """Write a one-page HTML report (see :func:`smalti.report.write_report`)."""
        from smalti.report import write_report

        write_report(self, path, **kwargs)


def compare(
    candidates: Iterable[str | Method] | Mapping[str, str | Method],
    bags: Bags,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    splits: Sequence[Any] | None = None,
    strategy: str = "auto",
    progress: bool | None = None,
    cache: str | Path | None = None,
) -> Comparison:
    """Fit and score methods on the same splits by donor.

    Parameters
    ----------
    candidates
        Names or instances of methods; a mapping gives them labels of your own. The baselines
        (majority, bag mean, bag statistics) always run too.
    bags
        With a target and a donor.
    folds, repeats, seed
        Repeated stratified k-fold grouped by donor. Each fit gets its own seed.
    splits
        Your own pairs of training and test positions instead.
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
    if isinstance(candidates, (str, Method)):
        candidates = [candidates]
    parts = (
        given_folds(bags, splits)
        if splits is not None
        else donor_folds(bags, folds=folds, repeats=repeats, seed=seed)
    )
    chosen, notes = _line_up(candidates, bags)
    digest = split_digest(parts, bags)
    frames = []
    for label, method in chosen.items():
        try:
            frame = _predict(method, bags, parts, digest, strategy, progress, cache)
        except InputError as error:
            notes.append(f"{label} was left out: {error}")
            continue
        frames.append(frame.assign(method=label))
    if not frames:
        raise InputError("no method could be run. " + " ".join(notes))
    predictions = pd.concat(frames, ignore_index=True)
    columns = ["method", *(c for c in predictions.columns if c != "method")]
    done = predictions["method"].unique()
    return Comparison(
        folds=_score(predictions, bags.task, parts), predictions=predictions[columns],
        digest=digest, task=bags.task, notes=tuple([*bags.notes, *notes]), about=repr(bags),
        settings={m: {k: v for k, v in chosen[m].get_params().items() if k != "progress"}
                  for m in done},
        baselines=tuple(m for m in done if chosen[m].baseline),
    )  # fmt: skip


def _line_up(
    candidates: Iterable[str | Method] | Mapping[str, str | Method], bags: Bags
) -> tuple[dict[str, Method], list[str]]:
    """Label -> method, with the baselines; and notes on those that cannot learn this target."""
    given: list[tuple[str | None, str | Method]] = (
        list(candidates.items()) if isinstance(candidates, Mapping)
        else [(None, c) for c in candidates]
    )  # fmt: skip
    chosen: dict[str, Method] = {}
    for label, candidate in given:
        method = make(candidate) if isinstance(candidate, str) else candidate
        if not isinstance(method, Method):
            raise InputError(f"{candidate!r} is neither the name of a method nor a method.")
        label = label or method.name
        if label in chosen:  # the same method twice: say what differs
            changed = {k: v for k, v in method.get_params().items()
                       if v != chosen[label].get_params().get(k)}  # fmt: skip
            label = f"{label} {' '.join(f'{k}={v}' for k, v in changed.items())}".strip()
        if label in chosen:
            raise InputError(f"{label!r} is named twice with the same settings.")
        chosen[label] = method
    for name, cls in methods().items():
        if cls.baseline and name not in chosen:
            chosen[name] = cls()
    assert bags.task is not None
    kind, notes = bags.task.kind, []
    for label in [n for n, m in chosen.items() if kind not in m.kinds]:
        notes.append(f"{label} cannot learn a {kind} target and was left out.")
        del chosen[label]
    return chosen, notes


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
        k: v for k, v in method.get_params().items() if k not in ("progress", "accelerator")
    }
    key = f"{__version__} {method.name} {sorted(settings.items())} {digest} {bags.digest}"
    file = Path(cache) / f"{method.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.csv" \
        if cache is not None else None  # fmt: skip
    if file is not None and file.exists():
        return read_table(file)
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
    test = bags[split.test]
    raw = model.forward(test)[0]
    predicted = model.task_.decide(raw)
    frame = pd.DataFrame({
        "repeat": split.repeat, "fold": split.fold, "bag": test.bag.index,
        "donor": bags.bag.index[split.test] if bags.donor == "bag" else test.bag[bags.donor],
    }).reset_index(drop=True)  # fmt: skip
    labels = test.labels
    whole = bags.task
    assert whole is not None
    if whole.kind == "multilabel":
        for j, name in enumerate(whole.classes):
            frame[f"true_{name}"], frame[f"predicted_{name}"] = labels[:, j], predicted[:, j]
    else:
        frame["true"], frame["predicted"] = labels, predicted
    if whole.kind == "regression":
        return frame
    p = model.task_.probabilities(raw)
    place = {c: i for i, c in enumerate(model.task_.classes)}
    for c in whole.classes:
        frame[f"p_{c}"] = p[:, place[c]] if c in place else 0.0
    return frame


def _score(predictions: pd.DataFrame, task: Task, splits: list[Split]) -> pd.DataFrame:
    """The tidy table of scores, computed from the predictions alone."""
    sizes = {(s.repeat, s.fold): (len(s.train), len(s.test)) for s in splits}
    rows = []
    for (method, repeat, fold), part in predictions.groupby(["method", "repeat", "fold"],
                                                            sort=False):  # fmt: skip
        several = task.kind == "multilabel"
        truth, guess = (
            part[[f"{w}_{c}" for c in task.classes]].to_numpy() if several
            else _as_classes(part[w].to_numpy(), task)
            for w in ("true", "predicted")
        )  # fmt: skip
        p = None if task.kind == "regression" else part[[f"p_{c}" for c in task.classes]].to_numpy()
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
