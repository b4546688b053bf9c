"""What each modality adds to the code of a cell.

Two questions, and their answers differ. *Hidden*: how far the code moves when a modality is taken
away, which is what it says beyond the others: two modalities that say the same move little, each.
*Gradient*: what of the way from the code of the mean cell to this one goes along each modality's
features (integrated gradients; Sundararajan et al. 2017), which is what the code is made of, said
twice or not. A code also keeps noise that helps to reconstruct a modality: neither number says that
what was added means anything.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from smalti.bags import Bags
from smalti.batch import Batch
from smalti.core.store import Store
from smalti.errors import InputError
from smalti.integrate.halves import measured

How: TypeAlias = Literal["hidden", "gradient"]

_STEPS = 16  # of the path from the mean cell
_ROWS = 4096  # cells whose path is followed at once


class Contributing:
    """What an integration says of its modalities."""

    def modality_contributions(self, X: Any, how: How = "hidden") -> pd.DataFrame:
        """What each modality adds to the code of each cell, as shares.

        Parameters
        ----------
        X
            Cells.
        how
            "hidden": how far the code moves when the modality is hidden, which is what it says
            beyond the others (methods that take gaps). "gradient": what of the way from the mean
            training cell's code goes along its features, whether others say the same or not; below
            0 where it leads away.

        Returns
        -------
        DataFrame
            (n_cells, n_views); a row sums to 1, and is NaN where a modality was not measured. Of a
            graph such as WNN's, the weights of its modalities.

        Raises
        ------
        InputError
            If ``how`` is neither, or the method takes no gaps and is asked what hiding does.

        Notes
        -----
        A modality of noise has a share too, for a code keeps what helps to reconstruct it. Whether
        what is added means anything, labels must say: beside which, see
        :func:`smalti.compare_integration`.
        """
        check_is_fitted(self)
        return shares_of(self, X, how)


def shares_of(model: Any, X: Any, how: How) -> pd.DataFrame:
    """Share of each modality in the code of each cell (see ``Integration.modality_contributions``).

    Parameters
    ----------
    model
        A fitted integration.
    X
        Cells.
    how
        "hidden" or "gradient".

    Returns
    -------
    DataFrame
        (n_cells, n_views).

    Raises
    ------
    InputError
        If ``how`` is neither, or the method takes no gaps and is asked what hiding does.
    """
    if how not in ("hidden", "gradient"):
        raise InputError(f"how={how!r}: there are 'hidden' and 'gradient'.")
    if hasattr(model, "modality_weights"):
        return model.modality_weights(X)
    if hasattr(model, "modality_weights_"):
        model.forward(X)  # refuses other cells than those of the graph
        return model.modality_weights_
    if model.transductive or (how == "hidden" and not model.missing):
        raise InputError(
            f"{model.name} needs every modality of every cell, so that none can be hidden"
            + ("." if model.transductive else ": ask how='gradient'.")
        )
    cells = model._read_new(X)
    there = measured(cells)
    parts = _moved(model, cells, there) if how == "hidden" else _along(model, cells)
    parts = np.where(there, parts, 0.0)
    alone = there.sum(1) == 1
    parts[alone] = there[alone]  # all that its code is made of
    total = parts.sum(1, keepdims=True)
    shares = np.divide(parts, total, out=np.full_like(parts, np.nan), where=np.abs(total) > 1e-12)
    return pd.DataFrame(np.where(there, shares, np.nan), columns=list(cells.x),
                        index=cells.instance.index)  # fmt: skip


def _moved(model: Any, cells: Bags, there: np.ndarray) -> np.ndarray:
    """(n, n_views) how far the code moves when a modality is hidden."""
    whole = model.codes(cells)[0].astype(np.float64)
    names, out = list(cells.x), np.zeros(there.shape)
    for i, name in enumerate(names):
        rows = np.flatnonzero(there[:, i] & (there.sum(1) > 1))
        if not len(rows):
            continue
        part = cells.keep(rows)
        gone = {**part.present, name: np.zeros(len(rows), dtype=bool)}
        half = model.codes(dataclasses.replace(part, present=gone))[0]
        out[rows, i] = np.linalg.norm(whole[rows] - half, axis=1)
    return out


def _along(model: Any, cells: Bags) -> np.ndarray:
    """(n, n_views) what of the way from the mean cell's code goes along each modality."""
    network = model.network_.eval().to(model._dtype)
    device = next((t.device for t in network.state_dict().values()), torch.device("cpu"))
    store = Store(cells, device, model._dtype, model.columns_, sparse=model.sparse)
    base = [b.to(device, model._dtype) for b in _mean_cell(model, list(cells.x))]
    step = min(store.most(_ROWS), _ROWS)
    return np.concatenate([
        _path(model, store.instances(np.arange(start, min(start + step, cells.n_instances))), base)
        for start in range(0, cells.n_instances, step)
    ])  # fmt: skip


def _mean_cell(model: Any, views: list[str]) -> list[Tensor]:
    """Means over training cells of the features of each view, (n_features,)."""
    blocks = getattr(model.network_, "blocks", None)
    if blocks is not None:
        return [getattr(blocks, f"mean_{i}") for i in range(len(views))]
    unnamed = [k for k in views if k not in model.means_]
    if unnamed:
        raise InputError(
            f"means of {unnamed[0]!r} were not kept, as its features have no names: give it names "
            "and fit again, or ask how='hidden'."
        )
    return [torch.as_tensor(model.means_[k]) for k in views]


@torch.no_grad()
def _path(model: Any, batch: Batch, base: list[Tensor]) -> np.ndarray:
    """(n, n_views): the directional derivatives along each view, summed over the path."""
    present = batch.instance.get("present")
    rows = [v.to_dense() if v.layout != torch.strided else v for v in batch.views.values()]
    ways = [x - b for x, b in zip(rows, base, strict=True)]

    def code(*views: Tensor) -> Tensor:
        here = Batch(dict(zip(batch.views, views, strict=True)), batch.segments, batch.instance)
        return model.halves_(model.network_(here).raw, present)

    parts: list[Any] = [0.0] * len(ways)
    for k in range(_STEPS):
        at = tuple(b + (k + 0.5) / _STEPS * w for b, w in zip(base, ways, strict=True))
        for i in range(len(ways)):
            along = tuple(w if j == i else torch.zeros_like(w) for j, w in enumerate(ways))
            parts[i] = parts[i] + torch.func.jvp(code, at, along)[1].double() / _STEPS
    way = sum(parts)
    return torch.stack([(p * way).sum(1) for p in parts], dim=1).numpy(force=True)
