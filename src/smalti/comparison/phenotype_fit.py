"""``Folds``: the arena of bags: donors that are left out in turn."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.comparison.arena import Arena
from smalti.comparison.cache import Answer
from smalti.comparison.explained import explain_fit
from smalti.comparison.protocols import (
    DONORS,
    Protocol,
)
from smalti.comparison.recalibration import left_out, recalibrated, recalibrated_curves
from smalti.comparison.splits import Split, split_digest
from smalti.core.seen import donor_names
from smalti.core.validation import k_folds
from smalti.mil.heatmaps import tile_numbers
from smalti.scores.metrics import METRICS, score
from smalti.scores.pairs import WITHIN, likelihoods, within_donors
from smalti.scores.survival import survival_scores
from smalti.task import Task
from smalti.task.survival import Survival
from smalti.views import survey

OF_SEVERAL = ("roc_auc", "average_precision", "balanced_accuracy", "spearman", "pearson", "r2",
               "quadratic_kappa", "c_index", "c_uno", "auroc_time")  # fmt: skip


def metrics_of(kind: str, protocol: str, contrast: str | None = None) -> tuple[str, ...]:
    """Metrics of a kind of task, the one to rank by first.

    One donor alone has no rank: there the first are those that a single bag has. Where samples of
    a donor are held against each other, that comes first.
    """
    if contrast is not None:
        return (WITHIN, *metrics_of(kind, protocol))
    every = METRICS[kind]
    if protocol != DONORS:
        return every
    first = {"log_loss": 0, "brier": 1, "integrated_brier": 1}
    return tuple(sorted(every, key=lambda m: first.get(m, 2 + (m in OF_SEVERAL))))


class Folds(Arena):
    """Bags of donors that are left out in turn; a fit answers with its predictions of them."""

    def __init__(
        self, bags: Bags, protocol: Protocol, attributions: bool, test_bags: Bags,
        explain: bool = False, recalibrate: str | None = None, contrast: str | None = None,
    ) -> None:  # fmt: skip
        self.recalibrate, self.contrast = recalibrate, contrast
        self.bags, self.test_bags, parts = bags, test_bags, protocol.splits
        self.protocol, self.parts, self.alone = protocol, parts, protocol.name == DONORS
        # attributions of two repeats are kept, to see whether they agree; the first is looked into
        repeats = list(dict.fromkeys(part.repeat for part in parts))
        self.kept = repeats[:2] if attributions or explain else []
        self.first, self.explain = next(iter(self.kept), None), explain
        self.split_digest = split_digest(parts, bags, test_bags)
        self.digest = bags.asked_digest  # which knows the kind and the order of the classes
        self.about = repr(bags)
        if test_bags is not bags:
            self.digest += test_bags.asked_digest
            self.about += f"; test: {test_bags!r}"

    @property
    def task(self) -> Task:
        """That of all bags, with every class."""
        assert self.bags.task is not None
        return self.bags.task

    @functools.cached_property
    def times(self) -> np.ndarray:
        """(25,) times at which curves are kept, to the last event of all bags."""
        time, event, _ = self.task.encode(self.bags.labels).T
        return np.linspace(0, time[event > 0].max(), 26)[1:]

    def begin(self) -> None:
        """Files of slides are read once for all folds: what is kept of them travels along."""
        for bags in {id(part): part for part in (self.bags, self.test_bags)}.values():
            for view in bags.x.values():
                survey(view)

    def splits(self, method: Any) -> list[Split]:
        """The same for every method."""
        return self.parts

    def seed(self, method: Any, split: Split) -> int:
        """Each fit has its own."""
        return method.seed + 1000 * split.repeat + split.fold

    def fit(self, method: Any, split: Split) -> Answer:
        """Predicted values, or codes of classes; and probabilities of the classes of all bags."""
        train, test = self.bags[split.train], self.test_bags[split.test]
        model = method.fit(train)
        answer = self.answer(model, test)
        if self.recalibrate is not None:
            self._recalibrate(method, train, answer)
        if split.repeat in self.kept:
            values = tile_numbers(model, test)
            answer.note["attributions"] = list(map(str, values))
            answer.arrays["attributions"] = values.to_numpy(np.float32)
        if split.repeat == self.first:
            explain_fit(model, train, test, answer, again=self.explain)
        return answer

    def answer(self, model: Any, test: Bags) -> Answer:
        """What a fitted model says of bags."""
        raw = model.forward(test)[0]
        predicted = model.task_.decide(raw)
        if isinstance(model.task_, Survival):
            return Answer({"predicted": predicted, "curves": model.task_.curves(raw, self.times)})
        if not self.task.is_classifier:
            return Answer({"predicted": predicted})
        place = {c: i for i, c in enumerate(self.task.classes)}
        if self.task.kind != "multilabel":
            predicted = np.array([place[c] for c in predicted], dtype=np.int64)
        p = model.task_.probabilities(raw)
        # a class that training lacked has probability 0
        whole = np.zeros((len(p), len(place)), dtype=p.dtype)
        whole[:, [place[c] for c in model.task_.classes]] = p
        return Answer({"predicted": predicted, "p": whole})

    def _recalibrate(self, method: Any, train: Bags, answer: Answer) -> None:
        """Read probabilities by what models said of training donors that they had not seen."""
        assert self.recalibrate is not None
        if isinstance(self.task, Survival):
            rows, said = left_out(
                method, train, lambda m, bags: self.answer(m, bags).arrays["predicted"]
            )
            truth, risk = self.task.encode(train.labels)[rows], answer.arrays["predicted"]
            answer.arrays["curves"] = recalibrated_curves(said, truth, risk, self.times)
            return
        rows, said = left_out(method, train, lambda m, bags: self.answer(m, bags).arrays["p"])
        place = {c: i for i, c in enumerate(self.task.classes)}
        truth = np.array([place[c] for c in train.labels[rows]])
        p = recalibrated(said, truth, answer.arrays["p"], self.recalibrate)
        answer.arrays |= {"p": p, "predicted": p.argmax(1)}

    def counted(self, split: Split) -> dict[str, int]:
        """Bags and donors, and test bags of each class."""
        train, test = self.bags[split.train], self.test_bags[split.test]
        row = {"train_bags": len(train), "train_donors": len(np.unique(train.donors)),
               "test_bags": len(test), "test_donors": len(np.unique(test.donors))}  # fmt: skip
        if self.task.is_classifier and not self.task.several:
            row |= {f"test_{c}": int((test.labels == c).sum()) for c in self.task.classes}
        return row

    def quarter(self, train: np.ndarray) -> np.ndarray:
        """Bags of a quarter of the donors, (k,) of (n,) positions; two donors of each class."""
        bags = self.bags[train]
        strata = self.task.strata(bags.labels)
        whole = [len(np.unique(bags.donors[strata == code])) for code in np.unique(strata)]
        folds = min(4, min(whole) // 2)
        return train if folds < 2 else train[k_folds(folds, strata, bags.donors, 0)[0][1]]

    def amount(self, train: np.ndarray) -> int:
        """Instances of the bags, (n,) positions."""
        return self.bags[train].n_instances

    def key(self, method: Any, split: Split) -> str:
        """Answers with attributions, looked into or not, are others than those without."""
        words = []
        if split.repeat == self.first:
            words.append("explained, with refits" if self.explain else "explained")
        elif split.repeat in self.kept:
            words.append("attributions")
        if self.recalibrate is not None:
            words.append(f"recalibrated {self.recalibrate}")
        return " ".join(words)

    def score(self, method: Any, split: Split, answer: Answer) -> dict[str, float]:
        """Metric -> value; NaN for a rank of one donor alone."""
        found = self.scores(self.bags[split.train], self.test_bags[split.test], answer)
        found |= {m: np.nan for m in found if self.alone and m in OF_SEVERAL}
        return found if self.contrast is None else \
            {WITHIN: self._within(self.test_bags[split.test], answer)} | found  # fmt: skip

    def scores(self, train: Bags, test: Bags, answer: Answer) -> dict[str, float]:
        """Metric -> value of what was said of bags by a model of others."""
        if self.task.kind == "survival":
            return survival_scores(
                self.task.encode(train.labels), self.task.encode(test.labels),
                answer.arrays["predicted"], answer.arrays["curves"], self.times,
            )  # fmt: skip
        return score(self.task, test.labels, self._decided(answer), answer.arrays.get("p"))

    def _within(self, test: Bags, answer: Answer) -> float:
        """Share of the pairs of a donor's samples in order, the mean over the donors."""
        said, codes = likelihoods(
            self.task, test.labels, answer.arrays["predicted"], answer.arrays.get("p")
        )
        return within_donors(said, codes, test.donors, draws=0).mean

    def _decided(self, answer: Answer) -> np.ndarray:
        """Predicted classes as the user has them, or values."""
        predicted = answer.arrays["predicted"]
        if not self.task.is_classifier or self.task.kind == "multilabel":
            return predicted
        return np.asarray(self.task.classes)[predicted]

    def predictions(self, split: Split, answer: Answer) -> pd.DataFrame:
        """One row per test bag: whose it is, what is true of it, what was predicted."""
        test, task = self.test_bags[split.test], self.task
        frame = pd.DataFrame({
            "repeat": split.repeat, "fold": split.fold, "bag": test.bag.index,
            "donor": donor_names(test),
        } | ({} if test.site is None else {"site": test.bag[test.site].to_numpy()}))  # fmt: skip
        told = task.encode(test.labels) if isinstance(task, Survival) else \
            test.labels.reshape(len(test), -1)  # fmt: skip
        frame[list(task.truths)] = told[:, : len(task.truths)]
        said = [f"predicted_{c}" for c in task.classes] if task.several else ["predicted"]
        frame[said] = self._decided(answer).reshape(len(test), -1)
        if isinstance(task, Survival):
            frame[task.curve_columns(self.times)] = answer.arrays["curves"]
        if "p" in answer.arrays:
            frame[[f"p_{c}" for c in task.classes]] = answer.arrays["p"]
        return frame

    def attributed(
        self, split: dict[tuple[int, int], Split], answers: dict[tuple[str, int, int], Answer]
    ) -> dict[str, pd.DataFrame]:
        """Method -> what its models of the first repeat say of the tiles they were tested on."""
        parts: dict[str, list[pd.DataFrame]] = {}
        for (label, repeat, fold), answer in answers.items():
            columns = answer.note.get("attributions") if repeat == self.first else None
            if columns:
                test = self.test_bags[split[repeat, fold].test]
                frame = pd.DataFrame(answer.arrays["attributions"], columns=columns)
                frame.insert(0, "bag", test.bag.index.to_numpy()[test.index])
                parts.setdefault(label, []).append(frame.assign(fold=fold))
        return {label: pd.concat(frames, ignore_index=True) for label, frames in parts.items()}
