"""Files and folders that are whole or not there, and never take the place of what is not ours.

Every output of smalti goes this way: it is written beside its place under a hidden name, brought to
the disk, and renamed. Whatever stops the process, under the name is what was there or what is new,
whole; after a loss of power too, where the disk keeps what it says it keeps.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from smalti.errors import InputError
from smalti.system.lock import lock

# what a disk or its owner may refuse: nothing that a mend of the code would change
_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
           errno.EIO, errno.ENAMETOOLONG, errno.EBUSY, errno.ENOTDIR}  # fmt: skip


def check_free(
    path: str | Path,
    *,
    overwrite: bool = False,
    ours: Callable[[Path], bool] | None = None,
    inputs: Sequence[str | Path] = (),
) -> None:
    """Refuse an output that would take the place of something; ask before long work.

    Parameters
    ----------
    path
        A file or a folder that is to be written.
    overwrite
        Whether the user said that what is there may go.
    ours
        Whether what is there was written as this is, so that it may be replaced unasked.
    inputs
        What is read: never to be replaced.

    Raises
    ------
    InputError
        If it is there already, is read too, or is no file or folder (a device, a pipe).
    """
    path = recovered(path)
    real = Path(os.path.realpath(path))
    # a folder that is not there yet too: a cache inside of it would be in its way at the end
    if any(is_same(path, p) or real in Path(os.path.realpath(p)).parents for p in inputs):
        raise InputError(
            f"{path} is read, or holds what is read, so it cannot be the output: name another one."
        )
    if not path.exists():
        return
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is a device or a pipe: give the name of a file.")
    if overwrite or (path.is_dir() and not any(path.iterdir())) or (ours and ours(path)):
        return
    if path.is_file():
        raise InputError(
            f"{path} is there already: name another file, or replace it, overwrite=True."
        )
    names = sorted(p.name for p in path.iterdir())
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    raise InputError(
        f"{path} is a folder with other files in it ({', '.join(names[:2])}{more}): name a new "
        "folder, or remove all that is there, overwrite=True."
    )


def is_same(a: str | Path, b: str | Path) -> bool:
    """Whether two names are of one file or folder that is there."""
    return os.path.exists(a) and os.path.exists(b) and os.path.samefile(a, b)


@contextmanager
def atomic_write(
    path: str | Path,
    *,
    overwrite: bool = False,
    ours: Callable[[Path], bool] | None = None,
    durable: bool = True,
) -> Iterator[Path]:
    """Yield a temporary file name beside ``path``; on success it takes the place of ``path``.

    Other processes that write the same path wait. A link is followed; owner and mode of a file that
    is replaced stay.

    Parameters
    ----------
    path, overwrite, ours
        See :func:`check_free`.
    durable
        Wait until the disk has it. Without, a loss of power may leave a damaged file: for what has
        a digest and can be made again.

    Raises
    ------
    InputError
        If something else is there, or it cannot be written: the disk is full, the folder closed.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file.")
    check_free(path, overwrite=overwrite, ours=ours)
    target = Path(os.path.realpath(path))  # the file that a link names, there or not yet
    with _faults(path), _trial(target) as trial:
        mode = _usual_mode(trial)
        yield trial
        _keep_owner(trial, target, mode)
        if durable:
            _sync(trial)
        os.replace(trial, target)
        if durable:
            _sync(target.parent)


@contextmanager
def atomic_folder(
    path: str | Path,
    *,
    overwrite: bool = False,
    ours: Callable[[Path], bool] | None = None,
) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``; on success it takes the place of ``path``.

    Parameters
    ----------
    path, overwrite, ours
        See :func:`check_free`.

    Raises
    ------
    InputError
        If ``path`` is a file or holds other things, or it cannot be written: the disk is full, the
        parent closed.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: give the name of a folder.")
    check_free(path, overwrite=overwrite, ours=ours)
    target = Path(os.path.realpath(path))
    with _faults(path), _trial(target) as trial:
        trial.mkdir()
        yield trial
        if target.exists():
            _keep_owner(trial, target, stat.S_IMODE(target.stat().st_mode))
        _sync_all(trial)
        _swap(trial, target)
        _sync(target.parent)


def recovered(path: str | Path) -> Path:
    """The path, after what a killed writer has moved away is back in its place.

    Needed only where the system cannot exchange two folders at once: for readers of folders.
    """
    path = Path(path)
    old = _beside(path, "old")
    if not path.exists() and old.exists():
        with lock(path):
            if not path.exists() and old.exists():
                os.replace(old, path)
    return path


# ---------------------------------------------------------------- beside the place


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}")


@contextmanager
def _trial(target: Path) -> Iterator[Path]:
    """A free name beside the target, which is locked; what a killed writer left there is gone."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file where a folder should be
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)
        ) from error
    with lock(target) as alone:
        # who is alone needs one name, and finds under it what was left by one that was killed
        part = _beside(target, "part" if alone else f"{uuid.uuid4().hex[:8]}.part")
        try:
            _remove(part)
            if alone and target.exists():
                _remove(_beside(target, "old"))
            yield part
        finally:
            _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _usual_mode(trial: Path) -> int:
    """What a new file may be read by, as the umask says; libraries have a mind of their own."""
    trial.touch(exist_ok=False)
    mode = stat.S_IMODE(trial.stat().st_mode)
    trial.unlink()  # some libraries refuse a file that is there
    return mode


def _keep_owner(trial: Path, target: Path, mode: int) -> None:
    if target.exists():
        there = target.stat()
        mode = stat.S_IMODE(there.st_mode)
        if hasattr(os, "chown"):
            with suppress(PermissionError):  # only root may give files away
                os.chown(trial, there.st_uid, there.st_gid)
    trial.chmod(mode)


# ---------------------------------------------------------------- to the disk


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a folder, where the file system cannot
            raise
    finally:
        os.close(descriptor)


def _sync_all(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            file = Path(root, name)
            if file.is_file() and file.stat().st_nlink == 1:  # else it is on the disk: a hard link
                _sync(file)
        _sync(Path(root))


def _swap(trial: Path, target: Path) -> None:
    """Put the trial in the place of the target; what was there goes."""
    if not target.exists():
        os.replace(trial, target)
    elif _exchange(trial, target):
        shutil.rmtree(trial)
    else:  # between the two a killed process leaves nothing under the name: see recovered
        old = _beside(target, "old")
        os.replace(target, old)
        os.replace(trial, target)
        shutil.rmtree(old)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    try:
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return system.renamex_np(os.fsencode(a), os.fsencode(b), 2) == 0  # RENAME_SWAP
        here = -100  # AT_FDCWD, which absolute paths do not need
        return (
            system.renameat2(here, os.fsencode(a), here, os.fsencode(b), 2) == 0
        )  # RENAME_EXCHANGE
    except (OSError, AttributeError, TypeError):  # another system, or an old one
        return False


# ---------------------------------------------------------------- what a disk refuses


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Faults of the disk in one sentence; all others are left as they are."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 raises either
        reason = _reason(error, path)
        if reason is None:
            raise
        kept = "; what is there is as it was" if path.exists() else ""
        raise InputError(
            f"cannot write {path} ({reason}): make room or choose another place{kept}."
        ) from error


def _reason(error: Exception, path: Path) -> str | None:
    """What the system says of a fault of the disk; None for other errors."""
    if isinstance(error, OSError) and error.errno in _FAULTS:
        named = Path(os.path.realpath(error.filename or path))
        above = Path(os.path.realpath(path)).parent
        # of what is written, its folder, or one above it that cannot be made; not of what is read
        mine = above in named.parents or named == above or named in above.parents
        return os.strerror(error.errno) if mine else None
    said = str(error)
    return next((os.strerror(n) for n in _FAULTS if os.strerror(n) in said), None)
