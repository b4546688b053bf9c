"""What an annotator should beat: logistic regression on one modality, and the commonest label."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from smalti.bags import Bags
from smalti.columns import groups_of
from smalti.preprocess import apply_steps, fit_steps, guess_steps, steps_of

_CUT = 10.0  # s.d. at which a scaled gene is cut, as CellTypist does


class LogisticLabels:
    """Multinomial logistic regression with an L2 penalty, on RNA alone where there is RNA.

    The steps of the modality (of counts: library size, logarithm, 2,000 genes), then scaled and cut
    at 10 standard deviations, as in CellTypist (Dominguez Conde 2022, Science 376:eabl5197).
    Confidence is the probability as it comes, novelty one less it.
    """

    name = "logistic regression"

    def __init__(self, label: str, leave_out: Any = (), c: float = 1.0) -> None:
        self.label, self.leave_out, self.c = label, leave_out, c

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Its settings."""
        return {"label": self.label, "leave_out": self.leave_out, "c": self.c}

    def fit(self, bags: Bags) -> Self:
        """Learn from labelled cells."""
        codes, names = groups_of(bags, self.label, self.leave_out)
        self.view_ = "rna" if "rna" in bags.x else next(iter(bags.x))
        one = bags.only(self.view_).keep(codes >= 0)
        words = guess_steps(one).get(self.view_, "")
        steps = ",".join(filter(None, (words, "scale")))
        self.steps_, after = fit_steps(steps_of({self.view_: steps}), one)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model_ = LogisticRegression(C=self.c, max_iter=100).fit(
                np.clip(after.table(), -_CUT, _CUT), np.asarray(names)[codes[codes >= 0]]
            )
        return self

    def annotate(self, bags: Bags) -> pd.DataFrame:
        """As of :meth:`smalti.Annotator.annotate`, without a threshold of unknown."""
        after = apply_steps(self.steps_, bags.only(self.view_))
        p = self.model_.predict_proba(np.clip(after.table(), -_CUT, _CUT))  # (n_cells, n_labels)
        nearest = self.model_.classes_[p.argmax(1)]
        return _frame(nearest, p.max(1), 1 - p.max(1))


class MajorityLabel:
    """The commonest label for every cell, as sure as it is common."""

    name = "commonest label"

    def __init__(self, label: str, leave_out: Any = ()) -> None:
        self.label, self.leave_out = label, leave_out

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Its settings."""
        return {"label": self.label, "leave_out": self.leave_out}

    def fit(self, bags: Bags) -> Self:
        """Count."""
        codes, names = groups_of(bags, self.label, self.leave_out)
        count = np.bincount(codes[codes >= 0], minlength=len(names))
        self.found_ = names[count.argmax()], count.max() / count.sum()
        return self

    def annotate(self, bags: Bags) -> pd.DataFrame:
        """As of :meth:`smalti.Annotator.annotate`."""
        n = bags.n_instances
        return _frame(np.full(n, self.found_[0]), np.full(n, self.found_[1]), np.zeros(n))


def _frame(nearest: np.ndarray, confidence: np.ndarray, novelty: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"nearest": nearest, "confidence": confidence, "novelty": novelty})
