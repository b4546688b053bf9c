"""What a short command costs beside the import of PyTorch and AnnData, which it cannot do without.

    OMP_NUM_THREADS=1 python benchmarks/startup.py --rounds 9

A cohort of 40 samples with 2,000 cells in a file. The commands take turns, each in a process of its
own. CPU seconds and the greatest resident memory are those that the operating system counted for
the process and its children; the ratio is to the import in the same round. Medians, and ranges.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CELLS = ("cells.h5ad", "--sample", "sample")
SMALTI = ("-m", "smalti.cli")
FLOOR = "import torch, anndata"
# what is run, in this order in each round, and the greatest ratio that is asked of it
COMMANDS: dict[str, tuple[tuple[str, ...], float | None]] = {
    FLOOR: (("-c", FLOOR), None),
    "smalti --help": ((*SMALTI, "--help"), None),
    "sm.read": (("-c", "import smalti as sm; sm.read('cells.h5ad', sample='sample')"), None),
    "smalti fit --epochs 1": ((*SMALTI, "fit", "abmil", *CELLS, "--label", "state", "--epochs",
                               "1", "--out", "model", "--overwrite"), 1.6),
    "smalti predict": ((*SMALTI, "predict", "model", "cells.h5ad", "--out", "out.csv",
                        "--overwrite"), 1.35),
    "smalti compare, 2 folds": ((*SMALTI, "compare", *CELLS, "--label", "state", "--methods",
                                 "abmil", "--epochs", "1", "--folds", "2", "--repeats", "1",
                                 "--jobs", "1", "--donor", "bag", "--out", "compared",
                                 "--overwrite"), None),
}  # fmt: skip
MEMORY = 100.0  # MiB above the import, at most, where a ratio is asked


def write_cells(folder: Path, n: int = 2000, samples: int = 40) -> None:
    import anndata
    import pandas as pd

    rng = np.random.default_rng(0)
    of = rng.integers(0, samples, n)
    x = rng.standard_normal((n, 20)).astype(np.float32)
    x[:, :3] += (of % 2)[:, None]
    obs = pd.DataFrame({"sample": [f"s{i}" for i in of],
                        "state": np.array(["well", "ill"])[of % 2]},
                       index=[f"c{i}" for i in range(n)])  # fmt: skip
    anndata.AnnData(x, obs=obs).write_h5ad(folder / "cells.h5ad")


def cost(command: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """CPU seconds and MiB at the peak of a process."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit((folder / "log").read_text()[-3000:])
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def spread(values: np.ndarray, form: str) -> str:
    return f"{np.median(values):{form}} ({values.min():{form}} to {values.max():{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=list(COMMANDS)[1:], help="of the commands")
    args = parser.parse_args()
    names = [FLOOR, *args.only]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # what a process that begins another has in memory is counted of that one too
        writes = multiprocessing.get_context("spawn").Process(target=write_cells, args=[folder])
        writes.start()
        writes.join()
        for n in names:  # once, so that byte code and files are there
            cost(COMMANDS[n][0], folder)
        rounds = [[cost(COMMANDS[n][0], folder) for n in names] for _ in range(args.rounds)]
    seconds, memory = np.moveaxis(np.array(rounds), 2, 0)  # (rounds, commands) each
    print("| command | CPU s | times the import | at most | MiB | above the import |")
    print("|---|---|---|---|---|---|")
    for i, n in enumerate(names):
        ratio, most = seconds[:, i] / seconds[:, 0], COMMANDS[n][1]
        above = np.median(memory[:, i] - memory[:, 0])
        print(f"| `{n}` | {spread(seconds[:, i], '.2f')} | {spread(ratio, '.2f')} | "
              f"{most or ''} | {np.median(memory[:, i]):.0f} | {above:.0f} |")  # fmt: skip
        if most is not None:
            fast, small = ("met" if m else "MISSED"
                           for m in (np.median(ratio) <= most, above <= MEMORY))  # fmt: skip
            print(f"  {n}: ratio {fast}, memory (at most {MEMORY:.0f}) {small}", file=sys.stderr)


if __name__ == "__main__":
    main()
