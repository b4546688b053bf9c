"""Names, synonyms and NCBI's summaries of genes, looked up at mygene.info."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smalti.errors import InputError
from smalti.genes.resolve import pieces
from smalti.names import without_version
from smalti.system.extras import need

_SCOPES = "symbol,alias,ensembl.gene,entrezgene"
_FIELDS = "symbol,name,summary,alias,ensembl.gene,entrezgene"


def mygene_hits(
    genes: Sequence[str], *, species: str = "human", client: Any = None
) -> list[Mapping[str, Any]]:
    """What mygene.info says of genes, in one query.

    Parameters
    ----------
    genes
        Symbols, synonyms, Ensembl ids (the version is left out) or Entrez numbers; of merged names
        ("A|B") each.
    species
        As mygene.info calls it.
    client
        Anything with ``querymany``; None: ``mygene.MyGeneInfo()``.

    Returns
    -------
    list
        A dictionary a hit, with ``symbol``, and ``name``, ``summary``, ``alias``, ``ensembl``,
        ``entrezgene`` where there are any. Where a gene is the symbol of one hit and a synonym in
        others, all are there: whoever reads them sees which is which.

    Raises
    ------
    InputError
        If mygene is not installed, or the server cannot be reached; with the offline way.
    """
    if client is None:
        client = need("mygene", "summaries").MyGeneInfo()
    asked = dict.fromkeys(
        without_version(p)
        for gene in genes for p in pieces(str(gene))
    )  # fmt: skip
    try:
        answer = client.querymany(
            list(asked), scopes=_SCOPES, fields=_FIELDS, species=species, verbose=False
        )
    except Exception as error:  # requests, httpx, JSON: it depends on the version of mygene
        text = " ".join(str(error).split())[:160]
        raise InputError(
            f"mygene.info cannot be asked ({type(error).__name__}: {text}). Where there is no "
            "network: give a table with the columns symbol and summary, or a .gmt file, as source."
        ) from error
    return [hit for hit in answer if hit.get("symbol") and not hit.get("notfound")]
