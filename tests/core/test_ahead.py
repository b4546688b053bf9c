"""What is read ahead of a step is what the step would have read."""

import threading

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.core import ahead, store
from smalti.core.store import Store


class Disk:
    """A view that is on disk as far as anyone can tell, of float16."""

    def __init__(self, x, fails=False):
        self.x, self.shape, self.dtype, self.fails = x, x.shape, x.dtype, fails
        self.threads = set()

    def read(self, start, stop):
        self.threads.add(threading.current_thread().name)
        if self.fails:
            raise sm.errors.InputError("damaged")
        return self.x[start:stop].copy()

    def digest(self):
        return "disk"


class Filling(Disk):
    """One that reads into an array that is given."""

    def fill(self, start, out):
        out[...] = self.read(start, start + len(out))


@pytest.fixture(params=[Disk, Filling])
def bags(request):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, size=12)
    x = rng.normal(size=(lengths.sum(), 3)).astype("f2")
    ids = np.repeat(np.arange(12), lengths)
    return sm.Bags.from_rows({"x": request.param(x)}, ids, y=ids % 2, donor="bag")


def packs():
    order = np.random.default_rng(1).permutation(12)
    return [order[i : i + 5] for i in range(0, 12, 5)]


def test_read_ahead_is_what_is_read(bags, monkeypatch):
    monkeypatch.setattr(ahead, "_PIECE", 64)  # bytes: ten rows
    data = Store(bags, torch.device("cpu"), torch.float32)
    whole = torch.from_numpy(bags.x["x"].read(0, bags.n_instances)).float()
    for order, batch in zip(packs(), data.stream(packs()), strict=True):
        rows = np.concatenate([np.arange(bags.offsets[i], bags.offsets[i + 1]) for i in order])
        assert batch.x.dtype == torch.float32
        assert torch.equal(batch.x, whole[rows])
    names = bags.x["x"].threads
    assert any(name.startswith("smalti-reader") for name in names)


def test_rows_wait_in_the_type_of_the_disk_and_within_bounds(bags, monkeypatch):
    monkeypatch.setattr(ahead, "AHEAD", 300)
    data = Store(bags, torch.device("cpu"), torch.float32)
    data.expect([np.array([i]) for i in range(12)])
    sizes = []
    for i in range(12):
        begun = data.ahead.begun
        sizes.append(sum(b.parts["x"].nbytes for b in begun))
        assert all(b.parts["x"].dtype == torch.float16 for b in begun)
        assert len(begun) == 1 or sizes[-1] <= 300
        data.batch(np.array([i]))
    assert not data.ahead.begun
    assert max(sizes) > 0


def test_another_batch_than_expected_is_read_all_the_same(bags):
    data = Store(bags, torch.device("cpu"), torch.float32)
    data.expect(packs())
    other = data.batch(np.array([3]))
    whole = torch.from_numpy(bags.x["x"].read(0, bags.n_instances)).float()
    assert torch.equal(other.x, whole[bags.offsets[3] : bags.offsets[4]])
    assert len(data.batch(packs()[0]).x) == bags.lengths[packs()[0]].sum()


def test_damage_is_told_where_the_batch_is_asked_for(bags):
    data = Store(bags, torch.device("cpu"), torch.float32)
    bags.x["x"].fails = True
    with pytest.raises(sm.errors.InputError, match="damaged"):
        list(data.stream(packs()))


def test_a_fit_from_disk_is_that_from_memory(bags):
    x = bags.x["x"].read(0, bags.n_instances)
    ids = np.repeat(np.arange(12), bags.lengths)
    same = sm.Bags.from_rows({"x": x}, ids, y=ids % 2, donor="bag")
    method = sm.mil.ABMIL.example().set_params(epochs=3, batch_size=4, progress=False,
                                               validation=0.3)  # fmt: skip
    one, two = (method.fit(b).forward(same)[0] for b in (bags, same))
    np.testing.assert_array_equal(one, two)


def test_a_gpu_keeps_a_view_of_the_disk_where_it_has_room(bags, monkeypatch):
    monkeypatch.setattr(store, "_PIECE", 30)  # numbers
    data = Store(bags, torch.device("cpu"), torch.float32)
    kept = data._loaded(bags.x["x"])
    assert kept.dtype == torch.float16  # until the step
    np.testing.assert_array_equal(kept.numpy(), bags.x["x"].read(0, bags.n_instances))
    assert data._resident(bags.x["x"]) is bags.x["x"]
    free = {"free": 2 * bags.n_instances * 3 * 2}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["free"], 1))
    assert store._room(torch.device("cuda")) == bags.n_instances * 3 * 2
