"""``Annotated``: cells with the labels that a reference gave them, and the page of it."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.integrate.annotator import UNKNOWN, Annotator
from smalti.scores.probabilities import calibration, calibration_curve

if TYPE_CHECKING:
    from smalti.report.section import Section


@dataclasses.dataclass(frozen=True, eq=False)
class Annotated:
    """What :meth:`smalti.Annotator.annotate` found, as a page says it.

    Parameters
    ----------
    annotator
        Fitted.
    bags
        The cells that were labelled, in samples where there are any.
    found
        Their labels.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_modalities(300, n_bags=6, effect=8.0, seed=0)
    >>> block_pca = sm.integrate.BlockPCA(width=4, progress=False)
    >>> annotator = sm.Annotator(block_pca, label="kind").fit(cells)
    >>> new = sm.datasets.planted_modalities(50, effect=8.0, n_bags=2, seed=1)
    >>> page = sm.comparison.Annotated(annotator, new, annotator.annotate(new))
    >>> page.counts()["label"].tolist()[:2]
    ['0/0', '0/1']
    """

    annotator: Annotator
    bags: Bags
    found: pd.DataFrame

    @property
    def about(self) -> str:
        """The cells in one line."""
        return repr(self.bags)

    @property
    def digest(self) -> str:
        """Of the cells."""
        return self.bags.digest

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Those of the annotator and of its integration."""
        own = {k: v for k, v in self.annotator.get_params(deep=False).items() if k != "method"}
        model = self.annotator.model_
        return {"annotator": own, model.name: model.get_params(deep=False)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the cells and of the calibration."""
        lacking = self.found.attrs.get("missing", ())
        return (*map(str, self.bags.notes), *lacking, *self.annotator.notes_)

    @property
    def false_alarm(self) -> float:
        """Share of known cells that was allowed to be unknown, of :meth:`annotate`."""
        return float(self.found.attrs.get("false_alarm", self.annotator.false_alarm))

    @property
    def folds(self) -> pd.DataFrame:
        """No fit was made."""
        return pd.DataFrame({"seconds": np.zeros(0)})

    def headline(self) -> str:
        """How many cells were labelled, how sure, how many not."""
        n, far = len(self.found), self.found["unknown"]
        sure = self.found.loc[~far, "confidence"]
        mean = f", with a mean confidence of {sure.mean():.2f}" if len(sure) else ""
        return (
            f"{int((~far).sum()):,} of {n:,} cells were given one of {len(self.annotator.labels_)} "
            f"labels{mean}; {int(far.sum()):,} ({far.mean():.1%}) are unknown, where "
            f"{self.false_alarm:.0%} would be of cells of known types"
        )

    def counts(self) -> pd.DataFrame:
        """Each label: cells, share, mean confidence, and cells of it in the reference."""
        rows = []
        for name in (*self.annotator.labels_, UNKNOWN):
            own = self.found[self.found["label"] == name]
            rows.append({"label": name, "cells": len(own), "share": len(own) / len(self.found),
                         "confidence": own["confidence"].mean() if name != UNKNOWN else np.nan,
                         "in_reference": self.annotator.counts_.get(name)})  # fmt: skip
        return pd.DataFrame(rows).astype({"in_reference": "Int64"})

    def samples(self) -> pd.DataFrame:
        """Each sample: cells, share unknown, mean confidence, and the share of each label."""
        index = self.bags.bag.index[self.bags.index]
        by = self.found.set_axis(pd.Index(index, name="sample")).groupby(level=0, sort=False)
        frame = pd.DataFrame({"cells": by.size(), "unknown": by["unknown"].mean(),
                              "confidence": by["confidence"].mean()})  # fmt: skip
        return frame.join(self._shares.drop(columns=UNKNOWN, errors="ignore")).reset_index()

    @cached_property
    def _shares(self) -> pd.DataFrame:
        index = pd.Index(self.bags.bag.index[self.bags.index], name="sample")
        shares = pd.crosstab(index, self.found["label"].to_numpy(), normalize="index")
        return shares.reindex(self.bags.bag.index)

    def calibrations(self) -> pd.DataFrame:
        """Of each choice of modalities: cells left out, right, confidence, calibration error."""
        rows = []
        for views, left in self.annotator.reference_.left_out.items():
            p = left.tested()
            known = np.isfinite(p)
            row = {"modalities": " and ".join(views), "cells": len(left.right),
                   "right": left.right.mean()}  # fmt: skip
            if known.any():
                found = calibration(left.right[known], p[known], draws=50)
                row |= {"confidence": p[known].mean(), "ece": found["ece"],
                        "ece_perfect": found["ece_perfect"]}  # fmt: skip
            rows.append(row)
        return pd.DataFrame(rows)

    def curve(self) -> pd.DataFrame:
        """Bins of the calibration curve of each choice of modalities, ``part``."""
        parts = []
        for views, left in self.annotator.reference_.left_out.items():
            p = left.tested()
            known = np.isfinite(p)
            if known.any():
                own = calibration_curve(left.right[known], p[known])
                parts.append(own.assign(part=" and ".join(views)))
        return pd.concat(parts) if parts else pd.DataFrame()

    def sections(self) -> list[Section]:
        """What the page says, in order."""
        from smalti.comparison.page.annotation import labels, reference, samples

        return [s for make in (labels, samples, reference) if (s := make(self)) is not None]

    def report(self, path: str | Path, **kwargs: Any) -> None:
        """Write a one-page HTML report (see :func:`smalti.report.write_report`)."""
        from smalti.report import write_report

        write_report(self, path, **kwargs)
