"""The way into a comparison: what was there, what was left out and why, and what was compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.comparison.cohort import TEST, TRAINING
from smalti.comparison.splits import Split
from smalti.left import Left, kind_of

FOUND, OUT, KEPT, CLASS, FITS = "found", "left out", "compared", "of them", "in a fit"
UNITS = ("donors", "bags", "instances")
COLUMNS = ["part", "step", "what", *UNITS]


def flow_of(
    parts: Mapping[str, Bags], groups: Mapping[str, np.ndarray], splits: Sequence[Split]
) -> pd.DataFrame:
    """Steps from what was found to what was compared.

    Parameters
    ----------
    parts
        Name of the part -> its bags.
    groups
        Name of the part -> (n_bags,) class of each bag.
    splits
        Of the comparison.

    Returns
    -------
    DataFrame
        part, step ("found", "left out", "compared", "of them": one class; "in a fit": the sides of
        the splits), what in words, and donors, bags and instances; missing where not known.
        What was found less all that was left out is what was compared. Donors that the bags do not
        name are not known.
    """
    rows = []
    for part, bags in parts.items():
        rows += [{"part": part} | row for row in _steps(bags, groups[part])]
    test = parts.get(TEST)
    sides = _sides(next(iter(parts.values())), test, splits)
    rows += [{"part": next(iter(parts)) if test is None else what} | row
             for what, row in sides]  # fmt: skip
    found = pd.DataFrame(rows, columns=COLUMNS)
    numbers = found[list(UNITS)].astype(float).astype("Int64")  # whole, or not known
    return found.assign(**{u: numbers[u] for u in UNITS})


def _steps(bags: Bags, groups: np.ndarray) -> list[dict[str, Any]]:
    now = _size(bags, np.arange(len(bags)))
    before, out = dict(now), list[dict[str, Any]]()
    for note, numbers in reversed(_merged(bags.left)):
        out.append({"step": OUT, "what": note} | numbers)
        before = {u: before[u] + numbers[u] for u in UNITS}
    kept: dict[str, Any] = {"step": KEPT, "what": "compared"} | now
    classes: list[dict[str, Any]] = [
        {"step": CLASS, "what": str(c)} | _size(bags, np.flatnonzero(groups == c))
        for c in dict.fromkeys(groups)
    ]
    first: list[dict[str, Any]] = [{"step": FOUND, "what": "found"} | before] if out else []
    return [*first, *out[::-1], kept, *(classes if len(classes) > 1 else [])]


def _size(bags: Bags, rows: np.ndarray) -> dict[str, float]:
    donors = np.nan if bags.donor is None else float(len(np.unique(bags.donors[rows])))
    return {
        "donors": donors,
        "bags": float(len(rows)),
        "instances": float(bags.lengths[rows].sum()),
    }


def _merged(left: Sequence[Left]) -> list[tuple[str, dict[str, float]]]:
    """Notes with their numbers; what several slides have in common as one."""
    kinds: dict[str, list[Left]] = {}
    for i, note in enumerate(left):
        kinds.setdefault(kind_of(note) if "slide '" in note else str(i), []).append(note)
    out = []
    for same in kinds.values():
        what = str(same[0]) if len(same) == 1 else f"{same[0]} So too on {len(same) - 1} more."
        numbers = {u: sum(np.nan if (n := getattr(note, u)) is None else float(n) for note in same)
                   for u in UNITS}  # fmt: skip
        out.append((what, numbers))
    return out


def _sides(
    bags: Bags, test: Bags | None, splits: Sequence[Split]
) -> list[tuple[str, dict[str, Any]]]:
    """Training and test of the splits; in words where they are not all of one size."""
    out = []
    for what, of, sides in ((TRAINING, bags, [s.train for s in splits]),
                            (TEST, test or bags, [s.test for s in splits])):  # fmt: skip
        sizes = pd.DataFrame([_size(of, rows) for rows in sides])
        numbers = {u: sizes[u].iloc[0] if np.ptp(sizes[u]) == 0 else np.nan for u in UNITS}
        words = ", ".join(f"{_range(sizes[u])} {u}" for u in UNITS if sizes[u].notna().all())
        out.append((what, {"step": FITS, "what": f"{what}: {words}"} | numbers))
    return out


def _range(sizes: pd.Series) -> str:
    low, high = int(sizes.min()), int(sizes.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def said(flow: pd.DataFrame) -> str:
    """The finding in a sentence: how many of those found were compared."""
    told = []
    for part, rows in flow.groupby("part", sort=False):
        kept = rows[rows["step"] == KEPT]
        if kept.empty:
            continue
        name = f"{part}: " if TEST in set(flow["part"]) else ""
        found, out = rows[rows["step"] == FOUND], rows[rows["step"] == OUT]
        if found.empty:
            told.append(f"{name}{words(kept.iloc[0])} were compared, and nothing was left out")
        else:
            steps = f"{len(out)} step{'s' * (len(out) > 1)}"
            told.append(f"{name}of {words(found.iloc[0])} found {words(kept.iloc[0])} were "
                        f"compared; {steps} left some out")  # fmt: skip
    return "; ".join(told)


def words(row: Mapping[str, float] | pd.Series, unit: str = "instances") -> str:
    """Donors, bags and instances, those that are known and not none."""
    names = {"donors": "donor", "bags": "bag", "instances": unit.removesuffix("s")}
    known = [(int(row[u]), names[u]) for u in UNITS if pd.notna(row[u]) and row[u]]
    return ", ".join(f"{n:,} {name}{'s' * (n != 1)}" for n, name in known)
