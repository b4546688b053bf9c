"""What a fitted method says of the tiles of one slide, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from smalti.bags import Bags, as_bags
from smalti.errors import InputError
from smalti.mil.results import SIGNED, Fitted, instance_frame
from smalti.names import meant
from smalti.tiles.heatmap import Heatmap, place_values
from smalti.tiles.image import SlideImage

if TYPE_CHECKING:
    from smalti.core.scale import TileScale


def slide_names(bags: Bags) -> list[str]:
    """Slides of bags: the instance column ``slide`` where there is one, else the bags."""
    if "slide" in bags.instance:
        return list(dict.fromkeys(bags.instance["slide"].astype(str)))
    return list(map(str, bags.bag.index))


def slide_rows(bags: Bags, slide: str | None) -> tuple[str, np.ndarray, int]:
    """A slide's name, the (n,) positions of its tiles, and that of the bag that holds it.

    Raises
    ------
    InputError
        If the slide is not named or not there.
    """
    names = slide_names(bags)
    if slide is None and len(names) > 1:
        raise InputError(f"these are {len(names)} slides: name one, slide={names[0]!r}.")
    slide = names[0] if slide is None else str(slide)
    if slide not in names:
        raise InputError(
            f"no slide {slide!r}; there are {', '.join(names[:5])}.{meant(slide, names)}"
        )
    of = bags.instance["slide"] if "slide" in bags.instance else bags.bag.index[bags.index]
    rows = np.flatnonzero(pd.Index(of).astype(str) == slide)
    return slide, rows, int(bags.index[rows[0]])


def heatmap_of(model: Fitted, X: Bags, slide: str | None) -> Heatmap:
    """The attributions of one slide over it; of a bag of several the others count too.

    Raises
    ------
    InputError
        If the slide is not named or not there, the method says nothing of tiles, or their places
        are not known.
    """
    bags = as_bags(X)
    slide, rows, held = slide_rows(bags, slide)
    part = bags[[held]]
    values = tile_numbers(model, part)
    if values.empty:
        raise InputError(
            f"{model.name} says nothing of single instances: take a method with attention or "
            "contributions, such as abmil or mi_net."
        )
    own = rows - bags.offsets[held]
    notes = _notes(model, part, len(own))
    return place_values(part, own, values.iloc[own], slide, notes=notes,
                        words=signed_words(list(values), str(model.task_.column)))  # fmt: skip


def tile_numbers(model: Fitted, bags: Bags) -> pd.DataFrame:
    """(n_instances, k) what a method says of each instance, in numbers."""
    return instance_frame(model, bags).drop(columns="bag").select_dtypes("number")


def signed_words(columns: Sequence[str], target: str) -> dict[str, tuple[str, str]]:
    """What the signs of columns mean, in the words of the target."""
    words = {}
    for column in map(str, columns):
        kind, _, of = column.partition("_")
        if kind in SIGNED:
            words[column] = (f"speaks against {of}", f"speaks for {of}") if of else \
                (f"lowers {target}", f"raises {target}")  # fmt: skip
    return words


def _notes(model: Fitted, part: Bags, n: int) -> tuple[str, ...]:
    """The prediction of the bag, and where others of its slides are in it too."""
    raw = model.forward(part)[0]
    task = model.task_
    guess = np.ravel(task.decide(raw)).tolist()
    text = f"{model.name}: {task.name} is predicted {', '.join(map(str, guess))}"
    if task.is_classifier:
        p = np.ravel(task.probabilities(raw))
        text += f" ({', '.join(f'{c} {v:.2f}' for c, v in zip(task.classes, p, strict=True))})"
    if n == part.n_instances:
        return (text,)
    return (text, f"The bag {part.bag.index[0]!r} holds other slides too: attention is a share of "
                  "all of its tiles.")  # fmt: skip


def slide_bags(
    model: Any, picture: str | Path | SlideImage, *, um_per_px: float | None = None,
    tissue_min: float | None = None, overlap: float = 0.0, cache: str | Path | None = None,
    n_jobs: int = 1, progress: bool | None = None,
) -> Bags:  # fmt: skip
    """A slide cut into tiles as those that a model was fitted on, with the features it reads.

    Raises
    ------
    InputError
        If the model reads features that were made elsewhere, or it does not know how long its tiles
        were.
    """
    from smalti.features.extraction import extract
    from smalti.io.slides import read_slides
    from smalti.tiles.normalize import Colours, normalized

    view, shape = next(iter(model.inputs_.items()))
    others = [name for name in model.inputs_ if name != view]
    if others:
        raise InputError(
            f"{model.name} reads {others[0]!r} beside {view!r}, and a picture alone does not hold "
            "both: give bags of the slide with all that it reads."
        )
    how = dict(((model.origin_ or {}).get("made") or {}).get(view, {}))
    expected, stain = how.pop("identity", None), how.pop("stain", None)
    if len(shape) != 3 and (not how.get("encoder") or how["flips"] == "all"):
        raise InputError(
            f"{model.name} reads {view!r}, which was made elsewhere, or in a way that is not kept: "
            "give its feature files and the slide, sm.read_features(..., slides=...), or bags of "
            "the slide with these features, sm.features.extract."
        )
    known: TileScale | None = model.tile_scale_
    if known is None:
        raise InputError(
            f"how long the tiles were that {model.name} was fitted on is not known: cut the slide "
            "as they were (sm.read_slides), and give the bags."
        )
    tile_um = float(np.sqrt(known.tile_um[0] * known.tile_um[1]))
    bags = read_slides(picture, um_per_px=um_per_px, tile_um=tile_um, size=known.size,
                       tissue_min=tissue_min, overlap=overlap, progress=progress)  # fmt: skip
    if stain is not None:
        target = Colours.of_note(stain)
        bags = normalized(bags, target.how, stain_target=target)  # type: ignore[arg-type]
    if len(shape) == 3:
        return bags
    found = extract(bags, how.pop("encoder"), cache=cache, n_jobs=n_jobs, progress=progress, **how)
    if (found.origin or {})["made"][view]["identity"] != expected:
        raise InputError(
            f"the weights behind {view!r} are others than those that {model.name} was fitted with: "
            "put the same file in its place."
        )
    return found
