"""Fits on the workers of a real scheduler, on this machine; one of them is killed."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import smalti as sm
from smalti.comparison import phenotype
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.system.cluster import run_on_cluster

pytest.importorskip("distributed", reason="needs the extra dask")


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler, and the processes of its two workers."""
    file = tmp_path / "scheduler.json"
    where = ["--scheduler-file", str(file), "--no-dashboard", "--local-directory", str(tmp_path)]
    alone = ["--nthreads", "1", "--no-nanny"]

    def start(module, *args):
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--host", "127.0.0.1"]
        here = str(Path(sm.__file__).parents[1])
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": here}
        with open(tmp_path / f"{module}.log", "a") as log:
            return subprocess.Popen([*command, *where[: 2 if "sch" in module else 5], *args],
                                    stdout=log, stderr=log, cwd=tmp_path, env=env)  # fmt: skip

    scheduler = start("dask_scheduler", "--port", "0", "--no-dashboard")
    workers = [start("dask_worker", *alone) for _ in range(2)]
    try:
        until(file.exists)
        yield pd.read_json(file, typ="series")["address"], workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def until(there, seconds=60):
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        time.sleep(0.05)
    assert there()


@pytest.mark.slow  # a scheduler and two workers are started
def test_a_comparison_over_a_scheduler_is_the_same_though_a_worker_is_killed(
    cluster, tmp_path, monkeypatch
):
    address, workers = cluster
    few = {"bag_mean": sm.mil.BagMean, "majority": sm.mil.Majority}
    monkeypatch.setattr(phenotype, "methods", lambda: few)
    bags, kept = planted_bags(24), tmp_path / "cache"
    asked = dict(candidates=["bag_mean"], bags=bags, folds=4, repeats=3, progress=False)

    def kill():
        until(lambda: kept.exists() and len(list(kept.glob("[!.]*"))) >= 3)
        workers[0].kill()

    thread = threading.Thread(target=kill)
    thread.start()
    far = sm.compare(**asked, cache=kept, scheduler=address)
    thread.join()
    assert workers[0].wait(10) == -9
    assert workers[1].poll() is None
    near = sm.compare(**asked, n_jobs=1)
    assert not len(far.failures)
    pd.testing.assert_frame_equal(far.folds.drop(columns="seconds"),
                                  near.folds.drop(columns="seconds"))  # fmt: skip
    pd.testing.assert_frame_equal(far.predictions, near.predictions)
    assert len(list(kept.glob("[!.]*"))) == 24


def test_nobody_at_the_address(monkeypatch):
    monkeypatch.setattr("smalti.system.cluster._WAIT", 0.2)
    with pytest.raises(InputError, match="scheduler='tcp://127.0.0.1:9': no scheduler with a work"):
        list(run_on_cluster(abs, [1], "tcp://127.0.0.1:9"))
    assert list(run_on_cluster(abs, [], "tcp://127.0.0.1:9")) == []


def test_workers_of_a_scheduler_are_counted_there(majority_alone):
    with pytest.raises(InputError, match="leave n_jobs= out"):
        sm.compare(["majority"], planted_bags(12), n_jobs=2, scheduler="tcp://127.0.0.1:9")
