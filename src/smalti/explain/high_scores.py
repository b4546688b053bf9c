"""What instances of high scores are made of: types, neighbours, genes, tested over donors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import false_discovery_control, rankdata
from sklearn.neighbors import NearestNeighbors

from smalti.bags import Bags
from smalti.columns import places_of
from smalti.core.seen import donor_names
from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.explain.across_donors import across_donors
from smalti.preprocess import Log1p, Normalize
from smalti.views import is_made, placed

TOP = 0.1  # share of the instances of a bag that are "high"
_NEIGHBOURS = 15
_WIDEST = 100  # features of a view in which neighbours are looked for


def enrichment(
    bags: Bags,
    scores: Mapping[str, np.ndarray],
    *,
    top: float = TOP,
    group: str | None = None,
    views: Any = None,
    neighbours: int = _NEIGHBOURS,
) -> pd.DataFrame:
    """What the highest-scored instances of a bag have more of than its others.

    Of each donor the mean over the highest ``top`` of the instances less that over all (bags of a
    donor together), and a t-test of these differences over donors. Cells are never the unit:
    thousands of cells of a donor share what is particular about it, and a test by cell finds
    almost anything.

    Parameters
    ----------
    bags
        Ones that the models which gave the scores have **not** seen.
    scores
        Name -> (n_instances,) numbers, high where an instance counts for much.
    top
        Share of the instances of a bag that is taken, one at least. Of equal scores each is taken
        in part.
    group
        Instance column of types; "cell_type" where there is one.
    views
        Tables whose features are tested; all views with one row of numbers an instance when left
        out. Raw counts are made log(1 + counts per 10,000) first.
    neighbours
        How many instances around one make up its neighbourhood: the nearest in the bag, by place
        (columns x_um and y_um, or x_px and y_px), else by a dense view of at most 100 features.

    Returns
    -------
    DataFrame
        scores, what ("type", "neighbourhood" or the name of a view), name, difference, low, high
        (95 % over donors), p, q (Benjamini-Hochberg over the names of one what), donors. Sorted by
        p in each.

    Raises
    ------
    InputError
        If ``top`` is no share, there is no such column or view, or scores are of other bags.

    Notes
    -----
    That a difference is real says what the model's high scores go with, not why: a model that was
    fitted on permuted labels has its preferences too. Compare with those.

    Examples
    --------
    >>> import smalti as sm
    >>> train, test = (sm.datasets.planted_bags(40, seed=s) for s in (0, 1))
    >>> model = sm.mil.BagMean(progress=False).fit(train)
    >>> scores = {"bag_mean": model.attribute(test)["contribution_1"].to_numpy()}
    >>> table = sm.explain.enrichment(test, scores)
    >>> found = table[table["what"] == "type"].set_index("name")
    >>> bool(found.loc["c", "difference"] > 0.1 and found.loc["c", "q"] < 0.001)
    True
    """
    _check(bags, scores, top)
    shares = {name: high_share(np.asarray(v, float), bags.offsets, top)
              for name, v in scores.items()}  # fmt: skip
    names, weights = list(shares), _contrasts(shares, bags)
    donors, rows = donor_names(bags), []
    for what, features, table in _tables(bags, group, views, neighbours):
        for j, name in enumerate(names):
            found = across_donors(_times(weights[j], table), donors)
            found = found.rename(columns={"value": "difference"})
            found.insert(0, "name", features)
            tested = found["p"].notna()
            found["q"] = np.nan
            if tested.any():
                found.loc[tested, "q"] = false_discovery_control(found.loc[tested, "p"])
            found = found.sort_values("p", kind="stable").assign(scores=name, what=what)
            rows.append(found)
    columns = ["scores", "what", "name", "difference", "low", "high", "p", "q", "donors"]
    if not rows:
        return pd.DataFrame(columns=columns)
    return pd.concat(rows, ignore_index=True)[columns]


def high_share(scores: np.ndarray, offsets: np.ndarray, top: float) -> np.ndarray:
    """(n_instances,) how much of each is among the highest of its bag; sums to their number.

    Of equal scores that do not all find room each has its part, so that the order of rows does not
    matter.
    """
    out = np.empty(len(scores))
    for start, stop in pairwise(offsets):
        own = -scores[start:stop]
        k = max(1, round(top * (stop - start)))
        first, last = rankdata(own, "min"), rankdata(own, "max")
        out[start:stop] = np.clip((k - first + 1) / (last - first + 1), 0, 1)
    return out


def _check(bags: Bags, scores: Mapping[str, np.ndarray], top: float) -> None:
    if not 0 < top < 1:
        raise InputError(f"top={top} is a share: over 0 and below 1.")
    for name, values in scores.items():
        if np.shape(values) != (bags.n_instances,):
            raise InputError(f"scores {name!r} have shape {np.shape(values)}, the bags have "
                             f"{bags.n_instances} instances: one number for each.")  # fmt: skip


def _contrasts(shares: Mapping[str, np.ndarray], bags: Bags) -> list[sp.csr_matrix]:
    """(n_bags, n_instances) each: mean over the highest less mean over all, as one product."""
    index, lengths, found = bags.index, bags.lengths, []
    for share in shares.values():
        whole = np.add.reduceat(share, bags.offsets[:-1])
        weight = share / whole[index] - 1 / lengths[index]
        columns = np.arange(bags.n_instances)
        found.append(sp.csr_matrix((weight, columns, bags.offsets),
                                   shape=(len(bags), bags.n_instances)))  # fmt: skip
    return found


def _times(weight: sp.csr_matrix, table: Any) -> np.ndarray:
    """(n_bags, k) of a table (n_instances, k), in memory or piece by piece."""
    out = np.zeros((weight.shape[0], int(table.shape[1])))
    for start, part in placed(table):
        product = weight[:, start : start + part.shape[0]] @ part
        out += product.toarray() if sp.issparse(product) else product
    return out


# -------------------------------------------------------------------- tables of instances


def _tables(
    bags: Bags, group: str | None, views: Any, neighbours: int
) -> Iterator[tuple[str, list[str], Any]]:
    """What is tested, the names of its columns, and (n_instances, k) numbers."""
    column = group or ("cell_type" if "cell_type" in bags.instance else None)
    if column is not None:
        if column not in bags.instance:
            there = ", ".join(map(str, bags.instance.columns)) or "none"
            raise InputError(f"no instance column {column!r}; there are {there}.")
        codes, levels = pd.factorize(bags.instance[column].astype(str), sort=True)
        types = sp.csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)))
        yield "type", [str(v) for v in levels], types
        around = _around(bags, types, neighbours)
        if around is not None:
            yield "neighbourhood", [str(v) for v in levels], around
    asked = bags.only(views).x if views is not None else bags.x
    for name, view in asked.items():
        if len(view.shape) != 2:
            continue
        names = bags.features.get(name) or [f"{name} {i + 1}" for i in range(view.shape[1])]
        yield name, list(map(str, names)), _levels(bags.only(name))


def _levels(bags: Bags) -> Any:
    """The only view; raw counts as log(1 + counts per 10,000)."""
    view = bags.view()[1]
    if (hasattr(view, "__getitem__") or is_made(view)) and count_problem(view) is None:
        for step in (Normalize(), Log1p()):
            bags = step.fit(bags).transform(bags)
    return bags.view()[1]


def _around(bags: Bags, types: sp.csr_matrix, k: int) -> sp.csr_matrix | None:
    """(n_instances, n_types) shares of the types among the nearest of each; None if none is near.

    The instance itself is not of its neighbourhood.
    """
    where, view = places_of(bags), bags.view()[1]
    if where is None:
        if not isinstance(view, np.ndarray) or view.ndim != 2 or view.shape[1] > _WIDEST:
            return None
        where = view
    parts = []
    for start, stop in pairwise(bags.offsets):
        n = int(stop - start)
        if n < 2:
            parts.append(sp.csr_matrix((n, n)))
            continue
        m = min(k, n - 1)
        # asked of nothing, it leaves each out of its own neighbours
        near = NearestNeighbors(n_neighbors=m).fit(where[start:stop]).kneighbors()[1]
        ones = np.full(n * m, 1 / m)
        parts.append(sp.csr_matrix((ones, near.ravel(), np.arange(0, n * m + 1, m)), shape=(n, n)))
    return sp.block_diag(parts, format="csr") @ types
