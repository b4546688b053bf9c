"""An annotator as a model file has it: the integration, and the reference beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from smalti.core.load import rebuild
from smalti.core.save import describe
from smalti.integrate.reference import Reference

_OWN = "annotator/"  # prefix of its tensors


def described(annotator: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A note, and tensors of any shape."""
    note, tensors = describe(annotator.model_)
    settings = {k: v for k, v in annotator.get_params(deep=False).items() if k != "method"}
    own = {
        "settings": settings, "labels": list(annotator.labels_),
        "counts": list(annotator.counts_.values()),
        "by": annotator.by_, "n_by": annotator.n_by_, "without": annotator.n_without_,
        "digest": annotator.digest_, "refitted": annotator.refitted_,
        "notes": list(annotator.notes_),
        "views": [list(v) for v in annotator.reference_.voters],
    }  # fmt: skip
    arrays = {f"{_OWN}{k}": torch.as_tensor(np.ascontiguousarray(v))
              for k, v in annotator.reference_.arrays().items()}  # fmt: skip
    return note | {"holder": annotator.holds, annotator.holds: own}, tensors | arrays


def restored(cls: type[Any], note: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    """The annotator that :func:`described` described; its tensors may have any shape."""
    own = note[cls.holds]
    arrays = {k.removeprefix(_OWN): tensors.pop(k).numpy() for k in list(tensors)
              if k.startswith(_OWN)}  # fmt: skip
    model = rebuild({k: v for k, v in note.items() if k != "holder"}, tensors)
    settings: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in own["settings"].items()
    }
    made = cls(model, **settings)
    made.model_, made.labels_ = model, tuple(own["labels"])
    made.counts_ = dict(zip(own["labels"], own["counts"], strict=True))
    made.by_, made.n_by_, made.n_without_ = own["by"], own["n_by"], own["without"]
    made.digest_, made.refitted_ = own["digest"], own["refitted"]
    made.notes_ = tuple(own["notes"])
    made.reference_ = Reference.of_arrays(arrays, own["views"], len(made.labels_), made.k)
    return made
