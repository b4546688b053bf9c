"""What lies on both sides of a split: slides, their neighbouring tiles, donors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial import KDTree

from smalti.leaks.case import Case, check
from smalti.leaks.finding import Finding
from smalti.names import some


@check("tiles beside training tiles")
def tiles(case: Case) -> Iterator[Finding]:
    """Test tiles of slides that train: how many overlap with a training tile, or lie beside one."""
    index = case.bags.index
    tested, shared, overlap, beside = 0, 0, 0, 0
    for train, test in case.splits:
        tested += len(test)
        both = np.intersect1d(index[train], index[test])
        shared += int(np.isin(index[test], both).sum())
        for bag in both:
            near = _near(case, train[index[train] == bag], test[index[test] == bag])
            overlap, beside = overlap + near[0], beside + near[1]
    if not shared:
        return
    words = f"{shared / tested:.0%} of the test tiles are of slides that train"
    if overlap or beside:
        words += f", {overlap / tested:.0%} overlap with a training tile" if overlap else ""
        words += f", {beside / tested:.0%} lie beside one"
    yield Finding(
        "tiles beside training tiles",
        f"{words}: they look like it, and these scores are no estimate for a new slide.",
        "Leave whole donors or slides out (by='donor'), or strips with a gap as wide as a tile.",
        evidence={"tested": tested, "of_training_slides": shared, "overlap": overlap,
                  "beside": beside},
    )  # fmt: skip


@check("donors on both sides")
def donors(case: Case) -> Iterator[Finding]:
    """Sections of one donor on both sides of a split, and slides that count as donors."""
    if not case.splits:
        return
    if case.bags.donor in (None, "bag"):
        if len(case.bags) > 1:
            yield Finding(
                "donors on both sides",
                "each slide counts as its own donor: where two are of one donor, they are on both "
                "sides of splits.",
                "Name the column of donors, donor=.", "doubt", {"slides": len(case.bags)},
            )  # fmt: skip
        return
    index, names = case.bags.index, set()
    for train, test in case.splits:
        of = [np.unique(index[side]) for side in (train, test)]
        apart = np.setdiff1d(of[1], of[0])  # slides that train too are another kind
        names |= set(case.donors[apart]) & set(case.donors[of[0]])
    if names:
        yield Finding(
            "donors on both sides",
            f"other slides of a test slide's donor train ({some(sorted(map(str, names)))}): a new "
            "donor is harder.",
            "Leave whole donors out: by='donor'.",
            evidence={"donors": sorted(map(str, names))},
        )


def _near(case: Case, train: np.ndarray, test: np.ndarray) -> tuple[int, int]:
    """How many test tiles of one slide overlap with a training tile, and lie beside one.

    Tiles overlap where they are nearer than they are wide, and lie beside one another within one
    and a half of the distance that tiles of the slide have.
    """
    found = _places(case, int(case.bags.index[test[0]]))
    if found is None:
        return 0, 0
    columns, width = found
    here, there = (case.bags.instance[columns].to_numpy(float)[rows] for rows in (test, train))
    every = np.vstack([here, there])
    pitch = np.median(KDTree(every).query(every, k=2, p=np.inf)[0][:, 1])
    far = KDTree(there).query(here, p=np.inf)[0]
    return int((far < 0.95 * width).sum()), int((far <= 1.5 * pitch).sum())


def _places(case: Case, bag: int) -> tuple[list[str], float] | None:
    """Columns of the places of a slide, and how wide its tiles are in their unit; 0: not known."""
    for unit in ("um", "px"):
        columns = [f"x_{unit}", f"y_{unit}"]
        if not set(columns) <= set(case.bags.instance):
            continue
        part = case.bags.instance[columns].iloc[slice(*case.bags.offsets[[bag, bag + 1]])]
        if not np.isfinite(part.to_numpy(float)).all():
            continue
        name = f"tile_{unit}"
        for table, row in ((case.bags.bag, bag), (case.bags.instance, case.bags.offsets[bag])):
            if name in table and np.isfinite(float(table[name].iloc[row])):
                return columns, float(table[name].iloc[row])
        return columns, 0.0
    return None
