"""``ExpressionOutput``: where predicted expression goes: bags, AnnData, the user's data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.core.align import said
from smalti.core.estimator import Estimator
from smalti.core.identity import model_digest
from smalti.core.seen import remember, told_of
from smalti.errors import InputError
from smalti.genes.units import gene_names


class Predicts(Protocol):
    """What :class:`ExpressionOutput` asks of the method that it is part of."""

    genes_: tuple[str, ...]
    counts: str

    @property
    def name(self) -> str:
        """How tables call it."""
        ...

    def predict(
        self, X: Any, genes: Sequence[str] | None = None, *, missing: str | None = None
    ) -> np.ndarray:
        """(n_tiles, n_genes) predictions."""
        ...

    def complete(self, X: Any, missing: str | None = None) -> Bags:
        """The bags with the features of training."""
        ...

    def measured(self, X: Any, genes: Sequence[str] | None = None) -> np.ndarray:
        """(n_tiles, n_genes) what was measured, in the same units."""
        ...

    def to_anndata(self, X: Any, *, missing: str | None = None, pictures: bool = True) -> Any:
        """Predictions of all genes as AnnData."""
        ...

    def note(self) -> dict[str, Any]:
        """Settings and where they come from."""
        ...

    def _about(self, bags: Bags, names: tuple[str, ...]) -> pd.DataFrame | None: ...


class ExpressionOutput(Estimator):
    """What :class:`~smalti.expression.base.ExpressionMethod` does with its predictions."""

    def embed(
        self: Predicts, X: Any, genes: Sequence[str] | None = None, *,
        key_added: str | None = None, missing: str | None = None,
    ) -> Bags:  # fmt: skip
        """The same bags with the predicted expression as first view: input of any method.

        Parameters
        ----------
        X, genes, missing
            As in :meth:`predict`; the features of the view are the genes.
        key_added
            Name of the view; "X_NAME" of the method where left out.

        Raises
        ------
        InputError
            If the slides have a view of that name, or cannot be predicted.
        """
        bags, names = as_slides(X), self.genes_ if genes is None else named(genes)
        key = key_added or f"X_{self.name}"
        if key in bags.x:
            raise InputError(f"there is a view {key!r} already: give this one another key_added.")
        seen = f"{key} is predicted by a model fitted before any split: where test donors were " \
               "among its slides, scores may be too good."  # fmt: skip
        rows = self.predict(bags, names, missing=missing)
        remember(self, rows)
        return dataclasses.replace(
            bags,
            x={key: rows, **bags.x},
            features={**bags.features, key: names}, notes=(*bags.notes, seen), origin=None,
        )  # fmt: skip

    def to_anndata(
        self: Predicts, X: Any, genes: Sequence[str] | None = None, *,
        abstain: float | None = None, missing: str | None = None, pictures: bool = True,
        features: bool = False,
    ) -> Any:  # fmt: skip
        """Predictions as AnnData, one row per tile.

        Parameters
        ----------
        X, genes, missing
            As in :meth:`predict`; ``uns`` says which features were missing.
        abstain
            Predict NaN for an unseen gene whose expected correlation is below this; only a
            ``gene_ensemble`` knows what to expect.
        pictures
            Put small pictures of the slides into ``uns["spatial"]``, where tiles were cut from
            pictures: scanpy and squidpy draw the genes over them
            (``squidpy.pl.spatial_scatter(adata, color="ERBB2", library_key="slide")``).
        features
            Put the features of the tiles beside, ``obsm[VIEW]``: one file then holds both views,
            ``sm.read(adata, sample="slide", x=[VIEW, "layers/predicted"])``.

        Returns
        -------
        AnnData
            ``X`` and ``layers["predicted"]`` predictions, ``layers["measured"]`` where measured,
            ``obs`` the tiles' columns with ``slide`` and those of the slides, ``obsm["spatial"]``
            pixels, ``uns[NAME]`` settings, ``var`` the confidence of methods for unseen genes. Read
            it again as bags: ``sm.read(adata, sample="slide", x="layers/predicted")``.

        Raises
        ------
        InputError
            If ``abstain`` is given and the method does not know what to expect.
        """
        from smalti.io.expression import slides_anndata

        given, names = as_slides(X), self.genes_ if genes is None else named(genes)
        bags = given if missing is None else self.complete(given, missing)
        layers, about = {"predicted": self.predict(bags, names)}, self._about(bags, names)
        if abstain is not None:
            if about is None or "expected_pcc" not in about:
                raise InputError(
                    f"{self.name} does not know which correlation to expect, so cannot abstain: "
                    "fit a gene_ensemble of it, or leave abstain= out."
                )
            about["abstain"] = ~about["seen"] & (about["expected_pcc"] < abstain)
            layers["predicted"][:, about["abstain"]] = np.nan
        if self.counts in bags.x and set(names) <= set(gene_names(bags, self.counts)):
            layers["measured"] = self.measured(bags, names)
        note = self.note() | said(bags, given)
        note["fitted_on"] = told_of(self, ["X", "layers/predicted"])
        table = slides_anndata(bags, names, layers, {self.name: note}, about, pictures=pictures)
        for view, values in bags.x.items() if features else ():
            if view != self.counts and len(values.shape) == 2:
                table.obsm[view] = bags.table(view)
        return table

    def _about(self, bags: Bags, names: tuple[str, ...]) -> pd.DataFrame | None:
        """What is known of how far each gene's prediction can be believed."""
        return None

    def write(
        self: Predicts,
        data: Any,
        X: Any,
        *,
        out: str | Path | None = None,
        copy: bool = False,
        key_added: str | None = None,
        overwrite: bool = False,
        missing: str | None = None,
    ) -> Any:
        """Write predictions into the user's AnnData or SpatialData.

        Parameters
        ----------
        data
            AnnData or SpatialData, changed in place; or the path of an .h5ad or .zarr, replaced as
            a whole.
        X
            The bags that were read from it: tiles are matched by the names of their rows.
        out
            Write to this path instead; data in memory stay as they are.
        copy
            Put the result into a copy of AnnData or MuData in memory and return it, as scanpy does.
        key_added
            NAME of the data frame, of the note in ``uns`` and of SpatialData's table.
        overwrite
            Replace what another model has written under these names; otherwise that is refused.
        missing
            What to take features for that the slides lack (see :meth:`complete`); ``uns`` says so.

        Returns
        -------
        AnnData or MuData
            The copy; without ``copy`` None.

        Raises
        ------
        InputError
            If the data are not those of the slides, or a name is taken by another model.

        Notes
        -----
        AnnData gets ``obsm["predicted"]`` and ``obsm["measured"]``, data frames (float32) of the
        genes that are predicted, NaN in rows that are no tile; with ``key_added`` ``obsm[NAME]``
        and ``obsm["NAME_measured"]``. Read them as ``sm.read(..., x="obsm/predicted")``.
        SpatialData gets a table of its own, ``predicted`` or NAME,
        with both layers, that annotates the same regions.
        """
        from smalti.io.expression import write_expression
        from smalti.io.open import to_change

        data = to_change(data, out, copy)
        table = self.to_anndata(X, missing=missing, pictures=False)
        note = table.uns[self.name]  # of what the user's own table will hold
        note["fitted_on"] = told_of(self, [f"obsm/{key_added or 'predicted'}"])
        if key_added is not None:
            table.uns = {key_added: note}
            for old, new in (("predicted", key_added), ("measured", f"{key_added}_measured")):
                if old in table.layers:
                    table.layers[new] = table.layers.pop(old)
        write_expression(data, table, as_slides(X), out=out, name=key_added, overwrite=overwrite)
        return data if copy else None

    def note(self) -> dict[str, Any]:
        """Settings and where they come from, as ``uns`` holds them."""
        settings = {k: v for k, v in self.get_params(deep=False).items() if v is not None}
        tiles = {} if self.tile_scale_ is None else {"tiles": str(self.tile_scale_)}
        return {
            "settings": json.loads(json.dumps(settings, default=str)),
            "training_digest": self.digest_, "model": model_digest(self),
            "reference": self.reference, **tiles,
        }  # fmt: skip


def with_target(bags: Bags, target: np.ndarray, genes: tuple[str, ...]) -> Bags:
    """Bags whose view "counts" is what a member of an ensemble is to be fitted on.

    ``target`` is (n_tiles, n_genes), its columns ``genes``.
    """
    return dataclasses.replace(
        bags, x={**bags.x, "counts": target}, features={**bags.features, "counts": genes}
    )


def named(genes: Any) -> tuple[str, ...]:
    """Names of genes as a tuple; at least one.

    Raises
    ------
    InputError
        If there is none.
    """
    chosen = (genes,) if isinstance(genes, str) else tuple(map(str, genes))
    if not chosen:
        raise InputError("genes=() names no gene: leave it out to predict all.")
    return chosen


def as_slides(x: Any) -> Bags:
    """Bags of tiles, or one error that says how to get them.

    Raises
    ------
    InputError
        If ``x`` is anything but bags.
    """
    if isinstance(x, Bags):
        return x
    raise InputError(
        f"expected Bags of slides, not {type(x).__name__}: read them with sm.read_slides(...), or "
        "from AnnData with sm.read(adata, sample='slide', x={'X_features': 'obsm/X_features', "
        "'counts': 'X'})."
    )
