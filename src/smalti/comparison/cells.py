"""Instances by what models said of them that were not fitted on their donor: a sample, and types.

What is kept is small, however many instances there are: components of a few thousand of them, and
shares of types for each bag.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.core.seen import donor_names
from smalti.counts import count_problem
from smalti.task import Task
from smalti.views import dense, read_rows, take

HIGH = 0.1  # share of the instances of a bag that are its high ones
_MOST, _WIDTH, _GENES = 5000, 30, 2000  # instances, components, and features of the widest tables
COLUMNS = ["method", "bag", "donor", "group", "type", "share", "share_high"]


@dataclasses.dataclass(frozen=True)
class Cells:
    """Instances by score.

    Attributes
    ----------
    sample
        Instances of as many for each donor as there are: bag, donor, group (class), type (where one
        is known), and for each method its rank among those of its bag, from 0 to 1.
    components
        (n, k) float32 principal components of the sample, by size.
    how
        Of what, in words.
    score
        Method -> what it says of an instance that is ranked: "contribution_ill", "attention".
    types
        method, bag, donor, group, type, share among all of the bag, share_high among the tenth with
        the highest scores; no row where no type is known.
    """

    sample: pd.DataFrame
    components: np.ndarray
    how: str
    score: dict[str, str]
    types: pd.DataFrame

    @classmethod
    def of(
        cls,
        bags: Bags,
        attributions: Mapping[str, pd.DataFrame],
        task: Task,
        groups: np.ndarray,
        type_column: str | None,
        *,
        seed: int = 0,
    ) -> Cells | None:
        """Of the test bags of a comparison; None where nothing was said of instances.

        Parameters
        ----------
        bags
            That were tested.
        attributions
            Method -> what was said of each instance: bag, fold, and columns.
        task
            Of the target.
        groups
            (n_bags,) class of each bag.
        type_column
            Column of instances with their type.
        seed
            Of the sample, and of who is first among equal scores.
        """
        ranks, score = {}, {}
        rng = np.random.default_rng([seed, 11])
        for method, kept in attributions.items():
            column = score_column([c for c in kept if c not in ("bag", "fold")], task)
            values = None if column is None else _in_order(kept, str(column), bags)
            if values is not None:
                score[method], ranks[method] = str(column), _ranks(values, bags, rng)
        if not ranks:
            return None
        rows = _sampled(bags, rng)
        types = None if type_column is None else bags.instance[type_column].astype(str).to_numpy()
        names, donors = bags.bag.index.to_numpy(), donor_names(bags)
        of = bags.index[rows]
        sample = pd.DataFrame({"bag": names[of], "donor": donors[of], "group": groups[of]})
        if types is not None:
            sample["type"] = types[rows]
        for method, rank in ranks.items():
            sample[method] = rank[rows].astype(np.float32)
        components, how = _components(bags, rows, seed)
        shares = [] if types is None else [
            _shares(rank, types, bags, donors, groups).assign(method=method)
            for method, rank in ranks.items()
        ]  # fmt: skip
        found = pd.concat(shares, ignore_index=True) if shares else pd.DataFrame(columns=COLUMNS)
        return cls(sample, components, how, score, found[COLUMNS])


def score_column(columns: list[str], task: Task) -> str | None:
    """What of the attributions ranks instances: for the positive class, else whatever there is."""
    ends = [f"_{task.positive}", ""] if task.kind == "binary" else [""]
    wanted = [f"{kind}{end}" for end in ends for kind in ("contribution", "score", "attention")]
    return next((c for c in wanted if c in columns), columns[0] if columns else None)


def _in_order(kept: pd.DataFrame, column: str, bags: Bags) -> np.ndarray | None:
    """(n_instances,) scores in the order of the bags, of the first fold that tests each.

    NaN for bags that no fold tests.
    """
    first = kept.groupby("bag", sort=False)["fold"].transform("min")
    own = kept[kept["fold"] == first]
    parts = own.groupby("bag", sort=False)[column].apply(np.asarray)
    none = [np.full(n, np.nan) for n in bags.lengths]
    values = [parts.get(name, empty) for name, empty in zip(bags.bag.index, none, strict=True)]
    if any(len(v) != len(e) for v, e in zip(values, none, strict=True)):
        return None  # bags of one name
    flat = np.concatenate(values)
    return flat if np.isfinite(flat).any() else None


def _ranks(values: np.ndarray, bags: Bags, rng: np.random.Generator) -> np.ndarray:
    """(n_instances,) rank of each within its bag, from 0 to 1; equal ones in an order by chance.

    NaN where there is no score, and in bags whose instances are all alike.
    """
    order = np.lexsort((rng.random(len(values)), values, bags.index))
    ranks = np.empty(len(values))
    position = np.arange(len(values)) - bags.offsets[bags.index]
    ranks[order] = (position + 0.5) / bags.lengths[bags.index]
    spread = np.maximum.reduceat(values, bags.offsets[:-1]) - np.minimum.reduceat(
        values, bags.offsets[:-1]
    )
    ranks[~(spread > 0)[bags.index]] = np.nan
    return ranks


def _sampled(bags: Bags, rng: np.random.Generator) -> np.ndarray:
    """(n,) positions of instances, of as many for each donor as there are."""
    donors = np.unique(donor_names(bags), return_inverse=True)[1][bags.index]
    each = max(1, _MOST // (int(donors.max()) + 1))
    order = rng.permutation(bags.n_instances)
    place = pd.Series(donors[order]).groupby(donors[order]).cumcount().to_numpy()
    return np.sort(order[place < each][:_MOST])


def _components(bags: Bags, rows: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Principal components of a sample of the first view that is a table, and of what they are."""
    from sklearn.decomposition import PCA

    name = next((k for k, v in bags.x.items() if len(v.shape) == 2), None)
    if name is None:
        return np.empty((len(rows), 0), np.float32), ""
    counts = count_problem(bags.x[name]) is None
    part = read_rows(take(bags.x[name], rows), 0, len(rows))
    if counts:
        total = np.maximum(np.asarray(part.sum(1), float).reshape(-1, 1), 1)
        part = part.multiply(1e4 / total).tocsr() if sp.issparse(part) else part * (1e4 / total)
        part = part.log1p() if sp.issparse(part) else np.log1p(part)
    if part.shape[1] > _GENES:
        square = part.multiply(part) if sp.issparse(part) else np.square(part, dtype=float)
        spread = np.asarray(square.mean(0)).ravel() - np.asarray(part.mean(0)).ravel() ** 2
        part = part[:, np.sort(np.argsort(-spread)[:_GENES])]
    x = dense(part).astype(np.float32)
    width = min(_WIDTH, *x.shape)
    pca = PCA(width, svd_solver="randomized" if width < min(x.shape) else "full",
              random_state=seed)  # fmt: skip
    what = f"{name}, counts of 10,000 and their logarithm" if counts else name
    return pca.fit_transform(x).astype(np.float32), what


def _shares(
    ranks: np.ndarray, types: np.ndarray, bags: Bags, donors: np.ndarray, groups: np.ndarray
) -> pd.DataFrame:
    """Of each bag with scores: shares of the types among all, and among the highest tenth."""
    codes, names = pd.factorize(types, sort=True)
    ranked = np.isfinite(ranks[bags.offsets[:-1]])  # (n_bags,)
    cell = bags.index * len(names) + codes
    size = len(bags) * len(names)
    every = np.bincount(cell, minlength=size).reshape(len(bags), -1)
    high = np.bincount(cell[ranks > 1 - HIGH], minlength=size).reshape(len(bags), -1)
    share = every / every.sum(1, keepdims=True)
    share_high = high / np.maximum(high.sum(1, keepdims=True), 1)
    ranked &= high.sum(1) > 0
    n = int(ranked.sum())
    return pd.DataFrame({
        "bag": np.repeat(bags.bag.index.to_numpy()[ranked], len(names)),
        "donor": np.repeat(donors[ranked], len(names)),
        "group": np.repeat(groups[ranked], len(names)), "type": np.tile(names, n),
        "share": share[ranked].ravel(), "share_high": share_high[ranked].ravel(),
    })  # fmt: skip


def by_donor(types: pd.DataFrame) -> pd.DataFrame:
    """Differences of the shares, share_high - share: one row per donor, group and type.

    The mean over the bags of a donor, so that each donor counts once.
    """
    gaps = types.assign(difference=types["share_high"] - types["share"])
    keys = ["donor", "group", "type"]
    return (
        gaps.groupby(keys, sort=False)[["share", "share_high", "difference"]].mean().reset_index()
    )


def over_donors(types: pd.DataFrame) -> pd.DataFrame:
    """Means over the donors of a class: one row per type and group.

    Returns
    -------
    DataFrame
        type, group, share, share_high, difference, higher (donors who have more of it among the
        high ones) and donors; types by the largest difference of any group.
    """
    each = by_donor(types).assign(higher=lambda t: t["difference"] > 0, donors=1)
    how = dict.fromkeys(["share", "share_high", "difference"], "mean")
    found = each.groupby(["type", "group"], sort=False).agg(
        how | {"higher": "sum", "donors": "sum"}
    )
    found = found.reset_index()
    largest = found["difference"].abs().groupby(found["type"]).transform("max")
    return found.iloc[np.lexsort((found["type"], -largest))].reset_index(drop=True)


def placed(cells: Cells, *, umap: bool = False, seed: int = 0) -> tuple[np.ndarray, str]:
    """(n, 2) places of the sample in a picture, and what they are.

    Parameters
    ----------
    cells
        A sample with components.
    umap
        By UMAP, of the extra "integrate", which takes longer than all else of a page; else the
        first two components.
    seed
        Of UMAP.
    """
    x = cells.components
    if x.shape[1] < 2:
        return np.empty((0, 2)), ""
    if not umap:
        return x[:, :2], f"principal components 1 and 2 of {cells.how}"
    import warnings

    from smalti.system.extras import need

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread
        at = need("umap", "integrate").UMAP(random_state=seed).fit_transform(x)
    return at, f"UMAP of {x.shape[1]} principal components of {cells.how}"
