"""What it costs to write a column of scores back into a file of cells, side by side in one run.

"whole" decodes the file and writes it anew, as AnnData does; "elements" is smalti: a copy of the
bytes (hard links of a .zarr) to which the elements are added.

    python benchmarks/write_back.py                  # 100,000 cells x 2,000 genes, compressed
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.io.write import write


def cells(n_cells: int, n_genes: int) -> anndata.AnnData:
    rng = np.random.default_rng(0)
    x = sp.random(n_cells, n_genes, density=0.1, format="csr", dtype=np.float32, random_state=rng)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n_cells)])
    return anndata.AnnData(x, obs=obs, obsm={"X_pca": rng.normal(size=(n_cells, 50))})


def whole(path: Path) -> None:
    trial, zarr = path.with_name(f"trial{path.suffix}"), path.suffix == ".zarr"
    table = (anndata.read_zarr if zarr else anndata.read_h5ad)(path)
    table.obs["score"] = np.ones(table.n_obs)
    table.write_zarr(trial) if zarr else table.write_h5ad(trial, compression="gzip")
    if path.suffix == ".zarr":
        shutil.rmtree(path)
    trial.replace(path)


def elements(path: Path) -> None:
    n = len(anndata.io.read_elem(_index(path)))
    write(path, obs={"score": np.ones(n)}, obsm={}, uns={"m": {"model": "1"}})


def _index(path: Path) -> object:
    import h5py
    import zarr

    if path.suffix == ".zarr":
        return zarr.open_group(str(path), mode="r")["obs/_index"]
    return h5py.File(path)["obs/_index"]


def seconds(job: Callable[[Path], None], path: Path, rounds: int) -> float:
    found = []
    for _ in range(rounds):  # each time from the same file
        again = path.with_name(f"again{path.suffix}")
        (shutil.copytree if path.is_dir() else shutil.copy)(path, again)
        start = time.perf_counter()
        job(again)
        found.append(time.perf_counter() - start)
        shutil.rmtree(again) if again.is_dir() else again.unlink()
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for ending in (".h5ad", ".zarr"):
            path = Path(folder) / f"cells{ending}"
            table = cells(given.cells, given.genes)
            if ending == ".h5ad":
                table.write_h5ad(path, compression="gzip")
            else:
                table.write_zarr(path)
            del table
            new = seconds(elements, path, given.rounds)
            old = seconds(whole, path, given.rounds)
            print(
                f"{ending}: whole {old:.2f} s, elements {new:.2f} s: {old / new:.1f} times faster"
            )


if __name__ == "__main__":
    main()
