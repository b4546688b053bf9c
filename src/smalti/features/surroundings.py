"""``neighbours``: what lies around a cell, as a view of the same bags."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.columns import places_of, slides_of
from smalti.errors import InputError


def neighbours(bags: Bags, view: str = "counts", k: int = 10) -> Bags:
    """Mean of a view over the nearest cells of the same slide.

    Nothing is fitted, and no other slide or bag has a say: what a cell gets is the same whatever
    else is read with it.

    Parameters
    ----------
    bags
        With places: instance columns x_um and y_um, or x_px and y_px, as of
        :func:`smalti.read_slides`.
    view
        A table: counts, features, an embedding.
    k
        Cells that count, the cell itself not among them; all others where there are fewer. A cell
        that is alone on its slide stands for its own neighbours.

    Returns
    -------
    Bags
        The same with view ``VIEW_neighbours``, (n, width), as the last; sparse where ``view`` is.

    Raises
    ------
    InputError
        If there is no such view, it is no table, places are not known, or ``k`` is below 1.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.features.neighbours(sm.datasets.pictured_cells(4, 20, seed=0), k=5)
    >>> list(cells.x)
    ['tile', 'counts', 'counts_neighbours']
    """
    name, table = bags.view(view)
    if len(table.shape) != 2:
        raise InputError(f"view {name!r} holds instances of shape {tuple(table.shape[1:])}: a mean "
                         "is of tables.")  # fmt: skip
    if k < 1:
        raise InputError(f"k={k} must be 1 or more.")
    xy = places_of(bags)
    if xy is None:
        raise InputError("where the cells lie is not known, instance columns x_um and y_um, or "
                         "x_px and y_px: read them with sm.read_slides.")  # fmt: skip
    values = table if sp.issparse(table) else bags.table(name)
    means = (_weights(xy, slides_of(bags), k) @ values).astype(np.float32)
    new, names = f"{name}_neighbours", bags.features.get(name)
    features = {k: v for k, v in bags.features.items() if k != new} | (
        {new: names} if names else {}
    )
    return dataclasses.replace(bags, x={**bags.x, new: means}, features=features)


def _weights(xy: np.ndarray, slide: np.ndarray, k: int) -> sp.csr_matrix:
    """(n, n) the share that each cell has in the mean of each."""
    from scipy.spatial import cKDTree

    rows, columns, shares = [], [], []
    for one in np.unique(slide):
        own = np.flatnonzero(slide == one)
        most = min(k, len(own) - 1)
        if most == 0:
            near = own[:, None]
        else:
            found = cKDTree(xy[own]).query(xy[own], k=most + 1)[1]
            # where cells lie on one place the first found need not be the cell itself
            itself = found == np.arange(len(own))[:, None]
            itself[~itself.any(1), -1] = True
            near = own[found[~itself].reshape(len(own), most)]
        rows.append(np.repeat(own, near.shape[1]))
        columns.append(near.ravel())
        shares.append(np.full(near.size, 1 / near.shape[1]))
    entries = np.concatenate(shares), (np.concatenate(rows), np.concatenate(columns))
    return sp.csr_matrix(entries, shape=(len(xy), len(xy)))
