"""Arrays in memory that worker processes map: however many they are, the numbers are there once."""

from __future__ import annotations

import os
import weakref

import numpy as np


def shared(values: np.ndarray) -> np.ndarray:
    """The same numbers, of any shape, in memory that workers of :func:`run_queue` map.

    A plain array, whose memory goes when the last of it does, however the process ends: it is a
    file without a name. joblib, which sends it, finds the file behind it and writes none of its
    own; workers may not write into it. Where the system has no such files, the array is in one
    already or is no one run of numbers, it is given back as it is.
    """
    if not hasattr(os, "memfd_create") or not values.flags.c_contiguous or _in_file(values):
        return values
    try:
        file = os.memfd_create("smalti", os.MFD_CLOEXEC)
    except OSError:
        return values
    path = f"/proc/{os.getpid()}/fd/{file}"
    try:
        with open(file, "wb", closefd=False) as out:
            values.tofile(out)
        there = np.memmap(path, values.dtype, mode="r+", shape=values.shape)
    except OSError:  # no room for a second copy, or no such folder
        os.close(file)
        return values
    there.mode = "r"  # as workers open it
    weakref.finalize(there, os.close, file)
    return there.view(np.ndarray)


def _in_file(values: np.ndarray) -> bool:
    under: object = values
    while isinstance(under, np.ndarray) and not isinstance(under, np.memmap):
        under = under.base
    return isinstance(under, np.memmap)
