"""Who takes part in a comparison, and what each is called in its table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from smalti.comparison.pipelines import as_method, last_of
from smalti.comparison.search.base import Choosing
from smalti.comparison.search.scikit import ScikitSearch, is_scikit_search
from smalti.core.estimator import Estimator
from smalti.core.identity import identity, settings_of
from smalti.core.registry import make
from smalti.errors import InputError
from smalti.preprocess import spec_text, steps_of


@dataclasses.dataclass
class Lineup:
    """Methods by their labels, in the order of the table.

    Attributes
    ----------
    kind
        Class that all of them are of.
    methods
        Label -> method, not fitted, a clone of what was given.
    baselines
        Labels of those that run in every comparison.
    controls
        Labels of those that read how the data were made, and nothing else.
    notes
        What was left out, and why.
    """

    kind: type[Estimator]
    methods: dict[str, Any] = dataclasses.field(default_factory=dict)
    baselines: set[str] = dataclasses.field(default_factory=set)
    controls: set[str] = dataclasses.field(default_factory=set)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, candidate: Any, label: str | None = None) -> str:
        """Add a candidate; where its label is taken, what tells it from the other is added to it.

        Raises
        ------
        InputError
            If it is no method of this kind, or is there already with the same settings.
        """
        method = self._method(candidate)
        if label is None and isinstance(candidate, str):
            label = candidate  # "umint:fast"
        label = label or name_of(method)
        if label in self.methods:  # the same method twice: say what differs
            label = f"{label} {_changed(method, self.methods[label])}".strip()
        if label in self.methods:
            raise InputError(f"{label!r} is named twice with the same settings.")
        self.methods[label] = method
        if method.baseline:
            self.baselines.add(label)
        return label

    def add_baseline(self, method: Any, label: str | None = None) -> None:
        """Add what is to be beaten, unless a candidate is just that.

        Raises
        ------
        InputError
            If another kind of method bears its label.
        """
        self.baselines.add(self._joined(method, label or name_of(method)))

    def add_control(self, method: Any, label: str) -> None:
        """Add what says how much of the target is known without the data, and is not raced.

        Raises
        ------
        InputError
            If another kind of method bears its label.
        """
        self.controls.add(self._joined(method, label))

    def _joined(self, method: Any, label: str) -> str:
        """The label of what always runs: a candidate's that is just that, or its own."""
        same = [k for k, m in self.methods.items()
                if type(m) is type(method) and identity(m) == identity(method)]  # fmt: skip
        if same:
            return same[0]
        if label in self.methods:
            if type(self.methods[label]) is not type(method):
                raise InputError(f"{label!r} is the name of a baseline: choose another label.")
            label = f"{label} (default)"
        self.methods[label] = method
        return label

    def rename(self, old: str, new: str) -> None:
        """Call one otherwise; its place stays."""
        self.methods = {new if k == old else k: m for k, m in self.methods.items()}
        self.baselines = {new if k == old else k for k in self.baselines}
        self.controls = {new if k == old else k for k in self.controls}

    def drop(self, label: str, why: str) -> None:
        """Leave one out, and say so."""
        self.notes.append(why)
        self.baselines.discard(label)
        self.controls.discard(label)
        del self.methods[label]

    def cheapest(self, seconds: Mapping[str, float]) -> str:
        """The candidate that takes the fewest seconds; the first of all where none is one."""
        candidates = [k for k in self.methods if k not in self.baselines | self.controls]
        if not candidates:
            return next(iter(self.methods))
        return min(candidates, key=lambda k: seconds.get(k, float("inf")))

    def some(self, labels: Iterable[str]) -> Lineup:
        """A line-up of some of them."""
        return dataclasses.replace(self, methods={k: clone(self.methods[k]) for k in labels},
                                   notes=[])  # fmt: skip

    def beside_searched(self, metric: str | None = None) -> None:
        """Every searched method also as it was given, raced as any other.

        Parameters
        ----------
        metric
            That the table ranks by: searches that name none choose by it.
        """
        searches = [m for m in self.methods.values() if isinstance(m, Choosing)]
        for search in searches:
            search.choose_by(metric)
        for method in [search.unsearched for search in searches]:
            if identity(method) not in map(identity, self.methods.values()):
                self.add(clone(method))

    def unsearched(self) -> dict[str, str]:
        """Label of a searched method -> that of the row of the same method as it was given."""
        rows = {identity(m): k for k, m in self.methods.items()}
        own = {k: identity(m.unsearched) for k, m in self.methods.items()
               if isinstance(m, Choosing)}  # fmt: skip
        return {k: rows[digest] for k, digest in own.items() if digest in rows}

    def settings(self) -> dict[str, dict[str, Any]]:
        """Label -> name and settings of the method, steps as text; and how they are searched."""
        return {k: _settings(m) for k, m in self.methods.items()}

    def _method(self, candidate: Any) -> Any:
        method = make(candidate) if isinstance(candidate, str) else candidate
        if is_scikit_search(method):
            method = ScikitSearch(method)
        inner = of_search(last_of(method))
        if not isinstance(inner, self.kind):
            if isinstance(method, Pipeline):
                raise InputError(f"the last step of a pipeline must be a method, not {inner!r}.")
            if isinstance(candidate, type) and issubclass(candidate, self.kind):
                raise InputError(f"{candidate.__name__} is a class: give {candidate.__name__}().")
            raise InputError(f"{candidate!r} is no method of {_room(self.kind)}.")
        method = as_method(method)
        if isinstance(method, Choosing):
            self.notes += method.check()
        return method


def line_up(candidates: Any, kind: type[Estimator]) -> Lineup:
    """The candidates of a comparison: one or several names or methods, or a mapping from labels.

    Raises
    ------
    InputError
        If one is no method of this kind, one is named twice, or its steps are none.
    """
    lineup = Lineup(kind)
    for label, candidate in given(candidates):
        lineup.add(candidate, label)
    for method in lineup.methods.values():  # what names no step is refused before the first fit
        steps_of(None if (spec := unsearched(method).preprocess) == "auto" else spec)
    return lineup


def given(candidates: Any) -> Iterator[tuple[str | None, Any]]:
    """Label, or None, and candidate: of one, of several, or of a mapping from labels."""
    if isinstance(candidates, Mapping):
        yield from candidates.items()
    elif isinstance(candidates, Iterable) and not isinstance(candidates, (str, Pipeline)):
        yield from ((None, c) for c in candidates)
    else:
        yield None, candidates


def of_search(method: Any) -> Any:
    """The method whose settings a search chooses; any other is itself."""
    return method.method if isinstance(method, Choosing) else method


def unsearched(method: Any) -> Any:
    """A searched method as it was given; any other is itself."""
    return method.unsearched if isinstance(method, Choosing) else method


def inner_fits(method: Any) -> int:
    """Fits inside one fit, at most: those of a search."""
    return method.inner_fits() if isinstance(method, Choosing) else 0


def name_of(method: Any) -> str:
    """What a method is called: one that reads covariates is never called as one that does not."""
    reads = bool(getattr(method, "covariates", ())) and method.name != "covariates"
    name = f"{method.name} + covariates" if reads else method.name
    return f"{name} searched" if isinstance(method, Choosing) else name


def _changed(method: Any, other: Any) -> str:
    """Settings in which two methods differ, as text."""
    mine, theirs = ({"seed": m.seed} | settings_of(m) for m in (method, other))
    return " ".join(f"{k}={v}" for k, v in method.get_params(deep=False).items()
                    if k in mine and mine[k] != theirs.get(k))  # fmt: skip


def _settings(method: Any) -> dict[str, Any]:
    own = method.unsearched if isinstance(method, Choosing) else method
    searched = {"search": method.describe()} if isinstance(method, Choosing) else {}
    return (
        {"method": own.name} | own.get_params(deep=False) | {"preprocess": _steps(own)} | searched
    )


def _steps(method: Any) -> str:
    spec = method.preprocess
    return spec if isinstance(spec, str) and spec == "auto" else spec_text(steps_of(spec))


def _room(kind: type[Estimator]) -> str:
    return ".".join(kind.__module__.split(".")[:2])
