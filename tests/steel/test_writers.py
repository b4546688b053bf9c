"""A full disk, a closed folder, two writers and files of the user: nothing is lost."""

import hashlib
import importlib
import multiprocessing
import os
from functools import cache, partial

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import smalti as sm
from smalti.comparison.cache import Answer, Cache
from smalti.datasets import planted_bags, planted_slides
from smalti.errors import InputError
from smalti.features.cache import FeatureCache
from smalti.io.write import write
from smalti.system.tables import write_table
from smalti.system.tensors import VERSIONS, read_tensors, write_tensors

N = 40
TIMES = int(os.environ.get("SMALTI_STEEL_PAIRS", "10"))  # more of it by `make steel`
BIG = dict(obs={"score": np.arange(float(N))}, obsm={"X_m": np.ones((N, 500))},
           uns={"m": {"model": "1"}})  # fmt: skip


def cells():
    obs = pd.DataFrame(
        {"sample": [f"s{i // 5}" for i in range(N)]}, index=[f"c{i}" for i in range(N)]
    )
    return anndata.AnnData(sp.csr_matrix(np.eye(N, 20, dtype=np.float32)), obs=obs)


def table_file(folder, ending):
    path = folder / f"cells{ending}"
    if ending == ".h5mu":
        mudata = pytest.importorskip("mudata")
        with mudata.set_options(pull_on_update=False):
            mudata.MuData({"rna": cells()}).write_h5mu(path)
    else:
        (cells().write_zarr if ending == ".zarr" else cells().write_h5ad)(path)
    return path


def vectors():
    names = tuple(f"G{i}" for i in range(50))
    return sm.genes.GeneVectors(names, np.ones((50, 64), np.float32), "mine")


@cache
def model():
    return sm.mil.MeanPooling(widths=(64,), epochs=1, progress=False).fit(planted_bags(8))


@cache
def scores():
    return sm.compare(["majority"], planted_bags(16), folds=2, progress=False)


LONG = pd.DataFrame({"a": np.arange(5000.0)})
# what writes into a folder: name -> (what makes a writer there, which may be called again)
WRITERS = {
    "model": lambda d: partial(model().save, d / "model"),
    "run": lambda d: partial(scores().write, d / "run"),
    "report": lambda d: partial(scores().report, d / "r.html", sections=[]),
    "csv": lambda d: partial(write_table, LONG, d / "t.csv", overwrite=True),
    "parquet": lambda d: partial(write_table, LONG, d / "t.parquet", overwrite=True),
    "gene vectors": lambda d: partial(vectors().save, d / "v.safetensors", overwrite=True),
    "cached fit": lambda d: partial(Cache(d).write, d / "fit.safetensors",
                                    Answer({"p": np.ones(2000)})),
    "features": lambda d: partial(FeatureCache(d, "key", half=False).block, 0, (9, 300),
                                  lambda: np.ones((9, 300), np.float32)),
    "checkpoint": lambda d: partial(write_tensors, d / "fit.ckpt", "checkpoint",
                                    {"a": torch.ones(2000)}, {}),
    "copy .h5ad": lambda d: partial(write, table_file(d, ".h5ad"), out=d / "copy.h5ad",
                                    overwrite=True, **BIG),
    **{f"write-back {e}": lambda d, e=e: partial(write, table_file(d, e), **BIG)
       for e in (".h5ad", ".h5mu", ".zarr")},
}  # fmt: skip


def inside(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in folder.rglob("*") if p.is_file()}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk(what, tmp_path, full_disk):
    """HDF5 fails at any place of its own: nothing of that may reach the user."""
    once = WRITERS[what](tmp_path)
    before = inside(tmp_path)
    with full_disk(1500), pytest.raises(InputError, match="cannot write .*File too large"):
        once()
    assert inside(tmp_path) == before
    once()
    assert inside(tmp_path) != before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("what", WRITERS)
def test_a_closed_folder(what, tmp_path):
    once = WRITERS[what](tmp_path)
    before = inside(tmp_path)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot write .*Permission denied"):
            once()
        assert inside(tmp_path) == before
    finally:
        tmp_path.chmod(0o700)


# ---------------------------------------------------------------- write-back


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".h5ad", ".zarr"])
def test_all_else_in_a_file_is_as_it_was(tmp_path, ending):
    path, table = tmp_path / f"cells{ending}", cells()
    kwargs = {"compression": "gzip"} if ending == ".h5ad" else {}
    (table.write_h5ad if ending == ".h5ad" else table.write_zarr)(path, **kwargs)
    path.chmod(0o750)
    write(path, **BIG, layers={"rna": (np.ones((N, 20)), None)})
    got = (anndata.read_h5ad if ending == ".h5ad" else anndata.read_zarr)(path)
    np.testing.assert_array_equal(got.X.toarray(), table.X.toarray())
    np.testing.assert_array_equal(got.obs["score"], np.arange(float(N)))
    np.testing.assert_array_equal(got.layers["m"], np.ones((N, 20)))
    assert list(got.obs) == ["sample", "score"]
    assert got.uns["m"]["model"] == "1"
    assert path.stat().st_mode & 0o777 == 0o750
    if ending == ".h5ad":
        with h5py.File(path) as file:
            assert file["X/data"].compression == "gzip"


@pytest.mark.slow
def test_the_original_of_a_copied_zarr_is_not_touched(tmp_path):
    path = table_file(tmp_path, ".zarr")
    before = inside(path)
    write(path, out=tmp_path / "copy.zarr", **BIG)
    write(tmp_path / "copy.zarr", overwrite=True, **BIG | {"obs": {"score": np.zeros(N)}})
    assert inside(path) == before
    shared = {p.stat().st_ino for p in path.rglob("*")} & {
        p.stat().st_ino for p in (tmp_path / "copy.zarr").rglob("*")}  # fmt: skip
    assert not shared  # who changes one in place leaves the other
    assert (anndata.read_zarr(tmp_path / "copy.zarr").obs["score"] == 0).all()


def test_what_another_program_adds_meanwhile_stays(tmp_path, monkeypatch):
    path, calls = table_file(tmp_path, ".h5ad"), []
    from smalti.io import writeback

    copy = writeback._copy

    def slow(*args):
        copy(*args)
        if not calls:  # while the first copy is made
            calls.append(1)
            table = anndata.read_h5ad(path)
            table.obs["mine"] = 1
            table.write_h5ad(path)

    monkeypatch.setattr(writeback, "_copy", slow)
    write(path, **BIG)
    assert list(anndata.read_h5ad(path).obs) == ["sample", "mine", "score"]


def test_other_cells_under_the_same_name_are_refused(tmp_path):
    bags = sm.read(table_file(tmp_path, ".h5ad"), sample="sample")
    other = cells()[::-1].copy()
    other.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match="row 'c0' was read, and the table has 'c39' there"):
        write(tmp_path / "cells.h5ad", bags=bags, **BIG)


def _writes(path, name, times):
    for i in range(times):
        write(path, obs={f"{name}{i}": np.full(N, i)}, obsm={}, uns={f"{name}{i}": {"model": "1"}})


@pytest.mark.slow  # some writes each, one after another
@pytest.mark.parametrize("ending", [".h5ad", ".zarr"])
def test_two_writers_lose_no_update(tmp_path, ending):
    path, forked = table_file(tmp_path, ending), multiprocessing.get_context("fork")
    both = [forked.Process(target=_writes, args=(path, n, TIMES)) for n in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
        assert one.exitcode == 0
    got = (anndata.read_h5ad if ending == ".h5ad" else anndata.read_zarr)(path)
    assert {f"{n}{i}" for n in "ab" for i in range(TIMES)} < set(got.obs)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def _extracts(slides, cache, out):
    np.save(out, sm.features.extract(slides, "morphology", cache=cache, progress=False).table())


@pytest.mark.slow  # three processes, again and again
def test_three_extractions_on_one_cache(tmp_path):
    slides = planted_slides(2, 12, n_genes=4, images=True, size=32)
    want = sm.features.extract(slides, "morphology", progress=False).table()
    forked = multiprocessing.get_context("fork")
    for i in range(max(2, 2 * TIMES // 5)):
        cache, outs = tmp_path / f"cache{i}", [tmp_path / f"{i}-{k}.npy" for k in range(3)]
        three = [forked.Process(target=_extracts, args=(slides, cache, out)) for out in outs]
        for one in three:
            one.start()
        for one, out in zip(three, outs, strict=True):
            one.join()
            np.testing.assert_array_equal(np.load(out), want)
        assert {p.suffix for p in cache.rglob("*") if p.is_file()} == {".safetensors"}


def _saves(folder, models, times):
    for _ in range(times):
        for one in models:
            one.save(folder)


@pytest.mark.slow
def test_a_reader_beside_a_writer_gets_a_whole_model(tmp_path):
    models = [sm.mil.Majority(seed=s).fit(planted_bags(8, seed=s)) for s in (1, 2)]
    models[0].save(tmp_path / "m")
    forked = multiprocessing.get_context("fork")
    writer = forked.Process(target=_saves, args=(tmp_path / "m", models, 30))
    writer.start()
    seen = {sm.load(tmp_path / "m").seed for _ in range(40)}
    writer.join()
    assert seen <= {1, 2}
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


# ---------------------------------------------------------------- formats of our own


@pytest.mark.parametrize("kind", VERSIONS)
def test_another_version_says_so(kind, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    monkeypatch.setitem(VERSIONS, kind, 7)
    write_tensors(path, kind, {"x": torch.ones(2, 3)}, {"names": ["a"]})
    monkeypatch.undo()
    with pytest.raises(
        InputError, match=rf"x\.safetensors is of version 7, and this .*{VERSIONS[kind]}"
    ):
        read_tensors(path, kind)
    other = next(k for k in VERSIONS if k != kind)
    write_tensors(path, other, {}, {})
    with pytest.raises(InputError, match=f"holds {other}, not {kind}"):
        read_tensors(path, kind)


@pytest.mark.parametrize("kind", VERSIONS)
def test_no_flipped_bit_is_believed(kind, tmp_path):
    path = tmp_path / "x.safetensors"
    note = {"n": 1, "t": "text", "by": {2: "b", 10: "a"}}
    write_tensors(path, kind, {"x": torch.arange(12.0).reshape(3, 4)}, note)
    assert read_tensors(path, kind)[1]["by"] == {"2": "b", "10": "a"}
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for bit in rng.choice(8 * len(whole), 150, replace=False):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"x\.safetensors"):
            read_tensors(path, kind)


def test_files_of_before_the_checksum_say_so(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "old.safetensors"
    for meta in ({"smalti": "{}"}, {"smalti_genes": "{}"}, {}):
        save_file({"x": torch.ones(2)}, str(path), meta)
        with pytest.raises(InputError, match=r"old\.safetensors is (of a version without|damaged)"):
            read_tensors(path, "checkpoint")


def test_a_model_of_a_newer_smalti_says_so(tmp_path, monkeypatch):
    fitted = model()
    fitted.save(tmp_path / "m")
    sm.load(tmp_path / "m")
    monkeypatch.setattr(importlib.import_module("smalti.core.save"), "FORMAT", 99)
    fitted.save(tmp_path / "m")
    with pytest.raises(InputError, match="newer than this one .*pip install -U"):
        sm.load(tmp_path / "m")


def test_a_model_never_takes_the_place_of_other_files(tmp_path):
    fitted = model()
    fitted.save(tmp_path / "m")
    fitted.save(tmp_path / "m")  # a model over a model
    (tmp_path / "m" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"other files in it .*overwrite=True"):
        fitted.save(tmp_path / "m")
    assert (tmp_path / "m" / "thesis.txt").read_text() == "mine"
    fitted.save(tmp_path / "m", overwrite=True)
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"model.json", "weights.safetensors"}


@pytest.mark.slow
def test_a_report_and_a_run_never_take_the_place_of_other_files(tmp_path):
    found, mine = scores(), tmp_path / "notes.html"
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"notes\.html is there already"):
        found.report(mine, sections=[])
    assert mine.read_text() == "mine"
    for _ in range(2):  # ours over ours
        found.write(tmp_path / "run")
        found.report(tmp_path / "run" / "report.html", sections=[])
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="other files in it"):
        found.write(tmp_path / "run")
    with pytest.raises(InputError, match="is there already"):
        found.save_table(tmp_path / "run" / "folds.csv")
