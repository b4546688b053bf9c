"""Single cells drawn from disk in block order: which, how they are read, and what comes out."""

import dataclasses
import logging
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import smalti as sm
from smalti.bags import Bags
from smalti.core import blocks
from smalti.core.blocks import Blocks
from smalti.core.instances import Rows
from smalti.core.store import Store
from smalti.io.disk_rows import DiskRows
from smalti.preprocess import sequence
from smalti.views import Beside, Through, dense, take

N, WIDE, NARROW = 3000, 30, 8
STEPS = {"rna": "normalize,log1p,scale", "protein": "scale"}


@pytest.fixture(scope="module", params=["h5ad", "zarr"])
def path(request, tmp_path_factory):
    rng = np.random.default_rng(0)
    x = rng.poisson(0.5 + rng.random(WIDE) * 2, (N, WIDE)).astype(np.float32)
    obs = pd.DataFrame({"patient": [f"p{i}" for i in rng.integers(0, 5, N)]},
                       index=[f"c{i}" for i in range(N)])  # fmt: skip
    table = ad.AnnData(sp.csr_matrix(x), obs=obs)
    table.obsm["protein"] = rng.normal(size=(N, NARROW)).astype(np.float32)
    out = tmp_path_factory.mktemp("blocks") / f"cells.{request.param}"
    (table.write_h5ad if request.param == "h5ad" else table.write_zarr)(out)
    return out


@pytest.fixture
def small(monkeypatch):
    """Nothing is held, and a buffer is some hundred cells."""
    monkeypatch.setattr(sequence, "room", lambda: 0)
    monkeypatch.setattr(blocks, "BUFFER", 2**17)
    monkeypatch.setattr(blocks, "RUNS", 8)


def read(path, backed=True, sample=None):
    return sm.read(path, x={"rna": "X", "protein": "obsm/protein"}, backed=backed, sample=sample)


def umint(**settings):
    given = {"width": 4, "epochs": 2, "batch_size": 64, "preprocess": STEPS, "progress": False}
    return sm.integrate.UMINT(**given | settings)


def test_an_epoch_has_every_cell_once_in_shuffled_runs_of_neighbours(path, small):
    view = Blocks({"x": DiskRows(path, "X")})
    rows = np.arange(N)
    order = view.order(rows, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(order), rows)
    assert view.run > 1
    size = view._size(N)
    assert N / size > 2
    runs = [np.unique(order[at : at + size] // view.run) for at in range(0, N, size)]
    # each run is in one buffer, or cut between two
    assert sum(map(len, runs)) <= -(-N // view.run) + len(runs) - 1
    assert all(len(r) >= 8 for r in runs[:-1])
    assert (np.diff(order) == 1).mean() < 0.05
    assert not np.array_equal(order, view.order(rows, np.random.default_rng(1)))
    np.testing.assert_array_equal(order, view.order(rows, np.random.default_rng(0)))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_fits_in_a_buffer_is_drawn_as_in_memory(path, monkeypatch):
    monkeypatch.setattr(sequence, "room", lambda: 0)
    there, here = (read(path, backed) for backed in (True, False))
    codes = [umint().fit_transform(bags) for bags in (there, here)]
    np.testing.assert_array_equal(*codes)
    stores = [Store(bags, torch.device("cpu"), torch.float32) for bags in (there, here)]
    drawn = [Rows().epoch(np.arange(N), None, store, np.random.default_rng(3)) for store in stores]
    np.testing.assert_array_equal(*drawn)
    np.testing.assert_array_equal(drawn[1][:, 0], np.random.default_rng(3).permutation(N))
    assert stores[1].blocks is None


@pytest.mark.filterwarnings("ignore:The cells of a sample lie scattered")
def test_rows_that_are_scattered_in_the_file_are_drawn_by_their_places_there(path, small):
    bags = read(path, sample="patient")
    store = Store(bags, torch.device("cpu"), torch.float32)
    drawn = Rows().epoch(np.arange(len(bags)), None, store, np.random.default_rng(0))[:, 0]
    size, run = store.blocks._size(N), store.blocks.run
    of_first = np.unique(bags.rows[drawn[:size]] // run)
    assert len(of_first) <= -(-size // run) + 1


@pytest.mark.parametrize("done", [0, 640])
def test_cells_of_buffers_are_those_of_the_file(path, small, done):
    rng, x = np.random.default_rng(0), DiskRows(path, "X")
    some = rng.permutation(N)[:2000]
    some[:1000].sort()
    views = {
        "sparse": take(x, some), "dense": take(DiskRows(path, "obsm/protein"), some),
        "through": take(Through(x, lambda part: part.toarray() * 2, "twice"), some),
        "inside": Through(take(x, some), lambda part: part[:, :4], "four"),
        "beside": Beside([take(x, some), np.ones((2000, 1), dtype=np.float32)]),
        "gaps": take(x, np.where(np.arange(2000) % 7 == 0, -1, some)),
    }  # fmt: skip
    wanted = {name: dense(view.read(0, 2000)) for name, view in views.items()}
    drawn = Blocks(views)
    order = drawn.order(np.arange(2000), rng)
    drawn.expect(order, done)
    for at in range(done, 2000, 100):  # some batches lie in two buffers
        rows = np.sort(order[at : at + 100])
        found = drawn.take(rows)
        assert found.keys() == views.keys()
        for name, part in found.items():
            np.testing.assert_array_equal(part.numpy(), wanted[name][rows])
    assert drawn.take(np.array([N + 1])) == {}
    assert not drawn.coming


def test_an_epoch_reads_the_file_about_once_in_long_runs(path, small, monkeypatch):
    monkeypatch.setattr("smalti.views._NEAR", 1)
    asked, reads = [], DiskRows.read
    monkeypatch.setattr(
        DiskRows, "read", lambda view, a, b: asked.append(b - a) or reads(view, a, b)
    )
    store = Store(read(path), torch.device("cpu"), torch.float32)
    rows, order = Rows(), np.random.default_rng(0)
    asked.clear()
    units = rows.epoch(np.arange(N), None, store, order)
    rows.expect(store, units, 0)
    for at in range(0, N, 64):
        rows.batch(store, units[at : at + 64])
    views, run = 2, store.blocks.run
    assert sum(asked) == views * N
    # pieces of a buffer cut some runs once more
    assert len(asked) < views * (N / run + 10 * (N / store.blocks._size(N) + 1))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fit_in_block_order_goes_on_in_the_middle_of_an_epoch(path, small, tmp_path, monkeypatch):
    bags = read(path)
    whole = umint().fit_transform(bags)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole, umint().fit_transform(bags))
    assert not np.array_equal(whole, umint(seed=1).fit_transform(bags))
    taken, batch = SimpleNamespace(n=0), Rows.batch

    def stopped(self, store, units):
        taken.n += 1
        if taken.n == 60:  # of 47 an epoch
            raise KeyboardInterrupt
        return batch(self, store, units)

    monkeypatch.setattr("smalti.core.checkpoint.time.monotonic", iter(range(0, 10**7, 61)).__next__)
    monkeypatch.setattr(Rows, "batch", stopped)
    with pytest.raises(KeyboardInterrupt):
        umint().fit(bags, checkpoint=tmp_path / "fit")
    assert (tmp_path / "fit").exists()
    monkeypatch.setattr(Rows, "batch", batch)
    resumed = umint().fit(bags, checkpoint=tmp_path / "fit").transform(bags)
    np.testing.assert_array_equal(whole, resumed)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_block_order_is_said_once(path, small, caplog):
    with caplog.at_level(logging.INFO, logger="smalti"):
        umint().fit(read(path))
    assert sum("block order" in record.message for record in caplog.records) == 1


def test_arrays_that_processes_share_are_memory(tmp_path, small, monkeypatch):
    monkeypatch.setattr("smalti.views._SHARED", 1)
    values = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(N, NARROW))
    bags = dataclasses.replace(Bags.from_rows({"x": values}, np.arange(N)), x={"x": values})
    bags = bags[np.arange(0, N, 2)]
    assert not hasattr(bags.x["x"], "__getitem__")
    store = Store(bags, torch.device("cpu"), torch.float32)
    assert not store.streams  # rows of a map are not read ahead
    assert store.blocks is None
