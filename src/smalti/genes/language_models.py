"""Pretrained language models as encoders of text: one vector per text, or one per token."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.errors import InputError
from smalti.genes.model_folder import folder_digest, model_folder
from smalti.genes.text import GeneText
from smalti.genes.vectors import GeneVectors
from smalti.system.extras import need
from smalti.system.progress import Progress

_HALF = float(np.finfo(np.float16).max)


class _Model:
    """A folder of weights, and what is asked of it."""

    whole = False  # a gene's vector depends on its own text only

    def __init__(self, kind: str, model: str, prompt: str, device: str, batch_size: int) -> None:
        try:
            prompt.format(name="", text="")
            empty = prompt.format(name="a", text="b") == prompt.format(name="", text="")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise InputError(f"prompt={prompt!r}: only {{name}} and {{text}} may stand in it.") \
                from error  # fmt: skip
        if empty:
            raise InputError(f"prompt={prompt!r} has neither {{name}} nor {{text}}: put one in.")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: give 1 or more.")
        self.folder, self.prompt, self.batch_size = model_folder(model), prompt, batch_size
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.device = torch.device(device)
        except RuntimeError as error:
            raise InputError(f"device={device!r} is not known: say auto, cpu or cuda.") from error
        # of a folder only its name: the rest is the user's own
        self.name = f"{kind}:{self.folder.name if Path(model).expanduser().is_dir() else model}"

    def prompts(self, text: GeneText, i: int) -> list[str]:
        """What the model reads of gene i, a string per segment."""
        return [self.prompt.format(name=n, text=t) for n, t in text.segments(i)]


class Sentences(_Model):
    """Sentence-transformers: one vector per text. What is longer than the model reads is cut."""

    def __init__(self, model: str, prompt: str, device: str, batch_size: int) -> None:
        super().__init__("sentence", model, prompt, device, batch_size)

    @cached_property
    def identity(self) -> str:
        """All that the vectors depend on besides the text."""
        return f"sentence 1, {folder_digest(self.folder)}, {self.prompt!r}"

    @cached_property
    def _model(self) -> Any:
        library = need("sentence_transformers", "text")
        try:
            return library.SentenceTransformer(
                str(self.folder), device=str(self.device), trust_remote_code=False,
                local_files_only=True, model_kwargs={"use_safetensors": True},
            )  # fmt: skip
        except Exception as error:  # whatever a config that is not whole makes it raise
            raise _unfit(self.name, error) from error

    def encode(self, text: GeneText, progress: Progress) -> GeneVectors:
        """(n_genes, width of the model), as the model scales them."""
        texts = [" ".join(self.prompts(text, i)) for i in range(len(text))]
        x = self._model.encode(
            texts, batch_size=self.batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        progress.advance(steps=len(text))
        return GeneVectors(text.names, np.asarray(x, np.float32), self.name)


class States(_Model):
    """Last hidden states of the tokens of a text, as SGN has them: no special tokens, cut at 512.

    Parameters
    ----------
    model
        Folder or name: an encoder (BERT) or a causal model (Llama), with its tokenizer.
    tokens
        Keep the states (float16, those out of its range at its ends); else their mean only.
    max_tokens
        Of the text of a gene, or of each of the genes that share an ambiguous name.

    Raises
    ------
    InputError
        If ``max_tokens`` is below 1.
    """

    def __init__(
        self, model: str, prompt: str, device: str, batch_size: int, tokens: bool, max_tokens: int
    ) -> None:
        super().__init__("states", model, prompt, device, batch_size)
        if max_tokens < 1:
            raise InputError(f"max_tokens={max_tokens}: give 1 or more.")
        self.tokens, self.max_tokens = tokens, max_tokens

    @cached_property
    def identity(self) -> str:
        """All that the vectors depend on besides the text."""
        weights = folder_digest(self.folder)
        return f"states 1, {weights}, {self.prompt!r}, {self.max_tokens}, {self.tokens}"

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        library, safe = need("transformers", "text"), {"trust_remote_code": False}
        where = str(self.folder)
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(where, local_files_only=True, **safe)
            model = library.AutoModel.from_pretrained(
                where, local_files_only=True, use_safetensors=True, **safe
            )
        except Exception as error:  # whatever a folder that is not whole makes it raise
            raise _unfit(self.name, error) from error
        if getattr(model.config, "is_encoder_decoder", False):
            raise InputError(f"{self.name} is an encoder and a decoder: take one or the other.")
        # half precision is slow on a processor, and it is what weights are often stored in
        model = model.float() if self.device.type == "cpu" else model
        return tokenizer, model.to(self.device).eval()

    def _most(self) -> int:
        tokenizer, model = self._model
        limits = (getattr(tokenizer, "model_max_length", None),
                  getattr(model.config, "max_position_embeddings", None))  # fmt: skip
        return min(self.max_tokens, *(int(m) for m in limits if m))

    @torch.inference_mode()
    def encode(self, text: GeneText, progress: Progress) -> GeneVectors:
        """Means over the tokens of a gene as vectors, and the tokens."""
        tokenizer, _ = self._model
        prompts = [(i, k, p) for i in range(len(text))
                   for k, p in enumerate(self.prompts(text, i))]  # fmt: skip
        ids = tokenizer(
            [p for *_, p in prompts], add_special_tokens=False, truncation=True,
            max_length=self._most(),
        )["input_ids"]  # fmt: skip
        states: list[Any] = [None] * len(ids)
        # alike in length, so that little is padded
        order = sorted(range(len(ids)), key=lambda j: len(ids[j]))
        for start in range(0, len(order), self.batch_size):
            own = order[start : start + self.batch_size]
            for j, state in zip(own, self._states([ids[j] for j in own]), strict=True):
                states[j] = state
            progress.advance(steps=sum(prompts[j][1] == 0 for j in own))
        return self._gather(text, prompts, states)

    def _states(self, ids: list[list[int]]) -> list[np.ndarray]:
        """(n_tokens, width) float32 of each text."""
        tokenizer, model = self._model
        pad, most = getattr(tokenizer, "pad_token_id", None) or 0, max(1, *map(len, ids), 1)
        rows = torch.tensor([own + [pad] * (most - len(own)) for own in ids], device=self.device)
        mask = torch.tensor([[1] * len(own) + [0] * (most - len(own)) for own in ids],
                            device=self.device)  # fmt: skip
        out = model(input_ids=rows, attention_mask=mask).last_hidden_state.float().cpu().numpy()
        return [state[: len(own)] for state, own in zip(out, ids, strict=True)]

    def _gather(
        self, text: GeneText, prompts: list[tuple[int, int, str]], states: list[np.ndarray]
    ) -> GeneVectors:
        lengths = np.zeros(len(text), np.int64)
        for (i, *_), state in zip(prompts, states, strict=True):
            lengths[i] += len(state)
        if not lengths.all():
            gene = text.names[int(np.argmin(lengths))]
            raise InputError(f"{self.name}: the text of {gene!r} has no tokens; leave it out.")
        ends = np.concatenate([[0], lengths.cumsum()])
        all_states = np.concatenate(states)
        x = np.add.reduceat(all_states, ends[:-1], axis=0, dtype=np.float32)
        x /= lengths[:, None].astype(np.float32)
        if not self.tokens:
            return GeneVectors(text.names, x, self.name)
        segment = np.repeat([k for _, k, _ in prompts], [len(s) for s in states])
        small = np.clip(all_states, -_HALF, _HALF).astype(np.float16)
        return GeneVectors(text.names, x, self.name, tokens=small, offsets=ends,
                           segment=segment.astype(np.int64))  # fmt: skip


def _unfit(name: str, error: Exception) -> InputError:
    text = " ".join(str(error).split())[:200]
    return InputError(
        f"{name} cannot be loaded ({type(error).__name__}: {text}): name a folder that has "
        "config.json, the tokenizer's files and model.safetensors of one model."
    )
