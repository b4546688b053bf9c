"""The time until an event, of bags that were not all seen to have it (right-censored).

A bag has a time and whether the event was seen then; where wanted, the time from which on it was
watched (left truncation). Three models, and of all of them a higher ``raw[:, 0]`` means an earlier
event, so that contributions have a direction that is known:

- "cox": proportional hazards by the partial likelihood (Cox 1972), ties by Efron (1977). The loss
  of a bag depends on all that were at risk when it had its event, so that a step must hold all bags
  (``compares``).
- "discrete": logits of the hazard in each of some intervals (Kvamme & Borgan 2021). A bag that is
  censored within an interval says nothing of it.
- "weibull": accelerated failure, log T = m - s * raw + W / k, with W of the least extreme values.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.integrate import trapezoid
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.labels import events_of, missing
from smalti.task.base import Task, doubles

Model: TypeAlias = Literal["cox", "discrete", "weibull"]
MODELS: tuple[str, ...] = get_args(Model)
_INTERVALS = 10  # of "discrete", at most; an event in each at least


def steps_at(times: Any, values: Any, at: Any, *, start: float, before: bool = False) -> np.ndarray:
    """Values at times of any shape of a curve that steps to ``values`` (n,) at ``times`` (n,).

    ``start`` holds before the first; with ``before`` a step at the very time has not been made.
    """
    known = np.concatenate([[start], np.asarray(values, float)])
    side: Any = "left" if before else "right"
    return known[np.searchsorted(np.asarray(times, float), np.asarray(at, float), side)]


class Survival(Task, of="survival"):
    """A time until an event, right-censored; ``raw[:, 0]`` rises with the risk."""

    metric = "c_index"
    needs = (
        "two: the time, and whether the event was seen then (1) or not (0); a third says from when "
        "on a bag was watched"
    )

    # ---------------------------------------------------------------- making

    @classmethod
    def of_columns(cls, labels: Any, column: str | tuple[str, ...], model: str = "cox") -> Task:
        """Of the columns time, event and, where given, entry: (n, 2) or (n, 3)."""
        y = _columns(labels, column)
        if model not in MODELS:
            raise InputError(f"survival={model!r} is not one of {', '.join(MODELS)}.")
        time, event = y[:, 0], y[:, 1] > 0
        if not event.any():
            raise InputError(
                f"no event was seen in any of the {len(y)} bags ({_names(column, 2)[1]!r} is 0 "
                "throughout): there is nothing to learn."
            )
        cuts: tuple[float, ...] = ()
        deciles = tuple(np.unique(np.quantile(time[event], np.arange(1, 10) / 10)).tolist())
        if model == "discrete":
            at = np.quantile(time[event], np.linspace(0, 1, 1 + min(_INTERVALS, event.sum()))[1:])
            cuts = tuple(np.unique(at[at > 0]).tolist())
        if model == "weibull":
            if (time <= 0).any():
                raise InputError(
                    f"{_names(column, 2)[0]!r} is 0 for {int((time <= 0).sum())} bags, and a "
                    "Weibull model takes the logarithm of times: give these bags half a day, or "
                    "take survival='cox'."
                )
            logs = np.log(time)
            return cls(kind="survival", column=column, model=model, deciles=deciles,
                       center=float(logs.mean()), scale=float(logs.std()) or 1.0)  # fmt: skip
        return cls(kind="survival", column=column, model=model, cuts=cuts, deciles=deciles)

    def as_model(self, labels: Any, model: str) -> Task:
        """The same target by another model, as these labels (n, 2 or 3) have it."""
        return self if model == self.model else self.of_columns(labels, self.column, model)

    # ---------------------------------------------------------------- shape

    @property
    def n_outputs(self) -> int:
        """One for the risk; with the shape of a Weibull; or one for each interval."""
        return {"cox": 1, "weibull": 2}.get(self.model, len(self.cuts))

    @property
    def truths(self) -> tuple[str, ...]:
        """Time and event, and the entry where it was told."""
        n = len(self.column) if isinstance(self.column, tuple) else 2
        return ("true_time", "true_event", "true_entry")[:n]

    @property
    def by_itself(self) -> bool:
        """A time and its event are one target."""
        return True

    @property
    def compares(self) -> bool:
        """Whether the loss of a bag is among others, so that a step needs all of them."""
        return self.model == "cox"

    def describe(self, labels: np.ndarray) -> str:
        """How many had the event, and how long the others were watched."""
        y = _columns(labels, self.column)
        seen = int((y[:, 1] > 0).sum())
        return (f"{self.name}: survival ({seen} events in {len(y)} bags; times {y[:, 0].min():.3g} "
                f"to {y[:, 0].max():.3g})")  # fmt: skip

    # ---------------------------------------------------------------- targets

    def encode(self, labels: Any) -> np.ndarray:
        """Time, event (0 or 1) and entry (0 where none), (n, 3) float64: float32 makes ties."""
        y = _columns(labels, self.column)
        return y if y.shape[1] == 3 else np.column_stack([y, np.zeros(len(y))])

    def strata(self, labels: Any) -> np.ndarray:
        """Event or none, each in halves by time: 0 to 3, (n,)."""
        y = _columns(labels, self.column)
        out = 2 * (y[:, 1] > 0).astype(np.int64)
        for code in (0, 2):
            own = out == code
            if own.sum() > 1:
                out[own] += y[own, 0] > np.median(y[own, 0])
        return np.unique(out, return_inverse=True)[1]

    # ---------------------------------------------------------------- networks

    def head(self, width: int) -> nn.Module:
        """A score; with one shape for all of a Weibull; or a logit for each interval."""
        return Scaled(width) if self.model == "weibull" else nn.Linear(width, self.n_outputs)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Of each bag, (n,): raw (n, n_outputs), target (n, 3), or (n, 4) with codes of strata."""
        time, event, entry = (column.to(torch.float64) for column in target.T[:3])
        raw = raw.to(torch.float64)
        if self.model == "cox":
            strata = target[:, 3] if target.shape[1] > 3 else torch.zeros_like(time)
            return partial_likelihood(raw[:, 0], time, event, entry, strata)
        if self.model == "weibull":
            log_hazard, gone = self._weibull(raw, time)
            before = torch.where(entry > 0, self._weibull(raw, entry.clamp(min=1e-300))[1], 0.0)
            return gone - before - event * log_hazard
        hit, through = self.intervals(target)
        return -(torch.where(hit, F.logsigmoid(raw), 0.0)
                 + torch.where(through, F.logsigmoid(-raw), 0.0)).sum(1)  # fmt: skip

    def intervals(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Which intervals a bag had its event in, and which it went through: (n, n_intervals) each.

        Neither is one that it was not watched in from the beginning, or not to the end; beyond the
        last nothing is modelled.
        """
        time, event, entry = (column[:, None] for column in target.T[:3])
        ends = target.new_tensor(self.cuts)
        starts = F.pad(ends[:-1], (1, 0))
        hit = (event > 0) & (time <= ends) & ((starts < time) | (starts == 0))
        return hit, (ends <= time) & (starts >= entry) & ~hit

    def _weibull(self, raw: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of the hazard and the cumulated hazard at times, (n,) each or (n, n_times)."""
        score, log_shape = raw[:, 0], raw[:, 1]
        if time.ndim == 2:
            score, log_shape = score[:, None], log_shape[:, None]
        logs = torch.log(time)
        z = ((logs - self.center) / self.scale + score) * log_shape.exp()
        return z + log_shape - logs - float(np.log(self.scale)), z.exp()

    def values(self, raw: Tensor) -> Tensor:
        """Hazards of the intervals, else as they are: (n, n_outputs)."""
        return raw.sigmoid() if self.model == "discrete" else raw

    def raw(self, values: Tensor) -> Tensor:
        """Inverse of :meth:`values`."""
        return super().raw(values) if self.model == "discrete" else values

    # ---------------------------------------------------------------- predictions

    def settled(self, raw: np.ndarray, target: np.ndarray) -> Task:
        """The task with the baseline hazard of the training bags (Breslow 1972), of a Cox model.

        ``raw`` (n, 1) are the predictions for them, ``target`` (n, 3 or 4) what is true of them;
        of strata, one baseline for all.
        """
        if self.model != "cox":
            return self
        time, event, entry = np.asarray(target, float).T[:3]
        score = np.asarray(raw, dtype=np.float64)[:, 0]
        center = float(score.mean())
        share = np.exp(score - center)
        times, counts = np.unique(time[event > 0], return_counts=True)
        at_risk = (entry < times[:, None]) & (times[:, None] <= time)  # (n_times, n)
        hazard = np.cumsum(counts / (at_risk @ share))
        return dataclasses.replace(self, center=center, hazard_times=tuple(times.tolist()),
                                   hazard=tuple(hazard.tolist()))  # fmt: skip

    def decide(self, raw: np.ndarray) -> np.ndarray:
        """The risk, (n,): the higher the earlier the event.

        Log hazard beside the average training bag (Cox), beside a bag of score 0 (Weibull); or the
        share of the time to the last cut that is lost (discrete).
        """
        raw = np.asarray(raw, dtype=np.float64)
        if self.model == "cox":
            return raw[:, 0] - self.center
        if self.model == "weibull":
            return raw[:, 0] * np.exp(raw[:, 1])
        return 1 - self.restricted_mean(raw, self.cuts[-1]) / self.cuts[-1]

    def curves(self, raw: np.ndarray, times: Any) -> np.ndarray:
        """Probability of no event until each time: (n, n_outputs) raw, (n_times,) to (n, n_times).

        Beyond the last time that training saw an event at, a curve stays as it is there.
        """
        at, raw = np.asarray(times, dtype=np.float64), np.asarray(raw, dtype=np.float64)
        if self.model == "cox":
            cumulated = steps_at(self.hazard_times, self.hazard, at, start=0.0)
            return np.exp(-np.exp(raw[:, :1] - self.center) * cumulated)
        if self.model == "weibull":
            seen = doubles(np.broadcast_to(np.maximum(at, 1e-300), (len(raw), len(at))).copy())
            return torch.exp(-self._weibull(doubles(raw), seen)[1]).numpy()
        left = np.cumprod(1 - 1 / (1 + np.exp(-raw)), axis=1)
        knots = np.concatenate([[0.0], self.cuts])
        left = np.column_stack([np.ones(len(raw)), left])
        return np.stack([np.interp(at, knots, row) for row in left]).reshape(len(raw), len(at))

    @staticmethod
    def curve_columns(times: Any) -> list[str]:
        """Names of columns of curves at times, (n_times,)."""
        return [f"event_free_{t:.6g}" for t in times]

    def restricted_mean(self, raw: np.ndarray, until: float) -> np.ndarray:
        """Mean time without an event, up to a time: (n, n_outputs) to (n,) in the user's unit."""
        if self.model == "cox":  # steps: exact
            inside = [t for t in self.hazard_times if t < until]
            knots = np.array([0.0, *inside, until])
            return self.curves(raw, knots[:-1]) @ np.diff(knots)
        more = self.cuts if self.model == "discrete" else np.linspace(0, until, 2049)
        knots = np.unique(np.array([0.0, *(t for t in more if t < until), until]))
        return trapezoid(self.curves(raw, knots), knots, axis=1)


class Scaled(nn.Module):
    """A score, and the logarithm of a shape that all bags share.

    Parameters
    ----------
    width
        Of the embedding that it reads.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        self.log_shape = nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor) -> Tensor:
        """(n_bags, width) embeddings to (n_bags, 2)."""
        score = self.score(z)
        return torch.cat([score, self.log_shape.to(score.dtype).expand(len(z), 1)], 1)


def partial_likelihood(
    score: Tensor, time: Tensor, event: Tensor, entry: Tensor, strata: Tensor
) -> Tensor:
    """Negative logarithm of Cox's partial likelihood, the share of each bag: (n,), 0 if censored.

    At risk for an event at t are bags of the same stratum with entry < t <= time. Of d events at
    one time each is compared with those at risk less a share (0, 1/d, ..., (d - 1)/d) of the others
    that have theirs (Efron).

    Parameters
    ----------
    score, time, event, entry, strata
        (n,) float64 each: log hazard; when, and whether (1) or not (0); from when on; which.
    """
    order = _lexsorted(strata, time)  # by stratum, then by time
    score, time, event, entry, strata = (v[order] for v in (score, time, event, entry, strata))
    # sums of exp over whoever has a time of at least t are sums over the rest of the stratum
    share = torch.exp(score - score.detach().max())
    rest = F.pad(share.flip(0).cumsum(0).flip(0), (0, 1))
    group = torch.stack([strata, time], 1)
    new = torch.ones_like(time, dtype=torch.bool)
    new[1:] = (group[1:] != group[:-1]).any(1)
    tie = new.cumsum(0) - 1  # (n,) which group of one time in one stratum
    first = torch.nonzero(new)[:, 0][tie]
    end = torch.searchsorted(strata, strata, right=True)
    at_risk = rest[first] - rest[end]
    if bool((entry > 0).any()):  # those that had not entered yet have entry >= t, and so time > t
        late = (strata[:, None] == strata) & (entry >= time[:, None])  # (n, n)
        at_risk = at_risk - (late.to(share.dtype) @ share)
    n_groups = int(tie[-1]) + 1
    d = torch.zeros(n_groups, dtype=share.dtype, device=share.device).index_add(0, tie, event)
    tied = torch.zeros_like(d).index_add(0, tie, share * event)
    before = event.cumsum(0) - event  # events before this one; less those before its group
    place = before - before[first]
    lost = place / d[tie].clamp(min=1) * tied[tie]
    happened = event > 0
    at_risk = torch.where(happened, at_risk - lost, torch.ones_like(at_risk))
    loss = event * (torch.log(at_risk.clamp(min=1e-300)) + score.detach().max() - score)
    return torch.zeros_like(loss).index_copy(0, order, loss)


def _lexsorted(first: Tensor, second: Tensor) -> Tensor:
    """(n,) order by the first, and by the second where those are alike."""
    by_second = torch.argsort(second, stable=True)
    return by_second[torch.argsort(first[by_second], stable=True)]


def _names(column: str | tuple[str, ...], n: int) -> tuple[str, ...]:
    return column if isinstance(column, tuple) else ("time", "event", "entry")[:n]


def _columns(labels: Any, column: str | tuple[str, ...]) -> np.ndarray:
    """Time, event and, where there is one, entry: (n, 2) or (n, 3) float64.

    Raises
    ------
    InputError
        If there are other columns, one holds what is none of these, or a bag entered after its end.
    """
    y = np.asarray(labels)
    if y.ndim != 2 or y.shape[1] not in (2, 3):
        raise InputError(
            f"a survival target has two columns, time and event, or a third, entry; {column!r} has "
            f"the shape {y.shape}: label=('time', 'event')."
        )
    names = _names(column, y.shape[1])
    for name, values in zip(names, y.T, strict=True):
        gone = missing(pd.Series(values))
        if gone.any():
            raise InputError(f"{name!r} is missing for {int(gone.sum())} of {len(y)} bags (first: "
                             f"position {int(gone.argmax())}): drop these bags.")  # fmt: skip
    out = np.empty(y.shape, dtype=np.float64)
    for j in (0, 2)[: y.shape[1] - 1]:
        try:
            out[:, j] = y[:, j].astype(float)
        except (TypeError, ValueError) as error:
            raise InputError(f"{names[j]!r} is not numeric, so it cannot be a time: say the time "
                             "first and the event second.") from error  # fmt: skip
        if not (np.isfinite(out[:, j]) & (out[:, j] >= 0)).all():
            raise InputError(f"{names[j]!r} must be a time from 0 on; its least is "
                             f"{out[:, j].min():g}.")  # fmt: skip
    out[:, 1] = events_of(y[:, 1], names[1])
    if y.shape[1] == 3 and (out[:, 2] >= out[:, 0]).any():
        n = int((out[:, 2] >= out[:, 0]).sum())
        raise InputError(f"{n} bags have {names[2]!r} at or after {names[0]!r}: a bag is watched "
                         "from its entry to its time. Drop or mend them.")  # fmt: skip
    return out
