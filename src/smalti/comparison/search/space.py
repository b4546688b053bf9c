"""Which settings a search may choose from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from smalti.errors import InputError
from smalti.names import meant
from smalti.preprocess import Step, spec_text, steps_of

_ASKED = {"task", "genes", "counts", "units"}  # say what is predicted: scores of two do not compare
_READ = {"covariates", "group"}  # columns, which the audit and the baselines go by
_IDLE = {"progress", "accelerator", "devices", "precision"}  # say how it is computed


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; whole ones where both ends are.

    Attributes
    ----------
    low, high
        The ends.
    log
        Each factor is as likely as the next, not each step.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def rvs(self, random_state: Any = None) -> float:
        """One number, as scikit-learn asks distributions for them."""
        low, high = self.low - self.whole / 2, self.high + self.whole / 2
        if self.log:
            low, high = math.log(low), math.log(high)
        x = random_state.uniform(low, high)
        x = math.exp(x) if self.log else x
        x = round(x) if self.whole else x
        return min(max(x, self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + " (log)" * self.log


class Space:
    """Setting -> what it may be, each checked before anything is fitted.

    Parameters
    ----------
    given
        Setting -> a list of values; a tuple (low, high) or (low, high, "log"); or a distribution
        of SciPy.
    method
        Whose settings they are.

    Raises
    ------
    InputError
        If the method has no such setting, it is none to choose by a score, or a value is not one
        that it can have.
    """

    def __init__(self, given: Mapping[str, Any], method: Any) -> None:
        if not isinstance(given, Mapping) or not given:
            raise InputError('space: no setting is named: write {"lr": (1e-4, 1e-2, "log")}.')
        there = method.get_params(deep=False)
        for name in given:
            _check_name(name, there, method.name)
        self.parts = {name: _part(name, value) for name, value in given.items()}
        for name, part in self.parts.items():
            ends = (part.low, part.high) if isinstance(part, Range) else part
            for value in ends if isinstance(ends, (list, tuple)) else ():
                _check_value(method, name, value)

    @property
    def listed(self) -> bool:
        """Whether all settings are lists, so that there is a grid of them."""
        return all(isinstance(part, list) for part in self.parts.values())

    @property
    def size(self) -> float:
        """How many settings there are to choose from; infinity where there is a range."""
        return math.prod(map(len, self.parts.values())) if self.listed else math.inf

    def grid(self) -> list[dict[str, Any]]:
        """Every one, in the order of scikit-learn's.

        Raises
        ------
        InputError
            If a setting is a range.
        """
        for name, part in self.parts.items():
            if not isinstance(part, list):
                raise InputError(
                    f"space: a grid needs a list of values, and {name!r} is {part}: list them, or "
                    "say sampler='random'."
                )
        return list(ParameterGrid(self.parts))

    def draws(self, n: int, seed: int) -> list[dict[str, Any]]:
        """So many at random, none twice where all are lists; all of them where there are fewer."""
        n = int(min(n, self.size))
        return [{k: v.item() if isinstance(v, np.generic) else v for k, v in drawn.items()}
                for drawn in ParameterSampler(self.parts, n, random_state=seed)]  # fmt: skip

    def __str__(self) -> str:
        return "; ".join(f"{k} {_words(v)}" for k, v in self.parts.items())


def _check_name(name: str, there: Mapping[str, Any], method: str) -> None:
    if name not in there:
        known = sorted(set(there) - _IDLE - _ASKED - _READ - {"seed"})
        raise InputError(
            f"space: {method} has no setting {name!r}; it has {', '.join(known)}."
            f"{meant(name, known)}"
        )
    if name == "seed":
        raise InputError("space: a seed that is chosen by its score is luck: leave 'seed' out.")
    if name in _ASKED:
        raise InputError(
            f"space: {name!r} says what is predicted, so that scores of two cannot be compared."
        )
    if name in _READ:
        raise InputError(
            f"space: {name!r} says which columns are read, and a baseline must read them too: give "
            "a candidate for each choice of them."
        )
    if name in _IDLE:
        raise InputError(f"space: {name!r} is no setting to choose by a score: set it.")


def _check_value(method: Any, name: str, value: Any) -> None:
    if name == "preprocess" and value != "auto":
        steps_of(value)
    type(method)(**{name: value})  # its class says what is wrong


def _part(name: str, value: Any) -> Any:
    """A list, a range, or a distribution."""
    if isinstance(value, tuple):
        return _range(name, value)
    if isinstance(value, (list, np.ndarray)):
        if not len(value):
            raise InputError(f"space: there is no value of {name!r} to choose.")
        return [v.item() if isinstance(v, np.generic) else v for v in value]
    if hasattr(value, "rvs"):
        return value
    raise InputError(
        f"space: {name}={value!r} is no choice: write a list of values, (low, high) or "
        '(low, high, "log").'
    )


def _range(name: str, value: tuple[Any, ...]) -> Range:
    low, high, *how = value if len(value) in (2, 3) else (None, None)
    plain = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (low, high))
    if not plain or how not in ([], ["log"]):
        raise InputError(
            f'space: {name}={value!r} is not of the form (low, high) or (low, high, "log"); '
            "values to choose from stand in a list."
        )
    if not low < high:
        raise InputError(f"space: {name} from {low:g} to {high:g}: the first must be the smaller.")
    if how and low <= 0:
        raise InputError(f"space: {name} from {low:g}: only a range over 0 has a logarithm.")
    return Range(low, high, bool(how))


def _words(part: Any) -> str:
    if isinstance(part, list):
        return " | ".join(map(as_text, part))
    frozen = hasattr(part, "dist") and hasattr(part, "args")
    return f"{part.dist.name}{part.args}" if frozen else str(part)


def as_text(value: Any) -> str:
    """A value of a setting in a few letters."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Step) or (isinstance(value, (list, tuple)) and value
                                   and isinstance(value[0], Step)):  # fmt: skip
        return spec_text(steps_of(value))
    return str(value)
