"""What is read of a user's files: plain files, of a sane size, and one error for all damage."""

from __future__ import annotations

import codecs
import gzip
import json
import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smalti.errors import InputError

# what libraries raise where a file is damaged; to be caught around their calls, not around ours
DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    RuntimeError, AssertionError, SyntaxError, Warning, struct.error, zlib.error,
    zipfile.BadZipFile, tokenize.TokenError,
)  # fmt: skip
ALWAYS = 2**26  # bytes that a file of any size may unpack to
RATIO = 250  # and for each byte of it; tables of zeros come to some tens
_BLOCK = 2**20


def plain_file(path: str | Path) -> Path:
    """A path, if a file with an end is there.

    Raises
    ------
    InputError
        If nothing is there, or a folder, a pipe, a device or a socket, or it is empty.
    """
    path = Path(path)
    try:
        there = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, FileNotFoundError):
            raise InputError(f"no file {path}: check the path.") from error
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be opened ({why}): check the path.") from error
    if stat.S_ISDIR(there.st_mode):
        raise InputError(f"{path} is a folder: give the name of a file.")
    if not stat.S_ISREG(there.st_mode):
        raise InputError(f"{path} is a pipe, device or socket: copy what it gives into a file.")
    if not there.st_size:
        raise InputError(f"{path} is cut short or damaged (it is empty): copy it again.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read: change its permissions.")
    return path


@contextmanager
def reading(path: str | Path, place: str = "", mend: str = "copy or download it again") \
        -> Iterator[None]:  # fmt: skip
    """Around a library's reading of a file: whatever it dies of is one error.

    Parameters
    ----------
    path
        The file.
    place
        What is read of it: a group, a key, a column.
    mend
        What to do.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise too_large(path, place) from error
    except DAMAGE as error:
        text = str(error).strip()
        detail = f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else \
            type(error).__name__  # fmt: skip
        at = f" at {place}" if place else ""
        raise InputError(f"{path} is cut short or damaged{at} ({detail}): {mend}.") \
            from error  # fmt: skip


def too_large(path: str | Path, place: str = "") -> InputError:
    """The error of what there is no memory for, though its sizes looked sane."""
    at = f" at {place}" if place else ""
    return InputError(f"{path}{at} takes more memory than there is: it is damaged, or too large "
                      "for this machine.")  # fmt: skip


@contextmanager
def about(source: Any) -> Iterator[None]:
    """Around checks of what was read: their errors name the file, where ``source`` is one.

    Raises
    ------
    InputError
        That of the check.
    """
    try:
        yield
    except InputError as error:
        if not isinstance(source, (str, Path)) or str(source) in str(error):
            raise
        raise InputError(f"{source}: {error}") from error


def checked_size(declared: float, stored: float, where: str, ratio: float = RATIO) -> None:
    """Refuse what would be far larger in memory than the file can hold.

    Parameters
    ----------
    declared
        Bytes that it says to be.
    stored
        Bytes that it takes in the file.
    where
        File and place, for the error.
    ratio
        Bytes that one byte of the file can stand for.

    Raises
    ------
    InputError
        If it says to be more than 64 MiB, and more than ``ratio`` times what is stored.
    """
    if declared > max(ALWAYS, ratio * stored):
        raise InputError(
            f"{where} says to be {declared / 2**30:,.3g} GiB, of which the file stores "
            f"{stored / 2**20:.3g} MiB: it is damaged, copy or download it again."
        )


def is_gzip(path: Path) -> bool:
    """Whether a file is a gzip, whatever it is called."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def blocks(path: Path) -> Iterator[bytes]:
    """The content of a file, unpacked where it is a gzip, in blocks.

    Raises
    ------
    InputError
        If it cannot be read, or unpacks to far more than a table does.
    """
    size, read = plain_file(path).stat().st_size, 0
    with reading(path), path.open("rb") as raw:
        packed = is_gzip(path)
        stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        while block := stream.read(_BLOCK):
            read += len(block)
            if packed:
                checked_size(read, size, str(path))
            yield block


def check_text(path: str | Path, fields: str = "", most: int = 10**6) -> None:
    """Refuse a file that is no text.

    Parameters
    ----------
    path
        The file, which may be a gzip.
    fields
        What stands between two fields of a line; "" counts none.
    most
        Fields of the first line, at most.

    Raises
    ------
    InputError
        If it cannot be read, holds a NUL, is not UTF-8 or has too many columns; with the line.
    """
    path = Path(path)
    decoder, line, first = codecs.getincrementaldecoder("utf-8")(), 1, 0
    for block in blocks(path):
        if b"\0" in block:
            at = line + block[: block.index(b"\0")].count(b"\n")
            raise InputError(f"{path}, line {at}: a NUL, so it is no text in UTF-8, or damaged: "
                             "copy it again, or save it as UTF-8.")  # fmt: skip
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            at = line + block[: error.start].count(b"\n")
            raise InputError(f"{path}, line {at}: no text in UTF-8 ({error.reason}): save it as "
                             "UTF-8.") from error  # fmt: skip
        if fields and line == 1:
            first += block.partition(b"\n")[0].count(fields.encode())
            if first >= most:
                raise InputError(f"{path}, line 1: {first + 1:,} columns or more, expected under "
                                 f"{most:,}: it is no such table.")  # fmt: skip
        line += block.count(b"\n")
    if decoder.getstate()[0]:
        raise InputError(f"{path}, line {line}: no text in UTF-8 (it ends within a letter): copy "
                         "it again.")  # fmt: skip


def read_json(path: str | Path) -> Any:
    """What a .json file holds, which may be a gzip.

    Raises
    ------
    InputError
        If it cannot be read, is no JSON, or holds NaN, which JSON does not know.
    """
    check_text(path)
    with reading(path, mend="mend the JSON, or copy it again"):
        text = b"".join(blocks(Path(path))).decode("utf-8-sig")
        return json.loads(text, parse_constant=_no_number)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def n_bytes(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of an array, without overflow."""
    return math.prod(int(n) for n in shape) * int(itemsize)
