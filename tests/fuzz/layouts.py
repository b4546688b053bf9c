"""Small folders of slides as others lay them out, with what is true of them.

``tests/io`` reads them, and the harness damages them.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import tifffile
from PIL import Image

GENES = [f"G{i}" for i in range(6)]
IDS = [f"ENSG{i:011d}" for i in range(len(GENES))]


def drawn(seed: int = 3, height: int = 260, width: int = 310) -> np.ndarray:
    """Pink tissue with noise, no two places alike: (height, width, 3)."""
    rng = np.random.default_rng(seed)
    return rng.normal([205, 130, 180], 18, (height, width, 3)).clip(0, 255).astype(np.uint8)


def poisson(n: int, seed: int = 0, genes: int = len(GENES)) -> np.ndarray:
    """(n, genes) counts."""
    return np.random.default_rng(seed).poisson(2, (n, genes)).astype(np.int32)


def save_h5(path: Path, counts: np.ndarray, names: list[str], genes: list[str] = GENES) -> None:
    """A matrix as Space Ranger and Xenium write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    matrix = sp.csc_matrix(counts.T)
    with h5py.File(path, "w") as file:
        part = file.create_group("matrix")
        for key in ("data", "indices", "indptr"):
            part[key] = getattr(matrix, key)
        part["shape"], part["barcodes"] = matrix.shape, np.array(names, "S")
        part["features/name"] = np.array(genes, "S")
        part["features/id"] = np.array([f"ENSG{i:011d}" for i in range(len(genes))], "S")
        part["features/feature_type"] = np.array(["Gene Expression"] * len(genes), "S")


def save_picture(path: Path, rgb: np.ndarray) -> Path:
    """A PNG, or a tiled TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, rgb, photometric="rgb", tile=(64, 64))
    else:
        Image.fromarray(rgb).save(path, compress_level=1)
    return path


def lattice(nx: int, ny: int, pitch: float, start: float) -> np.ndarray:
    """(nx * ny, 2) places, row by row."""
    y, x = np.divmod(np.arange(nx * ny), nx)
    return np.column_stack([start + pitch * x, start + pitch * y])


def positions(names: list[str], xy: np.ndarray) -> pd.DataFrame:
    """A table of spots, all under tissue."""
    return pd.DataFrame(
        {
            "barcode": names,
            "in_tissue": 1,
            "array_row": np.arange(len(names)) // 4,
            "array_col": np.arange(len(names)) % 4,
            "pxl_row_in_fullres": xy[:, 1],
            "pxl_col_in_fullres": xy[:, 0],
        }
    )


# ---------------------------------------------------------------- Visium as GEO keeps it


def geo(folder: Path, prefix: str = "GSM1_S1_", seed: int = 0, market: bool = False) -> np.ndarray:
    """A section whose files lie flat, with a prefix, packed: the counts."""
    xy, counts = lattice(4, 3, 50, 60), poisson(12, seed)
    names = [f"AAAC{i:04d}-1" for i in range(12)]
    folder.mkdir(parents=True, exist_ok=True)

    def packed(name: str, data: bytes) -> None:
        (folder / f"{prefix}{name}.gz").write_bytes(gzip.compress(data, mtime=0))

    if market:
        from io import BytesIO

        from scipy.io import mmwrite

        stream = BytesIO()
        mmwrite(stream, sp.coo_matrix(counts.T))
        packed("matrix.mtx", stream.getvalue())
        packed("barcodes.tsv", "\n".join(names).encode())
        rows = [f"{i}\t{g}\tGene Expression" for i, g in zip(IDS, GENES, strict=True)]
        packed("features.tsv", "\n".join(rows).encode())
    else:
        save_h5(folder / f"{prefix}filtered_feature_bc_matrix.h5", counts, names)
    packed(
        "tissue_positions_list.csv",
        positions(names, xy).to_csv(index=False, header=False).encode(),
    )
    packed("scalefactors_json.json", json.dumps({"tissue_hires_scalef": 1.0}).encode())
    picture = save_picture(folder / "small.png", drawn(seed))
    packed("tissue_hires_image.png", picture.read_bytes())
    picture.unlink()
    return counts


# ---------------------------------------------------------------- Visium HD

HD_UM = 0.5  # µm per pixel at full resolution
HD_SCALE = 0.5  # of the small picture


def hd(run: Path, widths: tuple[int, ...] = (8, 16), cells: bool = False) -> dict[Any, Any]:
    """A run of Visium HD: width of the bins -> (places at full resolution, counts)."""
    truth: dict[Any, Any] = {}
    for width in widths:
        n = 256 // width
        xy, folder = lattice(n, n, width / HD_UM, 40), run / "binned_outputs"
        folder = folder / f"square_{width:03d}um"
        counts = poisson(n * n, width)
        names = [f"s_{width:03d}um_{i // n:05d}_{i % n:05d}-1" for i in range(n * n)]
        save_h5(folder / "filtered_feature_bc_matrix.h5", counts, names)
        (folder / "spatial").mkdir(exist_ok=True)
        positions(names, xy).to_parquet(folder / "spatial" / "tissue_positions.parquet")
        _factors(folder / "spatial", bin_size_um=float(width))
        truth[width] = xy, counts
    save_picture(run / "spatial" / "tissue_hires_image.png", drawn(1, 300, 310))
    if cells:
        truth["cells"] = _segmented(run / "segmented_outputs")
    return truth


def _factors(folder: Path, **more: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    said = {"tissue_hires_scalef": HD_SCALE, "microns_per_pixel": HD_UM, **more}
    (folder / "scalefactors_json.json").write_text(json.dumps(said))


def _segmented(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Nine cells, each an L of which the centroid is no mean of its corners."""
    xy, counts = lattice(3, 3, 120, 90), poisson(9, 5)
    names = [f"cellid_{i + 1:09d}-1" for i in range(9)]
    save_h5(folder / "filtered_feature_cell_matrix.h5", counts, names)
    corners = np.array([[0, 0], [12, 0], [12, 4], [4, 4], [4, 12], [0, 12], [0, 0]], float)
    middle = np.array([(48 * 6 + 32 * 2) / 80, (48 * 2 + 32 * 8) / 80])  # two rectangles
    shapes = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [(corners - middle + p).tolist()]},
            "properties": {"cell_id": i + 1},
        }
        for i, p in enumerate(xy)
    ]
    (folder / "cell_segmentations.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": shapes[::-1]})
    )
    _factors(folder / "spatial")
    return xy, counts


# ---------------------------------------------------------------- Xenium

XENIUM_UM = 0.2125


def xenium(run: Path, packed: bool = True, picture: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A run of Xenium and its H&E picture, turned by 90 degrees and twice as coarse.

    Returns the places of the cells in the picture, and their counts.
    """
    he, counts = lattice(4, 3, 50, 60), poisson(12, 7)
    # from pixels of the H&E picture to those of the morphology picture
    moved = np.array([[0.0, -2.0, 900.0], [2.0, 0.0, 40.0], [0.0, 0.0, 1.0]])
    um = (np.column_stack([he, np.ones(12)]) @ moved.T)[:, :2] * XENIUM_UM
    names = [f"cell{i}-1" for i in range(12)]
    save_h5(run / "cell_feature_matrix.h5", counts, names)
    table = pd.DataFrame(
        {"cell_id": names, "x_centroid": um[:, 0], "y_centroid": um[:, 1], "cell_area": 30.0}
    ).iloc[::-1]
    if packed:
        table.to_csv(run / "cells.csv.gz", index=False)
    else:
        table.to_parquet(run / "cells.parquet")
    (run / "experiment.xenium").write_text(json.dumps({"pixel_size": XENIUM_UM}))
    if picture:
        save_picture(run / "he" / "s_he_image.tif", drawn(4))
        pd.DataFrame(moved).to_csv(
            run / "he" / "s_he_imagealignment.csv", index=False, header=False
        )
    return he, counts


# ---------------------------------------------------------------- cells with a picture


def cell_runs(folder: Path, cells: Any, layout: str) -> pd.DataFrame:
    """Simulated cells (``pictured_cells``) as runs of "xenium" or "hd", or as "anndata".

    Returns the table of slides: slide, state, donor.
    """
    for i, name in enumerate(cells.bag.index):
        one = cells[[i]]
        view = one.x["tile"]
        rgb = view.base.images[view.base.of[view.rows[0]]].pixels.transpose(1, 2, 0)
        genes = list(cells.features["counts"])
        xy, counts = one.instance[["x_px", "y_px"]].to_numpy(), one.table("counts").astype(int)
        write = {"xenium": _xenium_run, "hd": _hd_run, "anndata": _cell_table}[layout]
        write(folder, name, xy, counts, genes, rgb)
    return cells.bag[["state", "donor"]].rename_axis("slide").reset_index()


def _xenium_run(folder: Path, name: str, xy: Any, counts: Any, genes: Any, rgb: Any) -> None:
    run, names = folder / name / "outs", [f"c{i}-1" for i in range(len(xy))]
    save_h5(run / "cell_feature_matrix.h5", counts, names, genes)
    table = pd.DataFrame(
        {"cell_id": names, "x_centroid": 0.5 * xy[:, 0], "y_centroid": 0.5 * xy[:, 1]}
    )
    table.to_csv(run / "cells.csv.gz", index=False)
    (run / "experiment.xenium").write_text(json.dumps({"pixel_size": XENIUM_UM}))
    save_picture(run / f"{name}_he_image.tif", rgb)
    moved = np.diag([0.5 / XENIUM_UM, 0.5 / XENIUM_UM, 1.0])
    pd.DataFrame(moved).to_csv(run / f"{name}_he_imagealignment.csv", index=False, header=False)


def _hd_run(folder: Path, name: str, xy: Any, counts: Any, genes: Any, rgb: Any) -> None:
    run = folder / name
    inside = run / "segmented_outputs"
    names = [f"cellid_{i + 1:09d}-1" for i in range(len(xy))]
    save_h5(inside / "filtered_feature_cell_matrix.h5", counts, names, genes)
    corners = np.array([[-4, -4], [4, -4], [4, 4], [-4, 4], [-4, -4]], float)
    shapes = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [(corners + p).tolist()]},
            "properties": {"cell_id": i + 1},
        }
        for i, p in enumerate(xy)
    ]
    (inside / "cell_segmentations.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": shapes})
    )
    _factors(inside / "spatial")
    wide = np.array(Image.fromarray(rgb).resize((rgb.shape[1] // 2, rgb.shape[0] // 2)))
    save_picture(run / "spatial" / "tissue_hires_image.png", wide)
    save_picture(folder / "he" / f"{name}.tif", rgb)


def _cell_table(folder: Path, name: str, xy: Any, counts: Any, genes: Any, rgb: Any) -> None:
    table = anndata.AnnData(
        sp.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(len(xy))]), var=pd.DataFrame(index=genes),
    )  # fmt: skip
    table.obsm["spatial"] = xy
    folder.mkdir(parents=True, exist_ok=True)
    table.write_h5ad(folder / f"{name}.h5ad")
    save_picture(folder / f"{name}.tif", rgb)


# ---------------------------------------------------------------- HEST, and spots of AnnData


def spots_table(n: int = 12, seed: int = 0, picture: bool = False, **obs: Any) -> Any:
    """Spots of one slide, as scanpy's ``read_visium`` makes them where it holds a picture."""
    xy = lattice(4, 3, 50, 60)[:n]
    names = [f"AAAC{i:04d}-1" for i in range(n)]
    frame = pd.DataFrame({"in_tissue": 1, **obs}, index=names)
    table = anndata.AnnData(
        sp.csr_matrix(poisson(n, seed).astype(np.float32)), obs=frame, var=pd.DataFrame(index=GENES)
    )
    table.obsm["spatial"] = xy
    if picture:
        table.uns["spatial"] = {"lib": library(seed)}
        table.obsm["spatial"] = 4 * xy  # of the full picture, four times as large
    return table


def library(seed: int = 0, scale: float = 0.25, **factors: float) -> dict[str, Any]:
    """A picture as scanpy keeps it, of 0..1, and a smaller one."""
    rgb = drawn(seed).astype(np.float32) / 255
    return {
        "images": {"hires": rgb, "lowres": rgb[::2, ::2]},
        "scalefactors": {
            "tissue_hires_scalef": scale,
            "tissue_lowres_scalef": scale / 2,
            "spot_diameter_fullres": 100.0,
            **factors,
        },
        "metadata": {},
    }


PATCH = 24  # pixels of the slide, read at twice as many


def hest(root: Path, names: tuple[str, ...] = ("A1", "B2"), pictures: bool = True) -> list[Any]:
    """Sections as HEST keeps them, each with one tile fewer than spots: the tables."""
    tables = []
    for seed, name in enumerate(names):
        table, rgb = spots_table(seed=seed), drawn(seed)
        tables.append(table)
        (root / "st").mkdir(parents=True, exist_ok=True)
        table.write_h5ad(root / "st" / f"{name}.h5ad")
        if pictures:
            save_picture(root / "wsis" / f"{name}.tif", rgb)
        said = {
            "pixel_size_um_estimated": 2.0,
            "pixel_size_um_embedded": None,
            "inter_spot_dist": 100,
        }
        for folder in ("metadata", "patches", "tissue_seg"):
            (root / folder).mkdir(exist_ok=True)
        (root / "metadata" / f"{name}.json").write_text(json.dumps({**said, "patient": f"p{seed}"}))
        (root / "tissue_seg" / f"{name}_mask.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
        patches(root / "patches" / f"{name}.h5", rgb, table, key="barcode" if seed else "barcodes")
    return tables


def patches(path: Path, rgb: np.ndarray, table: Any, key: str = "barcode") -> None:
    """Tiles of all spots but the first, from the last, twice enlarged."""
    order = np.arange(1, table.n_obs)[::-1]
    corner = (table.obsm["spatial"][order] - PATCH / 2).astype(int)
    tiles = [np.kron(rgb[y : y + PATCH, x : x + PATCH], np.ones((2, 2, 1), np.uint8))
             for x, y in corner]  # fmt: skip
    with h5py.File(path, "w") as file:
        file["img"], file["coords"] = np.stack(tiles), corner
        file[key] = table.obs_names[order].to_numpy().astype("S").reshape(-1, 1)
        file["img"].attrs["patch_size_src"] = PATCH
