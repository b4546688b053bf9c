"""Bags as a data module of Lightning; imported when one is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from smalti.bags import Bags
from smalti.batch import Shape
from smalti.loaders.dataset import BagDataset, collate
from smalti.preprocess import apply_steps, fit_steps, steps_of
from smalti.task import Task


class BagDataModule(LightningDataModule):
    """Parts of some bags, and their loaders: see :func:`smalti.loaders.data_module`.

    Parameters
    ----------
    bags
        All of them.
    parts
        "train", "validation", "test": (k,) positions of bags.
    batch_size, workers, preprocess, group, covariates, seed
        As there.
    """

    def __init__(
        self, bags: Bags, parts: Mapping[str, np.ndarray], *, batch_size: int, workers: int,
        preprocess: Any, group: str | None, covariates: Sequence[str], seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.bags, self.parts = bags, dict(parts)
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.preprocess, self.group, self.covariates = preprocess, group, tuple(covariates)
        self.steps: list[Any] = []
        self.train: BagDataset
        self.validation: BagDataset | None = None
        self.test: BagDataset | None = None

    def setup(self, stage: str | None = None) -> None:
        """Fit the steps on the training bags, and make the parts; once, whatever the stage."""
        if hasattr(self, "train"):
            return
        self.steps, ready = fit_steps(steps_of(self.preprocess), self.bags[self.parts["train"]])
        self.train = BagDataset(ready, group=self.group, covariates=self.covariates)
        for name in ("validation", "test"):
            if len(self.parts[name]):
                setattr(self, name, self.new(self.bags[self.parts[name]]))

    def new(self, bags: Bags) -> BagDataset:
        """Other bags, through the steps of training."""
        self.setup()
        return BagDataset(apply_steps(self.steps, bags), like=self.train)

    @property
    def task(self) -> Task:
        """The target, as the training bags have it."""
        self.setup()
        return self.train.task

    @property
    def shape(self) -> Shape:
        """What a method of smalti needs to build its network."""
        self.setup()
        return self.train.shape

    def train_dataloader(self) -> Any:
        """Training bags, in another order in each epoch."""
        order = torch.Generator().manual_seed(self.seed)
        return self._loader(self.train, shuffle=True, generator=order)

    def val_dataloader(self) -> Any:
        """Validation bags in order; none where there are none."""
        return [] if self.validation is None else self._loader(self.validation)

    def test_dataloader(self) -> Any:
        """Test bags in order; none where there are none."""
        return [] if self.test is None else self._loader(self.test)

    def _loader(self, data: BagDataset, **how: Any) -> DataLoader[Any]:
        return DataLoader(
            data, self.batch_size, collate_fn=collate, num_workers=self.workers,
            persistent_workers=self.workers > 0, pin_memory=torch.cuda.is_available(), **how,
        )  # fmt: skip
