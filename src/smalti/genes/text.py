"""``GeneText``: what is written about genes, and the users' names for them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from smalti.errors import InputError
from smalti.genes.resolve import Found, Index, aliases_of
from smalti.genes.text_sources import Sentence, Source, read_source

_MANY = 0.1  # share of genes from which a note is a warning too
_MISSING = ("error", "drop")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GeneText:
    """Text of genes; :func:`gene_text` makes it, :func:`smalti.genes.gene_vectors` reads it.

    Parameters
    ----------
    names
        (n_genes,) names, as the user has them.
    parts
        Of each gene the sentences, in the order of the sources.
    called
        Of each gene what the sources call it: one name, or several (a segment each) where the
        user's name is ambiguous.
    aliases
        Other names (synonyms, Ensembl ids without version) -> name.
    notes
        Genes without text, ambiguous names, and the like.
    """

    names: tuple[str, ...]
    parts: tuple[tuple[Sentence, ...], ...]
    called: tuple[tuple[str, ...], ...]
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        labels = dict.fromkeys(s.label for own in self.parts for s in own)
        return f"GeneText: {len(self):,} genes, of {', '.join(labels)}"

    @cached_property
    def full(self) -> tuple[str, ...]:
        """One text per gene; of an ambiguous name, those of its genes one after another."""
        return tuple(" ".join(t for _, t in self.segments(i)) for i in range(len(self)))

    def segments(self, i: int) -> list[tuple[str, str]]:
        """Of gene i, for each segment, what the sources call it, and its text."""
        own = self.parts[i]
        return [
            (name, " ".join(_stop(s.text) for s in own if s.segment == k))
            for k, name in enumerate(self.called[i])
        ]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (24 digits) of everything; the order of the genes does not matter."""
        rows = sorted(zip(self.names, self.parts, self.called, strict=True))
        note = [rows, sorted(self.aliases.items()), self.notes]
        return hashlib.sha256(json.dumps(note).encode()).hexdigest()[:24]

    def rows(self, at: Sequence[int]) -> GeneText:
        """The genes at these positions; the aliases stay, those of other genes too."""
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in at),
            parts=tuple(self.parts[i] for i in at),
            called=tuple(self.called[i] for i in at),
        )


def gene_text(
    genes: Sequence[str] | None = None,
    *,
    sources: Any,
    missing: str = "error",
    ignore_case: bool = False,
    species: str = "human",
    client: Any = None,
) -> GeneText:
    """Gather what is written about genes.

    Parameters
    ----------
    genes
        Names: symbols, Ensembl ids (with version or without), synonyms, or merged names ("A|B",
        "A;B", "A///B"), which get a segment for each of up to five genes, as do synonyms of
        several genes. None: all genes that any source has, sorted.
    sources
        One, or several in a list: a file of gene sets (.gmt, .gmt.gz), whose names are the terms
        of their genes; a table (.tsv, .csv, with .gz too, or .parquet) with a column of symbols,
        one or more of text (name, description, summary, text), and perhaps ensembl, entrez and
        aliases or synonyms; a mapping of gene to text; "mygene", which asks mygene.info (extra
        "summaries", and a network) for NCBI's summaries. What the tables call a synonym is taken
        for its gene in the other sources too.
    missing
        Genes without text: "error", or "drop" them, with a note. Under half with text is always
        an error.
    ignore_case
        Take Gapdh for GAPDH: of mouse genes in human text, a guess at the orthologue.
    species, client
        "mygene" only: see :func:`smalti.genes.summaries.mygene_hits`.

    Returns
    -------
    GeneText
        In the order of ``genes``. Its notes say which were dropped, found by a synonym, ambiguous,
        or have the same text.

    Raises
    ------
    InputError
        If a source cannot be read or is of no known kind; genes are named twice, have no text, or
        are of another species.

    Warns
    -----
    UserWarning
        If a note is about 10 % of the genes or more.

    Examples
    --------
    >>> import smalti as sm
    >>> text = sm.genes.gene_text(["A", "B"], sources={"A": "collagen chain", "B": "keratin"})
    >>> text.full
    ('collagen chain.', 'keratin.')
    """
    if missing not in _MISSING:
        raise InputError(f"missing={missing!r} is not one of {_MISSING}.")
    asked = None if genes is None else _once(genes)
    listed = [sources] if isinstance(sources, str | Path | Mapping) else list(sources)
    if not listed:
        raise InputError("sources= is empty: give a .gmt file, a table or a mapping.")
    read = [read_source(s, asked, client=client, species=species) for s in listed]
    sentences, others = _join(read)
    if not sentences:
        files = ", ".join(str(s) for s in listed if isinstance(s, str | Path))
        of = f" ({files})" if files else ""
        raise InputError(f"no source has text of any gene{of}: check that they are not empty.")
    index = Index(sentences, others, ignore_case=ignore_case)
    wanted = sorted(sentences) if asked is None else asked
    found = {g: index.find(g) for g in wanted}
    kept = _with_text(found, index, missing)
    parts = tuple(
        tuple(s._replace(segment=k) for k, name in enumerate(found[g].genes)
              for s in sentences[name])
        for g in kept
    )  # fmt: skip
    called = tuple(found[g].genes for g in kept)
    text = GeneText(tuple(kept), parts, called, aliases_of(kept, found, others))
    notes = _notes(text, found)
    for note, share in notes:
        if share >= _MANY:
            warnings.warn(note, UserWarning, stacklevel=2)
    return dataclasses.replace(text, notes=tuple(note for note, _ in notes))


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _once(genes: Sequence[str]) -> list[str]:
    names = [str(g) for g in genes]
    if isinstance(genes, str) or not names:
        raise InputError("genes: give a list of names, or None for all that the sources have.")
    if len(set(names)) < len(names):
        twice = next(g for i, g in enumerate(names) if g in names[:i])
        raise InputError(f"gene {twice!r} is there twice: make the names unique.")
    return names


def _join(read: Sequence[Source]) -> tuple[dict[str, list[Sentence]], dict[str, list[str]]]:
    """All sentences by gene; a name that a table calls the synonym of one gene is that gene."""
    others: dict[str, list[str]] = {}
    for source in read:
        for gene, more in source.others.items():
            others.setdefault(gene, []).extend(more)
    symbols = Index(others, others)
    sentences: dict[str, list[Sentence]] = {}
    for source in read:
        for gene, own in source.sentences.items():
            meant = symbols.find(gene) if others else Found((), "absent")
            name = meant.genes[0] if len(meant.genes) == 1 else gene
            for sentence in own:
                if sentence not in sentences.setdefault(name, []):
                    sentences[name].append(sentence)
    return {g: own for g, own in sentences.items() if own}, others


def _with_text(found: Mapping[str, Found], index: Index, missing: str) -> list[str]:
    """The genes that there is text of."""
    kept = [g for g, f in found.items() if f.genes]
    absent = [g for g, f in found.items() if not f.genes]
    few = len(kept) < len(found) / 2
    if absent and (few or missing == "error"):
        reason = index.why_absent(absent)
        mend = "" if reason else "; add a source that has them, or leave them out" if few else \
            "; add a source that has them, or say missing='drop'"  # fmt: skip
        raise InputError(
            f"{len(absent)} of {len(found)} genes have no text: {_some(absent)}{reason}{mend}."
        )
    return kept


def _notes(text: GeneText, found: Mapping[str, Found]) -> list[tuple[str, float]]:
    """Notes and the share of genes that each is about."""
    same: dict[str, list[str]] = {}
    for gene, full in zip(text.names, text.full, strict=True):
        same.setdefault(full, []).append(gene)
    groups = sorted(sorted(g) for g in same.values() if len(g) > 1)
    about = [
        ("genes without text were dropped", [g for g, f in found.items() if not f.genes]),
        ("genes were found by a synonym",
         [f"{g} ({f.genes[0]})" for g, f in found.items() if f.how == "alias"]),
        ("genes have ambiguous names, with a segment for each gene",
         [f"{g} ({', '.join(f.genes)})" for g, f in found.items()
          if f.how == "ambiguous" and len(f.genes) > 1]),
        ("genes have the same text as another, so the same vector",
         [f"{' = '.join(g)}" for g in groups]),
    ]  # fmt: skip
    counts = [len(who) for _, who in about[:-1]] + [sum(map(len, groups))]
    return [
        (f"{n} of {len(found)} {what}: {_some(sorted(who))}", n / len(found))
        for (what, who), n in zip(about, counts, strict=True) if n
    ]  # fmt: skip


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
