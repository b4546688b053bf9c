"""What the package reads, as targets of the harness: a small file of each format, its reader."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import dask
import h5py
import layouts
import mudata
import numpy as np
import pandas as pd
import scipy.sparse as sp
import tifffile
import torch
from harness import Target
from PIL import Image
from safetensors.numpy import save_file
from scipy.io import mmwrite
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, ShapesModel, TableModel

import smalti as sm
from smalti.cli.data import open_bags
from smalti.cli.genes import names_of
from smalti.comparison.cache import Answer, Cache
from smalti.core import training
from smalti.datasets import planted_bags, planted_slides
from smalti.features.cache import FeatureCache
from smalti.tiles.open import open_image

TARGETS: dict[str, Target] = {}
dask.config.set(scheduler="synchronous")  # its threads would not be in a forked child


def target(
    name: str,
    make: Callable[[Path], list[Path]],
    read: Callable[[Path], Any],
    checked: bool = False,
) -> None:
    """Add a format."""
    TARGETS[name] = Target(make, lambda folder: _told(read(folder)), checked)


def _told(value: Any) -> str:
    """All that a value holds, as a digest."""
    sha = hashlib.sha256()

    def add(v: Any) -> None:
        if sp.issparse(v):
            v = v.toarray()
        if isinstance(v, torch.Tensor):
            v = v.detach().numpy()
        if isinstance(v, np.ndarray) and v.dtype.kind not in "OUST":
            sha.update(f"{v.dtype} {v.shape}".encode() + np.ascontiguousarray(v).tobytes())
        elif isinstance(v, dict):
            for key in v:
                sha.update(f"{key}:".encode())
                add(v[key])
        elif isinstance(v, (list, tuple, np.ndarray)):
            sha.update(f"{len(v)}[".encode())
            for each in v:
                add(each)
        else:
            sha.update(f"{v};".encode())

    add(value)
    return sha.hexdigest()


def _bags(bags: Any) -> list[Any]:
    views = [v.read(0, v.shape[0]) if hasattr(v, "read") else v for v in bags.x.values()]
    frames = [
        [list(f.index.astype(str)), {c: f[c].astype(str).tolist() for c in f}]
        for f in (bags.bag, bags.instance)
    ]
    return [list(bags.x), views, bags.offsets, frames, bags.features]


# ---------------------------------------------------------------- models and what fits leave


def _model(name: str, data: Callable[[], Any], **settings: Any) -> None:
    bags = data()

    def make(d: Path) -> list[Path]:
        sm.make(name, progress=False, **settings).fit(bags).save(d / "model")
        return [d / "model" / "model.json", d / "model" / "weights.safetensors"]

    def read(d: Path) -> Any:
        model = sm.load(d / "model")
        return [
            model.predict(bags),
            model.network_.state_dict(),
            model.get_params(deep=False),
            model.features_,
        ]

    target(f"model_{name}", make, read, checked=True)


_model("abmil", lambda: planted_bags(12), epochs=1, widths=(8,), preprocess="scale,pca=3")
_model("cloudpred", lambda: planted_bags(12), epochs=1)
_model("ridge", lambda: planted_slides(n_slides=4, n_tiles=9, n_genes=6))


class _Killed(BaseException):
    pass


def _half_fitted() -> Any:
    return sm.make("abmil", widths=(8,), epochs=3, batch_size=4, progress=False)


def _make_checkpoint(d: Path) -> list[Path]:
    begin, step, left = training.Checkpoint.__init__, training.Runner.step, [5]

    def dies(self: Any, groups: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise _Killed
        return step(self, groups)

    training.Checkpoint.__init__ = lambda self, path, **kw: begin(self, path, **kw | {"every": 0.0})
    training.Runner.step = dies
    try:
        _half_fitted().fit(planted_bags(12), checkpoint=d / "fit.safetensors")
    except _Killed:
        pass
    finally:
        training.Checkpoint.__init__, training.Runner.step = begin, step
    return [d / "fit.safetensors"]


def _read_checkpoint(d: Path) -> Any:
    model = _half_fitted().fit(planted_bags(12), checkpoint=d / "fit.safetensors")
    return [model.network_.state_dict(), model.history_.to_csv()]


target("checkpoint", _make_checkpoint, _read_checkpoint, checked=True)


def _make_answer(d: Path) -> list[Path]:
    answer = Answer({"p": np.linspace(0, 1, 12).reshape(6, 2)}, {"genes": ["A", "B"]}, 2.5)
    file = Cache(d).file("abmil", "key")
    Cache(d).write(file, answer)
    return [file]


def _read_answer(d: Path) -> Any:
    got = Cache(d).read(Cache(d).file("abmil", "key"))
    return [got.arrays, got.note, got.seconds]


target("compare_cache", _make_answer, _read_answer, checked=True)


class _Made(Exception):
    pass


def _features() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(9, 6)).astype(np.float32)


def _make_block(d: Path) -> list[Path]:
    FeatureCache(d, "0" * 24, half=False).block(0, (9, 6), _features)
    return sorted(p for p in d.rglob("*") if p.is_file())


# a block that is damaged is made anew, with a warning: the same numbers
target(
    "feature_cache",
    _make_block,
    lambda d: FeatureCache(d, "0" * 24, half=False).block(0, (9, 6), _features),
    checked=True,
)


# ---------------------------------------------------------------- cells


def _cells() -> Any:
    bags = planted_bags(12, bags_per_donor=2, effect=4)
    rng = np.random.default_rng(0)
    order = rng.permutation(bags.n_instances)
    x, of = bags.table()[order], bags.index[order]
    obs = pd.DataFrame(
        {
            "sample": bags.bag.index.to_numpy()[of],
            "donor": [f"d{d}" for d in bags.donors[of]],
            "disease": np.array(["no", "yes"])[bags.labels[of]],
            "cell_type": rng.choice(["T", "B", "NK"], len(x)),
            "depth": rng.normal(size=len(x)),
        },
        index=[f"cell{i}" for i in range(len(x))],
    )
    cells = anndata.AnnData(sp.csr_matrix(np.abs(x)), obs=obs)
    cells.var_names = [f"g{j}" for j in range(x.shape[1])]
    cells.obsm["X_pca"] = x
    return cells


def _mudata() -> Any:
    rna = _cells()
    obs = pd.DataFrame(index=rna.obs_names)
    prot = anndata.AnnData(np.abs(rna.obsm["X_pca"]).astype(np.float32), obs=obs)
    prot.var_names = [f"p{j}" for j in range(prot.n_vars)]
    rna.var_names = "r" + rna.var_names
    with mudata.set_options(pull_on_update=False):
        both = mudata.MuData({"rna": rna, "prot": prot})
    for column in ("sample", "donor", "disease"):
        both.obs[column] = rna.obs[column]
    return both


ASK = {"sample": "sample", "label": "disease", "donor": "donor"}


def _table(name: str, file: str, write: Callable[[Path], None], **more: Any) -> None:
    def make(d: Path) -> list[Path]:
        write(d / file)
        folder = d / file
        return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]

    target(name, make, lambda d: _bags(sm.read(d / file, **ASK, **more)))


_BOTH = {"x": ["X", "X_pca"]}
_table("h5ad", "cells.h5ad", lambda p: _cells().write_h5ad(p), **_BOTH)
_table("h5ad_gzip", "cells.h5ad", lambda p: _cells().write_h5ad(p, compression="gzip"), **_BOTH)
_table("h5mu", "cells.h5mu", lambda p: _mudata().write_h5mu(p))
_table("zarr", "cells.zarr", lambda p: _cells().write_zarr(p), **_BOTH)


def _zarr3(path: Path) -> None:
    with anndata.settings.override(zarr_write_format=3):
        _cells().write_zarr(path)


_table("zarr3", "cells.zarr", _zarr3, **_BOTH)


def _make_npz(d: Path) -> list[Path]:
    b = planted_bags(8)
    np.savez(
        d / "b.npz",
        x=b.table(),
        bag=b.bag.index.to_numpy()[b.index].astype(str),
        label=b.labels,
        donor=np.array([f"d{i}" for i in b.donors]),
    )
    return [d / "b.npz"]


target("npz", _make_npz, lambda d: _bags(open_bags(d / "b.npz")))


# ---------------------------------------------------------------- features and their labels

LABELS = pd.DataFrame(
    {"slide_id": ["s0", "s1", "s2"], "y": ["a", "b", "a"], "donor": ["d0", "d1", "d2"]}
)


def _make_features(d: Path, layout: str = "clam", labels: str = "labels.csv") -> list[Path]:
    rng = np.random.default_rng(1)
    (d / "f").mkdir(exist_ok=True)
    for i in range(3):
        x = rng.normal(size=(5 + i, 8)).astype(np.float32)
        coords = rng.integers(0, 9999, (5 + i, 2))
        with h5py.File(d / "f" / f"s{i}.h5", "w") as file:
            if layout == "trident":
                file["features"], file["coords"] = x[None], coords
                file["coords"].attrs.update(patch_size_level0=512, patch_size=256,
                                            level0_width=12_000, level0_height=12_000)  # fmt: skip
            elif layout == "stamp":
                file["feats"], file["coords"] = x.astype(np.float16), coords.astype(float)
                file.attrs.update(unit="um", tile_size_um=256.0, tile_size_px=224)
            else:
                packed = "gzip" if layout == "gzip" else None
                file.create_dataset("features", data=x, compression=packed)
                file["coords"] = coords
    table = d / labels
    if table.suffix == ".parquet":
        LABELS.to_parquet(table)
    else:
        LABELS.to_csv(table, index=False, sep="\t" if table.suffix == ".tsv" else ",")
    return sorted((d / "f").iterdir())


def _read_features(d: Path, labels: str = "labels.csv") -> Any:
    return _bags(sm.read_features(d / "f", d / labels, label="y", donor="donor"))


for _layout in ("clam", "trident", "stamp", "gzip"):
    target(f"features_{_layout}", lambda d, k=_layout: _make_features(d, k), _read_features)


def _make_patches(d: Path) -> list[Path]:
    """The patches files of CLAM, beside its features."""
    (d / "p").mkdir()
    for file in _make_features(d):
        with h5py.File(file, "r") as features, h5py.File(d / "p" / file.name, "w") as out:
            out["coords"] = features["coords"][()]
            out["coords"].attrs.update(patch_size=256, patch_level=1, downsample=(2.0, 2.0),
                                       level_dim=(6_000, 6_000))  # fmt: skip
    return sorted((d / "p").iterdir())


def _read_patches(d: Path) -> Any:
    return _bags(sm.read_features(d / "f", d / "labels.csv", patches=d / "p", um_per_px=0.5))


target("features_patches", _make_patches, _read_patches)
for _kind in ("csv", "tsv", "parquet"):
    target(
        f"labels_{_kind}",
        lambda d, k=_kind: [_make_features(d, labels=f"labels.{k}"), d / f"labels.{k}"][1:],
        lambda d, k=_kind: _read_features(d, f"labels.{k}"),
    )


def _make_splits(d: Path) -> list[Path]:
    pd.DataFrame({"bag": planted_bags(4).bag.index, "fold": [0, 0, 1, 1]}).to_csv(
        d / "splits.csv", index=False
    )
    return [d / "splits.csv"]


target(
    "splits",
    _make_splits,
    lambda d: [
        [s.repeat, s.fold, s.train, s.test]
        for s in sm.comparison.given_folds(planted_bags(4), d / "splits.csv")
    ],
)


# ---------------------------------------------------------------- genes

GENES = [f"G{i}" for i in range(10)]
GMT = "".join(
    f"SET{i}\tof {i}\t" + "\t".join(f"G{(3 * i + j) % 20}" for j in range(6)) + "\n"
    for i in range(8)
)


def _written(name: str, data: bytes) -> Callable[[Path], list[Path]]:
    def make(d: Path) -> list[Path]:
        (d / name).write_bytes(data)
        return [d / name]

    return make


target("gmt", _written("s.gmt", GMT.encode()), lambda d: sm.genes.read_gmt(d / "s.gmt"))
target(
    "gmt_gz",
    _written("s.gmt.gz", gzip.compress(GMT.encode(), mtime=0)),
    lambda d: sm.genes.read_gmt(d / "s.gmt.gz"),
)
target(
    "gene_list",
    _written("genes.txt", "\n".join(GENES).encode()),
    lambda d: names_of(str(d / "genes.txt"), "--genes"),
)


def _vectors(name: str, file: str, write: Callable[[Path], None], checked: bool = False) -> None:
    def make(d: Path) -> list[Path]:
        write(d / file)
        return [d / file]

    def read(d: Path) -> Any:
        found = sm.genes.read_vectors(d / file)
        return [found.names, found.arrays(), found.note()]

    target(f"vectors_{name}", make, read, checked)


def _vector_frame() -> pd.DataFrame:
    x = np.random.default_rng(0).normal(size=(10, 4)).round(3).astype(np.float32)
    frame = pd.DataFrame(x, columns=list("abcd"))
    frame.insert(0, "gene", GENES)
    return frame


def _save_vectors(path: Path) -> None:
    text = {g: f"a gene of word{i % 5} and thing{i % 3} in the cell" for i, g in enumerate(GENES)}
    sm.genes.gene_vectors(text).save(path)


_vectors("ours", "v.safetensors", _save_vectors, checked=True)
_vectors(
    "array",
    "v.safetensors",
    lambda p: save_file(
        {"x": _vector_frame()[list("abcd")].to_numpy(copy=True)},
        p,
        metadata={"names": json.dumps(GENES)},
    ),
)
_vectors("parquet", "v.parquet", lambda p: _vector_frame().to_parquet(p))
_vectors("csv", "v.csv", lambda p: _vector_frame().to_csv(p, index=False))
_vectors("csv_gz", "v.csv.gz", lambda p: _vector_frame().to_csv(p, index=False))


def _make_text(d: Path) -> list[Path]:
    pd.DataFrame(
        {
            "symbol": GENES,
            "summary": [f"Gene {i} does thing {i % 3}." for i in range(10)],
            "aliases": [f"A{i}|B{i}" for i in range(10)],
        }
    ).to_csv(d / "t.tsv", sep="\t", index=False)
    return [d / "t.tsv"]


target("gene_text", _make_text, lambda d: vars(sm.genes.gene_text(sources=[d / "t.tsv"])))


# ---------------------------------------------------------------- pictures


def _drawn(seed: int, height: int = 60, width: int = 70) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal([205, 130, 180], 18, (height, width, 3)).clip(0, 255).astype(np.uint8)


def _picture(name: str, file: str, write: Callable[[Path], None]) -> None:
    def make(d: Path) -> list[Path]:
        write(d / file)
        return [d / file]

    def read(d: Path) -> Any:
        image = open_image(d / file)
        return [image.um_per_px, image.region(10, 10, 40, 40), image.whole(), image.thumbnail(50)]

    target(f"picture_{name}", make, read)


def _tif(path: Path, **how: Any) -> None:
    tifffile.imwrite(path, _drawn(0), photometric="rgb", **how)


_picture("png", "a.png", lambda p: Image.fromarray(_drawn(0)).save(p))
_picture("jpg", "a.jpg", lambda p: Image.fromarray(_drawn(0)).save(p))
_picture("bmp", "a.bmp", lambda p: Image.fromarray(_drawn(0)).save(p))
_picture("tif", "a.tif", lambda p: _tif(p, tile=(32, 32)))
_picture("tif_deflate", "a.tif", lambda p: _tif(p, tile=(32, 32), compression="zlib"))
_picture("tif_jpeg", "a.tif", lambda p: _tif(p, tile=(32, 32), compression="jpeg"))
_picture("tif_lzw", "a.tif", lambda p: _tif(p, compression="lzw"))
_picture(
    "ome_tif",
    "a.ome.tif",
    lambda p: _tif(
        p,
        tile=(32, 32),
        metadata={
            "axes": "YXS",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
        },
    ),
)


# ---------------------------------------------------------------- slides with expression


def _spots(n: int) -> pd.DataFrame:
    y, x = np.divmod(np.arange(n), 4)
    return pd.DataFrame(
        {
            "barcode": [f"BC{i}-1" for i in range(n)],
            "in_tissue": 1,
            "array_row": y,
            "array_col": 2 * x + y % 2,
            "pxl_row_in_fullres": 60 + 50 * y,
            "pxl_col_in_fullres": 60 + 50 * x,
        }
    )


def _make_visium(d: Path, market: bool) -> list[Path]:
    run, n = d / "run", 12
    (run / "spatial").mkdir(parents=True, exist_ok=True)
    genes, spots = [f"G{i}" for i in range(8)], _spots(n)
    counts = sp.csc_matrix(np.random.default_rng(0).poisson(2, (8, n)).astype(np.int32))
    if market:
        folder = run / "filtered_feature_bc_matrix"
        folder.mkdir(exist_ok=True)
        with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
            mmwrite(file, counts)
        pd.DataFrame({0: [f"ENSG{i}" for i in range(8)], 1: genes, 2: "Gene Expression"}).to_csv(
            folder / "features.tsv.gz", sep="\t", header=False, index=False
        )
        spots["barcode"].to_csv(folder / "barcodes.tsv.gz", header=False, index=False)
        files = sorted(folder.iterdir())
    else:
        files = [run / "filtered_feature_bc_matrix.h5"]
        with h5py.File(files[0], "w") as file:
            part = file.create_group("matrix")
            part["data"], part["indices"] = counts.data, counts.indices
            part["indptr"], part["shape"] = counts.indptr, counts.shape
            part["barcodes"] = spots["barcode"].to_numpy().astype("S")
            part["features/name"] = part["features/id"] = np.array(genes, "S")
            part["features/feature_type"] = np.array(["Gene Expression"] * 8, "S")
    spatial = run / "spatial"
    spots.to_csv(spatial / "tissue_positions.csv", index=False)
    (spatial / "scalefactors_json.json").write_text(
        json.dumps({"tissue_hires_scalef": 1.0, "spot_diameter_fullres": 30.0})
    )
    Image.fromarray(_drawn(3, 260, 310)).save(spatial / "tissue_hires_image.png")
    return [*files, spatial / "tissue_positions.csv", spatial / "scalefactors_json.json"]


_CUT = {"tile_px": 24, "size": 8, "progress": False}
for _name, _market in (("visium_h5", False), ("visium_mtx", True)):
    target(
        _name,
        lambda d, k=_market: _make_visium(d, k),
        lambda d: _bags(sm.read_slides(d / "run", donor="bag", **_CUT)),
    )


def _layout(
    name: str, make: Callable[[Path], Any], damaged: Callable[[Path], bool], **how: Any
) -> None:
    """A folder as others lay it out (see :mod:`layouts`); files that ``damaged`` names."""

    def made(d: Path) -> list[Path]:
        make(d / "run")
        return sorted(p for p in (d / "run").rglob("*") if p.is_file() and damaged(p))

    def read(d: Path) -> Any:
        images = {"images": d / "run" / how["images"]} if "images" in how else {}
        return _bags(sm.read_slides(d / "run", **{"donor": "bag", "tile_px": 24, "size": 8}
                                    | {"progress": False} | how | images))  # fmt: skip

    target(name, made, read)


def _no_picture(path: Path) -> bool:
    return path.suffix not in (".png", ".tif", ".pkl")


_layout("visium_geo", layouts.geo, _no_picture)
_layout("visium_geo_mtx", lambda d: layouts.geo(d, market=True), _no_picture)
_layout("visium_hd", lambda d: layouts.hd(d, (16,)), _no_picture)
_layout("visium_hd_cells", lambda d: layouts.hd(d, (), cells=True), _no_picture, bins="cells")
_layout("xenium", layouts.xenium, _no_picture, images="he/s_he_image.tif")
_layout("hest", layouts.hest, lambda p: p.suffix == ".json")
_layout("hest_ready", layouts.hest, lambda p: p.suffix == ".h5", tiles="ready", tile_px=None)
_layout(
    "spots_picture",
    lambda d: (d.mkdir(exist_ok=True), layouts.spots_table(picture=True).write_h5ad(d / "A.h5ad")),
    lambda p: p.suffix == ".h5ad",
)


def _make_legacy(d: Path) -> list[Path]:
    (d / "st").mkdir(exist_ok=True)
    (d / "im").mkdir(exist_ok=True)
    y, x = np.divmod(np.arange(9), 3)
    counts = pd.DataFrame(
        np.random.default_rng(0).poisson(3, (9, 5)),
        columns=GENES[:5],
        index=[f"{a}x{b}" for a, b in zip(x + 1, y + 1, strict=True)],
    )
    counts.to_csv(d / "st" / "A1.tsv.gz", sep="\t")
    counts.to_csv(d / "st" / "B1.tsv", sep="\t")
    places = {
        "x": x + 1,
        "y": y + 1,
        "new_x": x + 1.0,
        "new_y": y + 1.0,
        "pixel_x": 60 + 50.0 * x,
        "pixel_y": 60 + 50.0 * y,
        "selected": 1,
    }
    for slide in ("A1", "B1"):
        pd.DataFrame(places).to_csv(d / "st" / f"{slide}_selection.tsv", sep="\t", index=False)
        Image.fromarray(_drawn(3, 260, 310)).save(d / "im" / f"{slide}.png")
    return sorted((d / "st").iterdir())


target(
    "legacy_st",
    _make_legacy,
    lambda d: _bags(sm.read_slides(d / "st", images=d / "im", donor="bag", um_per_px=4.0, **_CUT)),
)


def _make_spots(d: Path) -> list[Path]:
    (d / "im").mkdir(exist_ok=True)
    spots = _spots(12)
    table = anndata.AnnData(
        sp.csr_matrix(np.random.default_rng(0).poisson(2, (12, 6)).astype(np.float32)),
        obs=pd.DataFrame({"slide": "A", "patient": "p"}, index=spots["barcode"].to_numpy()),
    )
    table.obsm["spatial"] = spots[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)
    table.write_h5ad(d / "spots.h5ad")
    Image.fromarray(_drawn(3, 260, 310)).save(d / "im" / "A.png")
    return [d / "spots.h5ad"]


target(
    "spots_h5ad",
    _make_spots,
    lambda d: _bags(
        sm.read_slides(
            d / "spots.h5ad", images=d / "im", slide="slide", donor="patient", um_per_px=2.0, **_CUT
        )
    ),
)


def _make_spatialdata(d: Path) -> list[Path]:
    spots = _spots(12)
    um = spots[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)
    counts = sp.csr_matrix(np.random.default_rng(0).poisson(2, (12, 6)).astype(np.float32))
    obs = pd.DataFrame({"region": "spots", "id": np.arange(12)}, index=spots["barcode"].to_numpy())
    table = TableModel.parse(
        anndata.AnnData(counts, obs=obs), region="spots", region_key="region", instance_key="id"
    )
    picture = Image2DModel.parse(_drawn(3, 260, 310).transpose(2, 0, 1), dims=("c", "y", "x"))
    shapes = ShapesModel.parse(um, geometry=0, radius=20.0, index=np.arange(12))
    shutil.rmtree(d / "s.zarr", ignore_errors=True)
    SpatialData({"he": picture}, shapes={"spots": shapes}, tables={"table": table}).write(
        d / "s.zarr"
    )
    return sorted(p for p in (d / "s.zarr").rglob("*") if p.is_file())


target(
    "spatialdata",
    _make_spatialdata,
    lambda d: _bags(sm.read_slides(d / "s.zarr", donor="bag", um_per_px=2.0, **_CUT)),
)


def _make_sections(d: Path) -> list[Path]:
    (d / "im").mkdir(exist_ok=True)
    for slide in "AB":
        Image.fromarray(_drawn(3, 100, 120)).save(d / "im" / f"{slide}.png")
    pd.DataFrame({"slide": ["A", "B"], "y": ["ill", "well"], "donor": ["p", "q"]}).to_csv(
        d / "sections.csv", index=False
    )
    return [d / "sections.csv"]


target(
    "sections",
    _make_sections,
    lambda d: _bags(
        sm.read_slides(
            d / "im",
            table=d / "sections.csv",
            slide="slide",
            label="y",
            donor="donor",
            um_per_px=1.0,
            tiles="grid",
            **_CUT,
        )
    ),
)


def _make_tiles(d: Path) -> list[Path]:
    (d / "t").mkdir(exist_ok=True)
    for i in range(4):
        Image.fromarray(_drawn(i, 12, 12)).save(d / "t" / f"{i}.png")
    table = pd.DataFrame(
        {
            "ID": [f"t{i}" for i in range(4)],
            "path": [f"{i}.png" for i in range(4)],
            "slide": list("AABB"),
            "G0": [1.5, 2, 0, 3],
            "G1": [0, 1, 1.5, 2],
        }
    )
    table.to_csv(d / "tiles.csv", index=False)
    return [d / "tiles.csv"]


target(
    "ready_tiles",
    _make_tiles,
    lambda d: _bags(
        sm.read_tiles(d / "t", d / "tiles.csv", slide="slide", donor="bag", um_per_px=0.5)
    ),
)


# ---------------------------------------------------------------- nuclei


def _nuclei(file: str, write: Callable[[Path], None]) -> None:
    def make(d: Path) -> list[Path]:
        Image.fromarray(_drawn(3, 100, 120)).save(d / "A.png")
        write(d / file)
        return [d / file]

    def read(d: Path) -> Any:
        bags = sm.read_slides(d / "A.png", um_per_px=1.0, tiles="grid", donor="bag", **_CUT)
        given: Any = d / file
        given = given if given.suffix == ".csv" else {"A": given}
        return _bags(sm.features.nuclei_maps(bags, nuclei=given))

    target(f"nuclei_{file.rpartition('.')[2]}", make, read)


def _labelled() -> np.ndarray:
    labels = np.zeros((100, 120), np.int32)
    for k in range(12):
        y, x = 8 * (k % 11) + 4, 9 * k + 4
        labels[y : y + 5, x : x + 5] = k + 1
    return labels


_nuclei(
    "n.csv",
    lambda p: pd.DataFrame(
        {"x_px": 9.0 * np.arange(12) + 5, "y_px": 8.0 * np.arange(12) + 5, "area_um2": 30.0}
    ).to_csv(p, index=False),
)
_nuclei("n.npy", lambda p: np.save(p, _labelled()))
_nuclei("n.tif", lambda p: tifffile.imwrite(p, _labelled(), compression="zlib"))
_nuclei("n.png", lambda p: Image.fromarray(_labelled().astype(np.uint8)).save(p))
