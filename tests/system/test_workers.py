"""The queue: every job once, here or in processes, and what dies with its process."""

import os
import time

import pytest

from smalti.errors import InputError
from smalti.system import workers


@pytest.fixture
def square():
    return lambda job: job * job  # one of this module would have to be imported by its name


@pytest.fixture
def square_or_die():
    return lambda job: os.kill(os.getpid(), 9) if job == 3 else job * job


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow), None])
def test_every_job_is_done_once(n_jobs, square):
    answers = list(workers.run_queue(square, range(7), n_jobs))
    assert sorted(answers) == [(i, i * i) for i in range(7)]
    assert list(workers.run_queue(square, [], n_jobs)) == []


@pytest.mark.slow  # processes are started twice
def test_one_job_that_kills_its_process_spares_the_others(square_or_die):
    answers = dict(workers.run_queue(square_or_die, range(5), 2))
    assert isinstance(answers.pop(3), workers.WorkerLost)
    assert answers == {i: i * i for i in (0, 1, 2, 4)}


@pytest.fixture
def say_where_or_die(tmp_path):
    """Where a job was done. What is told does not hang on how soon a process starts.

    Job 1 dies while job 2 is under way, and the pool takes job 2 with it; from 3 on each job waits
    until two processes are there.
    """
    begun, used = tmp_path / "begun", tmp_path / "used"
    used.mkdir()

    def until(there, seconds=60):
        end = time.monotonic() + seconds
        while not there() and time.monotonic() < end:
            time.sleep(0.01)

    def work(job):
        if job == 1:
            until(begun.exists)
            os.kill(os.getpid(), 9)
        if job == 2 and not begun.exists():
            begun.touch()
            time.sleep(60)
        if job > 2:
            (used / str(os.getpid())).touch()
            until(lambda: len(list(used.iterdir())) > 1)
        return os.getpid()

    return work


@pytest.mark.slow  # processes are started thrice
def test_what_had_not_begun_when_a_process_was_lost_is_not_done_one_by_one(say_where_or_die):
    answers = dict(workers.run_queue(say_where_or_die, range(14), 2))
    assert isinstance(answers.pop(1), workers.WorkerLost)
    assert sorted(answers) == [0, *range(2, 14)]
    used = [answers[i] for i in range(3, 14)]  # after the loss
    assert len(set(used)) == 2  # two processes share the rest, and none is started for one job


def here(job):
    return job * job


@pytest.mark.slow  # processes are started
def test_what_cannot_travel_is_done_here():
    answers = dict(workers.run_queue(here, range(4), 2))  # workers cannot import this module
    assert answers == {i: i * i for i in range(4)}


def test_work_moves_to_processes_once_that_is_sooner(monkeypatch, square):
    monkeypatch.setattr(workers, "_START", 0.05)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    moved = []
    monkeypatch.setattr(workers, "_in_processes", lambda work, jobs, left, *_: moved.append(left))

    def slow(job):
        time.sleep(0.1)

    with pytest.raises(TypeError):  # the fake gives nothing to go through
        list(workers.run_queue(slow, range(20)))
    assert moved == [list(range(1, 20))]  # after the first, 1.9 s are left: two processes pay
    moved.clear()
    assert len(list(workers.run_queue(square, range(20)))) == 20
    assert moved == []


def test_cores_are_those_that_slurm_gave(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    assert workers.cores() == 8
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    assert workers.cores() == 6
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert workers.cores() == 3
    assert workers.n_workers(-1) == 3
    assert workers.n_workers(2) == 2
    with pytest.raises(InputError, match="n_jobs=0"):
        workers.n_workers(0)
