"""What text of genes is made of: gene sets, tables of descriptions, mappings, mygene.info."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from smalti.errors import InputError
from smalti.genes.frames import (
    ALIASES,
    ENDINGS,
    ENSEMBL,
    ENTREZ,
    SYMBOL,
    TEXT,
    columns_of,
    read_frame,
)
from smalti.genes.sets import read_gmt
from smalti.genes.summaries import mygene_hits
from smalti.names import gene_kind

# what the collections of MSigDB put before a name
_PREFIX = re.compile(
    r"(REACTOME|KEGG_MEDICUS|KEGG|HALLMARK|BIOCARTA|PID|GOBP|GOCC|GOMF|GO|WP|HP|NABA)_"
)
# identifiers at the end of a name: (GO:0051084), R-HSA-72766, WP1234, hsa04110
_IDENTIFIER = re.compile(r"\s*(\(?[A-Za-z]+:\d+\)?|R-[A-Z]{3}-\d+|\(?WP\d+\)?|[a-z]{3}\d{5})\s*$")


class Sentence(NamedTuple):
    """A piece of the text of a gene.

    Attributes
    ----------
    label
        Where it is from: column of a table, or name of a file of gene sets.
    text
        The words.
    segment
        Which of the genes that share an ambiguous name it is about.
    terms
        The whole terms, where the text is a list of them.
    """

    label: str
    text: str
    segment: int = 0
    terms: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
    """Sentences by gene, and the other names of genes (synonyms, identifiers)."""

    sentences: Mapping[str, Sequence[Sentence]]
    others: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


def read_source(
    source: Any, genes: Sequence[str] | None, *, client: Any = None, species: str = "human"
) -> Source:
    """One source, of whatever kind (see :func:`smalti.genes.gene_text`).

    Raises
    ------
    InputError
        If it is of no kind, or needs names of genes and has none.
    """
    if isinstance(source, Mapping):
        return _of_mapping(source)
    if source == "mygene":
        if genes is None:
            raise InputError("source 'mygene' looks genes up one by one: give their names.")
        return _of_hits(mygene_hits(genes, client=client, species=species))
    path = Path(source)
    if path.name.endswith((".gmt", ".gmt.gz")):
        return _of_gmt(path)
    if path.name.endswith(ENDINGS):
        return _of_table(path)
    raise InputError(
        f"source {str(source)!r} is none of: a file .gmt or .gmt.gz, a table "
        f"({', '.join(ENDINGS)}), a mapping of gene to text, 'mygene'."
    )


def term_words(name: str) -> str:
    """The name of a gene set as words: without collection, identifier and underscores.

    Names all in capitals (MSigDB) become small, others keep their case.
    """
    bare = _IDENTIFIER.sub("", name.strip()) or name
    if "_" in bare and " " not in bare:
        bare = (_PREFIX.sub("", bare, count=1) if _PREFIX.match(bare) else bare).replace("_", " ")
    bare = " ".join(bare.replace(";", ",").split())  # ";" parts the terms
    return bare.lower() if bare.isupper() else bare


def _of_gmt(path: Path) -> Source:
    label = re.sub(r"\.gmt(\.gz)?$", "", path.name)
    terms: dict[str, dict[str, None]] = {}
    for name, members in read_gmt(path).items():
        words = term_words(name)
        for gene in members:
            terms.setdefault(gene, {})[words] = None
    return Source({
        gene: [Sentence(label, "; ".join(own), terms=tuple(own))] for gene, own in terms.items()
    })  # fmt: skip


def _of_mapping(texts: Mapping[Any, Any]) -> Source:
    bad = next((g for g, t in texts.items() if not isinstance(t, str)), None)
    if bad is not None:
        raise InputError(
            f"source: {str(bad)!r} has a {type(texts[bad]).__name__} for its text: map each gene "
            "to one string (gene sets are given as a .gmt file)."
        )
    return Source({str(g): _sentences([("text", t)]) for g, t in texts.items()})


def _of_table(path: Path) -> Source:
    # na_filter: a gene, or the text of one, may be called "NA"
    frame = read_frame(path, dtype=str, na_filter=False)
    symbols = columns_of(frame, SYMBOL)
    texts = [c for c in columns_of(frame, TEXT) if c not in symbols[:1]]
    for what, found, wanted in (("symbols", symbols, SYMBOL), ("text", texts, TEXT)):
        if not found:
            raise InputError(
                f"{path} has no column of {what} ({', '.join(wanted)}); it has "
                f"{', '.join(map(str, frame.columns))}: rename one of them."
            )
    sentences: dict[str, list[Sentence]] = {}
    others: dict[str, list[str]] = {}
    ids = columns_of(frame, (*ENSEMBL, *ENTREZ))
    synonyms = columns_of(frame, ALIASES)
    for row in frame.fillna("").astype(str).to_dict("records"):
        gene = row[symbols[0]].strip()
        if not gene:
            continue
        own = sentences.setdefault(gene, [])  # several rows of a gene: each text once
        own += [s for s in _sentences((str(c), row[c]) for c in texts) if s not in own]
        names = others.setdefault(gene, [])
        names += _identifiers(row[c] for c in ids)
        names += [a for c in synonyms for a in re.split(r"\s*[|;,]\s*", row[c].strip())]
    return Source(sentences, {g: _clean(g, names) for g, names in others.items()})


def _of_hits(hits: Iterable[Mapping[str, Any]]) -> Source:
    sentences: dict[str, list[Sentence]] = {}
    others: dict[str, list[str]] = {}
    for hit in hits:
        gene = str(hit["symbol"])
        pairs = [(k, str(hit[k])) for k in ("name", "summary") if hit.get(k)]
        own = sentences.setdefault(gene, [])
        own += [s for s in _sentences(pairs) if s not in own]
        ensembl = hit.get("ensembl") or []
        alias = hit.get("alias") or []
        names = others.setdefault(gene, [])
        names += [str(e["gene"]) for e in ([ensembl] if isinstance(ensembl, Mapping) else ensembl)]
        names += [str(hit.get("entrezgene", ""))]
        names += [alias] if isinstance(alias, str) else map(str, alias)
    return Source(sentences, {g: _clean(g, names) for g, names in others.items()})


def _sentences(pairs: Iterable[tuple[str, str]]) -> list[Sentence]:
    """Those that have words, each text once."""
    found: dict[str, str] = {}
    for label, text in pairs:
        words = " ".join(text.split())
        if words:
            found.setdefault(words, label)
    return [Sentence(label, text) for text, label in found.items()]


def _identifiers(values: Iterable[str]) -> list[str]:
    """Ensembl ids without version, and Entrez numbers (which pandas may have made 7105.0)."""
    out = []
    for value in values:
        bare = value.strip().partition(".")[0]
        if gene_kind(bare) == "ensembl" or bare.isdigit():
            out.append(bare)
    return out


def _clean(gene: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(n for n in names if n and n not in ("-", gene)))
