"""``Left``: a note that says what was left out of data, with its numbers.

It is a text, and stands among the notes of bags: whoever passes notes on passes the numbers on too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd


class Left(str):
    """What was left out, and why.

    Parameters
    ----------
    text
        A sentence, as notes are.
    instances, bags, donors
        How many went; None: not known. What is no instance of the bags (a spot that lies in no
        tile) counts as none.
    asked
        Whether the user asked for just that, so that it is no warning.

    Examples
    --------
    >>> import smalti as sm
    >>> from smalti.left import Left
    >>> note = Left("3 of 40 samples are not in the labels and are left out.", bags=3, donors=2)
    >>> note.bags, note.instances
    (3, 0)
    """

    instances: int | None
    bags: int | None
    donors: int | None
    asked: bool

    def __new__(
        cls,
        text: str,
        *,
        instances: int | None = 0,
        bags: int | None = 0,
        donors: int | None = 0,
        asked: bool = False,
    ) -> Left:
        """The sentence with its numbers."""
        note = super().__new__(cls, text)
        note.instances, note.bags, note.donors = instances, bags, donors
        note.asked = asked
        return note

    def of_no_instance(self) -> Left:
        """The same of units that are no instances of the bags, such as spots under a grid."""
        instances = None if self.instances is None else 0
        return Left(self, instances=instances, bags=self.bags, donors=self.donors,
                    asked=self.asked)  # fmt: skip


def kind_of(note: str) -> str:
    """A note without numbers and names of slides: what many slides have in common."""
    return re.sub(r"slide '[^']*'|\(first:[^)]*\)|[\d.,]+", "", note)


def summed(notes: Sequence[str], text: str) -> str:
    """Notes of several slides as one: a :class:`Left` where all are, with the sums."""
    each = [note for note in notes if isinstance(note, Left)]
    if len(each) < len(notes):
        return text
    return Left(text, instances=_sum(n.instances for n in each), bags=_sum(n.bags for n in each),
                donors=_sum(n.donors for n in each), asked=each[0].asked)  # fmt: skip


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if None in known else sum(n for n in known if n is not None)


def vanished(values: Any, gone: Any, inside: Any) -> int:
    """How many of the values, one a row, are among those that are gone and not among the rest.

    Parameters
    ----------
    values
        (n,) the bag or the donor of each row.
    gone, inside
        (n,) bool.
    """
    values = pd.Series(values)
    return len(set(values[gone].unique()) - set(values[inside].unique()))
