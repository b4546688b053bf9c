"""``Integration``: several modalities of the same cells to one embedding.

What it shares with other methods is in :mod:`smalti.core.estimator`. Design:

- The unit is the instance: a cell with one row in each view. Bags do not matter to it, so bags of
  patients and loose cells (bags of one) are integrated alike, and what comes out is a view of the
  same bags.
- A subclass says ``network(shape)``, ``plan(shape)`` and ``example()``, as every method does. Its
  network's ``forward(batch)`` returns the embedding as ``Output.raw``; where it can,
  ``decode(z)`` returns each view from the embedding, in the units that it was given.
- A cell that was not measured in a view has a row of zeros there and 0 in
  ``batch.instance["present"]``.
- Methods are found by class: any named subclass in a module of ``smalti.integrate`` is one, and so
  is one that is registered or that another package ships (:mod:`smalti.core.registry`).
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from smalti.bags import Bags, as_bags
from smalti.batch import Batch, Shape
from smalti.columns import Columns
from smalti.core.align import said, under_its_name
from smalti.core.estimator import Estimator
from smalti.core.fit import Fit, fresh
from smalti.core.identity import model_digest
from smalti.core.instances import as_array
from smalti.core.rows import GivesRows
from smalti.core.seen import Seen, told_of
from smalti.core.store import Store
from smalti.errors import InputError
from smalti.integrate.adapt import decoding, refuse_new_batches
from smalti.integrate.contributions import Contributing
from smalti.integrate.halves import Halves, WithHalves, gaps_told, refuse_untied, with_gaps
from smalti.preprocess import (
    Modality,
    at_hand,
    given_modalities,
    guess_steps,
    modalities,
    spec_text,
    steps_of,
    with_findings,
)
from smalti.task import NOTHING, Task

_log = logging.getLogger("smalti")
_ROWS = 8192  # cells in one step of an embedding
_NUMBERS = 2**26  # of all views in one step


class Integration(GivesRows, WithHalves, Contributing, Estimator):
    """Modalities to an embedding: what all such methods share.

    Attributes
    ----------
    reconstructs
        Whether its network can decode, so that ``reconstruct`` and ``impute`` exist.
    transductive
        Whether it embeds the cells that it was fitted on, and no others.
    takes_counts
        Whether it takes raw counts only, and so decodes expected counts.
    clusters_by
        What its authors, or most who use it, cluster its result by: "leiden", "kmeans" or "ward".
        Leiden takes the graph of a method that has one, ``graph(X)``.
    example_cells
        ``features`` and ``effect`` of :func:`~smalti.datasets.planted_modalities` on which the
        contract asks it to find kinds that no modality shows alone; the contract's own where
        left out.
    """

    room: ClassVar[str] = "integrate"
    reconstructs: ClassVar[bool] = True
    transductive: ClassVar[bool] = False
    takes_counts: ClassVar[bool] = False
    clusters_by: ClassVar[str] = "leiden"
    example_cells: ClassVar[Mapping[str, Any]] = {}
    missing: ClassVar[bool] = True

    preprocess: Any = "auto"  # or by view: {"rna": "normalize,log1p", "protein": "clr"}

    @classmethod
    def steps_for(cls, bags: Bags) -> Any:
        """What ``preprocess="auto"`` means for these bags."""
        return guess_steps(bags)

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot run here (a package that is not installed), or None."""
        return None

    def at_hand(self) -> str:
        """Why it takes no other cells than those of its fit: its own name, or its steps'; or ""."""
        own = self.name or type(self).__name__
        return own if self.transductive else ", ".join(at_hand(self.preprocess))

    # ---------------------------------------------------------------- scikit-learn

    def fit(
        self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None, callbacks: Any = None
    ) -> Self:
        """Learn from cells; no labels are looked at.

        Parameters
        ----------
        X
            :class:`~smalti.Bags` with one view per modality; or MuData, AnnData or the path of a
            file, read by :func:`smalti.read`; or a mapping from modality to an
            (n_cells, n_features) array; or one such array.
        y
            Not used.
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
        Integration
            Itself, fitted: ``network_``, ``steps_``, ``history_``, ``n_parameters_``, ``digest_``,
            and in ``modalities_`` what each view was taken for and which steps followed, a line
            each (as they are printed).

        Raises
        ------
        InputError
            If there is one view only; if a feature is NaN or infinite, a step does not fit the
            values of its view, or a view was not measured in some cells and the method takes no
            gaps.

        Warns
        -----
        UserWarning
            Where the name of a view does not tell what it holds, or values that are no counts go
            without the steps of their kind (see ``modalities_``; ``kinds=`` of
            :func:`smalti.read` tells).
        """
        raw = self._check_present(as_cells(X).check())
        self._refuse_views(raw)
        with fresh(self):
            self.cells_ = raw.rows_digest
            auto = self.preprocess == "auto"
            self.modalities_: tuple[Modality, ...] = modalities(raw) if auto else ()
            steps = self._steps(raw)
            self.modalities_ = self._taken_for(raw, steps)
            for one in self.modalities_:
                if one.doubtful:
                    warnings.warn(f"{one}.", UserWarning, stacklevel=2)
                else:
                    _log.info("%s: %s", self.name, one)
            self._train(raw, steps, checkpoint, callbacks, self.prepare)
            self.modalities_ = with_findings(self.modalities_, self.steps_)
            return self

    def adopt(self, job: Fit, bags: Bags) -> Self:
        """Take over the result of a fit."""
        if bags.donor not in (None, "bag"):  # of loose cells there would be one digest each
            self.seen_ = Seen.of_donors(bags)
        super().adopt(job, bags)
        if getattr(self, "align_halves", False) and (found := Halves.learn(self, bags)):
            self.halves_ = found
        return self

    def _check_steps(self, steps: Any) -> None:
        """Any step will do: the cells of a fit are what is embedded."""

    def _refuse_views(self, bags: Bags) -> None:
        """Refuse images, and one modality where several are to be integrated."""
        for name, view in bags.x.items():
            if len(view.shape) != 2:
                raise InputError(f"view {name!r} holds images: integration takes tables.")
        refuse_untied(bags)
        if len(bags.x) > 1 or self._takes_one():
            return
        name, view = bags.view()
        raise InputError(
            f"{self.name} integrates two modalities or more, and there is one, {name!r} "
            f"({view.shape[1]:,} features). Name them all, x={{'rna': 'X', 'protein': "
            "'obsm/KEY'}; of one table take steps such as preprocess='pca=50', or "
            f"block_pca with modality={name!r}."
        )

    def _takes_one(self) -> bool:
        """Whether one modality alone is what it was asked for."""
        return False

    def _taken_for(self, bags: Bags, steps: Any) -> tuple[Modality, ...]:
        """What each view is taken for, with the steps that it gets here."""
        if self.preprocess != "auto":
            return given_modalities(bags, steps_of(steps))
        if not self.takes_counts:
            return self.modalities_
        return tuple(dataclasses.replace(m, steps=steps.get(m.view, ""), problem="")
                     for m in self.modalities_)  # fmt: skip

    def _steps(self, bags: Bags) -> Any:
        """What ``preprocess`` means for these bags."""
        return self.steps_for(bags) if self.preprocess == "auto" else self.preprocess

    def embedded(self, X: Any, missing: str | None) -> tuple[np.ndarray, pd.Index]:
        """(n_cells, width) embedding, in the order of the bags' instances.

        Modalities that ``X`` lacks altogether count as not measured, where the method takes gaps.
        """
        cells = as_cells(X)
        return self.forward(self._filled(cells, missing))[0], cells.instance.index

    def embeds_as(self, batch: Batch) -> torch.Tensor:
        """(n_cells, width) the code of each cell of a batch; of a transductive method all codes."""
        network: Any = self.network_
        codes: torch.Tensor = network.codes if self.transductive else network(batch).raw
        return codes

    @available_if(lambda self: self.reconstructs)
    def reconstruct(self, X: Any, *, as_batch: str | None = None) -> dict[str, np.ndarray]:
        """View -> (n_cells, n_features) float32, decoded from the embedding.

        In the units that preprocessing gives (log counts, centred log ratios), of the features
        that it keeps: see ``decoded_``. A network with ``batch=`` decodes each cell in its own
        batch, or all in the batch ``as_batch``: what they would have been there.
        """
        return self.forward(X, decode=True, as_batch=as_batch)[1]

    @available_if(lambda self: self.reconstructs)
    def impute(self, X: Any) -> dict[str, np.ndarray]:
        """As :meth:`reconstruct`, but where a cell was measured it keeps its own values.

        View name to (n_cells, n_features).
        """
        bags = self._read_new(X)
        out = self.forward(X, decode=True)[1]
        for name, values in out.items():
            cells = bags.present.get(name, np.ones(len(values), dtype=bool))
            gone = bags.lacking.get(name, np.zeros(values.shape[1], dtype=bool))
            there = cells[:, None] & ~gone
            values[there] = bags.table(name)[there]
        return out

    def inputs(self, X: Any) -> dict[str, Any]:
        """View -> rows after preprocessing: what :meth:`reconstruct` reconstructs."""
        bags = self._read_new(X)
        return {k: v if sp.issparse(v) else bags.table(k) for k, v in bags.x.items()}

    def embed(self, X: Any, *, key_added: str | None = None, missing: str | None = None) -> Bags:
        """The same bags with the embedding as their only view: input of any method.

        Parameters
        ----------
        X
            Bags.
        key_added
            Name of the view; "X_NAME" of the method where left out.
        missing
            What to take features for that the bags lack (see :meth:`complete`).

        Notes
        -----
        The embedding has seen the cells that it was fitted on. To fit it inside each fold of a
        comparison, put ``preprocess=smalti.integrate.Embed(method)`` on the method that reads it.
        """
        bags = self._filled(as_cells(X), missing)
        key = key_added or f"X_{self.name}"
        z = np.asarray(self.transform(bags))
        here = {key: f"obsm/{key}"}
        origin = None if bags.origin is None else {**bags.origin, "x": here, "keys": here}
        seen = f"{key} was fitted before any split: where test samples were among its cells, " \
               "scores may be too good."  # fmt: skip
        return dataclasses.replace(
            bags, x={key: z}, features={key: tuple(self.get_feature_names_out())},
            present={}, lacking={}, origin=origin, notes=(*bags.notes, seen),
        )  # fmt: skip

    def write(
        self,
        data: Any,
        *,
        out: str | Path | None = None,
        copy: bool = False,
        layers: bool = False,
        contributions: bool = False,
        key_added: str | None = None,
        overwrite: bool = False,
        missing: str | None = None,
        obs: str | Path | pd.DataFrame | None = None,
        runs: Sequence[str] | None = None,
    ) -> Any:
        """Write the embedding into the user's data: ``obsm["X_NAME"]`` and ``uns["NAME"]``.

        WNN adds its weights, ``obs["NAME_weight_MODALITY"]``, and its graph,
        ``obsp["NAME_connectivities"]`` (``scanpy.tl.leiden(data, obsp="NAME_connectivities")``).

        Parameters
        ----------
        data
            MuData or AnnData, changed in place; or the path of an .h5mu, .h5ad or .zarr, which gets
            these parts and keeps all else; or what :func:`smalti.read` takes besides (files of Cell
            Ranger, several), which needs ``out``. It must be what the method was fitted on, or hold
            the same modalities, or some of them where the method takes gaps.
        out
            Write to this path instead; data in memory stay as they are.
        copy
            Put the result into a copy of AnnData or MuData in memory and return it, as scanpy does.
        layers
            Write reconstructions too, float32: ``layers["NAME"]`` of a modality of which all
            features are made, else ``obsm["NAME_MODALITY"]``: where preprocessing dropped some (a
            layer would be NaN in them), or the modality itself is a key of ``obsm``.
        contributions
            Write ``obs["NAME_adds_MODALITY"]`` too, :meth:`modality_contributions` of each cell.
        key_added
            NAME, under which all is written; the method's own where left out.
        overwrite
            Replace what another model has written under that name, and a file ``out`` that is
            there; otherwise that is refused.
        missing
            What to take features for that the data lack (see :meth:`complete`); ``uns`` says so.
        obs, runs
            As of :func:`smalti.read`, where the data are read with them; what comes of it needs
            ``out``.

        Returns
        -------
        AnnData or MuData
            The copy; without ``copy`` None.

        Raises
        ------
        InputError
            If the data lack a modality or a feature, or a name is taken by another model.
        """
        from smalti.io.anndata import read
        from smalti.io.open import keys_there, to_change, to_write
        from smalti.io.write import write

        check_is_fitted(self)
        data = to_change(to_write(data, out, obs=obs, runs=runs, origin=self.origin_), out, copy)
        where = {} if self.origin_ is None else {
            k: self.origin_[k] for k in ("x", "cells", "backed") if k in self.origin_}  # fmt: skip
        if self.missing:
            where["x"] = keys_there(data, where.get("x"))
        read_as = read(data, **where)
        bags = self._filled(read_as, missing)
        n = len(data.obs) if hasattr(data, "obs") else None
        z = np.asarray(self.transform(bags))
        tables = {}
        if layers and self.reconstructs:
            names = self.decoded_
            tables = {k: (bags.scatter(v, n), names.get(k))
                      for k, v in self.reconstruct(bags).items()}  # fmt: skip
        key = key_added or self.name
        shares = self.modality_contributions(bags) if contributions else {}
        columns, graphs = self.per_cell(bags)
        columns |= {f"adds_{k}": v.to_numpy() for k, v in shares.items()}
        write(
            data, obs={f"{key}_{k}": bags.scatter(v, n) for k, v in columns.items()},
            obsm={f"X_{key}": bags.scatter(z, n)}, layers=tables,
            obsp={f"{key}_{k}": v for k, v in graphs.items()},
            uns={key: self._note() | said(bags, read_as, *gaps_told(self, self._with_gaps(bags)))
                 | {"fitted_on": told_of(self, [f"obsm/X_{key}"])}},
            origin=bags.origin, out=out, overwrite=overwrite, bags=read_as,
        )  # fmt: skip
        return data if copy else None

    def _note(self) -> dict[str, Any]:
        settings = {k: v for k, v in self.get_params(deep=False).items() if v is not None}
        settings["preprocess"] = spec_text(self.steps_)
        return {
            "settings": {k: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, dict)
                         else v for k, v in settings.items()},
            "training_digest": self.digest_, "model": model_digest(self),
            "modalities": list(map(str, self.modalities_)), "reference": self.reference,
        }  # fmt: skip

    # ---------------------------------------------------------------- for training and io

    def prepare(self, bags: Bags, members: np.ndarray, device: torch.device) -> Fit:
        """Set up a fit on some of the bags, (k,) positions."""
        self.task_: Task = NOTHING
        self.columns_ = Columns.of_batches(bags, getattr(self, "batch", None))
        n_cells = int(bags.lengths[members].sum())
        self.shape_ = Shape({k: v.shape[1:] for k, v in bags.x.items()}, NOTHING, n_cells,
                            batches=self.columns_.batches)  # fmt: skip
        self.decoded_ = {k: bags.features[k] for k in bags.x if k in bags.features}
        return self._unlabelled(bags, members, device)

    def _read_new(self, X: Any) -> Bags:
        """Cells to embed: the views of the training data, those that are lacking as gaps."""
        check_is_fitted(self)
        bags = self._check_present(self._same_views(self._with_gaps(as_cells(X))))
        return self._stepped(bags)

    def complete(self, X: Any, missing: str | None = None) -> Bags:
        """As :meth:`Estimator.complete`; modalities that the cells lack count as not measured."""
        check_is_fitted(self)
        return super().complete(self._with_gaps(as_cells(X)), missing)

    def _with_gaps(self, bags: Bags) -> Bags:
        """Views that the data lack altogether, as rows of zeros that were not measured."""
        bags = under_its_name(self, bags)
        return with_gaps(self, bags) if self.missing else bags

    def forward(
        self, X: Any, *, decode: bool = False, as_batch: str | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Embedding, and the decoded views if asked for, cell by cell; no cell sees another.

        (n_cells, width), and view name to (n_cells, n_features).
        """
        if self.transductive:
            return self._known(as_cells(X)), {}
        bags = self._read_new(X)
        refuse_new_batches(self, bags)
        return self.codes(bags, decode=decode, as_batch=as_batch)

    @torch.inference_mode()
    def codes(
        self, bags: Bags, *, decode: bool = False, as_batch: str | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As :meth:`forward`, of cells after the steps: (n_cells, width), and the decoded views."""
        codes: list[np.ndarray] = []
        views: dict[str, list[np.ndarray]] = {}
        for batch in self.pieces(bags):
            network: Any = self.network_
            z = self.halves_(network(batch).raw, batch.instance.get("present"))
            codes.append(as_array(z))
            of = decoding(self.columns_, batch, as_batch)
            for name, part in (network.decode(z, *of) if decode else {}).items():
                views.setdefault(name, []).append(as_array(part))
        return np.concatenate(codes), {k: np.concatenate(v) for k, v in views.items()}

    def pieces(self, bags: Bags) -> Iterator[Batch]:
        """Cells after preprocessing, some thousand at a time, as the network takes them."""
        network: Any = self.network_.eval().to(self._dtype)
        device = next((t.device for t in network.state_dict().values()), torch.device("cpu"))
        store = Store(bags, device, self._dtype, self.columns_, sparse=self.sparse)
        width = sum(int(view.shape[1]) for view in bags.x.values())
        step = max(1, min(store.most(_ROWS), _NUMBERS // width))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            for start in range(0, bags.n_instances, step):
                yield store.instances(np.arange(start, min(start + step, bags.n_instances)))

    def per_cell(self, bags: Bags) -> tuple[dict[str, np.ndarray], dict[str, sp.csr_matrix]]:
        """What else it knows of these cells, by name, for :meth:`write`.

        Columns, (n_cells,) each, and graphs, (n_cells, n_cells) each.
        """
        return {}, {}

    def _known(self, bags: Bags) -> np.ndarray:
        """The embedding of the cells that were fitted, which must be these."""
        check_is_fitted(self)
        if bags.rows_digest != self.cells_:
            raise InputError(
                f"{type(self).__name__} embeds the cells that it was fitted on, and these are "
                "others: fit it on all cells at once, or choose a method that takes new ones, such "
                "as umint."
            )
        network: Any = self.network_
        return network.codes.cpu().numpy()

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import TransformerTags

        tags = super().__sklearn_tags__()
        tags.estimator_type = "transformer"
        tags.target_tags.required = False
        tags.input_tags.sparse = True
        tags.transformer_tags = TransformerTags(preserves_dtype=["float32"])
        return tags


def as_cells(x: Any) -> Bags:
    """Read what a user may pass to an integration as bags.

    ``Bags`` stay; AnnData, MuData and paths are read; arrays and mappings of arrays are loose
    cells, each a bag of one.

    Raises
    ------
    InputError
        If a mapping holds no arrays.
    """
    if isinstance(x, Bags):
        return x
    first: Any = next(iter(x.values() if isinstance(x, Mapping) else x), None) \
        if isinstance(x, (Mapping, list, tuple)) else x  # fmt: skip
    if isinstance(first, (str, Path, Mapping)) or hasattr(first, "obsm"):
        from smalti.io.anndata import read

        return read(x)
    if isinstance(x, Mapping):
        if not hasattr(first, "shape"):
            raise InputError("expected a mapping from modality to an (n_cells, n_features) array.")
        return Bags.from_rows(x, np.arange(first.shape[0]))
    return as_bags(x)
