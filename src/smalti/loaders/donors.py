"""Training, validation and test bags by donor, never by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.bags import Bags
from smalti.core.validation import hold_out
from smalti.errors import InputError
from smalti.system.extras import need

if TYPE_CHECKING:
    from smalti.loaders.lightning_module import BagDataModule

Part = float | Sequence[Any]


def data_module(
    bags: Bags,
    *,
    validation: Part = 0.2,
    test: Part = 0.0,
    batch_size: int = 16,
    workers: int = 0,
    preprocess: Any = None,
    group: str | None = None,
    covariates: Sequence[str] = (),
    seed: int = 0,
) -> BagDataModule:
    """Bags as a ``LightningDataModule``: training, validation and test donors, and their loaders.

    No donor is on two sides. What is learned of the data, which are steps, classes, means of a
    quantity, levels of a column, is learned of the training donors alone.

    Parameters
    ----------
    bags
        With a target and a donor.
    validation, test
        Share of the donors, in proportion of the classes; or names of donors. 0 or none: no such
        part.
    batch_size
        Bags in a step; where they are large, 1, and gradients accumulated by the trainer.
    workers
        Processes that read ahead; 0: none.
    preprocess
        Steps, fitted on the training donors: "normalize,log1p,pca=50".
    group, covariates
        As in :class:`BagDataset`.
    seed
        Of the split and of the order of training bags.

    Returns
    -------
    LightningDataModule
        After ``setup()``: ``train``, ``validation`` and ``test`` (each a :class:`BagDataset` or
        None), ``task``, ``shape``, ``steps``; ``new(bags)`` is a data set of other bags, through
        the same steps.

    Raises
    ------
    InputError
        If Lightning is not installed, no donor is named, or a named donor is not there or in two
        parts.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(40, bags_per_donor=2, seed=0)
    >>> data = sm.loaders.data_module(bags, validation=0.2, preprocess="scale")
    >>> data.setup()
    >>> len(data.train), len(data.validation)
    (32, 8)
    >>> batch, target = next(iter(data.train_dataloader()))
    >>> target.shape
    torch.Size([16])
    """
    need("lightning.pytorch", "lightning")
    from smalti.loaders.lightning_module import BagDataModule

    return BagDataModule(
        bags, parts_by_donor(bags, validation, test, seed), batch_size=batch_size, workers=workers,
        preprocess=preprocess, group=group, covariates=covariates, seed=seed,
    )  # fmt: skip


def parts_by_donor(bags: Bags, validation: Part, test: Part, seed: int) -> dict[str, np.ndarray]:
    """Positions of the bags of each part, (k,): "train", "validation" and "test".

    Raises
    ------
    InputError
        If no donor is named, one is not there or in two parts, or none is left for training.
    """
    donors = bags.donors  # which says what to do where none is named
    rng = np.random.default_rng(seed)
    parts = {"test": np.empty(0, dtype=np.int64), "validation": np.empty(0, dtype=np.int64)}
    rest = np.arange(len(bags))
    asked = {"test": test, "validation": validation}
    for name in sorted(asked, key=lambda name: isinstance(asked[name], (int, float))):
        share = asked[name]  # named donors first: shares are of those who are left
        if isinstance(share, (int, float)):
            kept, out = hold_out(bags[rest], bags[rest].as_task(), share, rng)
        else:
            out = _named(bags, share, rest, name)
            kept = np.flatnonzero(~np.isin(np.arange(len(rest)), out))
        parts[name], rest = rest[out], rest[kept]
        if not len(rest):
            raise InputError("no donor is left for training: name fewer for validation= and test=.")
    assert len(np.unique(donors[rest])) + sum(len(np.unique(donors[p])) for p in parts.values()) \
        == len(np.unique(donors))  # fmt: skip
    return {"train": rest, **parts}


def _named(bags: Bags, names: Sequence[Any], rest: np.ndarray, part: str) -> np.ndarray:
    """Of the positions that are left, (k,), which are of the named donors."""
    if isinstance(names, str):
        names = [names]
    whose = bags.bag.index if bags.donor == "bag" else bags.bag[bags.donor]
    text = np.asarray(whose.astype(str), dtype=object)
    for name in map(str, names):
        if name not in text:
            raise InputError(f"{part}= names donor {name!r}, who is not among the bags.")
        if name not in text[rest]:
            raise InputError(f"donor {name!r} is named in validation= and in test=: choose one.")
    return np.flatnonzero(np.isin(text[rest], list(map(str, names))))
