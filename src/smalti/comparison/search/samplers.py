"""Who says which settings are tried next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from smalti.comparison.search.space import Range, Space
from smalti.errors import InputError
from smalti.system.extras import need

SAMPLERS = ("random", "grid", "optuna")
TRIALS = 20  # where there are more to choose from and nobody says how many


class Listed:
    """Settings that were known beforehand, one after another."""

    def __init__(self, settings: Iterable[dict[str, Any]]) -> None:
        self._left = iter(settings)

    def ask(self) -> dict[str, Any] | None:
        """The next settings; None where there are no more."""
        return next(self._left, None)

    def tell(self, value: float | None) -> None:
        """What the last ones scored; None: they failed."""


class ByOptuna:
    """Optuna's tree-structured Parzen estimator: settings near to those that scored well."""

    def __init__(self, space: Space, trials: int, seed: int, lower_is_better: bool) -> None:
        optuna = need("optuna", "search")
        self._failed = optuna.trial.TrialState.FAIL
        self._space, self._left = space, trials
        self._distributions = {k: _distribution(optuna, k, v) for k, v in space.parts.items()}
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for each study and trial
        try:
            self._study = optuna.create_study(
                direction="minimize" if lower_is_better else "maximize",
                sampler=optuna.samplers.TPESampler(seed=seed),
            )
        finally:
            optuna.logging.set_verbosity(before)
        self._trial: Any = None

    def ask(self) -> dict[str, Any] | None:
        """The next settings; None where there are no more."""
        if not self._left:
            return None
        self._left -= 1
        self._trial = self._study.ask(self._distributions)
        found = self._trial.params
        return {k: part[found[k]] if isinstance(part, list) else found[k]
                for k, part in self._space.parts.items()}  # fmt: skip

    def tell(self, value: float | None) -> None:
        """What the last ones scored; None: they failed."""
        if value is None:
            self._study.tell(self._trial, state=self._failed)
        else:
            self._study.tell(self._trial, value)


def sampler_of(
    name: str, space: Space, trials: int | None, seed: int, *, lower_is_better: bool = False
) -> Listed | ByOptuna:
    """The sampler of a name."""
    n = planned(name, space, trials)
    if name == "optuna":
        return ByOptuna(space, n, seed, lower_is_better)
    return Listed(space.grid() if name == "grid" else space.draws(n, seed))


def planned(name: str, space: Space, trials: int | None) -> int:
    """How many settings are tried.

    Raises
    ------
    InputError
        If there is no such sampler, it cannot be had, or it does not fit the space or the trials.
    """
    if name not in SAMPLERS:
        raise InputError(f"sampler={name!r} is not one of {', '.join(SAMPLERS)}.")
    if trials is not None and (type(trials) is not int or trials < 1):
        raise InputError(f"trials={trials}: a whole number from 1 on is needed.")
    if name == "optuna":
        optuna = need("optuna", "search")
        for k, part in space.parts.items():
            _distribution(optuna, k, part)
        return trials or TRIALS
    if name == "random":
        return int(min(trials or TRIALS, space.size))
    n = len(space.grid())
    if trials is not None and trials < n:
        raise InputError(
            f"trials={trials}, and the grid has {n} settings: leave trials= out, or say "
            "sampler='random', which draws some of them."
        )
    return n


def _distribution(optuna: Any, name: str, part: Any) -> Any:
    kinds = optuna.distributions
    if isinstance(part, list):  # by position: Optuna knows numbers and texts alone
        return kinds.CategoricalDistribution(tuple(range(len(part))))
    if not isinstance(part, Range):
        raise InputError(
            f"space: Optuna draws from lists and ranges, and {name!r} is a distribution of SciPy: "
            "write (low, high) or (low, high, \"log\"), or say sampler='random'."
        )
    kind = kinds.IntDistribution if part.whole else kinds.FloatDistribution
    return kind(part.low, part.high, log=part.log)
