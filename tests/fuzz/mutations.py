"""Damage: one file of bytes to another, by a kind and a seed."""

from __future__ import annotations

import random
from collections.abc import Callable

NUMBERS = (b"9999999999999", b"-1", b"nan", b"1e999", b"0", b"inf", b'"x"', b"null", b"[]", b"")


def bit(b: bytearray, at: int, rng: random.Random) -> None:
    b[at] ^= 1 << rng.randrange(8)


def byte(b: bytearray, at: int, rng: random.Random) -> None:
    b[at] = rng.randrange(256)


def several(b: bytearray, at: int, rng: random.Random) -> None:
    for _ in range(rng.randint(2, 16)):
        b[rng.randrange(len(b))] = rng.randrange(256)


def truncate(b: bytearray, at: int, rng: random.Random) -> None:
    del b[at:]


def insert(b: bytearray, at: int, rng: random.Random) -> None:
    b[at:at] = rng.randbytes(rng.randint(1, 8))


def delete(b: bytearray, at: int, rng: random.Random) -> None:
    del b[at : at + rng.randint(1, 8)]


def zero(b: bytearray, at: int, rng: random.Random) -> None:
    n = len(b[at : at + rng.randint(1, 64)])
    b[at : at + n] = bytes(n)


def ones(b: bytearray, at: int, rng: random.Random) -> None:
    n = len(b[at : at + rng.randint(1, 16)])
    b[at : at + n] = b"\xff" * n


def double(b: bytearray, at: int, rng: random.Random) -> None:
    b[at:at] = b[at : at + rng.randint(1, 64)]


def swap(b: bytearray, at: int, rng: random.Random) -> None:
    other = rng.randrange(len(b))
    b[at], b[other] = b[other], b[at]


def number(b: bytearray, at: int, rng: random.Random) -> None:
    """A digit near by becomes another word; of a file without digits a byte is turned round."""
    near = [i for i in range(max(0, at - 500), min(len(b), at + 500)) if 48 <= b[i] <= 57]
    if near:
        at = rng.choice(near)
        b[at : at + 1] = rng.choice(NUMBERS)
    else:
        b[at] ^= 255


KINDS: dict[str, Callable[[bytearray, int, random.Random], None]] = {
    f.__name__: f
    for f in (bit, byte, several, truncate, insert, delete, zero, ones, double, swap, number)
}


def damaged(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Other bytes, and the kind of damage."""
    kind = rng.choice(list(KINDS))
    out = bytearray(data)
    if out:
        KINDS[kind](out, rng.randrange(len(out)), rng)
    return bytes(out), kind
