"""``ExpressionOutput``: where predicted expression goes: bags, AnnData, the user's data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.core.estimator import Estimator
from smalti.errors import InputError
from smalti.genes.units import gene_names


class ExpressionOutput(Estimator):
    """What :class:`~smalti.expression.base.ExpressionMethod` does with its predictions.

    It knows ``genes_``, ``counts``, ``predict`` and ``measured`` of its child.
    """

    def embed(self, X: Any, genes: Sequence[str] | None = None) -> Bags:
        """The same bags with the predicted expression as first view: input of any method.

        The view is called ``X_NAME``; features are the genes (see :meth:`predict`).
        """
        me: Any = self
        bags, names = as_slides(X), me.genes_ if genes is None else named(genes)
        key = f"X_{self.name}"
        seen = f"{key} is predicted by a model fitted before any split: where test donors were " \
               "among its slides, scores may be too good."  # fmt: skip
        return dataclasses.replace(
            bags,
            x={key: me.predict(bags, names), **{k: v for k, v in bags.x.items() if k != key}},
            features={**bags.features, key: names}, notes=(*bags.notes, seen), origin=None,
        )  # fmt: skip

    def to_anndata(
        self, X: Any, genes: Sequence[str] | None = None, *, abstain: float | None = None
    ) -> Any:
        """Predictions as AnnData, one row per tile.

        Parameters
        ----------
        X, genes
            As in :meth:`predict`.
        abstain
            Predict NaN for an unseen gene whose expected correlation is below this; only a
            ``gene_ensemble`` knows what to expect.

        Returns
        -------
        AnnData
            ``X`` and ``layers["predicted"]`` predictions, ``layers["measured"]`` where measured,
            ``obs`` the tiles' columns with ``slide`` and those of the slides, ``obsm["spatial"]``
            pixels, ``uns[NAME]`` settings, ``var`` the confidence of methods for unseen genes. Read
            it again as bags: ``sm.read(adata, sample="slide", x="layers/predicted")``.
        """
        from smalti.io.expression import slides_anndata

        me: Any = self
        bags, names = as_slides(X), me.genes_ if genes is None else named(genes)
        layers, about = {"predicted": me.predict(bags, names)}, self._about(bags, names)
        if abstain is not None:
            if about is None or "expected_pcc" not in about:
                raise InputError(
                    f"{self.name} does not know which correlation to expect, so cannot abstain: "
                    "fit a gene_ensemble of it (--ensemble 5), or leave abstain out."
                )
            about["abstain"] = ~about["seen"] & (about["expected_pcc"] < abstain)
            layers["predicted"][:, about["abstain"]] = np.nan
        if me.counts in bags.x and set(names) <= set(gene_names(bags, me.counts)):
            layers["measured"] = me.measured(bags, names)
        return slides_anndata(bags, names, layers, {self.name: self.note()}, about)

    def _about(self, bags: Bags, names: tuple[str, ...]) -> pd.DataFrame | None:
        """What is known of how far each gene's prediction can be believed."""
        return None

    def write(self, data: Any, X: Any, *, out: str | Path | None = None) -> None:
        """Write predictions into the user's AnnData or SpatialData.

        Parameters
        ----------
        data
            AnnData or SpatialData, changed in place; or the path of an .h5ad or .zarr, replaced as
            a whole.
        X
            The bags that were read from it: tiles are matched by the names of their rows.
        out
            Write to this path instead.

        Notes
        -----
        AnnData gets ``layers["predicted"]`` and ``layers["measured"]`` (float32, NaN in genes that
        are not predicted and rows that are no tile). SpatialData gets a table of its own,
        ``predicted``, with both layers, that annotates the same regions.
        """
        from smalti.io.expression import write_expression

        write_expression(data, self.to_anndata(X), as_slides(X), out=out)

    def note(self) -> dict[str, Any]:
        """Settings and where they come from, as ``uns`` holds them."""
        settings = {k: v for k, v in self.get_params(deep=False).items() if v is not None}
        return {
            "settings": json.loads(json.dumps(settings, default=str)),
            "training_digest": self.digest_, "reference": self.reference,
        }  # fmt: skip


def with_target(bags: Bags, target: np.ndarray, genes: tuple[str, ...]) -> Bags:
    """Bags whose view "counts" is what a member of an ensemble is to be fitted on."""
    return dataclasses.replace(
        bags, x={**bags.x, "counts": target}, features={**bags.features, "counts": genes}
    )


def named(genes: Any) -> tuple[str, ...]:
    """Names of genes as a tuple; at least one."""
    chosen = (genes,) if isinstance(genes, str) else tuple(map(str, genes))
    if not chosen:
        raise InputError("genes=() names no gene: leave it out to predict all.")
    return chosen


def as_slides(x: Any) -> Bags:
    """Bags of tiles, or one error that says how to get them."""
    if isinstance(x, Bags):
        return x
    raise InputError(
        f"expected Bags of slides, not {type(x).__name__}: read them with sm.read_slides(...), or "
        "from AnnData with sm.read(adata, sample='slide', x={'X_features': 'obsm/X_features', "
        "'counts': 'X'})."
    )
