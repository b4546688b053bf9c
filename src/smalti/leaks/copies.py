"""Instances of one donor that are those of another, or nearly so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from smalti.core.seen import row_prints
from smalti.leaks.case import Case, check
from smalti.leaks.finding import Finding
from smalti.names import some
from smalti.views import PIECE, dense, take

_MEND = ("Find out which of them is right, and leave the other out; if they are of one person, "
         "give one name to the donor.")  # fmt: skip
_WIDTH = 50  # columns that distances are taken in
_PAIRS = 2e8  # of instances drawn and all others: a second or two
_EQUAL = 5e-3  # standard deviations that float32 cannot tell from none
_BLOCK = 10_000  # rows at once
_GROUPS = 500  # of equal rows that are looked at
_SAMPLE = 5000


@check("copies")
def copies(case: Case) -> Iterator[Finding]:
    """Equal rows of different donors; where there are none, rows far nearer than chance has it."""
    if case.bags.donor is None or len(np.unique(case.codes)) < 2:
        return
    for name, table in case.tables.items():
        if table.shape[1] > 1:
            yield from list(_equal(case, name, table)) or _near(case, name, table)


def _equal(case: Case, name: str, table: Any) -> Iterator[Finding]:
    frame = pd.DataFrame({"print": row_prints(table), "donor": case.codes})
    frame = frame[frame["print"].duplicated(keep=False) & (frame["print"] > 0)]  # 0: empty rows
    across = frame.groupby("print")["donor"].transform("nunique") > 1
    frame = frame[across.to_numpy()]
    groups = [rows.to_numpy() for rows in frame.groupby("print").groups.values()]
    if not groups:
        return
    chosen = case.rng.permutation(len(groups))[:_GROUPS]
    telling = _telling(case, table, [groups[i] for i in chosen])
    if not telling:
        return
    n = round(len(frame) * len(telling) / len(chosen))
    names = pd.unique(case.donors)
    donors = pd.unique(case.codes[np.concatenate(telling)])
    yield Finding(
        "copies",
        f"about {n:,} of {len(case.codes):,} instances are the same, number by number in {name!r}, "
        f"in different donors ({some([str(names[c]) for c in donors])}).",
        _MEND,
        evidence={"view": name, "instances": n, "donors": [str(names[c]) for c in donors[:20]]},
    )


def _telling(case: Case, table: Any, groups: list[np.ndarray]) -> list[np.ndarray]:
    """Groups of rows that cannot well be equal by chance.

    Null: instances of any donor, columns independent. A row is equal to another with the product
    of how frequent its values are; half of its logarithm counts, for columns are not independent,
    and must outweigh all pairs of instances by a thousand. An empty cell, or one of few counts, is
    like many others and tells nothing.
    """
    n, rows = len(case.codes), _drawn(case, table)
    sample = dense(take(table, rows))  # (k, d)
    needed = 2 * np.log2(n) + 10
    found = []
    for group in groups:
        row = dense(take(table, group[:1]))[0]
        others = ~np.isin(rows, group)
        share = ((sample[others] == row).sum(0) + 1) / (others.sum() + 1)
        if -np.log2(share).sum() / 2 > needed:
            found.append(group)
    return found


def _drawn(case: Case, table: Any) -> np.ndarray:
    """(k,) rows of a sample, fewer of a wide table, in order."""
    k = min(_SAMPLE, max(200, PIECE // table.shape[1]))
    return np.sort(case.rng.permutation(table.shape[0])[:k])


def _near(case: Case, name: str, table: Any) -> Iterator[Finding]:
    """Whether nearest neighbours in other donors are nearer than they can be by chance."""
    if _few_values(dense(take(table, _drawn(case, table)))):
        return  # distances of counts are steps: what is said of ratios below does not hold
    queries, own, others = neighbours(case, table)
    if (others[:, 0] < _EQUAL).mean() > 0.05:
        return  # values so few that instances are equal by chance
    ratio, null = (_ratios(near) for near in (others, own))
    null = null if len(null) >= 50 else ratio
    near = too_near(ratio, null)
    if near is None:
        return
    n = round(near / len(queries) * len(case.codes))
    yield Finding(
        "copies",
        f"{near:,} of {len(queries):,} instances that were drawn (about {n:,} in all) have a "
        f"neighbour in another donor that is far nearer, in {name!r}, than neighbours in their own "
        "donor are: copies with noise on them, or measured twice.",
        _MEND,
        evidence={"view": name, "near": int(near), "drawn": len(queries)},
    )


def _few_values(sample: np.ndarray) -> bool:
    """Whether most columns of (k, d) take each of their values, but for zero, ten times or more."""
    there = [column[column != 0] for column in sample.T[:500]]
    shares = [len(np.unique(c)) / len(c) for c in there if len(c) >= 10]
    return not shares or bool(np.median(shares) < 0.1)


def _ratios(near: np.ndarray) -> np.ndarray:
    """(m,) first to second distance, (q, 2), without those that are equal or not there."""
    kept = (near[:, 0] > _EQUAL) & np.isfinite(near[:, 1])
    return np.asarray(near[kept, 0] / near[kept, 1])


def too_near(ratio: np.ndarray, null: np.ndarray) -> int | None:
    """How many ratios of first to second distance are too small; None: none need be.

    Null: of points whose density changes little over such a distance the ratio, to the power of
    their dimension, is uniform, however dense they are. So ratios to other donors are exchangeable
    with those within donors, wherever donors differ less than they are alike, and larger where
    donors lie apart.

    Parameters
    ----------
    ratio
        (n,) to instances of other donors.
    null
        (m,) to those of the own donor.
    """
    if len(ratio) < 50:
        return None
    for rank in (1, 6, 30):  # what lies below the rank-th smallest of the null
        limit = np.partition(null, rank - 1)[rank - 1] if len(null) >= rank else 0.0
        n = int((ratio < limit).sum())
        # n others before the rank-th of m + n: heads before so many tails
        if n and binom.sf(n - 1, n + rank - 1, len(ratio) / (len(ratio) + len(null))) < 1e-5:
            return n
    # the tail alone: half the dimension, for it differs from place to place
    dimension = np.log(0.5) / np.log(np.median(null)) if 0 < np.median(null) < 1 else 0.0
    n = int((len(ratio) * ratio ** (dimension / 2) < 1e-4).sum())
    return n or None


def neighbours(case: Case, table: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Instances drawn, and the two least distances of each in its own donor and in the others.

    Returns
    -------
    tuple
        (q,) rows; (q, 2) and (q, 2) distances, in standard deviations of up to 50 columns; inf
        where there is no such instance.
    """
    n = table.shape[0]
    sample = dense(take(table, _drawn(case, table)))
    spread = sample.std(0, dtype=np.float64)
    columns = np.argsort(-spread, kind="stable")[: min(_WIDTH, int((spread > 0).sum()))]
    size = int(min(n, 3000, max(300, _PAIRS / n)))
    queries = np.sort(case.rng.permutation(n)[:size])
    shift, scale = sample[:, columns].mean(0, dtype=np.float64), spread[columns]

    def standard(rows: np.ndarray) -> np.ndarray:
        part = take(table, rows)[:, columns]
        return np.asarray((dense(part) - shift) / scale, dtype=np.float32)

    asked, donor = standard(queries), case.codes[queries]
    own, others = np.full((2, size, 2), np.inf, dtype=np.float32)
    order = np.argsort(case.codes, kind="stable")
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    for start in range(0, n, _BLOCK):
        part = order[start : start + _BLOCK]
        far = _squares(asked, standard(part))  # (q, k)
        at = place[queries] - start
        itself = np.flatnonzero((at >= 0) & (at < len(part)))
        far[itself, at[itself]] = np.inf
        mine = np.flatnonzero(np.isin(donor, case.codes[part]))  # few: donors are side by side
        same = donor[mine, None] == case.codes[part]
        _keep(own, mine, np.where(same, far[mine], np.inf))
        far[mine] = np.where(same, np.inf, far[mine])
        _keep(others, slice(None), far)
    return queries, np.sqrt(own), np.sqrt(others)


def _keep(kept: np.ndarray, rows: Any, far: np.ndarray) -> None:
    """Take over the two least of each row, (r, k), into (q, 2)."""
    kept[rows] = np.sort(np.hstack([kept[rows], _two_least(far)]), axis=1)[:, :2]


def _two_least(far: np.ndarray) -> np.ndarray:
    """(q, 2) the two least of each row, which are overwritten: faster than to sort them."""
    at = far.argmin(1)[:, None]
    first = np.take_along_axis(far, at, 1)
    np.put_along_axis(far, at, np.inf, 1)
    return np.hstack([first, far.min(1, keepdims=True)])


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(q, k) squared distances; never below what float32 can tell from none."""
    found = (-2 * one) @ other.T
    found += (one**2).sum(1)[:, None]
    found += (other**2).sum(1)
    return np.maximum(found, 0.0, out=found)
