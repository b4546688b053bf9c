"""Steps before a method, fitted on the training bags: normalise, log, genes, scale, PCA.

Each step is a scikit-learn transformer that takes ``Bags`` and gives ``Bags``, so that it may stand
in a ``Pipeline``; or in a method's own ``preprocess``, where it is saved with the model. Fitted
inside a fold, it never sees a test patient.

A short text names a sequence of them: ``"normalize,log1p,genes=2000,scale,pca=50"``.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import scipy.linalg
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.views import View, read_rows

_NUMBERS = 2**24  # of a dense piece of a table
_LOOKED_AT = 1_000_000  # values by which a table is told to be counts


class Step(TransformerMixin, BaseEstimator):
    """One step. Works on the first view, and leaves bags, columns and notes as they are.

    A view that is on disk is read piece by piece in fitting, and into memory in transforming.
    """

    name: ClassVar[str] = ""
    state: ClassVar[tuple[str, ...]] = ()  # names of the fitted arrays

    def fit(self, X: Bags, y: Any = None) -> Self:
        """Learn from training bags."""
        name, view = X.view()
        if len(view.shape) != 2:
            raise InputError(f"{self.name} takes tables, not instances of shape {view.shape[1:]}.")
        self.features_in_ = X.features.get(name)
        self.width_ = int(view.shape[1])
        self._learn(view, X)
        return self

    def transform(self, X: Bags) -> Bags:
        """Bags with the first view changed; ``X`` itself stays as it is."""
        check_is_fitted(self, "width_")
        name, view = X.view()
        if int(view.shape[1]) != self.width_:
            raise InputError(
                f"{self.name} was fitted on {self.width_} features, view {name!r} has "
                f"{view.shape[1]}."
            )
        there = X.features.get(name)
        if there and self.features_in_ and tuple(there) != tuple(self.features_in_):
            odd = next(a for a, b in zip(there, self.features_in_, strict=True) if a != b)
            raise InputError(f"{self.name}: feature {odd!r} is not where it was in training.")
        if not hasattr(view, "__getitem__"):
            view = view.read(0, X.n_instances)
        changed = self._apply(view, X)
        features = {k: v for k, v in X.features.items() if k != name}
        names = self._names(there or self.features_in_)
        if names is not None:
            features[name] = names
        return dataclasses.replace(X, x={**X.x, name: changed}, features=features)

    def _learn(self, view: View, bags: Bags) -> None:
        """Set the fitted arrays."""

    def _apply(self, view: Any, bags: Bags) -> Any:
        """The changed rows."""
        raise NotImplementedError

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        """Feature names after the step."""
        return None if names is None else tuple(names)


class Normalize(Step):
    """Counts of each cell to the same sum (library size).

    Parameters
    ----------
    target_sum
        That sum. A cell without counts stays 0.

    Raises
    ------
    InputError
        If the values are not counts.
    """

    name: ClassVar[str] = "normalize"

    def __init__(self, target_sum: float = 1e4) -> None:
        self.target_sum = target_sum

    def _learn(self, view: View, bags: Bags) -> None:
        problem = count_problem(view)
        if problem is not None:
            raise InputError(f"normalize needs raw counts: {problem}. Or leave it out.")

    def _apply(self, view: Any, bags: Bags) -> Any:
        self._learn(view, bags)
        total = np.asarray(view.sum(1), dtype=np.float64).reshape(-1)
        factor = np.divide(self.target_sum, total, out=np.zeros_like(total), where=total > 0)
        factor = factor.astype(np.float32)
        if sp.issparse(view):
            return sp.csr_matrix(sp.diags(factor) @ view.astype(np.float32))
        return view.astype(np.float32) * factor[:, None]


class Log1p(Step):
    """log(1 + x).

    Raises
    ------
    InputError
        If a value is negative.
    """

    name: ClassVar[str] = "log1p"

    def _learn(self, view: View, bags: Bags) -> None:
        for part in _pieces(view):
            values = part.data if sp.issparse(part) else part
            if values.size and values.min() < 0:
                raise InputError(
                    "log1p: there are negative values, so these are neither counts nor normalised "
                    "counts. Leave log1p out, or name another x."
                )

    def _apply(self, view: Any, bags: Bags) -> Any:
        self._learn(view, bags)
        view = view.astype(np.float32)
        return view.log1p() if sp.issparse(view) else np.log1p(view)


class _Select(Step):
    """Keeps some of the features."""

    state: ClassVar[tuple[str, ...]] = ("kept_",)

    def _apply(self, view: Any, bags: Bags) -> Any:
        return view[:, self.kept_]

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(names[i] for i in self.kept_)


class MinCells(_Select):
    """Features that are not 0 in at least ``n`` training cells."""

    name: ClassVar[str] = "min_cells"

    def __init__(self, n: int = 5) -> None:
        self.n = n

    def _learn(self, view: View, bags: Bags) -> None:
        seen = np.zeros(view.shape[1])
        for part in _pieces(view):
            seen += np.asarray((part != 0).sum(0)).reshape(-1)
        self.kept_ = np.flatnonzero(seen >= self.n)
        if not len(self.kept_):
            raise InputError(f"min_cells={self.n}: no feature is seen in so many cells.")


class SelectGenes(_Select):
    """Genes that vary most among the training cells, given their mean.

    Dispersion (variance over mean) of the normalised counts, standardised within 20 bins of the
    mean: the rule of Seurat (Satija et al. 2015), as in ``scanpy.pp.highly_variable_genes``.

    Parameters
    ----------
    n
        Genes to keep; all where there are fewer.

    Raises
    ------
    InputError
        If a value is negative: log(1 + x) of normalised counts is expected.
    """

    name: ClassVar[str] = "genes"

    def __init__(self, n: int = 2000) -> None:
        self.n = n

    def _learn(self, view: View, bags: Bags) -> None:
        width, count = int(view.shape[1]), int(view.shape[0])
        total, square = np.zeros(width), np.zeros(width)
        for part in _pieces(view):
            values = part.data if sp.issparse(part) else part
            if values.size and values.min() < 0:
                raise InputError(
                    "genes: there are negative values; select genes after log1p and before scale."
                )
            raw = sp.csr_matrix(part, dtype=np.float64).expm1() if sp.issparse(part) else np.expm1(
                part.astype(np.float64))  # fmt: skip
            total += np.asarray(raw.sum(0)).reshape(-1)
            power = raw.multiply(raw) if sp.issparse(raw) else raw * raw
            square += np.asarray(power.sum(0)).reshape(-1)
        mean = total / count
        var = np.maximum(square / count - mean**2, 0) * count / max(count - 1, 1)
        score = _dispersion(mean, var)
        # the order of features stays; ties go to the first
        self.kept_ = np.sort(np.argsort(-score, kind="stable")[: self.n])


def _dispersion(mean: np.ndarray, var: np.ndarray, bins: int = 20) -> np.ndarray:
    """Log variance over mean, standardised within bins of the log mean; 0 for silent genes."""
    mean = np.where(mean == 0, 1e-12, mean)
    ratio = var / mean
    ratio[ratio == 0] = np.nan
    table = pd.DataFrame({"d": np.log(ratio)})
    table["bin"] = pd.cut(np.log1p(mean), bins=bins)
    by = table.groupby("bin", observed=True)["d"]
    center, spread = by.transform("mean"), by.transform("std")
    alone = spread.isna() & table["d"].notna()  # a gene alone in its bin
    spread[alone], center[alone] = center[alone], 0.0
    return ((table["d"] - center) / spread).fillna(-np.inf).to_numpy()


class Scale(Step):
    """Each feature to mean 0 and standard deviation 1 of the training cells.

    A sparse table becomes dense (float32): select genes first.

    Parameters
    ----------
    max_value
        Values beyond it are cut, on both sides; None: never.
    """

    name: ClassVar[str] = "scale"
    state: ClassVar[tuple[str, ...]] = ("mean_", "sd_")

    def __init__(self, max_value: float | None = None) -> None:
        self.max_value = max_value

    def _learn(self, view: View, bags: Bags) -> None:
        from smalti.nn.scale import moments

        self.mean_, var = moments(bags)
        self.sd_ = np.sqrt(var)
        self.sd_[self.sd_ <= 1e-7 * np.maximum(np.abs(self.mean_), 1e-30)] = 1.0

    def _apply(self, view: Any, bags: Bags) -> Any:
        out = np.empty(view.shape, dtype=np.float32)
        for start, part in _placed(view):
            z = (_dense(part) - self.mean_) / self.sd_
            if self.max_value is not None:
                z = np.clip(z, -self.max_value, self.max_value)
            out[start : start + len(z)] = z
        return out


class PCA(Step):
    """Principal components of the training cells.

    From the covariance of the features, summed up piece by piece in float64: a sparse table is
    never dense as a whole. The loading of largest size of each component is positive.

    Parameters
    ----------
    n
        Components; fewer where there are fewer features or cells.
    """

    name: ClassVar[str] = "pca"
    state: ClassVar[tuple[str, ...]] = ("mean_", "axes_", "variance_")

    def __init__(self, n: int = 50) -> None:
        self.n = n

    def _learn(self, view: View, bags: Bags) -> None:
        count, width = (int(s) for s in view.shape)
        if width > 20_000:
            raise InputError(f"pca of {width} features: select genes first (genes=2000).")
        total, gram = np.zeros(width), np.zeros((width, width))
        shift = np.asarray(next(_pieces(view)).mean(0), dtype=np.float64).reshape(-1)
        for part in _pieces(view):
            if sp.issparse(part):
                wide = part.astype(np.float64)
                sums = np.asarray(wide.sum(0)).reshape(-1)
                cross = np.outer(sums, shift)
                gram += np.asarray((wide.T @ wide).todense()) - cross - cross.T
                gram += part.shape[0] * np.outer(shift, shift)
                total += sums - part.shape[0] * shift
            else:
                centred = part.astype(np.float64) - shift  # near 0, so that no digits are lost
                gram += centred.T @ centred
                total += centred.sum(0)
        keep = min(self.n, width, max(count - 1, 1))
        cov = (gram - np.outer(total, total) / count) / max(count - 1, 1)
        values, vectors = scipy.linalg.eigh(cov, subset_by_index=(width - keep, width - 1))
        vectors = vectors[:, ::-1]
        signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(keep)])
        self.mean_, self.variance_ = shift + total / count, np.maximum(values[::-1], 0)
        self.axes_ = vectors * signs

    def _apply(self, view: Any, bags: Bags) -> Any:
        offset = self.mean_ @ self.axes_
        parts = [np.asarray(part @ self.axes_ - offset, dtype=np.float32)
                 for part in _pieces(view)]  # fmt: skip
        return np.concatenate(parts)

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        return tuple(f"PC{i + 1}" for i in range(self.axes_.shape[1]))


# -------------------------------------------------------------------- sequences of steps

# what stands after "=" in the short text
_STEPS: dict[str, tuple[type[Step], str | None, type]] = {
    "normalize": (Normalize, "target_sum", float), "log1p": (Log1p, None, float),
    "min_cells": (MinCells, "n", int), "genes": (SelectGenes, "n", int),
    "scale": (Scale, "max_value", float), "pca": (PCA, "n", int),
}  # fmt: skip


def steps_of(spec: Any) -> list[Step]:
    """Steps from a text, a step, or a sequence of steps; none from None.

    Raises
    ------
    InputError
        For a step that is not known, or a number that is none.
    """
    if spec is None:
        return []
    if isinstance(spec, Step):
        return [spec]
    if not isinstance(spec, str):
        if not all(isinstance(s, Step) for s in spec):
            raise InputError(f"preprocess={spec!r}: a text, or steps of smalti.preprocess.")
        return list(spec)
    steps = []
    for word in filter(None, (w.strip() for w in spec.split(","))):
        name, equals, text = (part.strip() for part in word.partition("="))
        if name not in _STEPS:
            near = difflib.get_close_matches(name, _STEPS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"no step {name!r}; there are {', '.join(_STEPS)}.{hint}")
        cls, setting, kind = _STEPS[name]
        if not equals:
            steps.append(cls())
            continue
        try:
            number = kind(float(text))
            if setting is None or number <= 0:
                raise ValueError
        except ValueError as error:
            wanted = "takes no number" if setting is None else f"needs {setting} over 0"
            raise InputError(f"step {word!r}: {name} {wanted}.") from error
        steps.append(cls(**{setting: number}))
    return steps


def spec_of(steps: Sequence[Step]) -> str:
    """The text of some steps, with all numbers."""
    words = []
    for step in steps:
        cls, setting, _ = _STEPS.get(step.name, (None, None, None))
        if cls is not type(step):
            words.append(f"{step!r}")
            continue
        value = None if setting is None else getattr(step, setting)
        words.append(step.name if value is None else f"{step.name}={value:g}")
    return ",".join(words)


def fit_steps(steps: Sequence[Step], bags: Bags) -> tuple[list[Step], Bags]:
    """Clones of the steps, fitted one after another; and the bags after the last."""
    from sklearn.base import clone

    fitted = []
    for step in steps:
        fitted.append(clone(step).fit(bags))
        bags = fitted[-1].transform(bags)
    return fitted, bags


def apply_steps(steps: Sequence[Step], bags: Bags) -> Bags:
    """Bags after fitted steps."""
    for step in steps:
        bags = step.transform(bags)
    return bags


def state_of(steps: Sequence[Step]) -> dict[str, np.ndarray]:
    """Fitted arrays of the steps, by position and name."""
    return {f"{i}/{name}": np.asarray(getattr(s, name))
            for i, s in enumerate(steps) for name in s.state}  # fmt: skip


def names_of(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Width and feature names that each step was fitted on, as JSON has them."""
    return [{"width": s.width_, "features": s.features_in_ and list(s.features_in_)}
            for s in steps]  # fmt: skip


def from_state(
    spec: Any, arrays: dict[str, np.ndarray], names: Sequence[dict[str, Any]]
) -> list[Step]:
    """Fitted steps, from what :func:`spec_of`, :func:`state_of` and :func:`names_of` gave."""
    steps = steps_of(spec)
    for i, (step, known) in enumerate(zip(steps, names, strict=True)):
        step.width_ = known["width"]
        step.features_in_ = tuple(known["features"]) if known["features"] else None
        for name in step.state:
            setattr(step, name, arrays[f"{i}/{name}"])
    return steps


# -------------------------------------------------------------------- looking at data


def count_problem(view: View) -> str | None:
    """Why a table is not raw counts, or None.

    The first rows are looked at, up to a million values.
    """
    rows = max(1, min(int(view.shape[0]), _LOOKED_AT // max(1, int(np.prod(view.shape[1:])))))
    part = read_rows(view, 0, rows)
    values = part.data if sp.issparse(part) else np.asarray(part)
    if not values.size:
        return None
    if values.min() < 0:
        return f"there are negative values (least: {values.min():.3g})"
    if (values != np.round(values)).any():
        logs = " they look like logs" if values.max() < 20 else ""
        return f"not all values are whole numbers;{logs or ' they look normalised'}"
    return None


def cells_per_bag_note(bags: Bags, tiny: int = 10) -> str | None:
    """One line on bags with fewer than ``tiny`` instances, or None."""
    lengths = bags.lengths
    small = np.flatnonzero(lengths < tiny)
    if not len(small):
        return None
    named = ", ".join(f"{bags.bag.index[i]} ({lengths[i]})" for i in small[:5])
    return (
        f"{len(small)} of {len(bags)} bags have fewer than {tiny} instances: {named}"
        f"{', ...' if len(small) > 5 else ''} (all: {lengths.min():,} to {lengths.max():,}, median "
        f"{int(np.median(lengths)):,})."
    )


def _placed(view: View) -> Iterator[tuple[int, Any]]:
    n, width = int(view.shape[0]), max(1, int(view.shape[1]))
    step = max(1, _NUMBERS // width)
    for start in range(0, n, step):
        yield start, read_rows(view, start, min(start + step, n))


def _pieces(view: View) -> Iterator[Any]:
    return (part for _, part in _placed(view))


def _dense(part: Any) -> np.ndarray:
    return part.toarray() if sp.issparse(part) else np.asarray(part)
