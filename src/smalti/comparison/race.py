"""The race: every method on every split, in one queue that outlives a failed fit and a kill.

What a kind of comparison has of its own (how data is split, how one fit is made and scored) it
says by an :class:`~smalti.comparison.arena.Arena`. No loop over folds, seeds or methods stands
anywhere else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from smalti._version import __version__
from smalti.comparison.arena import FAILURES, Arena, reason_of
from smalti.comparison.cache import Answer, Cache, Claims
from smalti.comparison.lineup import Lineup, unsearched
from smalti.comparison.search.table import as_frame, chosen_of
from smalti.comparison.splits import Split
from smalti.core.citation import citation
from smalti.core.identity import identity
from smalti.core.training import jobs_for
from smalti.errors import InputError
from smalti.preprocess import by_company
from smalti.preprocess.fitted_once import Shared, sharing
from smalti.system.cluster import run_on_cluster
from smalti.system.progress import Progress
from smalti.system.stop import Stop
from smalti.system.workers import WorkerLost, run_queue

_log = logging.getLogger("smalti")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One fit: a method under its label, on one split."""

    label: str
    method: Any  # with the seed of this fit
    split: Split

    def __str__(self) -> str:
        return f"{self.label}, repeat {self.split.repeat}, fold {self.split.fold}"


@dataclasses.dataclass
class Outcome:
    """How a race ended.

    Attributes
    ----------
    folds
        Tidy: method, repeat, fold, metric, value, n_train, n_test, seconds.
    failures
        Fits that failed: method, repeat, fold, reason.
    answers
        (label, repeat, fold) -> answer, of the splits that the arena keeps.
    falling
        Method -> fits of which the training loss was still falling at the end; only those with any.
    searched
        One note for each fit that chose its settings, with method, repeat and fold.
    """

    folds: pd.DataFrame
    failures: pd.DataFrame
    answers: dict[tuple[str, int, int], Answer]
    falling: dict[str, int]
    searched: list[dict[str, Any]]

    def seconds(self) -> dict[str, float]:
        """Method -> mean seconds of a fit; of those without a failed one."""
        done = self.folds[~self.folds["method"].isin(self.failures["method"])]
        return {str(k): float(v) for k, v in done.groupby("method")["seconds"].mean().items()}

    def table(self, lineup: Lineup, notes: Iterable[str]) -> dict[str, Any]:
        """What every table of scores holds, as arguments of its class."""
        told = [
            f"{label}: {len(part)} of {self._fits(label)} fits failed, so it is not ranked: "
            f"{part['reason'].iloc[0]}"
            for label, part in self.failures.groupby("method", sort=False)
        ]
        told += [
            f"{label}: the training loss was still falling at the end of {n} of "
            f"{self._fits(label)} fits; more epochs= or a higher lr= may change its scores."
            for label, n in self.falling.items()
        ]
        return {
            "folds": self.folds, "failures": self.failures, "settings": lineup.settings(),
            "identities": {k: identity(m) for k, m in lineup.methods.items()},
            "baselines": tuple(k for k in lineup.methods if k in lineup.baselines),
            "controls": tuple(k for k in lineup.methods if k in lineup.controls),
            "notes": (*notes, *lineup.notes, *_of_company(lineup), *told),
            "bibtex": citation(*map(unsearched, lineup.methods.values())),
            "searched": as_frame(self.searched, lineup.unsearched()),
        }  # fmt: skip

    def _fits(self, label: str) -> int:
        one = self.folds[self.folds["method"] == label][["repeat", "fold"]]
        return len(one.drop_duplicates()) + int((self.failures["method"] == label).sum())


def race(
    arena: Arena,
    lineup: Lineup,
    *,
    n_jobs: int | None = None,
    progress: bool | None = None,
    cache: str | Path | None = None,
    scheduler: str | None = None,
) -> Outcome:
    """Fit and score all methods of a line-up on all their splits.

    Parameters
    ----------
    arena
        How data is split, and how one fit is made and scored.
    lineup
        Who takes part.
    n_jobs
        Worker processes of one thread each; 1: none; -1: every core that this process may use;
        None: none until the time that fits took says that workers would end sooner, and none where
        they would wait for one GPU.
    progress
        Show a bar; None: on a terminal or in a notebook, elsewhere one line of the log
        ("smalti", INFO) per fit.
    cache
        Folder that keeps the answer of each fit as it comes in; those that are there are not made
        again. Several processes may share it: none makes what another makes.
    scheduler
        Address of a Dask scheduler whose workers fit instead, such as tcp://10.0.0.1:8786.

    Raises
    ------
    InputError
        If no fit of any method came to an end, a kept answer is damaged, or no scheduler answers.
    """
    if scheduler is not None and n_jobs is not None:
        raise InputError("the workers of scheduler= fit, as many as there are: leave n_jobs= out.")
    where = n_jobs if scheduler is None else scheduler
    entries, labels = entries_of(arena, lineup), list(lineup.methods)
    kept = None if cache is None else Cache(cache)
    files = _files(arena, entries, kept)
    done: dict[int, _Scored | str] = {}
    with Progress(progress, arena.title) as bar:
        bar.start("", len(entries))

        def finish(i: int, answer: Any, how: str = "") -> None:
            result = done[i] = _scored(arena, entries[i], answer)
            if isinstance(result, str):
                how = f"failed: {result}"
            elif not how:
                how = f"{result.answer.seconds:.1f} s{chosen_of(result.answer.note)}"
            bar.advance(note=f"{entries[i]}: {how}")

        todo, claims = list(range(len(entries))), Claims(files)
        with Stop("") as stop, closing(claims), forgetting_steps():
            while todo:
                for i in todo:
                    file = files[i]
                    answer = None if kept is None or file is None else kept.read(file)
                    if answer is not None:
                        finish(i, answer, "kept")
                waiting = [i for i in todo if i not in done]
                stop.how = _how_to_go_on(cache, done, len(entries))
                with closing(_made(arena, entries, waiting, claims, where)) as made:
                    for i, answer in made:
                        file = files[i]
                        if kept is not None and file is not None and isinstance(answer, Answer):
                            kept.write(file, answer)
                        claims.release(i)
                        finish(i, answer)
                        stop.how = _how_to_go_on(cache, done, len(entries))
                todo = [i for i in waiting if i not in done]  # another process makes them
                claims.wait(todo)
    by_method = sorted(range(len(entries)), key=lambda i: labels.index(entries[i].label))
    return _outcome(arena, [(entries[i], done[i]) for i in by_method])


def entries_of(arena: Arena, lineup: Lineup) -> list[Entry]:
    """All fits of a race, in the order in which they are made.

    Split by split, so that the methods of one share what its preprocessing was fitted to.
    """
    entries = [
        (i, Entry(label, clone(m).set_params(seed=arena.seed(m, split), progress=False), split))
        for label, m in lineup.methods.items()
        for i, split in enumerate(arena.splits(m))
    ]
    return [entry for _, entry in sorted(entries, key=lambda pair: pair[0])]


def kept_of(arena: Arena, entries: list[Entry], cache: str | Path | None) -> list[bool]:
    """Whether a cache holds the answer of each."""
    files = _files(arena, entries, None if cache is None else Cache(cache))
    return [file is not None and file.exists() for file in files]


def _files(arena: Arena, entries: list[Entry], kept: Cache | None) -> list[Path | None]:
    return [None if kept is None else kept.file(e.method.name, _key(arena, e)) for e in entries]


def _made(
    arena: Arena, entries: list[Entry], waiting: list[int], claims: Claims, where: int | str | None
) -> Generator[tuple[int, Any], None, None]:
    """Positions of the entries that were fitted here, and their answers."""
    todo = [entries[i] for i in waiting]
    if todo:
        arena.begin()
    work, take = partial(fit_one, arena), lambda at: claims.take(waiting[at])
    if isinstance(where, str):
        queue = run_on_cluster(work, todo, where, take)
    else:
        n_jobs = jobs_for((e.method for e in todo), where)
        queue = run_queue(work, todo, n_jobs, take, partial(_share, arena))
    with closing(queue):
        for at, answer in queue:
            yield waiting[at], answer


def _share(arena: Arena) -> None:
    """Before work goes to processes: what they see, and what was made here is needed no more."""
    arena.share()
    _kept_steps.cache_clear()


def _of_company(lineup: Lineup) -> list[str]:
    """Whose scores are of test cells that come together."""
    found = {k: by_company(unsearched(m).preprocess) for k, m in lineup.methods.items()}
    steps = list(dict.fromkeys(step for own in found.values() for step in own))
    if not steps:
        return []
    return [
        f"{'; '.join(k for k, own in found.items() if own)}: {' and '.join(steps)} scales a batch "
        "that training lacked by its own cells, all that are tested together: scores are of cells "
        "that come in such company, and for one sample of a new batch alone the answer may differ."
    ]


@dataclasses.dataclass
class _Scored:
    """An answer and what it is worth."""

    answer: Answer
    scores: dict[str, float]


def _how_to_go_on(cache: str | Path | None, done: dict[int, _Scored | str], total: int) -> str:
    if cache is None:
        return (
            f"stopped after {len(done)} of {total} fits, of which nothing is kept: with cache=... "
            "a comparison goes on where it stopped"
        )
    kept = sum(isinstance(result, _Scored) for result in done.values())  # not those that failed
    return (
        f"stopped; {kept} of {total} fits are kept, and the same makes the others when it is run "
        f"again: cache={str(cache)!r}"
    )


def fit_one(arena: Arena, entry: Entry) -> Answer | str:
    """The answer of one fit, or why it failed."""
    began, shared = time.perf_counter(), _shared(arena.digest, entry.split)
    try:
        with warnings.catch_warnings(), sharing(shared):
            warnings.simplefilter("ignore", ConvergenceWarning)  # said once, of all fits
            answer = arena.fit(entry.method, entry.split)
    except FAILURES as error:
        _log.debug("%s\n%s", entry, traceback.format_exc())
        return reason_of(error)
    parts = (entry.method, *entry.method.inner_methods())
    answer.note["converged"] = all(getattr(part, "converged_", True) for part in parts)
    if hasattr(entry.method, "searched_"):
        answer.note["search"] = entry.method.searched_
    # a fit costs what it would alone, whoever came first
    answer.seconds = round((answer.seconds or time.perf_counter() - began) + shared.saved, 3)
    return answer


@contextmanager
def forgetting_steps() -> Generator[None]:
    """Let go of what the fits of a comparison shared here, at its end."""
    try:
        yield
    finally:
        _kept_steps.cache_clear()


@lru_cache(maxsize=1)
def _kept_steps(digest: str, repeat: int, fold: int) -> Shared:
    """What the fits of one split of a comparison share in this process."""
    return Shared()


def _shared(digest: str, split: Split) -> Shared:
    """The same, with no second saved so far; that of the split before is let go."""
    shared = _kept_steps(digest, split.repeat, split.fold)
    shared.saved = 0.0
    return shared


def _scored(arena: Arena, entry: Entry, answer: Any) -> _Scored | str:
    if isinstance(answer, WorkerLost):
        return reason_of(answer)
    if not isinstance(answer, Answer):
        return str(answer)
    try:
        scores = arena.score(entry.method, entry.split, answer)
    except FAILURES as error:
        return reason_of(error)
    if not arena.keeps(entry.split):
        answer.arrays = {}
    return _Scored(answer, scores)


def _key(arena: Arena, entry: Entry) -> str:
    cls = type(entry.method)
    sides = hashlib.sha256(entry.split.train.tobytes() + b"|" + entry.split.test.tobytes())
    return " ".join((
        __version__, type(arena).__name__, arena.digest, f"{cls.__module__}.{cls.__qualname__}",
        arena.identity(entry.method),
        f"seed {entry.method.seed}", sides.hexdigest(), arena.key(entry.method, entry.split),
    ))  # fmt: skip


def _outcome(arena: Arena, results: list[tuple[Entry, _Scored | str]]) -> Outcome:
    rows, failures, answers, searched = [], [], {}, []
    falling = Counter[str]()
    for entry, result in results:
        where = {"method": entry.label, "repeat": entry.split.repeat, "fold": entry.split.fold}
        if isinstance(result, str):
            failures.append(where | {"reason": result})
            continue
        if not result.answer.note.get("converged", True):
            falling[entry.label] += 1
        if "search" in result.answer.note:
            searched.append(where | result.answer.note["search"])
        n_train, n_test = arena.sizes(entry.method, entry.split)
        about = {"n_train": n_train, "n_test": n_test, "seconds": result.answer.seconds}
        rows += [where | {"metric": m, "value": v} | about for m, v in result.scores.items()]
        if arena.keeps(entry.split):
            answers[entry.label, entry.split.repeat, entry.split.fold] = result.answer
    if not rows:
        told = dict.fromkeys(f"{f['method']}: {f['reason']}" for f in failures)
        raise InputError(f"no method could be run. {' '.join(told)}")
    columns = ["method", "repeat", "fold", "reason"]
    failed = pd.DataFrame(failures, columns=columns)
    return Outcome(pd.DataFrame(rows), failed, answers, dict(falling), searched)
