"""``NetworkIntegration``: what integrations share that follow a gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from sklearn.utils.validation import check_is_fitted

from smalti.batch import Shape
from smalti.core.instances import Rows, own_loss
from smalti.core.settings import Count, Positive, Weight, Whole
from smalti.core.stage import Gradient, Stage, warm_cosine
from smalti.errors import InputError
from smalti.integrate.adapt import adapted
from smalti.integrate.base import Integration, as_cells


class NetworkIntegration(Integration):
    """An integration trained by gradient: the settings that all of these share, and their plan."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # passes enough for so many steps: one, where there are many cells
        "fast": {"batch_size": 64, "lr": 8e-3, "epochs": None, "min_steps": 1200, "anneal": True},
    }

    batch: str | None = None  # column of the batches of cells: offsets for each (see adapt)
    width: Count = 64  # of the code
    l1: Weight = 1e-4  # on activations
    l2: Weight = 1e-3  # on weights
    epochs: Count | None = 25  # passes over the cells; None: as many as make min_steps
    min_steps: Whole = 0  # where epochs is None: steps, and the rest of the last pass
    batch_size: Count = 16  # cells in a step
    lr: Positive = 1e-3  # learning rate of Adam
    anneal: bool = False  # lr up over the first tenth of the epochs, then down to 0 as a cosine
    clip: Positive | None = 10.0  # standardised values beyond it are cut
    align_halves: bool = True  # codes of cells that lack a modality, to where whole cells' lie

    def adapt(self, X: Any) -> Self:
        """A copy that knows the new batches among these cells too (as scArches does).

        All weights stay as they are, and the offsets of the new batches alone are learned, from
        their cells, starting at the mean of the known ones: codes of cells of known batches stay
        the same to the bit. Features are standardised as in the first fit.

        Parameters
        ----------
        X
            Cells, as for :meth:`transform`, with the column that ``batch=`` names.

        Raises
        ------
        InputError
            If the model was fitted without ``batch=``, or no cell is of a new batch.
        """
        check_is_fitted(self)
        if not self.columns_.batches:
            raise InputError(f"{self.name} was fitted without batch=COLUMN, so it has no offsets "
                             "of batches to adapt: fit it with batch=.")  # fmt: skip
        bags = as_cells(X)
        return adapted(self, bags, self._read_new(bags), self.shape_)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, then follow the gradient over cells."""
        from smalti.nn.modalities import blocks_sweep

        yield blocks_sweep()
        of_an_epoch = math.ceil(shape.n_units / self.batch_size)
        epochs = self.epochs or max(1, math.ceil(self.min_steps / of_an_epoch))
        yield Gradient(
            epochs=epochs, lr=self.lr, batch_size=self.batch_size, sampler=Rows(),
            loss=own_loss, schedule=warm_cosine(epochs) if self.anneal else None,
            epsilon=1e-7, name="train",
        )  # fmt: skip
