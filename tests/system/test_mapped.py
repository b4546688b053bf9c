"""Arrays that worker processes map: there once, the same numbers, gone with their last holder."""

import gc
import os
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti import views
from smalti.system.mapped import shared
from smalti.system.workers import run_queue

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="of Linux")


def files():
    return {os.readlink(f) for f in Path("/proc/self/fd").iterdir() if f.is_symlink()}


def test_an_array_is_moved_and_goes_with_its_last_holder():
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    moved = shared(values)
    assert type(moved) is np.ndarray
    assert not np.shares_memory(moved, values)
    np.testing.assert_array_equal(moved, values)
    assert moved.dtype == values.dtype
    moved[0, 0] = 7  # the user's own, to write into as before
    assert any("memfd:smalti" in name for name in files())
    rows = moved[10:20]
    assert shared(moved) is moved
    assert shared(rows) is rows
    del moved
    np.testing.assert_array_equal(rows, values[10:20])
    del rows
    gc.collect()
    assert not any("memfd:smalti" in name for name in files())


def test_what_is_no_one_run_of_numbers_stays_where_it_is():
    values = np.zeros((4, 6))[:, ::2]
    assert shared(values) is values


@pytest.mark.parametrize("sparse", [False, True])
def test_bags_hold_one_copy_of_the_same(sparse, monkeypatch):
    monkeypatch.setattr(views, "_SHARED", 1)
    rng = np.random.default_rng(1)
    x = rng.poisson(1, size=(60, 4)).astype(np.float32)
    bags = sm.Bags.from_rows(sp.csr_matrix(x) if sparse else x.copy(), np.repeat(np.arange(6), 10),
                             y=np.repeat([0, 1] * 3, 10))  # fmt: skip
    before, digest = bags.x["x"], bags.digest
    old = weakref.ref(before.data if sparse else before)
    kept = before[:0].copy()
    bags.share(shared)
    del before
    gc.collect()
    assert old() is None
    assert type(bags.x["x"]) is type(kept)
    np.testing.assert_array_equal(bags.table(), x)
    assert sm.Bags(bags.x, bags.offsets, bags.instance, bags.bag, bags.rows, target="target",
                   ).digest == digest  # fmt: skip
    parts = bags[[3, 1]]  # arrays, as they were
    np.testing.assert_array_equal(parts.table(), np.concatenate([x[30:40], x[10:20]]))


@pytest.fixture
def looked_at():
    """What a worker says of an array that it was sent: kind, sum, may it write, its own memory."""

    def work(values, job):
        def own():
            lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))

        before = own()
        total = float(values.sum(dtype=np.float64))
        grown = own() - before
        return type(values).__name__, total, values.flags.writeable, grown, os.getpid()

    return work


@pytest.mark.slow  # starts processes
def test_workers_map_it_and_no_one_writes_a_file(looked_at, tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    moved = shared(np.ones((2**20, 8), dtype=np.float32))  # 32 MiB
    for total in (2.0**23, 2.0**23 + 6):
        said = [a for _, a in run_queue(partial(looked_at, moved), range(4), 2)]
        assert {a[:3] for a in said} == {("memmap", total, False)}
        assert max(a[3] for a in said) < 16 * 1024  # KiB: of its own it took none
        assert not [f for f in tmp_path.rglob("*") if f.is_file() and f.stat().st_size > 2**20]
        moved[0, 0] += 6  # which those that come later see
    assert os.getpid() not in {a[4] for a in said}


@pytest.mark.slow  # starts processes
def test_a_comparison_on_workers_is_that_of_one_process(monkeypatch):
    """Large tables are moved; who compares keeps the same numbers, and gets the same table."""
    rng = np.random.default_rng(2)
    ids = np.repeat(np.arange(12), 2000)
    x = rng.normal(size=(len(ids), 800)).astype(np.float32)  # 73 MiB: more than is copied
    make = partial(sm.Bags.from_rows, bag_id=ids, y=ids % 2, donor=ids)
    methods = ["bag_mean", sm.mil.ABMIL(epochs=1, widths=(4,))]
    tables = []
    for n_jobs in (1, 2):
        bags = make(x.copy())
        found = sm.compare(methods, bags, folds=2, n_jobs=n_jobs, progress=False)
        tables.append(found.folds.drop(columns="seconds"))
        np.testing.assert_array_equal(bags.x["x"], x)
    one, two = tables
    assert (one.drop(columns="value") == two.drop(columns="value")).all(None)
    np.testing.assert_allclose(one["value"], two["value"], rtol=1e-5)  # products of two threads


@pytest.fixture
def threads():
    def work(_):
        import torch
        from threadpoolctl import threadpool_info

        np.ones((8, 8)) @ np.ones((8, 8))
        return torch.get_num_threads(), max(p["num_threads"] for p in threadpool_info())

    return work


@pytest.mark.slow  # starts processes
def test_a_worker_has_one_thread_of_every_library(threads):
    assert {a for _, a in run_queue(threads, range(4), 2)} == {(1, 1)}
