"""What a fitted model keeps of its training bags: digests, enough to know them again.

They are part of the model file. A digest hides a name from a reader of the file, not from one who
has a list of names to try: whoever may have a model may learn whether a known donor was in it.
"""

from __future__ import annotations

import hashlib
import warnings
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.views import View, dense_rows, placed

_NUMBERS = 2**20  # of a table that are mixed at a time, in 64 bits
_told: weakref.WeakSet[Any] = weakref.WeakSet()  # models of which it was said


@dataclass(frozen=True)
class Seen:
    """Digests of 12 digits of the training bags and of their donors, sorted.

    Attributes
    ----------
    bags
        One for each bag: of its number of instances and of its first and last one.
    donors
        One for each donor: of its name. None where no donor was named.
    """

    bags: tuple[str, ...] = ()
    donors: tuple[str, ...] = ()

    @classmethod
    def of(cls, bags: Bags) -> Seen:
        """What to keep of the bags of a fit."""
        return cls(tuple(sorted(set(_of_bags(bags)))), tuple(sorted(set(_of_donors(bags)))))

    @classmethod
    def of_donors(cls, bags: Bags) -> Seen:
        """The donors alone, where bags are slides: their tiles would have to be read for more."""
        return cls(donors=tuple(sorted(set(_of_donors(bags)))))

    def has_bags(self, bags: Bags) -> np.ndarray:
        """(n_bags,) whether a bag is one of the training bags, by what is in it."""
        return np.isin(_of_bags(bags), self.bags)

    def has_donors(self, bags: Bags) -> np.ndarray:
        """(n_bags,) whether a bag is of a training donor, by the name of the donor."""
        return np.isin(_of_donors(bags) or [""] * len(bags), self.donors)


def warn_of_training(model: Any, bags: Bags) -> None:
    """Say, once, that bags to be predicted are of donors whom a model was fitted on.

    By the names of the donors; where none are named, by what is in the bags.

    Parameters
    ----------
    model
        Fitted. One that was saved by an earlier version does not know.
    bags
        What it is asked to predict.
    """
    seen = getattr(model, "seen_", None)
    if seen is None or model in _told:
        return
    named = bool(seen.donors) and bags.donor is not None and bags.donor != "bag"
    if not (seen.has_donors(bags) if named else seen.has_bags(bags)).any():
        return
    if named:
        text = ("some of these bags are of donors whose names were in its training: where they are "
                "the same people, ")  # fmt: skip
    else:
        text = "some of these bags were in its training: "
    _told.add(model)
    # the text names no number, so that Python's own rule says it once for many folds
    warnings.warn(
        f"{model.name}: {text}a score of these predictions is too good. Split by "
        "donor, as smalti compare and sm.donor_split(bags) do.", stacklevel=3,
    )  # fmt: skip


class Made(NamedTuple):
    """Rows that a fitted model gave out: which, the name of the model, and its training."""

    prints: np.ndarray  # (n,) uint64, sorted
    model: str
    seen: Seen


made: deque[Made] = deque(maxlen=64)
"""What models gave out in this process, the latest last: rows know nothing of where they came
from, and pass through arrays and tables on their way into other bags."""


def remember(model: Any, rows: np.ndarray) -> None:
    """Know the rows again that a fitted model gave out, (n, width), should they become features."""
    if len(rows) and rows.ndim == 2:
        seen = getattr(model, "seen_", Seen())
        made.append(Made(np.sort(row_prints(rows)), model.name, seen))


def told_of(model: Any, keys: Iterable[str]) -> dict[str, Any]:
    """What a file says of arrays that a fitted model wrote into it: where, and whom it knows.

    Parameters
    ----------
    model
        Fitted.
    keys
        Of the arrays: "obsm/X_umint", "layers/predicted".
    """
    seen = getattr(model, "seen_", Seen())
    return {"method": model.name, "keys": list(keys), "donors": list(seen.donors)}


def row_prints(view: View) -> np.ndarray:
    """(n,) uint64: rows of a table, dense or sparse, that are equal as float32 have one print.

    Sums over the columns of mixed bits times odd numbers, so that zeros count for nothing.
    """
    odd = np.random.default_rng(17).integers(2**63, size=view.shape[1], dtype=np.uint64) * 2 + 1
    step = max(1, _NUMBERS // max(1, view.shape[1]))
    return np.concatenate([_prints(part, odd) for _, part in placed(view, step)])


def _prints(part: Any, odd: np.ndarray) -> np.ndarray:
    if not sp.issparse(part):
        return (_mixed(np.asarray(part)) * odd).sum(1, dtype=np.uint64)
    terms = _mixed(part.data) * odd[part.indices]
    sums = np.concatenate([np.zeros(1, np.uint64), terms.cumsum(dtype=np.uint64)])
    return np.asarray(np.diff(sums[part.indptr]))  # sums wrap, and so do differences


def _mixed(values: np.ndarray) -> np.ndarray:
    """Bits of float32, spread over 64, in the shape of the values."""
    plain = np.ascontiguousarray(values, dtype=np.float32) + np.float32(0)  # -0 is 0
    bits = plain.view(np.uint32).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(32)
    return bits * np.uint64(0xD6E8FEB86659FD93)


def _of_bags(bags: Bags) -> list[str]:
    parts = [f"{n}".encode() for n in bags.lengths]
    for view in bags.x.values():
        for rows in (bags.offsets[:-1], bags.offsets[1:] - 1):
            # float32: a table read twice may widen
            ends = np.ascontiguousarray(dense_rows(view, rows), dtype=np.float32)
            parts = [part + row.tobytes() for part, row in zip(parts, ends, strict=True)]
    return [_digest(part) for part in parts]


def _of_donors(bags: Bags) -> list[str]:
    names = () if bags.donor is None else donor_names(bags)
    return [_digest(str(name).encode()) for name in names]


def donor_names(bags: Bags) -> np.ndarray:
    """(n_bags,) the donor of each bag, as the user wrote it; the bag itself where none is named.

    Raises
    ------
    InputError
        If the donor of a bag is missing.
    """
    if bags.donor is None or (bags.donor == "bag" and "bag" not in bags.bag):
        return bags.bag.index.to_numpy()
    _ = bags.donors  # refuses gaps
    return bags.bag[bags.donor].to_numpy()


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:12]
