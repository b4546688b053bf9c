"""``Annotator``: labels of a reference carried over to new cells, with how sure they are."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from smalti.bags import Bags
from smalti.columns import groups_of
from smalti.core.align import said
from smalti.core.identity import model_digest
from smalti.core.publishing import Publishing
from smalti.core.registry import make
from smalti.core.save import save
from smalti.core.seen import told_of, warn_of_training
from smalti.errors import InputError
from smalti.integrate.annotator_file import described, restored
from smalti.integrate.base import Integration, as_cells
from smalti.integrate.halves import gaps_told
from smalti.integrate.reference import learn
from smalti.integrate.turns import parts_of, several

UNKNOWN = "unknown"
COLUMNS = ("label", "confidence", "unknown", "nearest", "second", "novelty")
"""Columns of an annotation."""
_MANY = 0.01  # share of cells that lie where a reference cell does, by chance


class Annotator(Publishing, BaseEstimator):
    """Labels of reference cells for new ones: a vote of the nearest in the code of an integration.

    Parameters
    ----------
    method
        A method of :mod:`smalti.integrate` that embeds new cells, or its name; it is fitted on the
        reference, and anew for each turn of the calibration. One that is fitted already is taken as
        it is, then the cells of the calibration were among its own. The default is linear
        and quick, and no network was ahead of it by more than an AUROC of 0.001 in finding types
        that the reference lacks where they were measured (docs/results/annotation.md).
    label
        Instance column of the reference that has the labels.
    batch
        Column of what is left out in turn to learn how sure a label is. Where left out: the
        donors; of loose cells without donors, cells, which promises too much for a new donor.
    leave_out
        Labels that are none: their cells are embedded and do not vote.
    k
        Voters of a cell.
    folds
        Turns of the calibration.
    per_label
        Cells of a label that are kept to vote, at most; drawn by the seed.
    false_alarm
        Share of reference cells of known labels, left out, that count as unknown.
    seed
        Of that draw.

    Attributes
    ----------
    model_
        The fitted integration.
    labels_
        The labels, sorted.
    counts_
        Label -> cells of the reference.
    by_, n_by_
        What was left out in turn ("donor", "batch", "sample", "cell"), and how many there are.
    notes_
        What is to be known of the calibration.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_modalities(300, n_bags=6, effect=8.0, seed=0)
    >>> block_pca = sm.integrate.BlockPCA(width=4, progress=False)
    >>> annotator = sm.Annotator(block_pca, label="kind").fit(cells)
    >>> new = sm.datasets.planted_modalities(50, effect=8.0, seed=1)
    >>> found = annotator.annotate(new)
    >>> list(found)
    ['label', 'confidence', 'unknown', 'nearest', 'second', 'novelty']
    >>> bool((found["nearest"].to_numpy() == new.instance["kind"].to_numpy()).mean() > 0.9)
    True
    """

    holds: ClassVar[str] = "annotator"  # in model files: a method, and more

    def __init__(
        self,
        method: Any = "block_pca",
        *,
        label: str = "cell_type",
        batch: str | None = None,
        leave_out: Sequence[str] = ("unknown", "Unknown", "doublet"),
        k: int = 15,
        folds: int = 3,
        per_label: int = 2000,
        false_alarm: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.label = label
        self.batch = batch
        self.leave_out = leave_out
        self.k = k
        self.folds = folds
        self.per_label = per_label
        self.false_alarm = false_alarm
        self.seed = seed

    @property
    def name(self) -> str:
        """The name of the integration, by which tables call it."""
        method = getattr(self, "model_", self.method)
        return f"annotator of {method if isinstance(method, str) else method.name}"

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the code of the reference, keep its labelled cells, calibrate.

        Parameters
        ----------
        X
            The reference, as :meth:`Integration.fit` takes it, with ``label`` among its columns.
        y
            Not used.

        Raises
        ------
        InputError
            If there are fewer than two labels, the method embeds no new cells, a setting is out of
            range, or as :meth:`Integration.fit` does.
        """
        self._check()
        bags = as_cells(X)
        codes, names = groups_of(bags, self.label, self.leave_out)
        if len(names) < 2:
            raise InputError(f"label={self.label!r} has {len(names)} labels: at least two are "
                             "needed.")  # fmt: skip
        method, model = self._method()
        fold, self.by_, self.n_by_ = parts_of(bags, codes, self.batch, self.folds)
        if model is None:
            assert method is not None
            model = clone(method).fit(bags)
        self.model_: Integration = model
        self.labels_ = tuple(names)
        count = np.bincount(codes[codes >= 0], minlength=len(names))
        self.counts_ = dict(zip(names, count.tolist(), strict=True))
        self.n_without_ = int((codes < 0).sum())
        self.digest_ = bags.digest
        self.refitted_ = method is not None
        self.reference_ = learn(model, method, bags, codes, len(names), fold, self.k,
                                self.per_label, self.seed)  # fmt: skip
        self.notes_ = tuple(self._notes())
        return self

    def _check(self) -> None:
        """Refuse settings out of range."""
        for name, least in (("k", 1), ("folds", 2), ("per_label", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name}={value!r}: give a whole number, {least} or more.")
        if not 0 < self.false_alarm < 1:
            raise InputError(f"false_alarm={self.false_alarm!r}: give a share between 0 and 1.")

    def _method(self) -> tuple[Integration | None, Integration | None]:
        """What is to be fitted, or what is fitted already."""
        method = make(self.method) if isinstance(self.method, str) else self.method
        if not isinstance(method, Integration):
            raise InputError(f"method={self.method!r} does not integrate modalities.")
        if only := method.at_hand():
            raise InputError(f"{only} takes only the cells that it was fitted on: choose a method "
                             "such as umint, and of batches its batch=.")  # fmt: skip
        reason = method.unavailable()
        if reason is not None:
            raise InputError(f"{reason}.")
        return (None, method) if hasattr(method, "network_") else (method, None)

    def _notes(self) -> list[str]:
        notes = []
        if self.by_ == "cell":
            notes.append("confidence was calibrated on cells left out, not donors: for cells of "
                         "another donor or batch it promises too much.")  # fmt: skip
        if not self.refitted_:
            notes.append("the cells that confidence was calibrated on were among those that the "
                         "integration was fitted on (without their labels).")  # fmt: skip
        few = [f"{name} ({n:,})" for name, n in self.counts_.items() if n <= self.k // 2]
        if few:
            notes.append(f"so few cells hardly win a vote of {self.k}: {', '.join(few)}.")
        return notes

    # ---------------------------------------------------------------- new cells

    def annotate(
        self, X: Any, *, missing: str | None = None, false_alarm: float | None = None
    ) -> pd.DataFrame:
        """Labels of new cells.

        Parameters
        ----------
        X
            Cells, as :meth:`fit` takes them; they may lack a modality.
        missing
            What to take features for that they lack (see :meth:`Integration.complete`).
        false_alarm
            Another share of known cells that count as unknown than that of the settings.

        Returns
        -------
        DataFrame
            One row a cell, by its name: ``label``, "unknown" where the novelty is over that of all
            but so many of the reference's own left-out cells; ``confidence``, the probability that
            ``nearest`` is right if the reference has the label at all; ``unknown``; ``nearest``,
            the label of the vote; ``second``, that of the second most votes, None where all agree;
            ``novelty``, how far off the cell lies (standard deviations, on a log scale), and what
            it is rebuilt worse than nearly all known cells. ``attrs`` keep ``false_alarm`` and, in
            ``missing``, what cells lacked and what it was taken for; :meth:`write` puts them into
            ``uns``.

        Raises
        ------
        InputError
            If features are lacking, or the cells were measured in modalities of which the reference
            has no codes.

        Warns
        -----
        UserWarning
            Where cells are those of the reference, or of its donors.
        """
        check_is_fitted(self, "model_")
        share = self.false_alarm if false_alarm is None else false_alarm
        if not 0 < share < 1:
            raise InputError(f"false_alarm={share!r}: give a share between 0 and 1.")
        given = as_cells(X)
        bags = self._laid_out(given, missing)
        if bags.donor not in (None, "bag"):
            warn_of_training(self.model_, bags)
        n, names = bags.n_instances, np.array([*self.labels_, None], dtype=object)
        best, second = np.zeros(n, np.int64), np.full(n, -1)
        sure, novelty, far = np.zeros(n), np.zeros(n), np.zeros(n, dtype=bool)
        same = np.zeros(n, dtype=bool)
        for views, rows, votes in self.reference_.ask(self.model_, bags):
            left = self.reference_.left_out[views]
            best[rows], second[rows], novelty[rows] = votes.best, votes.second, votes.novelty
            sure[rows] = left.confidence(votes)
            far[rows] = votes.novelty > left.threshold(share)
            same[rows] = votes.same
        if same.sum() > _MANY * n:
            warnings.warn(
                f"{int(same.sum()):,} of {n:,} cells lie just where cells of the reference do: if "
                "they are the same cells, each votes for itself, and confidence means nothing.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
        found = {"label": np.where(far, UNKNOWN, names[best]), "confidence": sure, "unknown": far,
                 "nearest": names[best], "second": names[second], "novelty": novelty}  # fmt: skip
        out = pd.DataFrame(found, index=pd.Index(bags.instance.index, name="cell"))
        lacking = said(bags, given, *gaps_told(self.model_, bags))
        out.attrs = {"false_alarm": share} | lacking
        return out

    def label_bags(
        self, X: Bags, *, key_added: str = "cell_type", missing: str | None = None
    ) -> Bags:
        """The same bags with the labels as an instance column: input of a method with ``group=``.

        Parameters
        ----------
        X
            Bags.
        key_added
            Name of the column.
        missing
            As of :meth:`annotate`.

        Notes
        -----
        No target is looked at. Where donors of the bags are those of the reference a note says so.
        """
        found = self.annotate(X, missing=missing)
        bags = X.with_instance({key_added: found["label"].to_numpy()})
        n = int(found["unknown"].sum())
        note = (f"{key_added} was carried over from a reference of {self.n_cells_:,} cells "
                f"({self.label}); {n:,} of {len(found):,} cells are {UNKNOWN!r}.")  # fmt: skip
        seen = getattr(self.model_, "seen_", None)
        if bags.donor not in (None, "bag") and seen is not None and seen.has_donors(bags).any():
            note += (" Donors of these bags are in it: a comparison of these donors is then of "
                     "labels that their own cells had a part in.")  # fmt: skip
        return dataclasses.replace(bags, notes=(*bags.notes, note))

    def said(self) -> str:
        """What it knows, in a line: cells, labels, and how right it was on what was left out."""
        left = next(iter(self.reference_.left_out.values()))
        return (
            f"reference of {self.n_cells_:,} cells of {len(self.labels_)} labels; "
            f"{left.right.mean():.1%} of {len(left.right):,} cells of {several(self.by_)} left out "
            f"({self.n_by_:,} in {len(np.unique(left.fold))} turns) got their own label"
        )

    @property
    def n_cells_(self) -> int:
        """Cells of the reference that have a label."""
        return sum(self.counts_.values())

    def _laid_out(self, X: Any, missing: str | None) -> Bags:
        """Cells with the views of the model by its names, those that are lacking as gaps."""
        bags = self.model_._with_gaps(self.model_._filled(as_cells(X), missing))
        return self.model_._check_present(self.model_._same_views(bags))

    def write(
        self,
        data: Any,
        *,
        out: str | Path | None = None,
        copy: bool = False,
        key_added: str = "annotation",
        overwrite: bool = False,
        missing: str | None = None,
        x: Any = None,
        cells: str | None = None,
        bags: Bags | None = None,
        found: pd.DataFrame | None = None,
        obs: str | Path | pd.DataFrame | None = None,
        runs: Sequence[str] | None = None,
    ) -> Any:
        """Write labels into the user's data: ``obs["NAME_label"]`` and so on, and ``uns["NAME"]``.

        Parameters
        ----------
        data
            AnnData or MuData, changed in place; or the path of an .h5ad, .h5mu or .zarr; or what
            :func:`smalti.read` takes besides, which needs ``out``.
        out
            Write to this path instead; data in memory stay as they are.
        copy
            Put the result into a copy of AnnData or MuData in memory and return it, as scanpy does.
        key_added
            NAME.
        overwrite
            Replace what is there under these names, and a file ``out``.
        missing
            As of :meth:`annotate`.
        x, cells
            What is read of the data (see :func:`smalti.read`).
        bags, found
            What was read of the data, and what :meth:`annotate` gave of it; where left out they are
            read and annotated. ``uns`` says what its ``attrs`` say: the share of false alarms that
            was asked for, and what the cells lacked.
        obs, runs
            As of :func:`smalti.read`, where the data are read with them; what comes of it needs
            ``out``.

        Returns
        -------
        AnnData or MuData
            The copy; without ``copy`` None.

        Raises
        ------
        InputError
            As :meth:`annotate`, or if a name or a file is taken.
        """
        from smalti.io.anndata import read
        from smalti.io.open import open_table, to_change, to_write
        from smalti.io.write import write

        data = to_change(to_write(data, out, obs=obs, runs=runs), out, copy)
        bags = read(data, x=x, cells=cells) if bags is None else bags
        found = self.annotate(bags, missing=missing) if found is None else found
        n = len(open_table(data).names)  # cells in no bag get no label
        columns = {f"{key_added}_{name}": _in_order(found[name], bags, n) for name in COLUMNS}
        how = {k: found.attrs[k] for k in ("false_alarm", "missing") if k in found.attrs}
        write(
            data, obs=columns, obsm={}, uns={key_added: self._told(key_added) | how},
            origin=bags.origin, out=out, overwrite=overwrite, bags=bags,
        )  # fmt: skip
        return data if copy else None

    def _told(self, key: str) -> dict[str, Any]:
        keys = [f"obs/{key}_{name}" for name in COLUMNS]
        return {
            "model": model_digest(self.model_), "method": self.model_.name, "label": self.label,
            "reference_digest": self.digest_, "labels": list(self.labels_),
            "cells_of_label": list(self.counts_.values()), "calibrated_on": self.by_,
            "notes": list(self.notes_), "fitted_on": told_of(self.model_, keys),
        }  # fmt: skip

    # ---------------------------------------------------------------- model files

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write ``weights.safetensors`` and ``model.json`` (see :meth:`Integration.save`).

        Codes and labels of the reference are in it, no counts; names of cells are not.

        Raises
        ------
        InputError
            As :meth:`Integration.save`.
        """
        check_is_fitted(self, "model_")
        save(self, Path(folder), overwrite=overwrite)

    def describe(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What a model file has: a note, and tensors of any shape."""
        return described(self)

    @classmethod
    def rebuilt(cls, note: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Self:
        """The annotator that :meth:`describe` described; its tensors may have any shape."""
        return restored(cls, note, tensors)


def _in_order(values: pd.Series, bags: Bags, n: int) -> Any:
    """A column of an annotation in the order of the user's table; none for cells in no bag."""
    if values.dtype == bool:
        values = values.astype(object)
    if values.dtype != object:
        return bags.scatter(values.to_numpy(), n)
    out = np.full(n, None, dtype=object)
    out[bags.rows] = values.map(lambda v: None if v is None else str(v)).to_numpy()
    return pd.Categorical(out)
