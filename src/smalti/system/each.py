"""One job for each of many files: what fails alone is said and passed over."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from smalti.errors import InputError
from smalti.system.progress import Progress
from smalti.system.workers import WorkerLost, run_queue

File = TypeVar("File")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class _Failed:
    why: str


@dataclasses.dataclass(frozen=True)
class _Answer:
    what: Any
    said: list[tuple[str, type[Warning]]]


def each_file(
    work: Callable[[str, File], Result],
    files: Mapping[str, File],
    *,
    title: str,
    strict: bool = False,
    n_jobs: int | None = 1,
    progress: bool | None = None,
) -> tuple[dict[str, Result], dict[str, str]]:
    """Do a job for each file, in processes where asked for.

    Parameters
    ----------
    work
        Called with the name and the path (or what else is known of it); where ``n_jobs`` is not 1
        it must travel to processes.
    files
        Name -> path, or what else is known of each.
    title
        Of the bar, or of the lines of the log.
    strict
        Stop at the first file that cannot be used.
    n_jobs
        As in :func:`smalti.system.workers.run_queue`.
    progress
        Show a bar; None: on a terminal or in a notebook, elsewhere a line of the log for each file.

    Returns
    -------
    tuple
        Name -> what the job gave, and name -> why it could not be done; both in the order of the
        files.

    Raises
    ------
    InputError
        If ``strict`` and a job fails, or all do.
    """
    names, done, failed = list(files), dict[str, Result](), dict[str, str]()
    with Progress(progress, title) as bar:
        bar.start("", len(names))
        for i, given in run_queue(partial(_one, work), list(files.items()), n_jobs):
            answer = given
            if isinstance(given, _Answer):
                answer = given.what
                for text, category in given.said:
                    warnings.warn(text, category, stacklevel=3)
            lost = isinstance(answer, (_Failed, WorkerLost))
            bar.advance(note=f"{names[i]}{' failed' if lost else ''}")
            if not lost:
                done[names[i]] = answer
                continue
            failed[names[i]] = answer.why if isinstance(answer, _Failed) else str(answer)
            if strict:
                raise InputError(failed[names[i]])
    if failed and not done:
        first = next(iter(failed.values()))
        raise InputError(
            first
            if len(names) == 1
            else f"none of {len(names)} files could be used; the first: {first}"
        )
    return {n: done[n] for n in names if n in done}, {n: failed[n] for n in names if n in failed}


def _one(work: Callable[[str, File], Result], job: tuple[str, File]) -> _Answer:
    """The answer, and what was warned of: in another process nobody would hear it."""
    answer: Result | _Failed
    with warnings.catch_warnings(record=True) as said:
        try:
            answer = work(*job)
        except InputError as error:
            answer = _Failed(str(error))
    return _Answer(answer, [(str(w.message), w.category) for w in said])
