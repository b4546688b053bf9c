"""Masks of tissue of many slides, as files."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.annotations import write_annotations
from smalti.io.pictures import picture_files
from smalti.system.each import each_file
from smalti.system.extras import need
from smalti.system.files import atomic_write, check_free
from smalti.system.tables import write_table
from smalti.tiles.image import SlideImage
from smalti.tiles.open import open_image
from smalti.tiles.outline import outlines
from smalti.tiles.tissue import tissue_mask

FOLDERS = {"masks": ".png", "outlines": ".geojson", "overview": ".jpg"}
_VERSION = 1  # of the rule: other masks come of another
_OUTLINE = (0, 160, 60)


def write_tissue(
    source: Any,
    out: str | Path,
    *,
    um_per_px: float | None = None,
    px: int = 2048,
    overwrite: bool = False,
    strict: bool = False,
    n_jobs: int | None = 1,
    progress: bool | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Find the tissue of slides and write it down.

    Parameters
    ----------
    source
        A folder of pictures, one, a list, or a mapping from name to file.
    out
        Folder: ``masks/SLIDE.png`` (0 and 255), ``outlines/SLIDE.geojson`` (annotations of class
        Tissue at full resolution, for QuPath), ``overview/SLIDE.jpg`` to look at, and
        ``tissue.csv``. What is there of the same slides is not made again.
    um_per_px
        µm per pixel of the slides, where they do not say so.
    px
        Pixels of the longer edge of a mask.
    overwrite
        Replace files that are not those of an earlier run.
    strict
        Stop at the first slide that cannot be read; else it is passed over.
    n_jobs
        Processes; None: as many as make it end sooner.
    progress
        Show a bar; None: on a terminal or in a notebook, elsewhere a line of the log for
        each slide.

    Returns
    -------
    tuple
        A table with a row for each slide (slide, um_per_px, share, area_mm2, pieces), and
        slide -> why it could not be read.

    Raises
    ------
    InputError
        If there are no slides, none can be read, or ``strict`` and one cannot.
    """
    out = Path(out)
    check_free(out / "tissue.csv", overwrite=overwrite or _is_ours(out / "tissue.csv"))
    files = {k: v for k, v in picture_files(source).items() if isinstance(v, Path)}
    if px < 16:
        raise InputError(f"px={px} must be 16 or more: pixels of a mask.")
    work = partial(_write, out=out, um_per_px=um_per_px, px=px, overwrite=overwrite)
    done, failed = each_file(work, files, title="tissue", strict=strict, n_jobs=n_jobs,
                             progress=progress)  # fmt: skip
    table = pd.DataFrame(done.values())
    write_table(table, out / "tissue.csv", overwrite=overwrite or _is_ours(out / "tissue.csv"))
    return table, failed


def _is_ours(table: Path) -> bool:
    """Whether a table is that of an earlier run."""
    if not table.is_file():
        return False
    with table.open("rb") as file:
        return file.readline(200).startswith(b"slide,um_per_px,share")


def _write(
    slide: str, path: Path, *, out: Path, um_per_px: float | None, px: int, overwrite: bool
) -> dict[str, Any]:
    """The files of one slide, the outlines last: where they are, all is."""
    image = open_image(path, um_per_px=um_per_px)
    mask_file, outline_file, view_file = (out / n / f"{slide}{e}" for n, e in FOLDERS.items())
    said = f"{_VERSION} {image.digest()} {px} {um_per_px}"
    key = hashlib.sha256(said.encode()).hexdigest()[:16]
    before = _before(outline_file)
    if before and before.get("key") == key and mask_file.exists() and view_file.exists():
        return dict(before["row"])
    again = overwrite or before is not None
    small, scale = image.thumbnail(px)
    mask = tissue_mask(small, None if image.um_per_px is None else image.um_per_px / scale)
    found = outlines(mask, scale)
    row = _row(slide, image, mask, len(found))
    pillow = need("PIL.Image", extra="slides")
    with atomic_write(mask_file, overwrite=again) as temporary:
        pillow.fromarray(mask.astype(np.uint8) * 255).save(temporary, format="PNG")
    with atomic_write(view_file, overwrite=again) as temporary:
        pillow.fromarray(outlined(small, mask)).save(temporary, format="JPEG", quality=85)
    write_annotations(outline_file, found, "Tissue", note={"key": key, "row": row}, overwrite=again)
    return row


def _before(file: Path) -> dict[str, Any] | None:
    """What an earlier run says of a slide; None where it is not there, or not of such a run."""
    try:
        return json.loads(file.read_text("utf-8"))["smalti"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(slide: str, image: SlideImage, mask: np.ndarray, pieces: int) -> dict[str, Any]:
    share = float(mask.mean())
    area = None if image.um_per_px is None else \
        share * image.width * image.height * image.um_per_px**2 / 1e6  # fmt: skip
    return {"slide": slide, "um_per_px": image.um_per_px, "share": round(share, 4),
            "area_mm2": None if area is None else round(area, 4), "pieces": pieces}  # fmt: skip


def outlined(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(height, width, 3) a picture with the edge of its mask, three pixels wide."""
    from scipy import ndimage

    edge = ndimage.binary_dilation(mask, iterations=2) & ~ndimage.binary_erosion(mask)
    return np.where(edge[..., None], np.array(_OUTLINE, np.uint8), rgb)
