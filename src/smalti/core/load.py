"""Models back from a folder. Pickle is never read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from smalti._version import __version__
from smalti.batch import Shape
from smalti.columns import Columns
from smalti.core.fit import FittedState
from smalti.core.hub import fetched, is_address
from smalti.core.identity import identity
from smalti.core.needs import meet
from smalti.core.registry import class_of, holder
from smalti.core.save import FORMAT, MEANS, MORE, NOTE, STEPS, WEIGHTS, digest_of
from smalti.core.scale import TileScale
from smalti.core.seen import Seen
from smalti.errors import InputError
from smalti.preprocess import Modality, from_state
from smalti.system.files import recovered
from smalti.system.reading import plain_file, reading
from smalti.system.tensors import of_bytes
from smalti.task import Task


def load(folder: str | Path, *, allow: str | Sequence[str] | None = None) -> Any:
    """Read a model that :meth:`Method.save` wrote.

    A file runs no code: a method that is not smalti's own must be there already, registered
    (:func:`smalti.register`) or brought by an installed package, or be named by ``allow``.

    Parameters
    ----------
    folder
        What was saved; or where it is on a hub of models, ``hf://USER/NAME`` or
        ``hf://USER/NAME@REVISION`` (the extra ``hub``). What was fetched once is in the cache, and
        is read from there without a connection too.
    allow
        Classes to import and register first, as ``"package.module:Class"``: those that you trust,
        and no others.

    Raises
    ------
    InputError
        If the folder is not a model, or one of its files was changed or cut short; if it needs a
        method that is neither known nor allowed; if the hub has no such model.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(20, seed=0)
    >>> model = sm.mil.BagMean(progress=False).fit(bags)
    >>> model.save("model")  # a folder
    >>> again = sm.load("model")
    >>> bool((again.predict(bags) == model.predict(bags)).all())
    True
    """
    folder = fetched(folder) if is_address(folder) else recovered(folder)
    note, weights = _read_both(folder)
    meet(note.get("needs", []), allow, str(folder))  # older files have smalti's own methods only
    return rebuild(note, of_bytes(weights, f"model file {folder / WEIGHTS}"))


def _read_both(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The note and the weights of one model, also while another takes its place."""
    note = _read_note(folder)
    while True:
        if not (folder / WEIGHTS).exists():
            raise InputError(f"{folder} has no {WEIGHTS}: save the model again.")
        plain_file(folder / WEIGHTS)
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() == note["weights_sha256"]:
            return note, weights
        before, note = note, _read_note(folder)
        if note == before:
            raise InputError(
                f"{folder / WEIGHTS} is damaged (its checksum differs): save the model again."
            )


def _read_note(folder: Path) -> dict[str, Any]:
    path = folder / NOTE
    if folder.is_file() or not path.exists():
        raise InputError(
            f"{folder} is not a smalti model: expected a folder with {NOTE} and {WEIGHTS}. "
            "Pickled models (.pt, .pkl) are never opened."
        )
    plain_file(path)
    with reading(path, mend="save the model again"):
        note = json.loads(path.read_text(encoding="utf-8"))  # with NaN, as the history may have
        said = note.pop("note_sha256")
    if digest_of(note) != said:
        raise InputError(f"{path} is damaged (its checksum differs): save the model again.")
    if note.get("format", 1) > FORMAT:
        raise InputError(
            f"{folder} is a model of smalti {note['smalti']}, newer than this one ({__version__}): "
            'pip install -U "smalti".'
        )
    return note


def rebuild(note: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    """The method that :func:`describe` described; its tensors may have any shape."""
    if note.get("holder"):
        return holder(note["holder"]).rebuilt(note, tensors)
    settings = {k: tuple(v) if isinstance(v, list) and k != "preprocess" else v
                for k, v in note["settings"].items()}  # fmt: skip
    arrays, more, means = (
        {k.removeprefix(prefix): tensors.pop(k).numpy() for k in list(tensors)
         if k.startswith(prefix)} for prefix in (STEPS, MORE, MEANS)
    )  # fmt: skip
    state = FittedState(note.get("more", {}), more)
    method = class_of(note["method"], settings).from_state(settings, state)
    column, classes = note["task"]["column"], tuple(note["task"]["classes"])
    column = tuple(column) if isinstance(column, list) else column
    of_task = {k: tuple(v) if isinstance(v, list) else v for k, v in note["task"].items()}
    method.task_ = Task(**(of_task | {"classes": classes, "column": column}))
    views = {k: tuple(v) for k, v in note["shape"]["views"].items()}
    known = note["columns"]
    method.columns_ = Columns(known["group"], tuple(known["levels"]), tuple(known["covariates"]),
                              known.get("batch"), tuple(known.get("batches", ())),
                              known.get("placed", False))  # fmt: skip
    n_units = note["shape"]["n_units" if "n_units" in note["shape"] else "n_bags"]  # older files
    method.shape_ = Shape(views, method.task_, n_units, method.columns_.levels,
                          method.columns_.n_covariates, tuple(note["shape"].get("outputs", ())),
                          tuple(note["shape"].get("groups", ())),
                          tuple(note["shape"].get("meaning", ())),
                          method.columns_.batches,
                          note["shape"].get("n_donors", 0))  # fmt: skip
    if method.shape_.outputs:
        method.genes_ = method.shape_.outputs
    # "auto" that came to no steps stands there as it was said
    steps = settings.get("preprocess") if note["preprocess"] else None
    method.steps_ = from_state(steps, arrays, note["preprocess"])
    method.means_ = means  # none in older files
    if note["decoded"] is not None:
        method.modalities_ = tuple(Modality(**m) for m in note.get("modalities", ()))
    method.inputs_ = {k: tuple(v) for k, v in note["inputs"].items()}
    with torch.random.fork_rng(devices=[]):
        method.network_ = method.network(method.shape_)
    if any(t.dtype == torch.float64 for t in tensors.values()):
        method.network_.double()
    method.network_.load_state_dict(tensors)
    method.network_.eval()
    method.features_ = {k: tuple(v) if v else None for k, v in note["features"].items()}
    if note["decoded"] is not None:
        method.cells_ = note["cells"]
        method.decoded_ = {k: tuple(v) for k, v in note["decoded"].items()}
    names = next(iter(method.features_.values()))
    method.n_features_in_ = next(iter(method.inputs_.values()))[0]
    if names:
        method.feature_names_in_ = np.asarray(names, dtype=object)
    if method.task_.is_classifier:
        method.classes_ = method.task_.sorted_classes
    if note.get("seen"):  # older files do not say it
        method.seen_ = Seen(**{k: tuple(v) for k, v in note["seen"].items()})
    method.tile_scale_ = TileScale.of_note(note.get("tile_scale"))
    method.digest_, method.origin_ = note["training_digest"], note["origin"]
    method.identity_ = note.get("identity") or identity(method)  # older files do not say it
    method.history_ = pd.DataFrame(note["history"])
    method.converged_ = note.get("converged", True)  # files of before do not say
    method.n_parameters_ = sum(p.numel() for p in method.network_.parameters())
    if note.get("searched"):  # how its settings were chosen
        method.searched_ = note["searched"]
    return method
