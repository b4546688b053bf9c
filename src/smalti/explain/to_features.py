"""Which genes or other features a prediction is made of: by a matrix or integrated gradients."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import false_discovery_control
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from smalti.bags import Bags
from smalti.core.seen import donor_names
from smalti.errors import InputError
from smalti.explain.across_donors import across_donors
from smalti.explain.linear_steps import Chain
from smalti.explain.path_gradients import Path
from smalti.explain.training_bags import warn_of_training_bags
from smalti.task import Task
from smalti.views import read_rows

_MISSED = 0.05  # of the difference of predictions, before it is said


@dataclasses.dataclass(frozen=True)
class FeatureAttributions:
    """What each feature adds to the prediction of each bag, beside a bag of average instances.

    Attributes
    ----------
    bags
        (n_bags, n_features) signed, in units of the raw prediction: log odds of a class, or units
        of the target. Summed over the features: the prediction less that of the average.
    donors
        (n_bags,) whose bags they are.
    how
        "linear", where the prediction is, or "integrated gradients".
    gap
        By how much the sums miss the difference of the predictions, at most, as a share of the
        largest difference.
    """

    bags: pd.DataFrame
    donors: np.ndarray
    how: str
    gap: float

    def table(self) -> pd.DataFrame:
        """One row per feature, the largest first.

        Returns
        -------
        DataFrame
            feature, value (mean over donors), low, high, p and q (Benjamini-Hochberg) of whether it
            differs from 0, size (mean of the absolute values over donors), donors.
        """
        values = self.bags.to_numpy()
        found = across_donors(values, self.donors)
        found.insert(0, "feature", self.bags.columns)
        found["size"] = across_donors(np.abs(values), self.donors)["value"]
        tested = found["p"].notna()
        found["q"] = np.nan
        if tested.any():
            found.loc[tested, "q"] = false_discovery_control(found.loc[tested, "p"])
        columns = ["feature", "value", "low", "high", "p", "q", "size", "donors"]
        return found.sort_values("size", ascending=False, kind="stable", ignore_index=True)[columns]


def feature_attributions(
    model: Any, bags: Bags, *, of: Any = None, loadings: Any = None, steps: int = 50
) -> FeatureAttributions:
    """Attribute predictions to genes, through the steps of a model and an embedding.

    All instances of a bag go together in a straight line from the average instance of training to
    what they are, and the gradient of the prediction along it is shared out among the features.
    Where the prediction is linear in what the network reads (the mean of a bag), that is
    coefficients times differences; else it is integrated gradients (Sundararajan et al. 2017) by
    captum. Steps at the end that are linear (scale, pca) are followed back, so that of
    "normalize,log1p,genes=2000,scale,pca=50" what is named are the 2,000 genes.

    Parameters
    ----------
    model
        Fitted method of ``smalti.mil``.
    bags
        Bags that it has **not** seen.
    of
        The class (of several labels: the label) that is spoken for; the positive one of two where
        left out.
    loadings
        Where bags hold an embedding that was made elsewhere: (n_features, width) data frame or
        array whose columns are its axes, as ``adata.varm["PCs"]``. Features are then taken for what
        the embedding keeps of them.
    steps
        Points on the line, where it is not linear.

    Returns
    -------
    FeatureAttributions

    Raises
    ------
    InputError
        If the class is not said or not there, the model reads no table, no gradient passes through
        its network, loadings are of another width, or captum is not installed (the extra
        "explain").

    Notes
    -----
    Beside an average, genes that go together share what either would have alone; a high number does
    not say that the gene alone makes the difference.

    Examples
    --------
    >>> import smalti as sm
    >>> train, test = (sm.datasets.planted_bags(40, seed=s) for s in (0, 1))
    >>> model = sm.mil.BagMean(preprocess="scale,pca=4", progress=False).fit(train)
    >>> found = sm.explain.feature_attributions(model, test)
    >>> found.how, found.bags.shape  # four components, followed back to eight features
    ('linear', (40, 8))
    """
    check_is_fitted(model)
    pick = _picked(model.task_, of, model.name)
    warn_of_training_bags(model, bags, "what they are made of was fitted to these very labels")
    raw = model._same_views(bags)
    read = model._read_new(bags)
    if len(read.view()[1].shape) != 2:
        raise InputError(f"{model.name} reads tiles and no table of features: sm.explain.grad_cam "
                         "shows where in them it looks.")  # fmt: skip
    chain = Chain.of(model, raw, read)
    gradients, difference, how = Path(model, read, chain.start, pick).gradients(steps)
    if loadings is None:
        names, parts = chain.names, _shared(gradients, chain)
    else:
        names, parts = _through(loadings, gradients, chain)
    gap = np.abs(parts.sum(1) - difference).max() / max(np.abs(difference).max(), 1e-12)
    if gap > _MISSED:
        warnings.warn(
            f"{model.name}: these numbers miss the difference of predictions by up to {gap:.0%}: "
            f"its network has kinks, or draws at random, along the way. More steps= than {steps} "
            "may help.", stacklevel=2,
        )  # fmt: skip
    frame = pd.DataFrame(parts, index=read.bag.index, columns=names)
    return FeatureAttributions(frame, donor_names(bags), how, float(gap))


def _picked(task: Task, of: Any, name: str) -> Callable[[Tensor], Tensor]:
    """Raw predictions (n_bags, n_outputs) to the (n_bags,) numbers that are attributed."""
    if task.kind == "regression":
        return lambda raw: raw[:, 0] * task.scale
    if task.kind == "survival" and task.model != "discrete":
        return lambda raw: raw[:, 0]
    if task.kind in ("ordinal", "binomial", "survival") and not task.several:
        return lambda raw: raw.mean(1)
    of = task.positive if of is None else of
    if of not in task.classes:
        there = ", ".join(map(str, task.classes))
        said = "say which class is spoken for" if of is None else f"of={of!r} is no class"
        raise InputError(f"{name}: {said}; there are {there}.")
    at = task.classes.index(of)
    if task.kind == "binary":
        return lambda raw: raw[:, 0] * (1 if at else -1)
    if task.kind == "multiclass":  # beside the others: a constant in all logits changes nothing
        return lambda raw: raw[:, at] - raw.mean(1)
    return lambda raw: raw[:, at]


def _shared(gradients: np.ndarray, chain: Chain) -> np.ndarray:
    """(n_bags, n_features): differences from the average times gradients, through the matrix."""
    view, out = chain.bags.view()[1], []
    for start, stop in pairwise(chain.bags.offsets):
        part, slope = read_rows(view, int(start), int(stop)), gradients[start:stop]
        if not sp.issparse(part):
            part = np.asarray(part, dtype=np.float64)
        if chain.matrix is None:
            part = part.toarray() if sp.issparse(part) else part
            out.append(((part - chain.middle) * slope).sum(0))
            continue
        # sum over instances of (x - middle) times (slope A')
        cross = np.asarray(part.T @ slope) - np.outer(chain.middle, slope.sum(0))
        out.append((cross * chain.matrix).sum(1))
    return np.stack(out)


def _through(loadings: Any, gradients: np.ndarray, chain: Chain) -> tuple[list[str], np.ndarray]:
    """Names and (n_bags, n_features): of features as far as an embedding keeps them."""
    axes = np.asarray(loadings, dtype=float)
    view = chain.bags.view()[1]
    if chain.matrix is not None or axes.ndim != 2 or axes.shape[1] != view.shape[1]:
        raise InputError(
            f"loadings of shape {axes.shape} do not belong to what the network reads, "
            f"{view.shape[1]} features"
            + (
                ""
                if chain.matrix is None
                else " before the linear steps of this model, which are followed back without them"
            )
            + ": give one column for each component of the embedding."
        )
    back, out = np.linalg.pinv(axes), []  # (width, n_features)
    for start, stop in pairwise(chain.bags.offsets):
        part = np.asarray(read_rows(view, int(start), int(stop)), dtype=np.float64) - chain.middle
        cross = back.T @ (part.T @ gradients[start:stop])  # (n_features, width)
        out.append((cross * axes).sum(1))
    named = getattr(loadings, "index", range(1, len(axes) + 1))
    return [str(name) for name in named], np.stack(out)
