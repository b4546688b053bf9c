"""``GeneVectors``: what a gene means, as numbers; what unseen genes are predicted from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.names import gene_kind, mismatch, some, without_version


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GeneVectors:
    """One vector per gene and, where the source has them, the states of the words of its text.

    Parameters
    ----------
    names
        (n_genes,) names, none twice.
    x
        (n_genes, width) float32.
    source
        What made them, in a few words.
    tokens
        (n_tokens, token_width) float16 or float32: the words of all genes, one gene after another.
    offsets
        (n_genes + 1,) int64: gene i has words ``offsets[i]:offsets[i + 1]``, at least one.
    segment
        (n_tokens,) int64: which of the genes that share an ambiguous name ("A|B") a word is about.
    aliases
        Other names (synonyms, Ensembl ids without version) -> name.
    notes
        What a user should know of them: genes without text, names that were resolved.
    donors
        Digests of the donors whose expression they were made of, where they were
        (:func:`coexpression_vectors`): an audit compares them with those that are tested.

    Raises
    ------
    InputError
        If shapes disagree, a name is there twice, or a number is not finite.
    """

    names: tuple[str, ...]
    x: np.ndarray
    source: str
    tokens: np.ndarray | None = None
    offsets: np.ndarray | None = None
    segment: np.ndarray | None = None
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    donors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.x.ndim != 2 or len(self.x) != n or not n or not self.x.shape[1]:
            raise InputError(f"gene vectors: {n} names for an array of shape {self.x.shape}.")
        if len(self._place) < n:
            twice = next(g for i, g in enumerate(self.names) if self._place[g] != i)
            raise InputError(f"gene vectors: {twice!r} is there twice: make the names unique.")
        bad = np.flatnonzero(~np.isfinite(self.x).all(1))
        if len(bad):
            raise InputError(
                f"gene vectors: {len(bad)} genes have values that are not finite, "
                f"{self.names[bad[0]]!r} first: drop them."
            )
        if self.tokens is not None:
            ends = self.offsets
            if (ends is None or len(ends) != n + 1 or ends[0] or ends[-1] != len(self.tokens)
                    or (np.diff(ends) < 1).any()):  # fmt: skip
                raise InputError("gene vectors: offsets must part the words, one or more a gene.")

    # ---------------------------------------------------------------- reading

    @cached_property
    def _place(self) -> dict[str, int]:
        return {g: i for i, g in enumerate(self.names)}

    @property
    def width(self) -> int:
        """Numbers per gene."""
        return int(self.x.shape[1])

    def __len__(self) -> int:
        return len(self.names)

    def as_setting(self) -> str:
        """What a model file says of them; the numbers lie among its tensors."""
        return repr(self)

    @staticmethod
    def is_setting(value: Any) -> bool:
        """Whether a value is what :meth:`as_setting` gave, and no name of a file."""
        return isinstance(value, str) and value.startswith(f"{GeneVectors.__name__}: ")

    def __repr__(self) -> str:
        words = "" if self.tokens is None else f", {len(self.tokens):,} words"
        return f"GeneVectors: {len(self):,} genes x {self.width}{words}, {self.source}"

    def __deepcopy__(self, memo: Any) -> GeneVectors:
        return self  # frozen: scikit-learn's clone needs no second copy

    def positions(self, genes: Sequence[str]) -> np.ndarray:
        """(n,) int64 where each of n genes is, by name, Ensembl id or alias; -1: nowhere."""
        out = np.full(len(genes), -1, dtype=np.int64)
        for i, gene in enumerate(map(str, genes)):
            name = gene if gene in self._place else self.aliases.get(gene)
            if name is None and gene_kind(gene) == "ensembl":
                bare = without_version(gene)
                name = bare if bare in self._place else self.aliases.get(bare)
            if name is not None:
                out[i] = self._place.get(name, -1)
        return out

    def take(self, genes: Sequence[str]) -> GeneVectors:
        """These genes, in this order, under these names.

        Raises
        ------
        InputError
            If genes have no vector, with some of them and the likely reason; or one is named twice.
        """
        genes = tuple(map(str, genes))
        at = self.positions(genes)
        absent = [g for g, i in zip(genes, at, strict=True) if i < 0]
        if absent:
            raise InputError(
                f"{len(absent)} of {len(genes)} genes have no vector ({self.source}): "
                f"{some(absent)}{self._reason(absent)}."
            )
        tokens, offsets, segment = self.tokens, self.offsets, self.segment
        if tokens is not None and offsets is not None:
            lengths = np.diff(offsets)[at]
            ends = np.concatenate([[0], lengths.cumsum()])
            rows = np.repeat(offsets[at] - ends[:-1], lengths) + np.arange(ends[-1])
            tokens, offsets = tokens[rows], ends
            segment = None if segment is None else segment[rows]
        return dataclasses.replace(
            self, names=genes, x=self.x[at], tokens=tokens, offsets=offsets, segment=segment,
            aliases={},
        )  # fmt: skip

    def _reason(self, absent: Sequence[str]) -> str:
        """Why these have no vector, as the end of a sentence."""
        why = mismatch(absent, self.names, 0.5)
        if why is None:
            return "; leave them out, or give them a text"
        if why.by == "kind":
            kinds = f"they are {why.wanted}, and the text has {why.there} only"
            return f"; {kinds}: translate one of them"
        hint = "so perhaps the text is of another species: take text of the same one"
        if why.by == "version":
            hint = "rename one of them"
        return f"; they are written otherwise there ({why.wanted!r}, {why.there!r}), {hint}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 (24 digits) of names and numbers."""
        sha = hashlib.sha256("\t".join(self.names).encode())
        for part in (self.x, self.tokens, self.offsets, self.segment):
            if part is not None:
                sha.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).data)
        return sha.hexdigest()[:24]

    # ---------------------------------------------------------------- files

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by name, among them "x", (n_genes, width)."""
        parts = {"x": self.x, "tokens": self.tokens, "offsets": self.offsets,
                 "segment": self.segment}  # fmt: skip
        return {k: np.ascontiguousarray(v) for k, v in parts.items() if v is not None}

    def note(self) -> dict[str, Any]:
        """All that is no array, as JSON can hold it."""
        return {"names": list(self.names), "source": self.source, "aliases": dict(self.aliases),
                "notes": list(self.notes), "donors": list(self.donors)}  # fmt: skip

    @classmethod
    def of(cls, note: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> GeneVectors:
        """From :meth:`note` and :meth:`arrays`, of which "x" is (n_genes, width)."""
        return cls(tuple(note["names"]), source=note["source"], aliases=note["aliases"],
                   notes=tuple(note["notes"]), donors=tuple(note.get("donors", ())), **arrays,
                   )  # fmt: skip

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a .safetensors file, whole or not at all.

        Raises
        ------
        InputError
            If the name ends otherwise, or the file is there already and ``overwrite`` is not said.
        """
        import torch

        from smalti.system.tensors import write_tensors

        path = Path(path)
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: name a file that ends in .safetensors.")
        tensors = {k: torch.from_numpy(v) for k, v in self.arrays().items()}
        write_tensors(path, "gene vectors", tensors, self.note(), overwrite=overwrite)


def random_vectors(genes: Sequence[str], width: int = 128, seed: int = 0) -> GeneVectors:
    """Vectors that mean nothing: the control that every claim about unseen genes needs.

    Each gene's is drawn from its name and ``seed`` alone, so that it is the same in every call.
    """
    names = tuple(map(str, genes))
    x = np.stack([np.random.default_rng([seed, *g.encode()]).standard_normal(width)
                  for g in names])  # fmt: skip
    return GeneVectors(names, x.astype(np.float32), "random")
