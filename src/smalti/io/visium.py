"""Sections from the output folder of Space Ranger."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.counts import checked_counts
from smalti.io.pictures import opened, picture_files
from smalti.io.sections import Section
from smalti.io.spots import renamed, stated

_PITCH = 100.0  # µm between the centres of neighbouring Visium spots
_SPOT = 55.0  # µm across
_COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres",
            "pxl_col_in_fullres"]  # fmt: skip


def is_visium(path: Path) -> bool:
    """Whether a folder is the output of Space Ranger."""
    path = _outs(path)
    return (path / "spatial").is_dir() and _counts_of(path) is not None


def _outs(path: Path) -> Path:
    """Where the files of a run are: in its folder "outs", if that was kept."""
    return path / "outs" if (path / "outs" / "spatial").is_dir() else path


def visium_section(
    path: Path, *, name: str, image: Any, um_per_px: Any, notes: list[str]
) -> Section:
    """One section.

    Parameters
    ----------
    path
        Folder with filtered_feature_bc_matrix (.h5, or a folder of .mtx) and spatial/.
    name
        Of the slide.
    image
        Full-resolution picture; None: the high-resolution one of spatial/, with its scale.
    um_per_px
        Of the full-resolution picture, where the user says so; else from the spots' pitch.
    notes
        Gets warnings.

    Raises
    ------
    InputError
        If a file is missing, or spots and counts have no barcode in common; with names.
    """
    path = _outs(path)
    spots = _positions(path)
    matrix, genes, barcodes = _counts(path)
    there = spots.index.intersection(barcodes, sort=False)
    if not len(there):
        raise InputError(
            f"{path}: no barcode of the counts (such as {barcodes[0]}) is among the positions "
            f"(such as {spots.index[0]}): are the two of one section?"
        )
    lost = len(barcodes) - len(there)
    if lost:
        first = next(b for b in barcodes if b not in spots.index)
        notes.append(f"slide {name!r}: {lost} spots with counts have no position (first: {first}) "
                     "and are left out.")  # fmt: skip
    spots = spots.loc[there]
    rows = pd.Index(barcodes).get_indexer(there)
    counts, unique = checked_counts(matrix[rows], genes, list(there), str(path))
    notes += renamed(genes, unique, str(path))
    xy = spots[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)
    picture, scale = _picture(path, image, notes, name)
    said = stated(um_per_px, name)
    return Section(
        name, picture, xy * scale, spots.drop(columns=_COLUMNS[4:]), counts, unique,
        None if said is None else said / scale, _PITCH,
    )  # fmt: skip


def _counts_of(path: Path) -> Path | None:
    for name in ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix",
                 "raw_feature_bc_matrix.h5"):  # fmt: skip
        if (path / name).exists():
            return path / name
    found = sorted(path.glob("*filtered_feature_bc_matrix.h5"))
    return found[0] if found else None


def _counts(path: Path) -> tuple[sp.csr_matrix, list[str], list[str]]:
    """(n_spots, n_genes), symbols and barcodes."""
    file = _counts_of(path)
    if file is None:
        raise InputError(
            f"{path} has no filtered_feature_bc_matrix (.h5 or folder): copy it there."
        )
    if file.is_dir():
        return _mtx(file)
    import h5py

    try:
        with h5py.File(file) as data:
            part = data["matrix"]
            shape = tuple(part["shape"][:])
            matrix = sp.csc_matrix((part["data"][:], part["indices"][:], part["indptr"][:]), shape)
            genes = part["features"]["name"].asstr()[:].tolist()
            kind = part["features"]["feature_type"].asstr()[:]
            barcodes = part["barcodes"].asstr()[:].tolist()
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{file} is damaged or not of Space Ranger ({error}): copy it again.") \
            from error  # fmt: skip
    return _expression(matrix.T.tocsr(), genes, kind, barcodes)


def _mtx(folder: Path) -> tuple[sp.csr_matrix, list[str], list[str]]:
    from scipy.io import mmread

    def one(stem: str) -> Path:
        for suffix in ("", ".gz"):
            if (folder / f"{stem}{suffix}").exists():
                return folder / f"{stem}{suffix}"
        raise InputError(f"{folder} has no {stem} (or {stem}.gz): copy the whole folder.")

    files = [one(name) for name in ("features.tsv", "barcodes.tsv", "matrix.mtx")]
    try:
        features = pd.read_csv(files[0], sep="\t", header=None)
        barcodes = pd.read_csv(files[1], sep="\t", header=None)[0].astype(str).tolist()
        matrix = sp.csr_matrix(mmread(files[2]).T)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{folder} holds a damaged table ({error}): copy it again.") from error
    kind = features[2].to_numpy() if features.shape[1] > 2 else np.full(len(features), "")
    return _expression(matrix, features[1].astype(str).tolist(), kind, barcodes)


def _expression(
    matrix: sp.csr_matrix, genes: list[str], kind: np.ndarray, barcodes: list[str]
) -> tuple[sp.csr_matrix, list[str], list[str]]:
    """Genes alone, without antibodies."""
    keep = np.flatnonzero(np.isin(kind, ("Gene Expression", "")))
    return matrix[:, keep], [genes[i] for i in keep], barcodes


def _positions(path: Path) -> pd.DataFrame:
    """Spots under tissue by barcode."""
    folder = path / "spatial"
    for name in ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv"):
        file = folder / name
        if not file.exists():
            continue
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
        else:
            head = file.read_text(encoding="utf-8").split("\n", 1)[0]
            table = pd.read_csv(file, header=0 if "barcode" in head else None)
            if "barcode" not in head:
                table.columns = _COLUMNS[: table.shape[1]]
        absent = [c for c in _COLUMNS if c not in table]
        if absent:
            raise InputError(f"{file} lacks {', '.join(absent)}: it is no table of Space Ranger.")
        table = table.set_index("barcode")
        return table[table["in_tissue"] == 1]
    raise InputError(f"{folder} has no tissue_positions (.csv or .parquet): copy it there.")


def _picture(path: Path, image: Any, notes: list[str], name: str) -> tuple[Any, float]:
    """The picture, and its pixels per pixel at full resolution."""
    if image is not None:
        found = picture_files(image)
        file = found.get(name) or (next(iter(found.values())) if len(found) == 1 else None)
        if file is None:
            raise InputError(f"slide {name!r} has no image; there are {', '.join(sorted(found))}.")
        return opened(file), 1.0
    scales = path / "spatial" / "scalefactors_json.json"
    for kind in ("hires", "lowres"):
        for suffix in (".png", ".jpg", ".jpeg"):
            file = path / "spatial" / f"tissue_{kind}_image{suffix}"
            if file.exists() and scales.exists():
                scale = _factor(scales, f"tissue_{kind}_scalef")
                notes.append(
                    f"slide {name!r}: cut from {file.name}, a small version of the slide (1 of "
                    f"{1 / scale:.3g} pixels): give the full-resolution image, images=..."
                )
                return opened(file), scale
    raise InputError(
        f"{path / 'spatial'} has no tissue_hires_image.png with scalefactors_json.json, and no "
        "image was given: images=FILE."
    )


def _factor(file: Path, name: str) -> float:
    try:
        scale = float(json.loads(file.read_text(encoding="utf-8"))[name])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} gives no {name} ({error}): copy it again.") from error
    if not 0 < scale <= 1:
        raise InputError(f"{file} gives {name}={scale}: expected over 0 and at most 1.")
    return scale
