"""One process at a time: others wait for a path, or are told that it is taken."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smalti.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NONE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # a file system without locks


@contextmanager
def lock(path: Path, busy: str | None = None) -> Iterator[bool]:
    """Have ``path`` alone, by a hidden file beside it that is removed afterwards.

    The lock is the kernel's: it ends with its process, however that ends.

    Parameters
    ----------
    path
        What is written, or gone on from. Need not exist; its folder must.
    busy
        What to say where another process has it. Where left out, wait until it is free.

    Yields
    ------
    bool
        Whether there is a lock: some network file systems have none, nor has Windows.

    Raises
    ------
    InputError
        With the words of ``busy``.
    """
    file = path.with_name(f".{path.name}.lock")
    held = None if fcntl is None else _acquire(file, busy)
    try:
        yield held is not None
    finally:
        if held is not None:
            with suppress(OSError):  # before it is let go: afterwards it may be another's
                file.unlink()
            os.close(held)


def _acquire(file: Path, busy: str | None) -> int | None:
    """A descriptor that holds the lock; None where there are no locks."""
    while True:
        held = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
            # who held it before has removed its file: a lock on no name keeps nobody out
            if _same(held, file):
                return held
        except BlockingIOError:
            os.close(held)
            raise InputError(str(busy)) from None
        except OSError as error:
            os.close(held)
            if error.errno not in _NONE:
                raise
            with suppress(OSError):
                file.unlink()
            return None
        except BaseException:  # Ctrl-C while it waits
            os.close(held)
            raise
        os.close(held)


def _same(descriptor: int, file: Path) -> bool:
    try:
        there = file.stat()
    except FileNotFoundError:
        return False
    own = os.fstat(descriptor)
    return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)
