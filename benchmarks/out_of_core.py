"""Cells that do not fit into memory: from an unsorted file to the result written back.

    python benchmarks/out_of_core.py --folder DIR --cells 1000000 3000000 10000000
    python benchmarks/out_of_core.py --folder DIR --kind dense --cells 10000000
    python benchmarks/out_of_core.py --folder DIR --disk            # an epoch beside the disk
    python benchmarks/out_of_core.py --folder DIR --disk --annbatch PYTHON  # and beside annbatch

Cells of 200 samples of 100 donors, in random order in an .h5ad (``dense``: 50 floats a cell;
``sparse``: counts of 2,000 genes, 8 % of them not 0). Each part is a process of its own, which is
told that it has 8 GiB (``SLURM_MEM_PER_NODE``): seconds on the clock and of the processor, and peak
resident memory, as the system has them.

``arrange``  sorts the file by sample into a .zarr.
``fit``      ABMIL, two epochs, with the steps of ``STEPS``; the model is saved.
``predict``  all samples, attention of every cell, and both written into the .zarr.

``--disk`` goes once through the rows of a .zarr that ``--keep`` left, in order, after the system
was made to forget its files; so does a plain reader of the files' bytes; and annbatch's own loader,
in an interpreter that has it (Python 3.12), in order and shuffled (chunks of 512 cells, 32 at a
time).
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SAMPLES, DONORS, GENES, WIDTH = 200, 100, 2000, 50
STEPS = {"sparse": "normalize,log1p,genes=1000,scale,pca=50", "dense": None}
BLOCK = 50_000  # cells that are drawn at a time
READ = {"sample": "sample", "donor": "donor", "label": "state"}
FORGET = 4  # POSIX_FADV_DONTNEED


def make(path, n, kind):
    """An .h5ad of n cells in random order, written piece by piece."""
    import h5py
    import pandas as pd
    import scipy.sparse as sp
    from anndata.io import write_elem

    rng, block = np.random.default_rng(0), min(BLOCK, n)
    sample = rng.integers(SAMPLES, size=n)
    ill = np.arange(SAMPLES) // (SAMPLES // DONORS) % 2
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        obs = pd.DataFrame({
            "sample": pd.Categorical.from_codes(sample, [f"s{i:03}" for i in range(SAMPLES)]),
            "donor": pd.Categorical.from_codes(sample // (SAMPLES // DONORS),
                                               [f"d{i:03}" for i in range(DONORS)]),
            "state": pd.Categorical.from_codes(ill[sample], ["well", "ill"]),
        })  # fmt: skip
        obs.index = np.char.add("cell", np.arange(n).astype(str)).astype(object)
        write_elem(file, "obs", obs)
        del obs
        width = GENES if kind == "sparse" else WIDTH
        write_elem(file, "var", pd.DataFrame(index=[f"g{i}" for i in range(width)]))
        if kind == "dense":
            x = file.create_dataset("X", (n, WIDTH), np.float32, chunks=(min(8192, n), WIDTH))
            x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            for at in range(0, n, BLOCK):
                part = rng.normal(size=(min(BLOCK, n - at), WIDTH)).astype(np.float32)
                part[:, 0] += 0.3 * ill[sample[at : at + len(part)]]
                x[at : at + len(part)] = part
            return
        rate = rng.gamma(0.3, 0.35, GENES)
        blocks = [sp.csr_matrix(rng.poisson(rate * (1 + 0.5 * i * (np.arange(GENES) < 50)),
                                            (block, GENES)).astype(np.float32))
                  for i in range(2)]  # fmt: skip
        both = sp.vstack(blocks, format="csr")
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0",
                            "shape": [n, GENES]})  # fmt: skip
        data, indices = (group.create_dataset(k, (0,), d, chunks=(2**18,), maxshape=(None,))
                         for k, d in (("data", np.float32), ("indices", np.int32)))  # fmt: skip
        indptr, held = [np.zeros(1, dtype=np.int64)], 0
        for at in range(0, n, block):
            mine = ill[sample[at : at + block]]
            rows = rng.permutation(block)[: len(mine)]
            part = both[rows + block * mine]
            for array, values in ((data, part.data), (indices, part.indices)):
                array.resize((held + part.nnz,))
                array[held:] = values
            indptr.append(held + part.indptr[1:].astype(np.int64))
            held += part.nnz
        group.create_dataset("indptr", data=np.concatenate(indptr))


def arrange(source, out, kind):
    """Sort by sample."""
    import smalti as sm

    sm.arrange(source, out, sample="sample")


def fit(source, out, kind):
    """Fit and save."""
    import smalti as sm

    bags = sm.read(source, backed=True, **READ)
    print(repr(bags), flush=True)
    model = sm.mil.ABMIL(epochs=2, widths=(64,), preprocess=STEPS[kind], batch_size=4, lr=1e-3)
    model.fit(bags).save(out, overwrite=True)


def predict(source, out, kind):
    """Predict, attribute, and write both back."""
    import smalti as sm

    model = sm.load(out)
    model.write(source, overwrite=True)


def peak():
    """Peak resident memory of this process, GiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def apart(what, source, out, kind, threads):
    """One part in a process of its own: seconds on the clock, of the processor, and its peak."""
    env = os.environ | {"SLURM_MEM_PER_NODE": "8192", "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--call", json.dumps(
        [what, str(source), str(out), kind])], capture_output=True, text=True, env=env,
        check=False)  # fmt: skip
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1]) | {"clock": time.perf_counter() - began}


def forget(folder):
    """Have the system forget what it holds of files."""
    paths = [folder] if folder.is_file() else [p for p in folder.rglob("*") if p.is_file()]
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, FORGET)
    return sum(path.stat().st_size for path in paths)


def disk(folder, kind, n):
    """An epoch's reading, cold: bytes of the files, and seconds against plain reading of them."""
    from smalti.io.disk_rows import DiskRows
    from smalti.views import pieces

    path = folder / f"{kind}_{n}.zarr"
    element = path / "X"
    size = forget(element)
    began = time.perf_counter()
    for file in sorted(element.rglob("*")):
        if file.is_file():
            with file.open("rb", buffering=0) as stream:
                while stream.read(2**24):
                    pass
    plain = time.perf_counter() - began
    forget(element)
    view, cpu, began = DiskRows(path, "X"), time.process_time(), time.perf_counter()
    for part in pieces(view):
        part.shape  # noqa: B018
    ours, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{kind}, {n:,} cells: {size / 2**30:.2f} GiB of files; read plainly in {plain:.1f} s "
          f"({size / plain / 2**20:,.0f} MiB/s), as rows in {ours:.1f} s "
          f"({size / ours / 2**20:,.0f} MiB/s, {plain / ours:.0%} of the disk; {cpu:.1f} s of the "
          f"processor); {n / ours:,.0f} cells a second", flush=True)  # fmt: skip


ANNBATCH = """
import sys, time, zarr, annbatch, anndata as ad
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
x = zarr.open_group(sys.argv[1], mode="r")["X"]
x = x if hasattr(x, "shape") else ad.io.sparse_dataset(x)
loader = annbatch.Loader(batch_size=4096, chunk_size=512, preload_nchunks=32,
                         shuffle=sys.argv[2] == "shuffled")
loader.add_adata(ad.AnnData(X=x))
n, began, cpu = 0, time.perf_counter(), time.process_time()
for batch in loader:
    n += batch["X"].shape[0]
print(n, time.perf_counter() - began, time.process_time() - cpu)
"""


def annbatch(path, python):
    """Its loader over the same files, cold."""
    for order in ("in order", "shuffled"):
        size = forget(path / "X")
        done = subprocess.run([python, "-W", "ignore", "-c", ANNBATCH, str(path), order],
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode:
            print(f"annbatch, {order}: {done.stderr.strip().splitlines()[-1][:200]}")
            continue
        n, clock, cpu = map(float, done.stdout.split())
        print(f"annbatch, {order}: {clock:.1f} s ({size / clock / 2**20:,.0f} MiB/s; {cpu:.1f} s "
              f"of the processor); {n / clock:,.0f} cells a second", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where files go, many GB")
    parser.add_argument("--cells", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--kind", choices=["sparse", "dense"], nargs="+",
                        default=["dense", "sparse"])  # fmt: skip
    parser.add_argument("--disk", action="store_true", help="the files against the disk alone")
    parser.add_argument("--annbatch", metavar="PYTHON", help="an interpreter that has annbatch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="do not remove the files of each size")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        what, source, out, kind = json.loads(args.call)
        began = time.process_time()
        globals()[what](Path(source), Path(out), kind)
        used = time.process_time() - began
        print(json.dumps({"cpu": used, "peak": peak()}))
        return
    if args.disk:
        for kind in args.kind:
            for n in args.cells:
                disk(args.folder, kind, n)
                if args.annbatch:
                    annbatch(args.folder / f"{kind}_{n}.zarr", args.annbatch)
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    print("| cells | kind | part | clock, s | processor, s | peak, GiB | disk, GiB |")
    print("|---" * 7 + "|", flush=True)
    for kind in args.kind:
        for n in args.cells:
            raw, out = args.folder / f"{kind}_{n}.h5ad", args.folder / f"{kind}_{n}.zarr"
            model = args.folder / f"{kind}_{n}_model"
            if not out.exists() and not raw.exists():
                make(raw, n, kind)
            for what, source, target in (("arrange", raw, out), ("fit", out, model),
                                         ("predict", out, model)):  # fmt: skip
                if what == "arrange" and out.exists():
                    continue
                found = apart(what, source, target, kind, args.threads)
                if "error" in found:
                    print(f"| {n:,} | {kind} | {what} | {found['error']} | | | |", flush=True)
                    break
                held = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 2**30
                print(f"| {n:,} | {kind} | {what} | {found['clock']:.0f} | {found['cpu']:.0f} | "
                      f"{found['peak']:.2f} | {held:.1f} |", flush=True)  # fmt: skip
                if what == "arrange":
                    raw.unlink()
            if not args.keep:
                shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
