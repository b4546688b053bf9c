"""Protein counts denoised and scaled by their background: dsb."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.names import some
from smalti.preprocess.antibodies import controls, is_isotype
from smalti.preprocess.step import Step
from smalti.solve.two_gaussians import lower_means
from smalti.system.reading import about
from smalti.system.tables import numbers, read_table
from smalti.views import View, pieces

_PSEUDO = 10.0  # added to counts before the logarithm


class DSB(Step):
    """Protein counts as distances from their background, less what is technical of a cell.

    After Mulè, Martins and Tsang (2022, Nature Communications 13:2099). First log(10 + x) of each
    protein, less its mean in empty droplets, over its standard deviation there. Then the technical
    component of a cell, the first principal component of its isotype controls and of its own
    background (the mean of the lower of two Gaussians fitted to all its proteins), is regressed out
    of each protein. Isotype controls are told by their names, and left out of what it gives, as
    hashtags are.

    Without empty droplets the background of a protein is the lower of two Gaussians fitted to it in
    the training cells, and is taken off without a division, as in the authors' function for that
    case. Without isotype controls the technical component is the background of the cell alone.

    Written from the equations: what the paper and its package do not share (quantile clipping, a
    pseudocount of one's own, k-means in the place of mixtures) is not here. The mixtures are
    scikit-learn-like EM and not mclust, whose starts differ; components, slopes and means are of
    the training cells, and new cells are placed by them.

    Parameters
    ----------
    background
        Table (.csv, .tsv, .parquet) with a row a protein: its name first, then ``mean`` and ``sd``
        of log(10 + x) in empty droplets, as :func:`smalti.empty_droplets` makes it.

    Raises
    ------
    InputError
        If there are neither isotype controls nor a background, if the background lacks a protein,
        or values are negative.
    """

    name: ClassVar[str] = "dsb"
    argument: ClassVar[tuple[str, type] | None] = ("background", str)
    state: ClassVar[tuple[str, ...]] = (
        "kept_", "isotypes_", "mean_", "sd_", "noise_mean_", "noise_sd_", "axis_", "slope_",
    )  # fmt: skip

    def __init__(self, background: str | None = None) -> None:
        self.background = background

    def looks_across(self) -> bool:
        """Yes: the background of a cell is of all its proteins."""
        return True

    def kept(self) -> np.ndarray:
        """(n_kept,) positions of the proteins that it gives."""
        return self.kept_

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(names[i] for i in self.kept_)

    def _learn(self, view: View, bags: Bags) -> None:
        names = self.features_in_
        if not names:
            raise InputError("dsb needs names of the proteins, to tell isotype controls.")
        gone = set(controls(names))
        self.kept_ = np.array([i for i, n in enumerate(names) if n not in gone], dtype=np.int64)
        self.isotypes_ = np.array([i for i, n in enumerate(names) if is_isotype(n)], dtype=np.int64)
        if not len(self.isotypes_) and self.background is None:
            raise InputError(
                f"dsb: no isotype control is among the {len(names)} proteins ({some(names)}), and "
                "no background is given: name a table of it (see "
                "smalti.empty_droplets), or take clr."
            )
        if len(self.kept_) < 2:
            raise InputError("dsb needs two proteins or more: of one there is no background.")
        logs = np.concatenate([self._logs(part) for part in pieces(view)])
        self.mean_, self.sd_ = self._background(names, logs)
        z = (logs - self.mean_) / self.sd_
        noise = self._noise(z)
        self.noise_mean_ = noise.mean(0)
        spread = noise.std(0, ddof=min(1, len(noise) - 1))
        self.noise_sd_ = np.where(spread > 0, spread, 1.0)
        scaled = (noise - self.noise_mean_) / self.noise_sd_
        self.axis_ = np.linalg.svd(scaled, full_matrices=False)[2][0]
        component = scaled @ self.axis_  # (n,), its mean is 0
        power = float(component @ component)
        self.slope_ = component @ z / power if power > 0 else np.zeros(z.shape[1])

    def _apply(self, view: Any, bags: Bags) -> Any:
        z = (self._logs(view) - self.mean_) / self.sd_
        component = (self._noise(z) - self.noise_mean_) / self.noise_sd_ @ self.axis_
        return (z - np.outer(component, self.slope_))[:, self.kept_].astype(np.float32)

    def _background(self, names: Sequence[str], logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each protein in the background, (n_proteins,) each."""
        used = np.union1d(self.kept_, self.isotypes_)
        mean, sd = np.zeros(len(names)), np.ones(len(names))
        if self.background is None:
            mean[used] = lower_means(logs[:, used].T)
            return mean, sd
        with about(self.background):
            table = read_table(Path(self.background))
            lacking = [c for c in ("mean", "sd") if c not in table]
            if lacking:
                raise InputError(f"the background has no column {lacking[0]!r}: make it by "
                                 "smalti.empty_droplets.")  # fmt: skip
            rows = {str(n): i for i, n in enumerate(table[table.columns[0]])}
            values = numbers(table, ["mean", "sd"], self.background)
            absent = [names[i] for i in used if names[i] not in rows]
            if absent:
                raise InputError(f"the background lacks {len(absent)} proteins: {some(absent)}.")
        mean[used], sd[used] = values[[rows[names[i]] for i in used]].T
        if (sd[used] <= 0).any():
            worst = names[int(used[np.argmin(sd[used])])]
            raise InputError(f"{self.background}: {worst!r} has no spread in the background: "
                             "leave it out of the data.")  # fmt: skip
        return mean, sd

    def _noise(self, z: np.ndarray) -> np.ndarray:
        """(n, n_isotypes + 1) isotype controls and the background of each cell."""
        used = np.union1d(self.kept_, self.isotypes_)
        return np.column_stack([z[:, self.isotypes_], lower_means(z[:, used])])

    def _logs(self, part: Any) -> np.ndarray:
        values = part.toarray() if sp.issparse(part) else np.asarray(part)
        if values.size and values.min() < 0:
            raise InputError(
                f"dsb: there are negative values (least: {values.min():.3g}), so these are not "
                "counts. Give raw counts, or leave dsb out."
            )
        return np.log(values.astype(np.float64) + _PSEUDO)
