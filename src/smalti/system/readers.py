"""Threads that read ahead of whoever needs it, the same few for the whole process."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

THREADS = 4  # a disk and the page cache are busy with so many

Read = TypeVar("Read")


@lru_cache(maxsize=1)  # a process that was forked has none of the threads
def readers() -> ThreadPoolExecutor:
    """The threads."""
    return ThreadPoolExecutor(THREADS, "smalti-reader")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=readers.cache_clear)


def ahead(read: Callable[..., Read], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Read]:
    """What ``read(*job)`` gives for each job, in order; as many wait as there are threads."""
    waiting: deque[Future[Read]] = deque()
    try:
        for job in jobs:
            waiting.append(readers().submit(read, *job))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
