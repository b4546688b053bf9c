"""A process that stops at any step of a write leaves the old or the new under the name, whole.

Steps are what Python's audit hooks see (files opened to write, names changed, folders made), and
each call that brings a file to the disk or exchanges two names. HDF5 writes by itself, but into the
hidden copy only.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti.comparison.cache import Answer, Cache
from smalti.datasets import planted_bags
from smalti.io.write import write
from smalti.system import files

EVENTS = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.chmod",
          "os.chown", "os.truncate", "shutil.rmtree", "shutil.copyfile"}  # fmt: skip


def steps_of(job, folder, stop=None):
    """Run a job in a child that ends before its step ``stop``; how many steps it went."""
    back, out = os.pipe()
    pid = os.fork()
    if pid:
        os.close(out)
        with os.fdopen(back) as said:
            gone = len(said.read())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == (0 if stop is None else 9), f"step {stop}: exit code {code}"
        return gone
    count = 0

    def step():
        nonlocal count
        count += 1
        if count == stop:
            os._exit(9)
        os.write(out, b".")

    def seen(event, args):
        written = event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if (written or event in EVENTS) and any(str(folder) in str(a) for a in args):
            step()

    def before(function):
        def called(*args):
            step()
            return function(*args)

        return called

    os.fsync, files._exchange = before(os.fsync), before(files._exchange)
    sys.addaudithook(seen)
    code = 1
    try:
        job()
        code = 0
    finally:
        os._exit(code)


MOST = int(os.environ.get("SMALTI_STEEL_STEPS", "40"))  # of which a write is stopped


def crashed(job, folder, content, most=MOST):
    """Stop a job before each of its steps; how many there are.

    ``content()`` is what is under the name: it must be what it was, or what the job makes of it.
    Of more than ``most`` steps, the last half of that number is tried, and some of those before.
    """
    start = folder.with_name("start")
    shutil.copytree(folder, start)
    old = content()
    n = steps_of(job, folder)
    new, whole = content(), names(folder)
    assert old != new
    first = np.linspace(1, max(n - most // 2, 1), most // 2).astype(int)
    for at in range(1, n + 1) if n <= most else sorted({*first, *range(n - most // 2, n + 1)}):
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
        steps_of(job, folder, at)
        assert content() in (old, new), f"half written at step {at} of {n}"
        job()  # the next run
        assert content() == new, f"step {at}"
        assert names(folder) == whole, f"left behind at step {at}"
    shutil.rmtree(start)
    return n


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def digest(path):
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(p.read_bytes() for p in found)).hexdigest()


# each step is a process: seconds, so that the shortest of the jobs alone is among the quick tests
slow = pytest.mark.slow


@pytest.fixture(params=[True, False], ids=["exchange", "two_renames"])
def folder(request, tmp_path, monkeypatch):
    if not request.param:  # a system that cannot exchange two names
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@slow
def test_a_model(folder):
    old, new = (sm.mil.Majority(seed=s).fit(planted_bags(8)) for s in (1, 2))
    old.save(folder / "model")
    steps = crashed(lambda: new.save(folder / "model"), folder,
                    lambda: sm.load(folder / "model").seed)  # fmt: skip
    assert steps > 10


def cells():
    rng = np.random.default_rng(0)
    x = sp.csr_matrix(rng.poisson(0.5, (30, 20)).astype(np.float32))
    obs = pd.DataFrame({"sample": [f"s{i // 5}" for i in range(30)]},
                       index=[f"c{i}" for i in range(30)])  # fmt: skip
    return anndata.AnnData(
        x, obs=obs, obsm={"X_pca": rng.normal(size=(30, 4))}, uns={"a": {"b": 1}}
    )


SCORE = dict(obs={"score": np.arange(30.0), "old": np.ones(30)}, obsm={"X_m": np.ones((30, 2))},
             uns={"m": {"model": "1", "lr": 0.1}})  # fmt: skip


@slow
@pytest.mark.parametrize("ending", [".h5ad", ".zarr"])
def test_a_write_back(folder, ending):
    path, table = folder / f"cells{ending}", cells()
    table.obs["old"] = 0.0
    (table.write_h5ad if ending == ".h5ad" else table.write_zarr)(path)
    read = anndata.read_h5ad if ending == ".h5ad" else anndata.read_zarr

    def content():
        files.recovered(path)
        got = read(path)
        np.testing.assert_array_equal(got.X.toarray(), table.X.toarray())
        np.testing.assert_array_equal(got.obsm["X_pca"], table.obsm["X_pca"])
        assert got.uns["a"]["b"] == 1
        return list(got.obs), got.obs["old"].sum(), sorted(got.obsm), sorted(got.uns)

    assert crashed(lambda: write(path, overwrite=True, **SCORE), folder, content) > 5


@pytest.mark.slow
@pytest.mark.parametrize("folder", [True], indirect=True, ids=["exchange"])
def test_a_cached_fit(folder):
    cache = Cache(folder)
    file = cache.file("m", "key")
    cache.write(file, Answer({"p": np.zeros(5)}, {"n": 1}, 1.0))
    new = Answer({"p": np.ones(5)}, {"n": 2}, 1.0)
    assert crashed(lambda: cache.write(file, new), folder, lambda: cache.read(file).note["n"]) > 3


@slow
@pytest.mark.parametrize("folder", [True], indirect=True, ids=["exchange"])
def test_a_report_and_a_run(folder):
    bags = planted_bags(16)
    old, new = (sm.compare(["majority"], bags, folds=f, progress=False) for f in (2, 3))
    for write_one, name in ((lambda t: t.report(folder / "r.html", sections=[]), "r.html"),
                            (lambda t: t.write(folder / "run"), "run")):  # fmt: skip
        write_one(old)
        steps = crashed(lambda w=write_one: w(new), folder, lambda n=name: digest(folder / n))
        assert steps > 3


def test_a_step_that_is_planted_is_seen(tmp_path):
    """The harness itself: a writer in place is found out."""
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "x"
    file.write_text("old")

    def in_place():
        with file.open("w") as out:
            out.write("ne")
            out.flush()
            Path(tmp_path / "work" / "y").touch()
            out.write("w")

    with pytest.raises(AssertionError, match="half written"):
        crashed(in_place, tmp_path / "work", file.read_text)
