"""A queue of work, done here or in worker processes, whichever ends sooner."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from smalti.errors import InputError
from smalti.system.memory import give_back

Job = TypeVar("Job")

_START = 6.0  # seconds that starting the workers costs, at most (importing torch)
_SHARES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")


class WorkerLost(RuntimeError):
    """A worker process ended without an answer: killed, out of memory, or crashed.

    Attributes
    ----------
    kept
        What the others gave, by position.
    """

    kept: dict[int, Any]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kept = {}


def cores() -> int:
    """How many cores this process may use: by affinity, by its control group, by SLURM's share."""
    from joblib import cpu_count

    found = cpu_count()  # knows the first two, and LOKY_MAX_CPU_COUNT
    for name in _SHARES:
        if os.environ.get(name, "").isdigit():
            return max(1, min(found, int(os.environ[name])))
    return found


def n_workers(n_jobs: int | None) -> int:
    """Worker processes that ``n_jobs`` means: -1 is every core, None as many where they pay.

    Raises
    ------
    InputError
        If it is 0, or below -1.
    """
    if n_jobs is not None and (n_jobs == 0 or n_jobs < -1):
        raise InputError(f"n_jobs={n_jobs}: a number of processes, -1 for every core, or None.")
    return cores() if n_jobs in (None, -1) else int(n_jobs)


def every(_: int) -> bool:
    """No job is left out."""
    return True


def _nothing() -> None:
    """Nothing is shared."""


def run_queue(
    work: Callable[[Job], Any],
    jobs: Sequence[Job],
    n_jobs: int | None = None,
    take: Callable[[int], bool] = every,
    share: Callable[[], None] = _nothing,
) -> Generator[tuple[int, Any], None, None]:
    """Do all jobs; yield each as it is done.

    Parameters
    ----------
    work
        Called with one job. What it raises ends the queue; what may fail alone is caught in it.
    jobs
        What to do, in this order.
    n_jobs
        1: all here, one after another. More, or -1 for every core: in so many processes of one
        thread each. None: begin here, and hand the rest to processes once the work that is left,
        by the time that jobs took so far, would be done sooner there. Nothing is guessed of a job
        before it has run, and the most that is lost is what starting the workers costs.
    take
        Asked for the position of a job just before it is begun, perhaps from another thread, and
        perhaps twice: False leaves it out.
    share
        Called once before work goes to processes, to move what ``work`` holds to where they see it
        (:func:`smalti.system.mapped.shared`).

    Yields
    ------
    tuple
        Position of a job, and what ``work`` gave; or a :class:`WorkerLost` where its process died.
        The other jobs of the queue are done nevertheless.
    """
    workers = n_workers(n_jobs)
    left = list(range(len(jobs)))
    began = time.perf_counter()
    if n_jobs is None or workers == 1:
        done = 0
        while left:
            i = left.pop(0)
            if not take(i):
                continue
            done += 1
            yield i, work(jobs[i])
            # the first job imports what all need, as each worker would have to
            spent = max(0.0, time.perf_counter() - began - _START)
            alone = spent / done * len(left)
            if n_jobs is None and 1.1 * alone / min(workers, len(left) or 1) + _START < alone:
                break
    if left:
        share()
        yield from _in_processes(work, jobs, left, min(workers, len(left)), take)


def _in_processes(
    work: Callable[[Job], Any],
    jobs: Sequence[Job],
    left: list[int],
    workers: int,
    take: Callable[[int], bool],
) -> Generator[tuple[int, Any], None, None]:
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    waiting, here = set(left), os.getpid()
    with TemporaryDirectory(prefix="smalti-begun-") as begun:
        try:
            pool = Parallel(workers, return_as="generator_unordered", inner_max_num_threads=1)
            calls = (delayed(_numbered)(work, i, jobs[i], here, begun) for i in left if take(i))
            with closing(pool(calls)) as answers:
                for i, answer in answers:
                    waiting.discard(i)
                    yield i, answer
            return
        except TerminatedWorkerError:
            # the pool does not say whose process died: one of those that had begun
            suspects = waiting & {int(name) for name in os.listdir(begun)} or set(waiting)
        except BrokenProcessPool:
            # a class of a module that workers cannot import: what cannot travel is done here
            for i in filter(take, sorted(waiting)):
                yield i, work(jobs[i])
            return
        for i in sorted(suspects):
            pool = Parallel(2, inner_max_num_threads=1)  # of 1 it would run here
            try:
                yield pool([delayed(_numbered)(work, i, jobs[i], here, begun)])[0]
            except BrokenProcessPool as error:
                yield i, WorkerLost(f"its process was lost: {' '.join(str(error).split())[:160]}")
    rest = sorted(waiting - suspects)
    if rest:
        yield from _in_processes(work, jobs, rest, min(workers, len(rest)), take)


def _numbered(
    work: Callable[[Job], Any], i: int, job: Job, parent: int, begun: str
) -> tuple[int, Any]:
    import torch

    _obey(parent)
    Path(begun, str(i)).touch()
    torch.set_num_threads(1)  # a small fit cannot use two threads well
    try:
        return i, work(job)
    finally:
        give_back()


@lru_cache
def _obey(parent: int) -> None:
    """Leave Ctrl-C to the parent; end when it has ended, for nobody waits for the answer."""
    if os.getpid() == parent:  # one job needs no other process
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
