"""What cells that were left out say of the labels of new ones: how sure, and how far is too far."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from smalti.solve.votes import Votes


@dataclasses.dataclass(frozen=True, eq=False)
class LeftOut:
    """Labelled cells that were left out in turn, and the votes for them.

    Parameters
    ----------
    truth
        (n,) int64 their labels, each of which the voters had.
    fold
        (n,) int64 the turn in which a cell was left out.
    best, share, novelty
        (n,) as of :class:`~smalti.solve.votes.Votes`.
    k
        How many voted.
    """

    truth: np.ndarray
    fold: np.ndarray
    best: np.ndarray
    share: np.ndarray
    novelty: np.ndarray
    k: int

    @property
    def right(self) -> np.ndarray:
        """(n,) whether the vote was."""
        return self.best == self.truth

    def confidence(self, votes: Votes) -> np.ndarray:
        """(m,) probability that ``best`` is right, where the label is one of the reference.

        Platt's logistic map of the share of votes and the novelty, fitted on all cells left out.
        """
        return self._map(votes.share, votes.novelty)

    @cached_property
    def _map(self) -> Confidence:
        return Confidence.fit(self.share, self.novelty, self.right, self.k)

    def tested(self) -> np.ndarray:
        """(n,) confidence of the cells left out, by a map of the other turns."""
        out = np.full(len(self.truth), np.nan)
        for fold in np.unique(self.fold):
            held = self.fold == fold
            if held.all():
                break
            rest = Confidence.fit(self.share[~held], self.novelty[~held], self.right[~held], self.k)
            out[held] = rest(self.share[held], self.novelty[held])
        return out

    def threshold(self, false_alarm: float) -> float:
        """Novelty that so many of the cells left out, whose labels are known, exceed at most."""
        return float(np.quantile(self.novelty, 1 - false_alarm, method="higher"))


@dataclasses.dataclass(frozen=True)
class Confidence:
    """A logistic map of share and novelty; ``ends`` cut the novelty to what was seen."""

    weight: tuple[float, float, float]  # constant, logit of the share, novelty
    ends: tuple[float, float]
    most: float  # no probability is nearer to 1 than the number of cells can tell
    k: int

    @classmethod
    def fit(cls, share: np.ndarray, novelty: np.ndarray, right: np.ndarray, k: int) -> Confidence:
        """Of (n,) votes, and whether each was right."""
        ends = (float(novelty.min()), float(novelty.max()))
        most = 1 - 1 / (len(right) + 2)
        mean = (right.sum() + 1) / (len(right) + 2)
        if right.all() or not right.any():
            return cls((float(logit(mean)), 0.0, 0.0), ends, most, k)
        table = np.stack([_logit(share, k), novelty], axis=1)
        found = LogisticRegression(C=10.0).fit(table, right)
        by_share, by_novelty = map(float, found.coef_[0])
        return cls((float(found.intercept_[0]), by_share, by_novelty), ends, most, k)

    def __call__(self, share: np.ndarray, novelty: np.ndarray) -> np.ndarray:
        """(m,) probabilities."""
        constant, by_share, by_novelty = self.weight
        known = np.clip(novelty, *self.ends)
        p = expit(constant + by_share * _logit(share, self.k) + by_novelty * known)
        return np.minimum(p, self.most)


def _logit(share: np.ndarray, k: int) -> np.ndarray:
    """Logit of a share of k votes, to which half a vote of k + 1 is added."""
    return logit((share * k + 0.5) / (k + 1))
