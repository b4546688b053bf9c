"""Names: which was meant, what a gene is called by, and how two lists of names fail to agree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Literal, NamedTuple

_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{11})(\.\d+)?")
_CLONE = re.compile(r"[A-Z]{1,4}\d{5,8}\.\d+")  # accession of a clone, and a number: AL357054.4
_LOOKED_AT = 1000  # names by which a list is told to be of ids or of symbols


def gene_kind(gene: str) -> Literal["ensembl", "clone", "symbol"]:
    """What a gene is called by: Ensembl id, accession of a clone (AL357054.4), or symbol."""
    if _ENSEMBL.fullmatch(gene):
        return "ensembl"
    return "clone" if _CLONE.fullmatch(gene) else "symbol"


def without_version(gene: str) -> str:
    """An Ensembl id without its version (ENSG00000141510 of ENSG00000141510.12)."""
    found = _ENSEMBL.fullmatch(gene)
    return found.group(1) if found else gene


class Mismatch(NamedTuple):
    """How names that should agree do not.

    Attributes
    ----------
    by
        "kind": one list holds Ensembl ids, the other symbols; "version": the ids have other
        versions; "case": they are written in other letters.
    wanted, there
        Of each list: what its names are ("Ensembl ids", "symbols"), or one that shows it.
    """

    by: Literal["kind", "version", "case"]
    wanted: str
    there: str

    def __str__(self) -> str:
        if self.by == "kind":
            return f"the former are {self.wanted}, the latter {self.there}: translate one of them"
        how = "with another version" if self.by == "version" else "in other letters"
        return f"they are written {how} there ({self.wanted!r}, {self.there!r}): rename one of them"


def mismatch(wanted: Sequence[str], there: Iterable[str], least: float = 0.1) -> Mismatch | None:
    """Why so many of the names ``wanted`` may not be among those ``there``, or None.

    ``least`` is the share of them that must be there in another version or in other letters.
    """
    there = list(there)
    ids = [are_ids(wanted), are_ids(there)]
    if wanted and there and ids[0] != ids[1]:
        first, second = ("Ensembl ids" if i else "symbols" for i in ids)
        return Mismatch("kind", first, second)
    return _written(wanted, there, least, "version") or _written(wanted, there, least, "case")


def _written(
    wanted: Sequence[str], there: Sequence[str], least: float, by: Literal["version", "case"]
) -> Mismatch | None:
    key = without_version if by == "version" else str.upper
    known = {key(name): name for name in there}
    found = [name for name in wanted if key(name) in known]
    if not found or len(found) < least * len(wanted):
        return None
    return Mismatch(by, found[0], known[key(found[0])])


def are_ids(names: Iterable[str]) -> bool:
    """Whether most of the first names are Ensembl ids."""
    some = list(islice(names, _LOOKED_AT))
    return sum(gene_kind(name) == "ensembl" for name in some) > len(some) / 2


def namesakes(names: Sequence[str]) -> list[str]:
    """Names that several features have, each once, in order."""
    if len(set(names)) == len(names):  # the usual case, at once
        return []
    return [name for name, n in Counter(names).items() if n > 1]


def meant(name: object, there: Iterable[object], most: int = 1) -> str:
    """The end of an error about a name that is not there: the nearest that are; or nothing."""
    import difflib  # only who errs waits for it

    known = {str(n).lower(): n for n in there}
    near = difflib.get_close_matches(str(name).lower(), list(known), most)
    return f" Did you mean {' or '.join(repr(str(known[n])) for n in near)}?" if near else ""


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
