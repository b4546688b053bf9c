"""A queue of work, done by the workers of a Dask scheduler on other machines."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from smalti._version import __version__
from smalti.errors import InputError
from smalti.system.extras import need
from smalti.system.workers import Job, WorkerLost, every

_WAIT = 30  # seconds for the scheduler, and for its first worker
_TRIES = 3  # of a job whose worker, or whose data, were lost
_ONE = threading.Lock()


def run_on_cluster(
    work: Callable[[Job], Any],
    jobs: Sequence[Job],
    scheduler: str,
    take: Callable[[int], bool] = every,
) -> Generator[tuple[int, Any], None, None]:
    """Do all jobs on the workers of a scheduler; yield each as it is done.

    Parameters
    ----------
    work
        Called with one job, there; it is sent to each worker once, with the data it holds.
    jobs, take
        As :func:`smalti.system.workers.run_queue` has them.
    scheduler
        Its address, such as tcp://10.0.0.1:8786.

    Yields
    ------
    tuple
        Position of a job, and what ``work`` gave; or a :class:`WorkerLost` where three workers were
        lost over it.

    Raises
    ------
    InputError
        If Dask is not installed, nobody answers at the address, or a worker has another smalti.
    """
    if not jobs:
        return
    with closing(_client(scheduler)) as client:
        yield from _done(client, work, jobs, take)


def _client(scheduler: str) -> Any:
    """A connection to a scheduler that has a worker, each with this smalti."""
    distributed = need("distributed", "dask")
    client = None
    try:
        client = distributed.Client(scheduler, timeout=_WAIT, set_as_default=False)
        client.wait_for_workers(1, timeout=_WAIT)
        _check_versions(client)
    except BaseException as error:
        if client is not None:
            client.close()
        if not isinstance(error, (OSError, ValueError)) or isinstance(error, InputError):
            raise
        raise InputError(
            f"scheduler={scheduler!r}: no scheduler with a worker answers there ({error}). Start "
            "both: dask scheduler, and on each machine dask worker."
        ) from error
    return client


def _done(
    client: Any, work: Callable[[Job], Any], jobs: Sequence[Job], take: Callable[[int], bool]
) -> Generator[tuple[int, Any], None, None]:
    from distributed import KilledWorker, as_completed

    left, tries = deque(range(len(jobs))), Counter[int]()
    running: dict[Any, int] = {}
    sent = client.scatter(work, broadcast=True, hash=False)
    finished = as_completed(loop=client.loop)
    ahead = 2 * max(1, sum(client.nthreads().values()))  # no more are taken than soon begin

    def begin(i: int) -> None:
        future = client.submit(_alone, sent, jobs[i], pure=False)
        running[future] = i
        finished.add(future)

    def fill() -> None:
        while left and len(running) < ahead:
            i = left.popleft()
            if take(i):
                begin(i)

    fill()
    for future in finished:
        i = running.pop(future)
        if future.status == "finished":
            yield i, future.result()
        elif future.status == "error" and not isinstance(future.exception(), KilledWorker):
            raise future.exception()
        elif future.status == "error" or tries[i] >= _TRIES:
            yield i, WorkerLost("its worker was lost, as were those that took it up")
        else:  # the last worker that held the data was lost
            tries[i] += 1
            client.wait_for_workers(1, timeout=_WAIT)
            sent = client.scatter(work, broadcast=True, hash=False)
            begin(i)
        fill()


def _alone(work: Callable[[Job], Any], job: Job) -> Any:
    """One job at a time in a process: fits draw from streams that threads would share."""
    import torch

    with _ONE:
        torch.set_num_threads(1)
        return work(job)


def _version() -> str:
    return __version__


def _check_versions(client: Any) -> None:
    """Refuse workers whose answers would be those of another program."""
    for worker, found in client.run(_version, on_error="return").items():
        if found != __version__:
            what = f"smalti {found}" if isinstance(found, str) else f"no smalti ({found})"
            raise InputError(f"the worker {worker} has {what}, here is {__version__}: install it "
                             "there too.")  # fmt: skip
