"""Embeddings as scikit-learn's transformers give them: an array, or a table with names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn import get_config
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from smalti.batch import Batch, Shape
from smalti.core.seen import remember
from smalti.errors import InputError
from smalti.segment import Segments

if TYPE_CHECKING:

    class TransformerMixin:
        """scikit-learn's, which has no types."""

        def set_output(self, *, transform: str | None = None) -> Self: ...  # noqa: D102
else:
    from sklearn.base import TransformerMixin


def has_embedding(estimator: Any) -> bool:
    """Whether there is an embedding to give."""
    return bool(estimator.embeds)


class _Transforms:
    """``transform``, where there is an embedding.

    It is not in the class below: scikit-learn's mixin wraps what it finds there, and what it wraps
    is there for every method, whether it embeds or not.
    """

    name: ClassVar[str]
    embeds: ClassVar[bool] = True

    @available_if(has_embedding)
    def transform(self, X: Any, *, missing: str | None = None) -> Any:
        """(n, width) embedding, float32: of each bag, or of each cell of an integration.

        Parameters
        ----------
        X
            What ``fit`` takes.
        missing
            What to take single features for that ``X`` lacks (see ``complete``).

        Returns
        -------
        ndarray
            Or, as ``set_output(transform="pandas")`` (or "polars") asks, a DataFrame with the names
            of :meth:`get_feature_names_out`, in pandas with those of the bags or cells.
        """
        rows, index = self.embedded(X, missing)
        remember(self, rows)
        asked = getattr(self, "_sklearn_output_config", {}).get("transform")
        asked = asked or get_config()["transform_output"]
        if asked == "default":
            return rows
        names = list(self.get_feature_names_out())
        if asked == "pandas":
            if isinstance(X, (pd.DataFrame, np.ndarray)):  # its rows keep their names, or have none
                index = getattr(X, "index", None)
            return pd.DataFrame(rows, columns=names, index=index, copy=False)
        return import_module("polars").DataFrame(rows, schema=names, orient="row")

    @available_if(has_embedding)
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, then embed the same bags or cells: (n, width)."""
        model: Any = self
        return model.fit(X, y).transform(X)

    @available_if(has_embedding)
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """(width,) names of the columns of ``transform``: "umint_0", "umint_1", ...

        Raises
        ------
        InputError
            If ``input_features`` are given, and not those of the first view in training.
        """
        check_is_fitted(self)
        _check_read(self, input_features)
        stem = self.name or type(self).__name__.lower()
        with torch.inference_mode():  # only the network knows: it is asked about a row of 0
            width = self.embeds_as(blank(self)).shape[1]
        return np.array([f"{stem}_{i}" for i in range(width)], dtype=object)

    def embedded(self, X: Any, missing: str | None) -> tuple[np.ndarray, pd.Index]:
        """(n, width) the rows, and their (n,) names."""
        raise NotImplementedError

    def embeds_as(self, batch: Batch) -> torch.Tensor:
        """(n, width) what the fitted network makes of a batch."""
        raise NotImplementedError


class GivesRows(_Transforms, TransformerMixin):
    """A method with ``transform``, ``set_output`` and names of what comes out."""


def _check_read(model: Any, names: Any) -> None:
    """Refuse names of features that are not those of training, as scikit-learn does."""
    if names is None:
        return
    known = getattr(model, "feature_names_in_", None)
    if known is not None and not np.array_equal(np.asarray(names, dtype=object), known):
        raise InputError("input_features is not equal to feature_names_in_: leave them out.")
    if len(names) != model.n_features_in_:
        raise InputError(f"input_features should have length equal to the {model.n_features_in_} "
                         f"features of training, not {len(names)}: leave them out.")  # fmt: skip


def blank(model: Any) -> Batch:
    """One bag of one instance of zeros, as a fitted network takes it."""
    shape: Shape = model.shape_
    network = model.network_.eval().to(model._dtype)
    device = next((t.device for t in network.state_dict().values()), torch.device("cpu"))
    of_one = torch.zeros(1, dtype=torch.int64, device=device)
    views = {k: torch.zeros(1, *s, dtype=model._dtype, device=device)
             for k, s in shape.views.items()}  # fmt: skip
    covariates = torch.zeros(1, shape.n_covariates, dtype=model._dtype, device=device)
    return Batch(
        views, Segments.of(torch.tensor([0, 1]), device),
        instance={k: of_one for k in ("group", "batch", "place")},
        bag={"covariates": covariates, "donor": of_one},
    )  # fmt: skip
