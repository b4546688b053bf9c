"""Damaged files through the readers, in children that may die; and what became of each.

A child reads one damaged file after another under a limit of memory, and says before each what it
is about to read. Where it dies or stands still, its parent knows of which file, and starts another
for those that are left.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mutations import damaged

from smalti.errors import InputError

MORE = 2**31  # bytes that reading one small file may take, beyond what the process has
SECONDS = 10.0  # and how long
OUTCOMES = ("identical", "clean", "unnamed", "otherwise", "raw", "memory", "crash", "hang")
BAD = ("unnamed", "raw", "memory", "crash", "hang")


@dataclasses.dataclass(frozen=True)
class Target:
    """A format: ``make(folder)`` writes it, and returns the files to be damaged; ``read(folder)``
    gives all that was read as one text. Of ``checked`` formats no damage may be accepted."""

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], str]
    checked: bool = False


@dataclasses.dataclass
class Case:
    """What became of one damaged file."""

    seed: int
    kind: str
    file: str
    outcome: str = ""
    detail: str = ""
    seconds: float = 0.0


def run(name: str, target: Target, seeds: range, work: Path) -> list[Case]:
    """Damage a format once for each seed."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = target.make(folder)
        whole = {f: f.read_bytes() for f in files}
        right = target.read(folder)
        _put_back(whole)
        assert target.read(folder) == right, f"{name} reads otherwise each time"
    done: dict[int, Case] = {}
    while len(done) < len(seeds):
        _put_back(whole)
        left = [s for s in seeds if s not in done]
        done |= {c.seed: c for c in _child(name, target, left, whole, right, folder)}
    shutil.rmtree(folder, ignore_errors=True)
    return [done[s] for s in seeds]


def faults(target: Target, cases: list[Case]) -> list[Case]:
    """The cases that must not be: of a checked format also a damage that was accepted."""
    bad = (*BAD, "otherwise") if target.checked else BAD
    return [c for c in cases if c.outcome in bad]


def table(found: dict[str, list[Case]]) -> str:
    """Counts by format and outcome."""
    lines = [f"{'format':<18}" + "".join(f"{o:>11}" for o in OUTCOMES) + f"{'slowest':>9}"]
    for name, cases in found.items():
        count = collections.Counter(c.outcome for c in cases)
        slow = max((c.seconds for c in cases), default=0)
        counts = "".join(f"{count[o]:>11,}" for o in OUTCOMES)
        lines.append(f"{name:<18}{counts}{slow:>8.1f}s")
    total = collections.Counter(c.outcome for cases in found.values() for c in cases)
    return "\n".join([*lines, f"{'all':<18}" + "".join(f"{total[o]:>11,}" for o in OUTCOMES)])


def repeat(name: str, target: Target, seed: int, folder: Path) -> Path:
    """The damaged file of a case, written into a folder, to look into it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = target.make(folder)
    file, data, _ = _case(name, seed, {f: f.read_bytes() for f in files})
    file.write_bytes(data)
    return file


# ---------------------------------------------------------------- one child


def _child(
    name: str, target: Target, seeds: list[int], whole: dict[Path, bytes], right: str, folder: Path
) -> Iterator[Case]:
    """The cases that one child came to, its last perhaps its death."""
    end, start = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(end)
            with os.fdopen(start, "w", buffering=1) as out:
                _work(name, target, seeds, whole, right, folder, out)
            status = 0
        finally:
            os._exit(status)
    os.close(start)
    begun, lines, last, hung = None, b"", time.monotonic(), False
    while True:
        if select.select([end], [], [], 0.5)[0]:
            block = os.read(end, 2**16)
            if not block:
                break
            *whole_lines, lines = (lines + block).split(b"\n")
            last = time.monotonic()
            for line in whole_lines:
                case = Case(**json.loads(line))
                begun = None if case.outcome else case
                if case.outcome:
                    yield case
        elif begun is not None and time.monotonic() - last > SECONDS:
            hung = True
            os.kill(child, signal.SIGKILL)
            break
    os.close(end)
    status = os.waitpid(child, 0)[1]
    if begun is not None:
        how = "hang" if hung else "crash"
        yield dataclasses.replace(begun, outcome=how, detail=f"wait status {status}")
    elif status and not hung:
        raise RuntimeError(f"a child died between files, with wait status {status}")


def _work(
    name: str, target: Target, seeds: list[int], whole: dict[Path, bytes], right: str, folder: Path,
    out: Any,
) -> None:  # fmt: skip
    have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (have + MORE, have + MORE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    warnings.simplefilter("ignore")
    for seed in seeds:
        file, data, kind = _case(name, seed, whole)
        case = Case(seed, kind, str(file.relative_to(folder)))
        out.write(json.dumps(dataclasses.asdict(case)) + "\n")
        file.write_bytes(data)
        began, before = time.monotonic(), _most()
        case.outcome, case.detail = _outcome(target, folder, file, right)
        case.seconds = round(time.monotonic() - began, 2)
        if _most() - before > MORE // 2:
            case.outcome = "memory"
        out.write(json.dumps(dataclasses.asdict(case)) + "\n")
        _put_back(whole)


def _case(name: str, seed: int, whole: dict[Path, bytes]) -> tuple[Path, bytes, str]:
    rng = random.Random(f"{name} {seed}")
    file = rng.choice(list(whole))
    return (file, *damaged(whole[file], rng))


def _outcome(target: Target, folder: Path, file: Path, right: str) -> tuple[str, str]:
    fate = _Fate(folder, file)
    with fate:
        fate.outcome = "identical" if target.read(folder) == right else "otherwise"
    return fate.outcome, fate.detail


class _Fate:
    """What a reading ends in, of whatever kind."""

    def __init__(self, folder: Path, file: Path) -> None:
        self.outcome, self.detail = "", ""
        # of a folder that is one thing (a model, a zarr store) its own name
        self.names = [p.name for p in (file, *file.parents) if folder in p.parents]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            return True
        frames = traceback.extract_tb(trace)
        ours = [f for f in frames if "/smalti/" in f.filename] or frames
        where = f"{'/'.join(Path(ours[-1].filename).parts[-2:])}:{ours[-1].lineno}"
        self.detail = f"{where} {type(error).__name__}: {str(error)[:250]}"
        if isinstance(error, InputError):
            self.outcome = "clean" if any(n in str(error) for n in self.names) else "unnamed"
        else:
            self.outcome = "memory" if isinstance(error, MemoryError) else "raw"
        return True


def _most() -> int:
    """The most memory that the process has had, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _put_back(whole: dict[Path, bytes]) -> None:
    for file, data in whole.items():
        file.write_bytes(data)
