"""How much memory this process may still take: of the machine, of its control group, of its job."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from pathlib import Path

_UNKNOWN = 2**32  # bytes that are taken for free where no system says
_SLURM = "SLURM_MEM_PER_NODE"  # MiB


def room() -> int:
    """Bytes that are free for this process: the least of what the system and its limits leave."""
    left = [_machine(), *_control_group(), *_job()]
    return max(0, min(left))


def give_back() -> None:
    """Give the system what was freed: the C library keeps it, and other processes lack it."""
    trim = getattr(_c_library(), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


@lru_cache
def _c_library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # of Windows it has a name
        return None


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # a Mac does not say what is free: half of what there is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return _UNKNOWN


def _control_group() -> list[int]:
    """What the control groups of a container or job leave; nothing where there is no limit."""
    found = []
    for folder, most, used in (
        *_groups("", "memory.max", "memory.current"),
        *_groups("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            limit, now = (int((folder / name).read_text()) for name in (most, used))
            found.append(limit - now + _cached(folder))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return found


def _groups(controller: str, most: str, used: str) -> list[tuple[Path, str, str]]:
    """The folders of this process's own group, and of the one above all, with two file names."""
    top = Path("/sys/fs/cgroup", controller)
    folders = [top]
    try:
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, of, path = line.split(":", 2)
            if of == controller:
                folders.append(top / path.strip("/"))
    except (OSError, ValueError):
        pass
    return [(folder, most, used) for folder in folders]


def _cached(folder: Path) -> int:
    """Bytes of files that a group holds and would give up."""
    for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _job() -> list[int]:
    """What SLURM gave a job of one node, less what this process takes."""
    given = os.environ.get(_SLURM, "")
    if not given.isdigit() or given == "0":
        return []
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        pages = 0
    return [int(given) * 2**20 - pages * os.sysconf("SC_PAGE_SIZE")]
