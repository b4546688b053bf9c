"""Intensities of flow and mass cytometry."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess.step import Step
from smalti.views import View


class Arcsinh(Step):
    """arcsinh(x / cofactor): a logarithm of intensities that is 0 at 0 and takes negative values.

    Parameters
    ----------
    cofactor
        Close to linear below it, close to a logarithm above it: 5 is usual for mass cytometry, 150
        for flow cytometry.

    Raises
    ------
    InputError
        If the cofactor is not over 0.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> cells = sm.Bags.from_list([np.array([[0.0, -5.0], [5.0, 5e3]])])  # intensities
    >>> step = sm.preprocess.Arcsinh().fit(cells)  # in a text: "arcsinh" or "arcsinh=5"
    >>> step.transform(cells).table().astype(float).round(2).tolist()
    [[0.0, -0.88], [0.88, 7.6]]
    """

    name: ClassVar[str] = "arcsinh"
    argument: ClassVar[tuple[str, type] | None] = ("cofactor", float)
    columnwise: ClassVar[bool] = True

    def __init__(self, cofactor: float = 5.0) -> None:
        self.cofactor = cofactor

    def _learn(self, view: View, bags: Bags) -> None:
        if not self.cofactor > 0:
            raise InputError(f"arcsinh: cofactor={self.cofactor!r} must be over 0.")

    def _apply(self, view: Any, bags: Bags) -> Any:
        table = sp.csr_matrix(view, dtype=np.float32) if sp.issparse(view) else view
        values = table.data if sp.issparse(table) else table
        out = np.arcsinh(values.astype(np.float32) / np.float32(self.cofactor))
        if not sp.issparse(table):
            return out
        return sp.csr_matrix((out, table.indices, table.indptr), shape=table.shape)  # 0 stays 0
