"""Damaged files through the readers: ``python tests/fuzz 30000 [FORMAT ...]``, on two cores."""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from formats import TARGETS
from harness import Case, faults, run, table


def one(name: str, n: int) -> list[Case]:
    """All files of a format."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        return run(name, TARGETS[name], range(n), Path(work))


def main() -> int:
    """Print the counts, and a case of each fault; 1 where there are any."""
    names = sys.argv[2:] or list(TARGETS)
    n = -(-int(sys.argv[1]) // len(names))
    # forked, so that each has the imports; a worker is left after one format, for its memory
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        found = dict(zip(names, pool.map(one, names, [n] * len(names)), strict=True))
    bad = {name: faults(TARGETS[name], cases) for name, cases in found.items()}
    for name, cases in bad.items():
        first = {(c.outcome, c.detail[:60]): c for c in reversed(cases)}
        for case in first.values():
            print(name, json.dumps(case.__dict__))
    print(table(found))
    return int(any(bad.values()))


if __name__ == "__main__":
    sys.exit(main())
