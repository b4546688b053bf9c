"""Gene sets from GMT files, and which of the user's genes they cover."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from smalti.errors import InputError
from smalti.names import gene_kind as gene_kind  # a public name of this room
from smalti.names import mismatch, without_version
from smalti.system.reading import blocks, check_text

_LEAST = 0.01  # share of covered genes below which the names cannot be of one kind
_LITTLE = 0.1

GeneSets = Mapping[str, Iterable[str]]


def read_gmt(path: str | Path) -> dict[str, tuple[str, ...]]:
    r"""Read gene sets.

    Parameters
    ----------
    path
        .gmt or .gmt.gz: a set a line, fields between tabs: name, description, genes. Join several
        files by ``read_gmt(a) | read_gmt(b)``.

    Returns
    -------
    dict
        Name to genes, each once, in the order of the file. Empty fields are left out.

    Raises
    ------
    InputError
        If the file cannot be read, or a line has no gene or repeats a name; with its number.

    Examples
    --------
    >>> import smalti as sm
    >>> from pathlib import Path
    >>> _ = Path("sets.gmt").write_text("HYPOXIA\ta note\tVEGFA\tCA9\nACTIN\ta note\tACTB\n")
    >>> sm.genes.read_gmt("sets.gmt")
    {'HYPOXIA': ('VEGFA', 'CA9'), 'ACTIN': ('ACTB',)}
    """
    path = Path(path)
    sets: dict[str, tuple[str, ...]] = {}
    check_text(path)
    text = b"".join(blocks(path)).decode("utf-8-sig")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        genes = tuple(dict.fromkeys(field for field in rest[1:] if field))
        where = f"{path}, line {number}"
        if not name or not genes:
            raise InputError(f"{where}: not a gene set; give name, description, genes, by tabs.")
        if name in sets:
            raise InputError(f"{where}: the set {name!r} was there before; rename or drop it.")
        sets[name] = genes
    if not sets:
        raise InputError(f"{path} holds no gene set.")
    return sets


@dataclasses.dataclass(frozen=True)
class Matched:
    """Gene sets as positions of the user's genes.

    Attributes
    ----------
    sets
        Name to sorted positions, (n_members,) int64, sets within the limits of size only.
    n_genes, n_covered
        The user's genes, and those that are in a set of any size.
    """

    sets: dict[str, np.ndarray]
    n_genes: int
    n_covered: int

    def __str__(self) -> str:
        share = self.n_covered / max(self.n_genes, 1)
        return f"{self.n_covered:,} of {self.n_genes:,} genes ({share:.0%}) are in gene sets"


def match(
    sets: GeneSets,
    genes: Sequence[str],
    *,
    min_size: int = 1,
    max_size: int | None = None,
    ignore_case: bool = False,
) -> Matched:
    """Find the user's genes in gene sets.

    Names must be equal; only the version of an Ensembl id (ENSG00000141510.12) does not matter.

    Parameters
    ----------
    sets
        Name to genes.
    genes
        The user's genes, none twice.
    min_size, max_size
        Limits on the number of *the user's* genes in a set; other sets are left out.
    ignore_case
        Take Gapdh for GAPDH: of mouse genes in human sets, a guess at the orthologue.

    Raises
    ------
    InputError
        If under 1 % of the genes are found, with the likely reason: another species, the case,
        Ensembl ids against symbols.

    Warns
    -----
    UserWarning
        If under 10 % of the genes are found.
    """
    of: dict[str, list[int]] = {}
    for position, gene in enumerate(map(str, genes)):
        of.setdefault(_key(gene, ignore_case), []).append(position)
    if not of:
        raise InputError("there are no genes: give their names.")
    twice = next((str(genes[p[1]]) for p in of.values() if len(p) > 1), None)
    if twice and not ignore_case:
        raise InputError(f"gene {twice!r} is there twice: make the names unique.")
    found: dict[str, np.ndarray] = {}
    covered: set[int] = set()
    for name, members in sets.items():
        keys = {_key(m, ignore_case) for m in members}
        where = sorted(p for key in keys for p in of.get(key, ()))
        covered.update(where)
        if where and min_size <= len(where) <= (max_size or len(where)):
            found[name] = np.array(where)
    matched = Matched(found, len(genes), len(covered))
    if len(covered) < _LEAST * len(genes) or not covered:
        raise InputError(f"only {matched}{_reason(sets, genes)}.")
    if len(covered) < _LITTLE * len(genes):
        warnings.warn(f"only {matched}{_reason(sets, genes)}", UserWarning, stacklevel=2)
    return matched


def _key(gene: str, ignore_case: bool) -> str:
    key = without_version(gene)
    return key.upper() if ignore_case else key


def _reason(sets: GeneSets, genes: Sequence[str]) -> str:
    """Why so few genes were found, as the end of a sentence."""
    members = {m for group in sets.values() for m in group}
    named = [str(g) for g in genes if str(g) not in members]
    why = mismatch(named, members, _LITTLE)
    if why is not None and why.by == "kind":
        return f": the genes are {why.wanted}, the sets hold {why.there}; translate one of them"
    if why is not None:
        return (
            f": they are written otherwise there ({why.wanted!r}, {why.there!r}), so perhaps of "
            "another species; take sets of the same one, or ignore_case=True"
        )
    return f": they are called {str(genes[0])!r}, the members {min(members, default='')!r}"
