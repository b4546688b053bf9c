"""One modality from components of the others: the mean, ridge and nearest cells, as baselines."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsRegressor

from smalti.bags import Bags
from smalti.core.settings import Count, Positive
from smalti.core.validation import k_folds
from smalti.integrate.block_pca import BlockPCA
from smalti.solve.ridge import ALPHAS, ridge_path, tune

_FOLDS = 5  # inner ones, by which a setting is chosen


class FromComponents(BlockPCA):
    """Components of the modalities that are there, fitted on training cells, and a regression."""

    width: Count = 50  # components

    def _takes_one(self) -> bool:
        return True

    def predicted(
        self, train: Bags, y: np.ndarray, test: Bags, groups: np.ndarray, seed: int
    ) -> np.ndarray:
        """The target of test cells.

        Parameters
        ----------
        train, test
            Cells without the target modality.
        y
            (n_train, d) the target of the training cells.
        groups
            (n_train,) donors, which stay together where a setting is chosen; or cells.
        seed
            Of the inner folds.

        Returns
        -------
        ndarray
            (n_test, d).
        """
        z = np.asarray(self.fit(train).transform(train))
        folds = np.zeros(len(z), dtype=np.int64)
        for i, (_, held) in enumerate(
            k_folds(_FOLDS, np.zeros(len(z), dtype=np.int64), groups, seed)
        ):
            folds[held] = i
        return self.regressed(z, y, np.asarray(self.transform(test)), folds)

    def regressed(
        self, z: np.ndarray, y: np.ndarray, new: np.ndarray, folds: np.ndarray
    ) -> np.ndarray:
        """(n_test, d) from components (n_train, k) and (n_test, k), and inner folds (n_train,)."""
        raise NotImplementedError


class FeatureMean(FromComponents):
    """The mean over training cells: what is known without the other modalities."""

    name: ClassVar[str] = "mean"
    reference: ClassVar[str] = "control"
    cite: ClassVar[tuple[str, ...]] = ()

    def regressed(
        self, z: np.ndarray, y: np.ndarray, new: np.ndarray, folds: np.ndarray
    ) -> np.ndarray:
        """The same (d,) for each new cell: (n_test, d)."""
        return np.broadcast_to(y.mean(0), (len(new), y.shape[1])).copy()


class ComponentRidge(FromComponents):
    """Ridge regression on components, its penalty chosen by leaving inner folds out."""

    name: ClassVar[str] = "ridge"
    reference: ClassVar[str] = "Hoerl & Kennard (1970), Technometrics 12:55"
    cite: ClassVar[tuple[str, ...]] = ("hoerl1970",)
    alphas: tuple[Positive, ...] = tuple(1e-4 * a for a in ALPHAS)  # penalties to choose from

    def regressed(
        self, z: np.ndarray, y: np.ndarray, new: np.ndarray, folds: np.ndarray
    ) -> np.ndarray:
        """Linear in the components: (n_test, d)."""
        error = tune(z, y, folds, self.alphas, standardize=False)
        weight, intercept = ridge_path(z, y, standardize=False).solution(
            self.alphas[int(error.argmin())]
        )
        return new @ weight + intercept


class ComponentKNN(FromComponents):
    """The mean of the nearest training cells by components, their number chosen likewise."""

    name: ClassVar[str] = "knn"
    reference: ClassVar[str] = "Fix & Hodges (1951), nearest neighbours"
    cite: ClassVar[tuple[str, ...]] = ()
    ks: tuple[Count, ...] = (5, 10, 20, 50, 100)  # cells to choose from

    def regressed(
        self, z: np.ndarray, y: np.ndarray, new: np.ndarray, folds: np.ndarray
    ) -> np.ndarray:
        """Of (n_test, d)."""
        ks = [k for k in self.ks if k <= np.sum(folds != 0) // 2] or [1]
        chosen = GridSearchCV(
            KNeighborsRegressor(), {"n_neighbors": ks}, cv=PredefinedSplit(folds),
            scoring="neg_mean_squared_error",
        ).fit(z, y)  # fmt: skip
        return chosen.predict(new)
