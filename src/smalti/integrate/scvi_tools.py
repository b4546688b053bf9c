"""What the adapters of scvi-tools share: counts, batches, how a model is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from smalti.bags import Bags
from smalti.columns import Columns
from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.system.extras import calling, seeded_scvi


def whole(bags: Bags, name: str) -> Any:
    """(n_cells, n_features) a view in memory, sparse where it is."""
    view = bags.x[name]
    return view if sp.issparse(view) else bags.table(name)


def check_counts(method: str, bags: Bags, names: Iterable[str], steps: str) -> None:
    """Refuse views that hold no raw counts; ``steps`` are those that a method may be given.

    Raises
    ------
    InputError
        If a view holds none.
    """
    for name in names:
        problem = count_problem(bags.x[name])
        if problem is not None:
            raise InputError(
                f"{method} models raw counts, and view {name!r} holds none: {problem}. Scaled or "
                "log values were given: pass the raw counts (a layer, or .raw), and no "
                f"preprocessing but {steps}."
            )


def batch_column(columns: Columns, bags: Bags) -> np.ndarray:
    """(n_cells,) int64 batch of each cell; 0 where the model was told of none."""
    if columns.batches:
        return columns.batch_codes(bags)
    return np.zeros(bags.n_instances, dtype=np.int64)


def batch_index(of: Tensor | None, like: Tensor) -> Tensor:
    """(n, 1) batches (n,) as scvi-tools' layers take them; without, the one that there is."""
    if of is None:
        return torch.zeros(len(like), 1, dtype=torch.long, device=like.device)
    return of[:, None]


@contextmanager
def trained_quietly(seed: int, show: bool) -> Iterator[str]:
    """Call scvi-tools seeded, its prints shown or not; gives a folder for what it leaves behind."""
    with (
        calling("scvi-tools", prints=show),
        seeded_scvi(seed),
        tempfile.TemporaryDirectory() as folder,
        torch.enable_grad(),
    ):
        yield folder


def training_settings(
    n: int, batch_size: int, device: torch.device, *, show: bool, folder: str
) -> dict[str, Any]:
    """Arguments of ``train`` that are the same for every model, of n cells."""
    cuda = device.type == "cuda"
    return {
        "batch_size": batch_size,
        "accelerator": "gpu" if cuda else "cpu",
        "devices": [device.index or 0] if cuda else 1,
        # normalisation by the batch cannot take a batch of one cell
        "datasplitter_kwargs": {"drop_last": int(np.ceil(0.9 * n)) % batch_size == 1},
        "enable_progress_bar": show,
        "enable_checkpointing": False,
        "default_root_dir": folder,
    }
