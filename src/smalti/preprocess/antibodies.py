"""Antibodies that measure no protein of a cell: isotype controls and hashtags, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess.genes import Select
from smalti.views import View

_HASHTAG = re.compile(r"hash[ _.-]?tag|(?<![a-z])(hto|cmo\d|multiseq)", re.IGNORECASE)
# an antibody against nothing: of an animal and a class of immunoglobulins, and said to be a control
_ISOTYPE = re.compile(
    r"isotype|(?<![a-z])(iso)?[ _.-]?(control|ctrl)(?![a-z])|(?<![a-z])iso(?![a-z])"
    r"|(mouse|rat|hamster)[ _.-]*ig[gma]|(?<![a-z])igg\d[abc]?(?![a-z\d])",
    re.IGNORECASE,
)
_AGAINST = re.compile(r"(?<![a-z])(anti|fc)(?![a-z])", re.IGNORECASE)  # anti-human IgG1 measures


def is_hashtag(name: str) -> bool:
    """Whether a feature among antibodies is a tag of samples, by its name."""
    return _HASHTAG.search(name) is not None


def is_isotype(name: str) -> bool:
    """Whether an antibody is an isotype control, by its name."""
    return _ISOTYPE.search(name) is not None and _AGAINST.search(name) is None


def controls(names: Sequence[str] | None) -> list[str]:
    """Those of the names of antibodies that are isotype controls, hashtags, or "unmapped"."""
    return [n for n in names or () if is_isotype(n) or is_hashtag(n) or n == "unmapped"]


class DropControls(Select):
    """Antibodies without isotype controls and hashtags, which are told by their names.

    They say how much sticks to a cell, or whose it is, and not what it is. Names such as
    "IgG2a_control", "Isotype_RTK4530", "Rat-IgG2b", "Hashtag_3", "HTO1"; and "unmapped", as
    CITE-seq-Count calls what it could not place.

    Raises
    ------
    InputError
        If nothing else is there.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> names = {"x": ("CD3", "CD19", "IgG1_control")}
    >>> bags = sm.Bags.from_list([np.ones((5, 3))] * 4, features=names)
    >>> step = sm.preprocess.DropControls().fit(bags)  # in a text: "drop_controls"
    >>> step.transform(bags).features
    {'x': ('CD3', 'CD19')}
    """

    name: ClassVar[str] = "drop_controls"
    columnwise: ClassVar[bool] = True

    def _learn(self, view: View, bags: Bags) -> None:
        names = self.features_in_ or ()
        gone = set(controls(names))
        self.kept_ = np.array([i for i in range(int(view.shape[1]))
                               if not names or names[i] not in gone], dtype=np.int64)  # fmt: skip
        if not len(self.kept_):
            raise InputError(f"drop_controls: all features are controls ({', '.join(names[:3])}).")
