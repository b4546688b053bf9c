"""Arrays and a note as one safetensors file with a digest, a kind and a version. Never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.errors import InputError
from smalti.system.files import atomic_write
from smalti.system.reading import plain_file

if TYPE_CHECKING:
    from torch import Tensor

VERSIONS = {"checkpoint": 2, "cached fit": 2, "features": 2, "gene vectors": 2, "weights": 2}
"""Kinds of file, each with the version that is written and read; those before had no digest."""

_NOTE = "smalti"


def write_tensors(
    path: str | Path,
    kind: str,
    tensors: Mapping[str, Tensor],
    note: Mapping[str, Any],
    *,
    overwrite: bool = True,
    durable: bool = True,
) -> None:
    """Write tensors and a note, whole or not at all.

    Parameters
    ----------
    path
        The file.
    kind
        One of :data:`VERSIONS`.
    tensors
        Of any shape, (...), and type, by name.
    note
        What else there is, as JSON can hold it.
    overwrite, durable
        See :func:`~smalti.system.files.atomic_write`.

    Raises
    ------
    InputError
        If the file cannot be written, or is there already.
    """
    # not its save_file: that makes a file that its owner alone can read, and raises its own errors
    from safetensors.torch import save

    flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    # as JSON gives it back: a number that is a key becomes a text, and is sorted as one
    said = json.loads(json.dumps({"kind": kind, "version": VERSIONS[kind], "note": dict(note)}))
    said["sha256"] = _digest(flat, said)
    # one entry: several come in any order, and the same fit would give another file
    data = save(flat, {_NOTE: json.dumps(said)})
    with atomic_write(path, overwrite=overwrite, durable=durable) as temporary:
        temporary.write_bytes(data)


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read such a file: its tensors, of any shape (...), by name, and the note.

    Raises
    ------
    InputError
        If it is damaged, of another kind or version, or no safetensors file (a pickle, for one, is
        never opened).
    """
    tensors, said = read_any(path, kind)
    return tensors, note_of(path, kind, tensors, said)


def is_ours(said: Mapping[str, str]) -> bool:
    """Whether :func:`write_tensors` wrote the file that has this metadata."""
    return _NOTE in said


def note_of(
    path: str | Path, kind: str, tensors: Mapping[str, Tensor], said: Mapping[str, str]
) -> dict[str, Any]:
    """The note of a file of ours, after all that it holds was found to be what was written.

    Parameters
    ----------
    path
        The file, for errors.
    kind
        What it must be.
    tensors, said
        What :func:`read_any` gave, of any shape (...).

    Raises
    ------
    InputError
        If it is damaged, or of another kind or version.
    """
    try:
        whole = json.loads(said.get(_NOTE, ""))
        sha = whole.pop("sha256", None)
    except (ValueError, AttributeError) as error:
        raise InputError(f"{kind} {path} is damaged (it has no note): {_MEND[kind]}.") from error
    if sha is None:
        raise InputError(f"{kind} {path} is of a version without a checksum: {_MEND[kind]}.")
    there = whole.get("kind"), whole.get("version")
    if there[0] == kind and there[1] != VERSIONS[kind]:  # which may have another checksum
        raise InputError(
            f"{kind} {path} is of version {there[1]}, and this smalti reads {VERSIONS[kind]}: "
            f"{_MEND[kind]}, or use the smalti that wrote it."
        )
    if sha != _digest(tensors, whole):
        raise InputError(f"{kind} {path} is damaged (its checksum differs): {_MEND[kind]}.")
    if there[0] != kind:
        raise InputError(f"{path} holds {there[0]}, not {kind}: name another file.")
    note: dict[str, Any] = whole["note"]
    return note


_MEND = {
    "checkpoint": "delete it to begin anew",
    "cached fit": "delete it",
    "features": "delete it",
    "gene vectors": "make them again",
    "weights": "delete it",
}


def read_any(path: str | Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of any safetensors file, of any shape (...), by name, and its metadata.

    Raises
    ------
    InputError
        If it is damaged or no safetensors file.
    """
    # at once: safe_open reads twice, and may see two files
    data = plain_file(path).read_bytes()
    tensors = of_bytes(data, f"{what} {path}")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__", {})


def of_bytes(data: bytes, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, of any shape (...), by name, from its bytes.

    Raises
    ------
    InputError
        If they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(sorted(load(data).items()))  # it comes in any order
    except (SafetensorError, ValueError, MemoryError) as error:
        raise _damaged(what, error) from error


def _damaged(what: str, error: Exception) -> InputError:
    return InputError(
        f"{what} is damaged or not a safetensors file ({error}): write it again. Pickled models "
        "(.pt, .pkl) are never opened."
    )


def _digest(tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> str:
    """SHA-256 of names, types, shapes, bytes and all that is said of them."""
    import torch

    sha = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, values in sorted(tensors.items()):
        sha.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        sha.update(np.ascontiguousarray(values.reshape(-1).view(torch.uint8).numpy()).data)
    return sha.hexdigest()
