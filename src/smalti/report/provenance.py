"""Where a page comes from: the command, the files with their digests, the machine, the time."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from smalti.report.section import Code, Facts, Part, Section
from smalti.report.versions import versions

if TYPE_CHECKING:
    import pandas as pd

_STEP = 1 << 22  # bytes read at once


def file_facts(paths: Iterable[str | Path]) -> dict[str, str]:
    """Path, as it was given, -> size and SHA-256 of each file that was read.

    Of a folder (.zarr, features) the digest is of the names and sizes of its files, not of what is
    in them: the digest of the data is that of the comparison, which reads all values.

    Parameters
    ----------
    paths
        Files and folders; what is not there is passed over.
    """
    found = {}
    for path in dict.fromkeys(map(Path, paths)):
        if path.is_file():
            found[str(path)] = f"{_size(path.stat().st_size)}, SHA-256 {_digest(path)}"
        elif path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            sizes = [p.stat().st_size for p in files]
            sha = hashlib.sha256()
            for file, size in zip(files, sizes, strict=True):
                sha.update(f"{file.relative_to(path).as_posix()} {size}\n".encode())
            found[str(path)] = (
                f"{len(files):,} files, {_size(sum(sizes))}, SHA-256 of their names and sizes "
                f"{sha.hexdigest()}"
            )
    return found


def _digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_STEP):
            sha.update(part)
    return sha.hexdigest()


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:,.0f} {unit}" if unit == "bytes" else f"{n:,.1f} {unit}"
        n /= 1000
    raise AssertionError


def machine() -> str:
    """System, processor, cores, memory and GPUs of this machine, in a line."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{platform.system()} {platform.machine()}", f"{cores} cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        parts.append(f"{memory / 2**30:.0f} GiB of memory")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join([*parts, *(gpus or ["no GPU"])])


def spell(seconds: float) -> str:
    """A time in words: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def made(
    command: str = "", inputs: Iterable[str | Path] = (), folds: pd.DataFrame | None = None
) -> Section:
    """Section: how a page was made, so that it can be made again.

    Parameters
    ----------
    command
        That makes it; none where Python was used.
    inputs
        Files that it reads.
    folds
        Scores of fits, with their seconds.
    """
    facts = file_facts(inputs)
    if folds is not None and len(folds):
        fits = folds.drop_duplicates(["method", "repeat", "fold"])
        facts["time"] = f"{spell(fits['seconds'].sum())} for {len(fits):,} fits, one after another"
    facts |= {"machine that wrote this": machine(), "versions": _versions()}
    parts: tuple[Part, ...] = (Facts(facts),)
    return Section("made", "How this was made", (Code("command.txt", command), *parts)
                   if command else parts)  # fmt: skip


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in versions(extras=True).items())
