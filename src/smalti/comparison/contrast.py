"""Which donors take part where samples of one donor are held against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from smalti.bags import Bags
from smalti.comparison.splits import Split
from smalti.core.seen import donor_names
from smalti.errors import InputError
from smalti.left import Left
from smalti.names import some
from smalti.scores.pairs import check_contrast, of_several

CONTRASTS = ("donor",)


def contrasted(bags: Bags, contrast: str | None) -> Bags:
    """The bags of donors that have samples of several labels; all of them where None is asked.

    Parameters
    ----------
    bags
        With a donor and a target.
    contrast
        "donor", or None.

    Raises
    ------
    InputError
        If it is another word, the target has several columns, or no two donors have two labels.
    """
    if contrast is None:
        return bags
    if contrast not in CONTRASTS:
        raise InputError(f"contrast={contrast!r} is not one of {', '.join(CONTRASTS)}.")
    task = bags.task
    assert task is not None
    check_contrast(task)
    several = of_several(bags.labels, bags.donors)
    names = donor_names(bags)
    if len(np.unique(bags.donors[several])) < 2:
        raise InputError(
            f"a contrast needs two donors or more with samples of several labels of {task.name!r}: "
            "name the column of the donors, or leave contrast= out."
        )
    if several.all():
        return bags
    alone = list(dict.fromkeys(map(str, names[~several])))
    n = len(np.unique(bags.donors))
    note = Left(
        f"{len(alone):,} of {n:,} donors are left out of the contrast, for their samples have one "
        f"label: {some(alone)}.",
        bags=int((~several).sum()), donors=len(alone), instances=int(bags.lengths[~several].sum()),
    )  # fmt: skip
    return dataclasses.replace(bags[several], notes=(*bags.notes, note))


def check_together(bags: Bags, splits: Iterable[Split]) -> None:
    """Refuse splits that part the samples of a donor: one model must see them all.

    Raises
    ------
    InputError
        If one does.
    """
    donors = bags.donors
    size = np.bincount(donors)
    for split in splits:
        tested = np.bincount(donors[split.test], minlength=len(size))
        odd = np.flatnonzero((tested > 0) & (tested < size))
        if len(odd):
            name = donor_names(bags)[np.argmax(donors == odd[0])]
            raise InputError(
                f"contrast= holds the samples of a donor against each other, and those of {name!r} "
                "are tested by several models: deal donors to folds."
            )
