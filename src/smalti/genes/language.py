"""Text of genes to vectors: which encoder, and a cache of what it made."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.genes.read import read_vectors
from smalti.genes.text import GeneText, gene_text
from smalti.genes.vectors import GeneVectors
from smalti.system.progress import Progress

BLOCK = 256  # genes of a block: what a killed run loses at most
PROMPT = "{name}: {text}"


def gene_vectors(
    text: GeneText | Mapping[str, str],
    encoder: str = "tfidf",
    *,
    width: int = 256,
    tokens: bool = False,
    max_tokens: int = 512,
    prompt: str = PROMPT,
    cache: str | Path | None = None,
    device: str = "auto",
    batch_size: int = 32,
    seed: int = 0,
    progress: bool | None = None,
) -> GeneVectors:
    """Vectors of genes from what is written about them.

    Parameters
    ----------
    text
        Of :func:`gene_text`, or a mapping of gene to text.
    encoder
        "tfidf": words and terms by TF-IDF and truncated SVD; needs no weights. It is fitted on the
        genes of ``text`` (their text alone, no expression), so give it all genes at once, seen and
        unseen, and ``take`` from the result: vectors of two calls do not share their axes.
        "sentence:NAME": a model of sentence-transformers. "states:NAME": the last hidden states of
        a model of transformers. NAME is a folder (offline), or a repository of the Hugging Face
        hub; weights must be safetensors, and no code of a model is run.
    width
        tfidf: numbers per gene. Fewer, with a note, where there are fewer genes or words.
    tokens
        tfidf and states: the words of each gene too. States of all human genes are large: genes x
        tokens x width x 2 bytes.
    max_tokens
        Words per gene at most, or tokens per segment for states.
    prompt
        sentence and states: what the model reads, from the gene's name in the sources and its text.
    cache
        Folder; what is in it already, from the same text, encoder (by the digest of its weights)
        and settings, is not made anew. A run that was cut short goes on from its last block.
    device
        sentence and states: "cpu", "cuda"; auto takes a GPU where there is one.
    batch_size
        sentence and states: texts at a time.
    seed
        tfidf: of the SVD.
    progress
        Show a bar; None: on a terminal or in a notebook.

    Returns
    -------
    GeneVectors
        In the order of ``text``. A gene's numbers do not depend on that order: of tfidf not in a
        bit, of language models not beyond their rounding.

    Raises
    ------
    InputError
        If the encoder is unknown, or its package, its model or the network is missing; with the
        offline way.

    Warns
    -----
    UserWarning
        If a file of the cache is damaged; it is made anew.

    Examples
    --------
    >>> import smalti as sm
    >>> text = {"A": "collagen chain", "B": "collagen fibril", "C": "keratin"}
    >>> vectors = sm.genes.gene_vectors(text, width=2)
    >>> vectors
    GeneVectors: 3 genes x 2, tfidf
    >>> vectors.take(["C"]).x.shape
    (1, 2)
    """
    if not isinstance(text, GeneText):
        if not isinstance(text, Mapping):
            raise InputError(
                "names alone say nothing of genes: give gene_text(genes, sources=...), or a "
                "mapping of gene to text."
            )
        text = gene_text(list(text), sources=text)
    maker = _maker(encoder, width, tokens, max_tokens, prompt, device, batch_size, seed)
    order = np.argsort(np.array(text.names), kind="stable")
    ordered = text.rows(order.tolist())
    folder = None if cache is None else Path(cache)
    kind = encoder.partition(":")[0]
    with Progress(progress, "genes") as bar:
        bar.start(maker.name, len(text))
        key = "" if folder is None else _key(text.digest, maker.identity)
        file = None if folder is None else folder / f"{kind}-{key}.safetensors"
        made = _kept(file, ordered.names, partial(_make, maker, ordered, bar, file))
    if file is not None:
        shutil.rmtree(file.with_suffix(""), ignore_errors=True)  # the blocks of a run cut short
    if made.names == text.names:
        return made
    return dataclasses.replace(made.take(text.names), aliases=made.aliases)


def _maker(
    encoder: str, width: int, tokens: bool, max_tokens: int, prompt: str, device: str,
    batch_size: int, seed: int,
) -> Any:  # fmt: skip
    kind, _, model = str(encoder).partition(":")
    if encoder == "tfidf":
        from smalti.genes.lsa import Lsa

        return Lsa(width, tokens, max_tokens, seed)
    if kind not in ("sentence", "states") or not model:
        raise InputError(
            f"encoder={encoder!r} is none of 'tfidf', 'sentence:NAME', 'states:NAME', where NAME "
            "is a folder or a repository of the Hugging Face hub."
        )
    from smalti.genes.language_models import Sentences, States

    if kind == "states":
        return States(model, prompt, device, batch_size, tokens, max_tokens)
    if tokens:
        raise InputError("a sentence encoder has no words: say 'states:NAME', or tokens=False.")
    return Sentences(model, prompt, device, batch_size)


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _make(maker: Any, text: GeneText, bar: Progress, file: Path | None) -> GeneVectors:
    if maker.whole:
        made: GeneVectors = maker.encode(text, bar)
        bar.advance(steps=len(text))
        return made
    blocks = []
    for start in range(0, len(text), BLOCK):
        rows = text.rows(range(start, min(start + BLOCK, len(text))))
        part = None if file is None else file.with_suffix("") / f"{start:08d}.safetensors"
        blocks.append(_kept(part, rows.names, partial(maker.encode, rows, bar)))
    return _join(blocks, text)


def _kept(
    file: Path | None, names: tuple[str, ...], make: Callable[[], GeneVectors]
) -> GeneVectors:
    """From the file; or made, and kept there."""
    if file is None:
        return make()
    if file.exists():
        try:
            kept = read_vectors(file)
            if kept.names == names:
                return kept
            problem = "it is of other genes"
        except InputError as error:
            problem = str(error)
        warnings.warn(f"{file} is damaged ({problem}): made anew.", UserWarning, stacklevel=4)
    made = make()
    made.save(file, overwrite=True)
    return made


def _join(blocks: list[GeneVectors], text: GeneText) -> GeneVectors:
    """Blocks of genes one after another, with what is known of the names."""
    more: dict[str, Any] = {}
    if blocks[0].tokens is not None:
        lengths = [np.diff(b.offsets) for b in blocks if b.offsets is not None]
        more["offsets"] = np.concatenate([[0], np.concatenate(lengths).cumsum()])
        more["tokens"] = np.concatenate([b.tokens for b in blocks if b.tokens is not None])
        segment = np.concatenate([b.segment for b in blocks if b.segment is not None])
        more |= {"segment": segment} if segment.any() else {}
    x = np.concatenate([b.x for b in blocks])
    return GeneVectors(text.names, x, blocks[0].source, aliases=dict(text.aliases),
                       notes=text.notes, **more)  # fmt: skip
