"""What to cite for the methods that were used, as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from smalti._version import __version__
from smalti.core.needs import all_methods
from smalti.core.registry import make
from smalti.errors import InputError

_WANTED = ("author", "title", "year")  # of every entry
_FALLBACK = ("pedregosa2011",)  # a baseline without a paper is a linear model as there
_START = re.compile(r"@\w+\s*\{\s*([^\s,{}]+)\s*,")  # of an entry, with its key
_SMALTI = f"""@software{{smalti,
  author = {{{{The smalti developers}}}},
  title = {{smalti: learn a patient, a slide or a tissue from its pieces}},
  version = {{{__version__}}},
  year = {{2026}}
}}"""


def citation(*methods: Any) -> str:
    """BibTeX of what to cite: smalti, and the papers of methods and of those inside them.

    Parameters
    ----------
    methods
        Methods, fitted or not; classes; names (``"abmil"``, ``"umint:fast"``); or lists of these.
        Members of an ensemble and integrations in the steps are cited too.

    Returns
    -------
    str
        Entries, each key once: smalti's first, the others in the order of the methods.

    Raises
    ------
    InputError
        If there is no method of a name, or the entries of a method are not BibTeX.

    Examples
    --------
    >>> import smalti as sm
    >>> bibtex = sm.citation("abmil", sm.integrate.UMINT())
    >>> [line for line in bibtex.splitlines() if line.startswith("@")]
    ['@software{smalti,', '@inproceedings{ilse2018,', '@article{maitra2023,']
    """
    found = entries(_SMALTI, "smalti")
    for method in _flat(methods):
        for part in all_methods(method):
            for key, entry in entries_of(type(part)).items():
                if found.get(key, entry) != entry:  # of another package, for another paper
                    key, entry = f"{key}-{part.name}", _renamed(entry, key, f"{key}-{part.name}")
                found[key] = entry
    return "\n\n".join(found.values()) + "\n"


def entries_of(cls: type[Any]) -> dict[str, str]:
    """Key -> BibTeX entry of one method class; scikit-learn's where it has no paper.

    Raises
    ------
    InputError
        If its ``bibtex`` is not BibTeX, or ``cite`` has a key that is not in ``references.bib``.
    """
    known = _references()
    wrong = [key for key in cls.cite if key not in known]
    if wrong:
        raise InputError(
            f"{cls.__name__}: cite has {wrong[0]!r}, which is not in references.bib: give the "
            "entry itself as bibtex."
        )
    found = {key: known[key] for key in cls.cite} | entries(cls.bibtex, cls.__name__)
    return found or {key: known[key] for key in _FALLBACK}


def entries(text: str, source: str) -> dict[str, str]:
    """Key -> entry of a BibTeX text; what stands between entries is a comment.

    Parameters
    ----------
    text
        BibTeX.
    source
        How errors call it.

    Raises
    ------
    InputError
        If braces do not match, a key is there twice, or an entry lacks author, title or year.
    """
    found: dict[str, str] = {}
    at = 0
    while match := _START.search(text, at):
        if "@" in text[at : match.start()]:
            break  # an entry that is none, before one that is
        key, at = match[1], _end(text, match.start(), source)
        if key in found:
            raise InputError(f"{source}: the BibTeX key {key!r} is there twice.")
        found[key] = text[match.start() : at]
        fields = re.findall(r"[,{]\s*(\w+)\s*=", found[key])
        lacking = [field for field in _WANTED if field not in map(str.lower, fields)]
        if lacking:
            raise InputError(f"{source}: the BibTeX entry {key!r} has no {lacking[0]}.")
    if "@" in text[at:] or (text.strip() and not found):
        raise InputError(f"{source}: {text[at:].strip()[:40]!r} is no BibTeX entry.")
    return found


def _end(text: str, start: int, source: str) -> int:
    """Where the entry that starts there is over: behind the brace that closes it."""
    depth = 0
    for brace in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.end()
    raise InputError(f"{source}: a brace of {text[start:].partition(',')[0]!r} is not closed.")


@cache
def _references() -> dict[str, str]:
    """The entries of ``references.bib``."""
    path = files("smalti.core") / "references.bib"
    return entries(path.read_text(encoding="utf-8"), "references.bib")


def _flat(methods: Any) -> Iterator[Any]:
    """Methods from names, classes and lists."""
    for method in methods:
        if isinstance(method, str):
            yield make(method)
        elif isinstance(method, type) and hasattr(method, "inner_methods"):
            yield method()
        elif hasattr(method, "inner_methods") and hasattr(method, "bibtex"):
            yield method
        elif isinstance(method, (list, tuple)):
            yield from _flat(method)
        else:
            raise InputError(f"{method!r} is no method: give methods, classes of them, or names.")


def _renamed(entry: str, key: str, other: str) -> str:
    return re.sub(rf"\{{\s*{re.escape(key)}\s*,", lambda _: f"{{{other},", entry, count=1)
