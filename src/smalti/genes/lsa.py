"""Vectors of genes from their text without any weights: TF-IDF and truncated SVD (LSA).

A column is a word, or a whole term of a list of terms that two genes or more have. A row is a gene,
its columns weighed by (1 + log count) * idf, at length 1; the leading ``width`` right singular
vectors V take it to ``row @ V``. What this leaves of the length is the share of the text that
other genes' text explains: a gene of words that no other has lies near 0, where "nothing is known"
belongs. So rows are not brought to length 1 again, and components not whitened, which would
blow up the noise of the last ones; one factor for all makes the mean square of a number 1, so that
penalties and learning rates do not hang on ``width``.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.genes.text import GeneText
from smalti.genes.vectors import GeneVectors
from smalti.system.progress import Progress

_WORD = re.compile(r"[^\W_]{2,}")
# words of no meaning; few, for what is common weighs little anyway
_STOP = frozenset([
    "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "into", "is", "it", "its",
    "of", "on", "or", "that", "the", "this", "to", "via", "which", "with",
])  # fmt: skip


class Lsa:
    """TF-IDF and truncated SVD, fitted on the genes that it is given.

    Parameters
    ----------
    width
        Numbers per gene; fewer where there are fewer genes or words.
    tokens
        The words of each gene too: each word once, where it comes first, as its row of V times
        its idf, so that the vector of a gene without repeated words and whole terms points where
        the sum of its words does.
    max_tokens
        Words of a gene at most; the last are left out.
    seed
        Of the SVD's random start.

    Raises
    ------
    InputError
        If ``width`` or ``max_tokens`` is below 1.
    """

    whole = True  # genes are not apart: the SVD is of all of them

    def __init__(self, width: int, tokens: bool, max_tokens: int, seed: int) -> None:
        if width < 1 or max_tokens < 1:
            raise InputError(f"width={width}, max_tokens={max_tokens}: give 1 or more.")
        self.width, self.tokens, self.max_tokens, self.seed = width, tokens, max_tokens, seed
        self.name = "tfidf"

    @property
    def identity(self) -> str:
        """All that the vectors depend on besides the text."""
        return f"tfidf 1, {self.width}, {self.tokens and self.max_tokens}, {self.seed}"

    def encode(self, text: GeneText, progress: Progress) -> GeneVectors:
        """Vectors of the genes in this order; for the same bits, give the same order.

        Raises
        ------
        InputError
            If the text of the genes has no words.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = _words(text)
        shared = Counter(t for own in text.parts for t in {t for s in own for t in s.terms})
        rows = [
            [w for part in own for w in part]
            + [_whole(t) for s in sentences for t in s.terms if shared[t] > 1]
            for own, sentences in zip(words, text.parts, strict=True)
        ]
        tfidf = TfidfVectorizer(analyzer=_as_it_is, sublinear_tf=True, dtype=np.float32)
        if not any(rows):
            raise InputError("the text of the genes has no words: tfidf needs some.")
        table = tfidf.fit_transform(rows)  # (n_genes, n_columns)
        width = min(self.width, *table.shape)
        svd = TruncatedSVD(width, n_iter=7, random_state=self.seed)
        x = svd.fit_transform(table).astype(np.float32)
        notes = () if width == self.width else (
            f"width {width}, not {self.width}: there are no more genes or words",)  # fmt: skip
        more: dict[str, Any] = {}
        if self.tokens:
            table_of_words = (svd.components_ * tfidf.idf_).T  # (n_columns, width)
            more = self._tokens(words, tfidf.vocabulary_, table_of_words)
        return GeneVectors(text.names, x / _rms(x), self.name, aliases=dict(text.aliases),
                           notes=(*text.notes, *notes), **more)  # fmt: skip

    def _tokens(
        self, words: list[list[list[str]]], columns: dict[str, int], vectors: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Words of the genes, one gene after another, as GeneVectors has them."""
        at, ends, segment = list[int](), [0], list[int]()
        for parts in words:
            once = dict.fromkeys((k, w) for k, own in enumerate(parts) for w in own)
            own = list(once)[: self.max_tokens]
            # a gene without any word: one of zeros, after the last column
            at += [columns[w] for _, w in own] or [len(vectors)]
            segment += [k for k, _ in own] or [0]
            ends.append(len(at))
        used = vectors[np.unique([i for i in at if i < len(vectors)])]
        small = np.zeros((len(vectors) + 1, vectors.shape[1]), np.float16)
        small[:-1] = vectors / _rms(used)
        out: dict[str, np.ndarray] = {"tokens": small[at], "offsets": np.array(ends, np.int64)}
        return out | ({"segment": np.array(segment, np.int64)} if any(segment) else {})


def _words(text: GeneText) -> list[list[list[str]]]:
    """Of each gene, for each segment, its words in the order of the text, small."""
    known: dict[str, list[str]] = {}  # most sentences are of terms that many genes have

    def split(piece: str) -> list[str]:
        if piece not in known:
            known[piece] = [w for w in _WORD.findall(piece.lower()) if w not in _STOP]
        return known[piece]

    return [
        [
            [w for s in own if s.segment == k for piece in (s.terms or (s.text,))
             for w in split(piece)]
            for k in range(len(called))
        ]
        for own, called in zip(text.parts, text.called, strict=True)
    ]  # fmt: skip


def _whole(term: str) -> str:
    return f"= {term.lower()}"  # no word has a space


def _as_it_is(row: list[str]) -> list[str]:
    return row


def _rms(x: np.ndarray) -> np.float32:
    """Root of the mean square; 1 where there is nothing but zeros."""
    return np.float32(np.sqrt(np.mean(np.square(x, dtype=np.float64))) or 1)
