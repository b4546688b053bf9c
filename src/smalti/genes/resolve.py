"""Which genes a user's names mean: symbols, Ensembl ids, synonyms, merged names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from smalti.names import gene_kind, without_version

MOST = 5  # genes of an ambiguous name, as SGN has it
_MERGED = re.compile(r"\s*(?:/{3}|\||;)\s*")  # A|B (10x), A;B (MaxQuant), A///B (Affymetrix)


def pieces(gene: str) -> list[str]:
    """The names that a merged name is made of."""
    return [p for p in _MERGED.split(gene) if p] or [gene]


class Found(NamedTuple):
    """Genes that a name means, and how that is known: name, id, alias, ambiguous or absent."""

    genes: tuple[str, ...]
    how: str


class Index:
    """Genes by all their names.

    Parameters
    ----------
    names
        Genes that there is text of.
    others
        Gene to its other names. A name that several genes have is ambiguous.
    ignore_case
        Take Gapdh for GAPDH.
    """

    def __init__(
        self,
        names: Iterable[str],
        others: Mapping[str, Sequence[str]],
        *,
        ignore_case: bool = False,
    ) -> None:
        self.ignore_case = ignore_case
        self.names: dict[str, str] = {}
        for name in names:
            self.names.setdefault(self._key(name), name)
        self.others: dict[str, tuple[str, ...]] = {}
        for gene, more in others.items():
            own = self.names.get(self._key(gene))
            for other in more:
                before = self.others.get(key := self._key(other), ())
                if own is not None and own not in before:
                    self.others[key] = (*before, own)

    def _key(self, gene: str) -> str:
        key = without_version(gene)
        return key.upper() if self.ignore_case else key

    def find(self, gene: str) -> Found:
        """What a name means: the first of symbol, identifier, synonym, merged name that fits."""
        own = self._one(gene)
        if own.genes or len(parts := pieces(gene)) < 2:
            return own
        # of each piece one after another, so that an ambiguous first one does not crowd out others
        genes = tuple(dict.fromkeys(g for p in parts for g in self._one(p).genes))
        return Found(genes[:MOST], "ambiguous" if genes else "absent")

    def _one(self, gene: str) -> Found:
        key = self._key(gene)
        if key in self.names:
            return Found((self.names[key],), "name")
        genes = self.others.get(key, ())
        if len(genes) > 1:
            return Found(genes[:MOST], "ambiguous")
        how = "id" if gene_kind(gene) == "ensembl" or gene.isdigit() else "alias"
        return Found(genes, how if genes else "absent")

    def why_absent(self, absent: Sequence[str]) -> str:
        """Why there is no text of these, as the end of a sentence."""
        ids = [g for g in absent if gene_kind(g) == "ensembl"]
        if len(ids) > len(absent) / 2:
            known = next((o for o in self.others if gene_kind(o) == "ensembl"), None)
            known = known or next((o for o in self.names if gene_kind(o) == "ensembl"), None)
            if known is None:
                return (
                    "; they are Ensembl ids, and the sources have symbols only: add a table with "
                    "a column ensembl"
                )
            if re.sub(r"\d.*", "", known) != re.sub(r"\d.*", "", ids[0]):
                return (
                    f"; they are Ensembl ids of another species ({ids[0]!r}, the sources have "
                    f"{known!r}): take sources of the same one"
                )
        upper = {n.upper(): n for n in self.names.values()}
        cased = [g for g in absent if g.upper() in upper]
        if not self.ignore_case and len(cased) >= max(1, 0.1 * len(absent)):
            return (
                f"; they are written otherwise there ({cased[0]!r}, {upper[cased[0].upper()]!r}), "
                "so perhaps of another species; take sources of the same one, or ignore_case=True"
            )
        return ""


def aliases_of(
    names: Sequence[str], found: Mapping[str, Found], others: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """All other names of the user's genes -> the first of them that has it.

    Left out are names of several genes, and those that are names of the user's themselves.
    """
    owners: dict[str, set[str]] = {}
    for gene, more in others.items():
        for name in more:
            owners.setdefault(name, set()).add(gene)
    taken, out = set(names), dict[str, str]()
    for name in names:
        if len(found[name].genes) == 1:
            own = found[name].genes[0]
            for other in (own, *others.get(own, ())):
                if other not in taken and len(owners.get(other, ())) < 2:
                    out.setdefault(other, name)
    return out
