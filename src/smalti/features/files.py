"""Feature files of many slides: each is whole or not there, and is not made twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.features.default import default_encoder
from smalti.features.extraction import Extraction
from smalti.io.feature_files import Made, write_features
from smalti.io.h5 import inspect
from smalti.io.pictures import slide_files
from smalti.io.slides import read_slides
from smalti.io.tissue import tissue_files
from smalti.system.each import each_file
from smalti.system.files import check_free
from smalti.system.progress import Progress
from smalti.tiles.normalize import Colours, normalized, reference

_VERSION = 1  # of the layout


def write(
    slides: Any,
    out: str | Path,
    encoder: Any = None,
    *,
    tile_um: float | None = None,
    tile_px: float | None = None,
    um_per_px: float | str | Mapping[str, float] | None = None,
    size: int | None = None,
    tiles: str = "grid",
    overlap: float = 0.0,
    tissue: Any = None,
    tissue_min: float | None = None,
    edge: str = "error",
    stain: str | None = None,
    stain_target: Any = None,
    dense: bool = False,
    weights: str = "pretrained",
    flips: str = "none",
    precision: str = "32",
    device: str = "auto",
    batch_size: int = 32,
    seed: int = 0,
    slide: str | None = None,
    path: str | None = None,
    cache: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    n_jobs: int | None = 1,
    progress: bool | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Cut slides into tiles, extract features, and write a file of them for each slide.

    Parameters
    ----------
    slides
        A folder of pictures (.svs, .tif, .png, ...), one, several in a list, a mapping from name to
        file, or a table (data frame or .csv) with a row for each.
    out
        Folder for SLIDE.h5, which :func:`smalti.read_features` reads. What is there and was made of
        the same slide in the same way is kept, so that a run that was stopped goes on.
    encoder
        As in :func:`extract`; of several, "A+B" in one view.
    tile_um, tile_px, size, tiles, overlap, tissue, tissue_min, edge
        How tiles are cut, as in :func:`smalti.read_slides`: "grid" or "nuclei".
    um_per_px
        µm per pixel, where the slides do not say it: a number, by slide, or a column of the table
        ("um_per_px" where there is one).
    stain, stain_target
        Colours that slides are brought to, as in :func:`smalti.tiles.normalized`; None: their own.
    dense, weights, precision, device, batch_size, seed
        As in :func:`extract`.
    flips
        "none" or "mean", as in :func:`extract`.
    slide, path
        Columns of the table: name of a slide (that of its file where left out), and its file
        ("path").
    cache
        Folder that keeps features of parts of a slide: a killed run loses 256 tiles at most, not
        the slide that it was at.
    overwrite
        Replace files that are damaged, of another slide or made in another way.
    strict
        Stop at the first slide that cannot be read; else it is passed over.
    n_jobs
        Processes, a slide each; None: as many as make it end sooner.
    progress
        Show a bar, of one slide that of its tiles; None: on a terminal or in a notebook,
        elsewhere a line of the log for each slide.

    Returns
    -------
    tuple
        A table with a row for each slide (slide, tiles, encoder, tile_um, um_per_px, kept), and
        slide -> why it could not be read.

    Raises
    ------
    InputError
        If there are no slides, none can be read, ``strict`` and one cannot, or the encoder or the
        colours cannot be had.

    Warns
    -----
    UserWarning
        What :func:`smalti.read_slides` and :func:`extract` warn of.

    See Also
    --------
    extract : The same in memory, as a view of bags.
    smalti.read_features : Bags of the files.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> from PIL import Image
    >>> picture = np.full((400, 600, 3), 245, dtype=np.uint8)
    >>> picture[100:300, 100:500] = 170, 100, 160  # a piece of tissue
    >>> Image.fromarray(picture).save("B1.png")
    >>> table, failed = sm.features.write("B1.png", "made", "morphology", um_per_px=0.5,
    ...                                   tile_um=50, size=32, progress=False)
    >>> table["slide"].tolist(), failed
    (['B1'], {})
    """
    if (not isinstance(encoder, str) and isinstance(encoder, (list, tuple))) or \
            (isinstance(encoder, str) and "," in encoder):  # fmt: skip
        raise InputError("a feature file holds one view: name one encoder, or put several into one "
                         "view, encoder='A+B'.")  # fmt: skip
    if flips == "all":
        raise InputError("flips='all' makes eight views, and a feature file holds one: take "
                         "flips='none' or flips='mean'.")  # fmt: skip
    files, um = slide_files(slides, slide=slide, path=path, um_per_px=um_per_px)
    if isinstance(tissue, (str, Path)):
        tissue_files(tissue, list(files))  # one file is of one slide
    colours = None if stain is None else reference(stain, stain_target)
    asked = _Asked(
        Path(out), default_encoder(dense)[0] if encoder is None else encoder,
        {"tile_um": tile_um, "tile_px": tile_px, "size": size, "tiles": tiles, "overlap": overlap,
         "tissue": tissue, "tissue_min": tissue_min, "edge": edge},
        {"dense": dense, "weights": weights, "flips": flips, "precision": precision,
         "device": device, "batch_size": batch_size, "seed": seed,
         "n_jobs": (n_jobs or 1) if len(files) == 1 else 1},
        um, colours, cache, overwrite, len(files) == 1 and Progress(progress).shown,
    )  # fmt: skip
    _extraction(asked)  # what cannot be had is said before any slide is read
    for name in files:
        check_free(asked.out / f"{name}.h5", overwrite=True, inputs=list(files.values()))
    done, failed = each_file(partial(_write, asked), files, title="features", strict=strict,
                             n_jobs=n_jobs, progress=False if asked.bar else progress)  # fmt: skip
    return pd.DataFrame(done.values()), failed


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What is the same for all slides."""

    out: Path
    encoder: Any
    cut: Mapping[str, Any]
    made: Mapping[str, Any]
    um_per_px: Any
    colours: Colours | None
    cache: Any
    overwrite: bool
    bar: bool  # of the tiles of one slide


def _extraction(asked: _Asked) -> Extraction:
    """Built once in a process, where the encoder has a name."""
    if isinstance(asked.encoder, str):
        return _named(asked.encoder, tuple(asked.made.items()))
    return Extraction.of(asked.encoder, **asked.made)


@lru_cache(maxsize=1)
def _named(encoder: str, made: tuple[tuple[str, Any], ...]) -> Extraction:
    return Extraction.of(encoder, **dict(made))


def _write(asked: _Asked, name: str, picture: Path) -> dict[str, Any]:
    """The file of one slide."""
    extraction, file = _extraction(asked), asked.out / f"{name}.h5"
    um = asked.um_per_px
    bags = read_slides({name: picture}, um_per_px=um.get(name) if isinstance(um, Mapping) else um,
                       progress=False, **asked.cut)  # fmt: skip
    if asked.colours is not None:
        bags = normalized(bags, asked.colours.how, stain_target=asked.colours)  # type: ignore[arg-type]
    how = extraction.how_of(bags)
    key = _key(bags, how)
    if file.exists():
        if _is_of(file, key, asked.overwrite):
            return _row(name, extraction, bags, kept=True)
        if not asked.overwrite:
            raise InputError(
                f"{file} is there already, of another slide or made in another way: name another "
                "folder, or have it made anew, overwrite=True."
            )
    found = extraction(bags, asked.cache, asked.bar)
    table = np.asarray(found.x[extraction.name])
    if all(one.half for one in extraction.encoders):
        table = table.astype(np.float16)
    write_features(file, found, table, found.features[extraction.name],
                   Made(extraction.name, how, key), overwrite=asked.overwrite)  # fmt: skip
    return _row(name, extraction, bags, kept=False)


def _is_of(file: Path, key: str, overwrite: bool) -> bool:
    """Whether a file that is there is whole, and what is asked for."""
    try:
        made = inspect(file, None).made
    except InputError as error:
        if overwrite:
            return False
        raise InputError(f"{error} Or have it made anew, overwrite=True.") from error
    return made is not None and made.key == key


def _key(bags: Bags, how: Mapping[str, Any]) -> str:
    """Of all that a file depends on: the picture, where its tiles are, and how they are read."""
    view: Any = bags.x["tile"]
    um = bags.bag["um_per_px"].tolist()
    text = json.dumps([_VERSION, view.digest(), um, how], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _row(name: str, extraction: Extraction, bags: Bags, *, kept: bool) -> dict[str, Any]:
    said = {k: float(bags.bag[k].iloc[0]) for k in ("tile_um", "um_per_px")}
    return {"slide": name, "tiles": bags.n_instances, "encoder": extraction.name[2:], **said,
            "kept": kept}  # fmt: skip
