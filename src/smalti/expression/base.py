"""``ExpressionMethod``: tiles of slides to the expression of genes.

What it shares with other methods is in :mod:`smalti.core.estimator`. Design:

- A bag is a slide, an instance is a tile (a spot). The target is a view of the same bags,
  "counts", and so is what a method reads: features of the tiles, or the tiles themselves.
- A subclass says ``network(shape)``, ``plan(shape)`` and ``example()``. Its ``forward(batch)``
  returns (n_tiles, n_genes) as ``Output.raw``, in the units of the target; ``shape.outputs`` are
  the genes, ``shape.groups`` the group of each.
- Tiles do not see one another unless the method says ``slides = True``: it is then given whole
  slides, and ``batch.instance["position"]`` in µm.
- Controls that look at the measured expression of the very tiles that they predict say
  ``oracle = True``; they are yardsticks, and no table shows them without saying so.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.columns import Columns
from smalti.core.fit import Fit, fresh
from smalti.core.seen import Seen, warn_of_training
from smalti.core.store import Store, pack
from smalti.errors import InputError
from smalti.expression.output import ExpressionOutput, as_slides, named
from smalti.genes.units import gene_names, measured, most_variable
from smalti.task import NOTHING, Task

NUCLEI = "X_nuclei"  # view of maps of nuclei
_ROWS = 4096  # tiles in one step of a prediction


class ExpressionMethod(ExpressionOutput):
    """Tiles to the expression of genes: what all such methods share.

    Attributes
    ----------
    images
        Whether it reads the tiles themselves, not features of them.
    slides
        Whether it reads whole slides, with positions where there are any: a tile is then predicted
        from the other tiles of its slide too.
    positions
        Whether it cannot do without positions.
    oracle
        Whether it needs the measured expression of the tiles that it predicts: a control.
    stochastic
        Whether another seed gives another fit.
    zero_shot
        Whether it predicts genes that it was not fitted on.
    """

    room: ClassVar[str] = "expression"
    images: ClassVar[bool] = False
    slides: ClassVar[bool] = False
    positions: ClassVar[bool] = False
    oracle: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    zero_shot: ClassVar[bool] = False

    x: str | None = None  # view to read; None: the first table of features (or of tiles)
    counts: str = "counts"  # view of the measured expression
    genes: Any = None  # names to predict; a number: those of most variance in training; None: all
    units: Literal["log1p_cp10k", "log1p", "given"] = "log1p_cp10k"  # predicted; given: as they are

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot be fitted here (a package that is not installed), or None."""
        return None

    # ---------------------------------------------------------------- scikit-learn

    def fit(
        self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None, callbacks: Any = None
    ) -> Self:
        """Learn from slides.

        Parameters
        ----------
        X
            :class:`~smalti.Bags` with a view to read and a view of counts (see
            :func:`smalti.read_slides`, :func:`smalti.features.extract`).
        y
            Not used: the target is the view ``counts``.
        checkpoint
            A file to leave and take up the fit at, by Ctrl-C, SIGTERM or a kill: the same call
            goes on, and ends in the same model, on a CPU to the bit. Removed when the fit ends; one
            process at a time has it.
        callbacks
            What watches the fit, one or a list: functions of a record, called after each epoch, and
            objects with ``on_epoch(record)`` (:mod:`smalti.core.callbacks`); loggers of Lightning,
            or "csv", "tensorboard", "wandb", "mlflow" ("csv:FOLDER"). True from one ends a stage.

        Returns
        -------
        ExpressionMethod
            Itself, fitted: ``genes_``, ``network_``, ``history_``, ``digest_``.

        Raises
        ------
        InputError
            If a view or gene is missing, the counts are not counts, or a feature is NaN.
        """
        bags = as_slides(X)
        if self.counts not in bags.x:
            raise InputError(
                f"no view {self.counts!r} of measured expression to learn from; there are "
                f"{', '.join(bags.x)}. Read slides that have it, or name it: counts=..."
            )
        with fresh(self):
            inputs = self._check_present(self._inputs(bags).check())
            target, self.genes_ = self._target(bags)
            prepare = functools.partial(self.prepare, target=target)
            return self._train(inputs, self.preprocess, checkpoint, callbacks, prepare)

    def predict(
        self, X: Any, genes: Sequence[str] | None = None, *, missing: str | None = None
    ) -> np.ndarray:
        """Predict expression.

        Methods that read whole slides (``slides``: sgn, deep_association and ensembles of such)
        predict a tile from the others of its slide, so that it gets another number where some of
        them are missing. Of some tiles alone, predict the whole slides and take rows:
        ``model.predict(slides)[rows]``, not ``model.predict(slides.keep(rows))``.

        Parameters
        ----------
        X
            Slides.
        genes
            Names; those of training (``genes_``) when left out. Genes that were not in training
            need a method that is ``zero_shot``, and one that knows a vector of each.
        missing
            What to take features for that the slides lack (see :meth:`complete`).

        Returns
        -------
        ndarray
            (n_tiles, n_genes) float32 in the order of the bags' tiles and of the genes.

        Raises
        ------
        InputError
            If a view, a feature or a gene is missing.
        """
        bags = self._filled(X, missing)
        predicted = self.forward(bags, genes)
        warn_of_training(self, as_slides(bags))
        return predicted

    def adopt(self, job: Fit, bags: Bags) -> Self:
        """Take over the result of a fit."""
        super().adopt(job, bags)
        self.seen_ = Seen.of_donors(bags)
        return self

    def measured(self, X: Any, genes: Sequence[str] | None = None) -> np.ndarray:
        """(n_tiles, n_genes) float32: what was measured, of the same genes in the same units."""
        check_is_fitted(self)
        wanted = self.genes_ if genes is None else named(genes)
        return measured(as_slides(X), view=self.counts, genes=wanted, units=self.units)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean over genes of the Pearson correlation within each slide (``pcc_slide``)."""
        from smalti.scores.expression_metrics import pcc_slide

        bags = as_slides(X)
        return pcc_slide(self.predict(bags), self.measured(bags), bags.index)

    # ---------------------------------------------------------------- for training and io

    def views(self, bags: Bags) -> list[str]:
        """Names of the views that it reads."""
        if self.oracle:
            return [self.counts]
        return [self.x or default_view(bags, self.counts, images=self.images)]

    def _inputs(self, bags: Bags) -> Bags:
        """The bags with the views that it reads, and no other."""
        names = self.views(bags)
        for name in names:
            view = bags.view(name)[1]
            if (len(view.shape) == 4) != self.images:
                wanted = "images (n, 3, height, width)" if self.images else "a table"
                raise InputError(
                    f"{self.name} reads {wanted}; view {name!r} has instances of shape "
                    f"{view.shape[1:]}. "
                    + ("" if self.images else "Extract features first: sm.features.extract(bags).")
                )
        return dataclasses.replace(
            bags, x={k: bags.x[k] for k in names}, target=None, kind=None,
            features={k: v for k, v in bags.features.items() if k in names},
            present={k: v for k, v in bags.present.items() if k in names},
        )  # fmt: skip

    def _target(self, bags: Bags) -> tuple[np.ndarray, tuple[str, ...]]:
        """(n_tiles, n_genes) float32 and the names of the genes."""
        if self.genes is None or isinstance(self.genes, (int, np.integer)):
            names = self._candidates(gene_names(bags, self.counts))
            values = measured(bags, view=self.counts, genes=names, units=self.units)
            if self.genes is not None:
                if self.genes < 1:
                    raise InputError(f"genes={self.genes}: at least one gene is needed.")
                kept = most_variable(values, int(self.genes))
                return np.ascontiguousarray(values[:, kept]), tuple(names[i] for i in kept)
            return values, names
        chosen = self._candidates(named(self.genes))
        return measured(bags, view=self.counts, genes=chosen, units=self.units), chosen

    def _candidates(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the genes that can be learned."""
        return names

    def _meaning(self) -> tuple[int, ...]:
        """Widths of the genes' vectors and words, where a method has them."""
        return ()

    def groups_of(self, genes: Sequence[str], target: np.ndarray) -> np.ndarray:
        """(n_genes,) code of the group of each gene, where a method has groups."""
        return np.zeros(len(genes), dtype=np.int64)

    def prepare(
        self, bags: Bags, members: np.ndarray, device: torch.device, target: np.ndarray
    ) -> Fit:
        """Set up a fit on some of the slides; ``target`` (n_tiles, n_genes) is what is learned."""
        self.task_: Task = NOTHING
        self.columns_ = Columns()
        groups = self.groups_of(self.genes_, target)
        n_tiles = int(bags.lengths[members].sum())
        self.shape_ = Shape(
            {k: v.shape[1:] for k, v in bags.x.items()}, NOTHING, n_tiles,
            outputs=self.genes_, groups=tuple(int(g) for g in groups), meaning=self._meaning(),
        )  # fmt: skip
        job = self._unlabelled(bags, members, device)
        return dataclasses.replace(job, target=target, per_instance=True)

    def _store(self, bags: Bags, device: torch.device) -> Store:
        store = super()._store(bags, device)
        if self.slides:
            absent = {"x_um", "y_um"} - set(bags.instance)
            if absent and not self._needs_positions():
                return store
            if absent:
                raise InputError(
                    f"{self.name} needs the positions of tiles: instance columns x_um and y_um."
                )
            xy = bags.instance[["x_um", "y_um"]].to_numpy(np.float32)
            store.instance["position"] = torch.as_tensor(xy).to(device, self._dtype)
        return store

    def _needs_positions(self) -> bool:
        """Whether it cannot do without them, as it is set."""
        return self.positions

    def _read_new(self, X: Any) -> Bags:
        """Slides to predict: the same views, the same features in the same order, or an error."""
        check_is_fitted(self)
        bags = self._wanted(as_slides(X))
        return self._stepped(self._check_present(self._same_views(bags)))

    def _wanted(self, bags: Bags) -> Bags:
        """The views of training, under the names that they had there."""
        for name in self.features_:
            if name not in bags.x:
                hint = " An oracle needs measured expression." if self.oracle else ""
                raise InputError(
                    f"{self.name} reads view {name!r}, which these slides lack; there are "
                    f"{', '.join(bags.x)}.{hint}"
                )
        return dataclasses.replace(
            bags, x={k: bags.x[k] for k in self.features_}, target=None, kind=None,
            features={k: v for k, v in bags.features.items() if k in self.features_},
            present={k: v for k, v in bags.present.items() if k in self.features_},
        )  # fmt: skip

    def forward(self, X: Any, genes: Sequence[str] | None = None) -> np.ndarray:
        """Run the network in pieces, whole slides where the method reads them so.

        (n_tiles, n_genes) float32, in the units of the target.
        """
        bags = self._read_new(X)
        names = self.genes_ if genes is None else named(genes)
        out = np.empty((bags.n_instances, len(names)), dtype=np.float32)
        start = 0
        for output, keep in self._outputs(bags, names):
            part = output.raw if keep is None else _columns(output.raw, keep)
            out[start : start + len(part)] = part.float().numpy(force=True)
            start += len(part)
        return out

    @torch.inference_mode()
    def _outputs(
        self, bags: Bags, names: tuple[str, ...]
    ) -> Iterator[tuple[Output, Tensor | None]]:
        """What the network says of each piece of the bags, in order; and which columns to keep."""
        network = self.network_.eval().to(self._dtype)
        device = next((t.device for t in network.state_dict().values()), torch.device("cpu"))
        store = self._store(bags, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            ready, keep = self._ready(names, device)
            for batch in self._pieces(store, bags):
                batch.genes = ready
                yield network(batch), keep

    def _ready(self, names: tuple[str, ...], device: torch.device) -> tuple[Any, Tensor | None]:
        """What a network must know of the genes, once per call; and which columns to keep."""
        if names == self.genes_:
            return None, None
        place = {g: i for i, g in enumerate(self.genes_)}
        unseen = [g for g in names if g not in place]
        if unseen and not self.zero_shot:
            raise InputError(
                f"{self.name} predicts the {len(place):,} genes that it was fitted on, and not "
                f"{', '.join(unseen[:5])}{' ...' * (len(unseen) > 5)}. Methods that predict unseen "
                "genes: see `smalti methods`."
            )
        at = [place.get(g, len(place)) for g in names]
        return None, torch.as_tensor(at, device=device)

    def _pieces(self, store: Store, bags: Bags) -> Iterator[Batch]:
        if self.slides:
            yield from store.stream(pack(np.arange(len(bags)), bags.lengths, 1, _ROWS))
            return
        step = min(store.most(_ROWS), getattr(self, "batch_size", _ROWS) if self.images else _ROWS)
        for start in range(0, bags.n_instances, step):
            yield store.instances(np.arange(start, min(start + step, bags.n_instances)))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        tags.target_tags.required = False
        return tags


def _columns(raw: Tensor, keep: Tensor) -> Tensor:
    """Some columns; one past the last is a gene of which nothing is known: the mean of all."""
    return torch.cat([raw, raw.mean(1, keepdim=True)], dim=1).index_select(1, keep)


def default_view(bags: Bags, counts: str, *, images: bool = False) -> str:
    """The first view that can be read: the tiles, or a table that is not the counts.

    A map of nuclei is taken for features only where there is no other table.

    Raises
    ------
    InputError
        If there is no such view.
    """
    found = [name for name, view in bags.x.items()
             if name != counts and (len(view.shape) == 4) == images]  # fmt: skip
    if found:
        return next((name for name in found if name != NUCLEI), found[0])
    if images:
        raise InputError(f"no view of tiles; there are {', '.join(bags.x)}: read_slides makes one.")
    raise InputError(
        f"no view of features; there are {', '.join(bags.x)}. Extract them: "
        "bags = sm.features.extract(bags)."
    )


def linear_map(network: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    """Put a closed form into ``network.linear``: weight (n_features, n_genes), bias (n_genes,)."""
    linear: Any = network.linear
    linear.weight.copy_(torch.as_tensor(weight.T.copy()))
    linear.bias.copy_(torch.as_tensor(bias))
