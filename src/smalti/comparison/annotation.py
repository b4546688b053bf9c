"""``compare_annotation``: who labels cells of left-out donors best, and knows a new type."""

from __future__ import annotations

import dataclasses
import hashlib
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from sklearn import metrics as sk
from sklearn.base import clone

from smalti.bags import Bags
from smalti.columns import groups_of
from smalti.comparison.label_baselines import LogisticLabels, MajorityLabel
from smalti.comparison.lineup import given
from smalti.comparison.table import ScoreTable
from smalti.errors import InputError
from smalti.integrate.annotator import Annotator
from smalti.integrate.base import as_cells
from smalti.integrate.turns import parts_of, several
from smalti.scores.probabilities import calibration
from smalti.system.progress import Progress
from smalti.system.tables import write_table

if TYPE_CHECKING:
    from smalti.report.section import Section


@dataclasses.dataclass(kw_only=True, repr=False)
class AnnotationComparison(ScoreTable):
    """Scores of labels of cells that were left out.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about
        As in :class:`~smalti.scores.table.Scores`.
    unseen
        A type that was left out of the reference, in a row: method, label, cells, auroc of the
        novelty against cells of known types; found and false_alarms, the shares of unknown among
        both, NaN of a method without a threshold.
    left_out
        What was left out in turn, and how many there are: "donor", 8.
    """

    unit: ClassVar[str] = "turns"
    trains_on: ClassVar[str] = "cells"
    deed: ClassVar[tuple[str, str]] = ("labels cells", ", in labelling cells")
    order: ClassVar[tuple[str, ...]] = ("transfer_f1", "transfer_accuracy", "transfer_ece")
    titles: ClassVar[dict[str, str]] = {"transfer_f1": "Labels of cells that were left out"}

    unseen: pd.DataFrame
    left_out: tuple[str, int]

    def facts(self) -> dict[str, str]:
        """Cells, what was left out, turns."""
        what, n = self.left_out
        low, high = self.folds["n_train"].min(), self.folds["n_test"].max()
        return {
            "left out": f"{n:,} {several(what)} in {self.n_fits} turns",
            "cells per fit": f"{low:,} in the reference at least, {high:,} labelled at most",
        }

    def said(self) -> list[str]:
        """All that the table says, of types that no reference had too."""
        return [*super().said(), *self._of_unseen()]

    def _of_unseen(self) -> list[str]:
        out = []
        for method, own in self.unseen.groupby("method", sort=False):
            if method in self.baselines and len(set(own["auroc"])) == 1:
                continue
            worst = own.loc[own["auroc"].idxmin()]
            good = int((own["auroc"] > 0.9).sum())
            out.append(f"{method} tells {good} of {len(own)} types that its reference lacked from "
                       f"known cells with AUROC over 0.9 (lowest: {worst['label']}, "
                       f"{worst['auroc']:.2f})")  # fmt: skip
        return out

    def sections(self) -> list[Section]:
        """What a page of this comparison says, in order."""
        from smalti.comparison.page.annotation import unseen
        from smalti.comparison.page.order import compared, made, scores, settings

        return made(self, (scores, unseen, compared, settings))

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        if len(self.unseen):
            write_table(self.unseen, folder / "unseen.csv")


def compare_annotation(
    candidates: Any,
    bags: Any,
    *,
    label: str = "cell_type",
    batch: str | None = None,
    leave_out: Sequence[str] = ("unknown", "Unknown", "doublet"),
    folds: int = 5,
    unseen: bool | Sequence[str] = True,
    seed: int = 0,
    progress: bool | None = None,
) -> AnnotationComparison:
    """Label cells of donors that were left out, by several references, and score the labels.

    Parameters
    ----------
    candidates
        One or several annotators, or integrations (names too), of which annotators are made; a
        mapping gives them names. Logistic regression on RNA and the commonest label always take
        part.
    bags
        Cells with their labels, as :meth:`smalti.Annotator.fit` takes them.
    label, batch, leave_out
        As of :class:`smalti.Annotator`: donors are left out in turn, or batches; else cells.
    folds
        Turns.
    unseen
        Whether each type is also left out of a reference, to see whether it is found to be unknown;
        or those that are. In the first turn alone.
    seed
        Of how loose cells are dealt to turns.
    progress
        Show a bar; None: on a terminal or in a notebook.

    Returns
    -------
    AnnotationComparison
        Metrics, each of a turn: transfer_f1 (macro, of the labels among the cells that are tested),
        transfer_accuracy, transfer_ece (calibration error of the confidence, ten bins of as many
        cells each). Cells of a label that the reference of the turn lacks are not tested.

    Raises
    ------
    InputError
        As :meth:`smalti.Annotator.fit`.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_modalities(240, n_bags=6, effect=8.0, seed=0)
    >>> block_pca = sm.integrate.BlockPCA(width=4, progress=False)
    >>> table = sm.compare_annotation(
    ...     [block_pca], cells, label="kind", folds=3, unseen=["0/0"], progress=False
    ... )
    >>> table.metrics, len(table.unseen)
    (('transfer_f1', 'transfer_accuracy', 'transfer_ece'), 3)
    """
    bags = as_cells(bags).check()
    codes, names = groups_of(bags, label, leave_out)
    if len(names) < 2:
        raise InputError(f"label={label!r} has {len(names)} labels: at least two are needed.")
    rivals = _lined_up(candidates, label, batch, leave_out)
    fold, what, n = parts_of(bags, codes, batch, folds, seed)
    truth = np.array([*names, ""], dtype=object)[codes]
    asked = names if unseen is True else list(unseen or ())
    rows, strange = [], []
    with Progress(progress, "annotation") as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        total = len(rivals) * (len(np.unique(fold)) + len(asked))
        bar.start("fits", total)
        for name, rival in rivals.items():
            for turn in np.unique(fold):
                rows += _turn(name, rival, bags, truth, fold, int(turn))
                bar.advance()
            for lacking in asked:
                strange.append(_without(name, rival, bags, truth, fold, lacking))
                bar.advance()
    told = f"{bags.digest} {label} {what} {folds} {names}".encode() + fold.tobytes()
    columns = ["method", "label", "cells", "auroc", "found", "false_alarms"]
    return AnnotationComparison(
        folds=pd.DataFrame(rows), digest=hashlib.sha256(told).hexdigest()[:16],
        settings={k: _settings(v) for k, v in rivals.items()}, about=repr(bags),
        baselines=(LogisticLabels.name, MajorityLabel.name),
        notes=(*map(str, bags.notes), *_notes(what)),
        unseen=pd.DataFrame(strange, columns=columns), left_out=(what, n),
    )  # fmt: skip


def _notes(what: str) -> tuple[str, ...]:
    return () if what != "cell" else (
        "cells were left out, not donors: scores are of new cells of the same donors and batches.",
    )  # fmt: skip


def _lined_up(
    candidates: Any, label: str, batch: str | None, leave_out: Sequence[str]
) -> dict[str, Any]:
    rivals: dict[str, Any] = {}
    always = (LogisticLabels(label, leave_out), MajorityLabel(label, leave_out))
    for named, one in given(candidates):
        name = named or (one if isinstance(one, str) else one.name)
        if name in rivals:
            raise InputError(f"{name!r} is named twice: give names, {{'NAME': ...}}.")
        if name in {other.name for other in always}:
            raise InputError(f"{name!r} is the name of a baseline: choose another label.")
        rivals[name] = one if isinstance(one, Annotator) else \
            Annotator(one, label=label, batch=batch, leave_out=leave_out)  # fmt: skip
    return rivals | {other.name: other for other in always}


def _settings(rival: Any) -> dict[str, Any]:
    settings = dict(rival.get_params(deep=False))
    method = settings.pop("method", None)
    inner = {} if method is None or isinstance(method, str) else method.get_params(deep=False)
    return (
        settings | inner | ({} if method is None else {"method": getattr(method, "name", method)})
    )


def _fitted(rival: Any, bags: Bags) -> tuple[Any, float]:
    began = time.perf_counter()
    one = clone(rival) if isinstance(rival, Annotator) else rival
    return one.fit(bags), time.perf_counter() - began


def _turn(
    name: str, rival: Any, bags: Bags, truth: np.ndarray, fold: np.ndarray, turn: int
) -> list[dict[str, Any]]:
    """Scores of one turn."""
    known = np.isin(truth, np.unique(truth[(fold != turn) & (truth != "")]))
    rows = np.flatnonzero((fold == turn) & known)
    model, seconds = _fitted(rival, bags.keep(fold != turn))
    found = model.annotate(bags.keep(rows))
    want, got = truth[rows].astype(str), found["nearest"].to_numpy().astype(str)
    scores = {
        "transfer_f1": sk.f1_score(want, got, average="macro", labels=np.unique(want),
                                   zero_division=0),
        "transfer_accuracy": float((want == got).mean()),
        "transfer_ece": calibration(want == got, found["confidence"].to_numpy(), draws=2)["ece"],
    }  # fmt: skip
    row = {"method": name, "repeat": 0, "fold": turn, "n_train": int((fold != turn).sum()),
           "n_test": len(rows), "seconds": seconds}  # fmt: skip
    return [row | {"metric": m, "value": float(v)} for m, v in scores.items()]


def _without(
    name: str, rival: Any, bags: Bags, truth: np.ndarray, fold: np.ndarray, lacking: str
) -> dict[str, Any]:
    """Whether a type that the reference lacks is found, among left-out cells of known types."""
    model, _ = _fitted(rival, bags.keep((fold != 0) & (truth != lacking)))
    known = (fold == 0) & np.isin(truth, np.unique(truth[fold != 0])) & (truth != "")
    rows = np.flatnonzero(known | (truth == lacking))
    strange = truth[rows] == lacking
    found = model.annotate(bags.keep(rows))
    far = found["unknown"].to_numpy() if "unknown" in found else np.full(len(rows), np.nan)
    return {"method": name, "label": lacking, "cells": int(strange.sum()),
            "auroc": sk.roc_auc_score(strange, found["novelty"]), "found": far[strange].mean(),
            "false_alarms": far[~strange].mean()}  # fmt: skip
