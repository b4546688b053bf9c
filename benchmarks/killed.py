"""Real comparisons that are killed, shared and spread over a scheduler end in the same tables.

    SMALTI_DATA=... python benchmarks/killed.py --set covid
    SMALTI_DATA=... python benchmarks/killed.py --set kidney --part killed shared dask

killed: ``smalti compare`` is killed (SIGKILL, with its workers) three times at random moments and
run again until it ends. shared: two processes on one folder of fits. dask: a scheduler and two
workers on this machine, one of which is killed. Each is compared with a run that nobody disturbed:
the tables but for the seconds, and how many fits were made in all.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

SETS = {  # file, how it is read; cheap methods, and baselines beside them
    "covid": ["covid_gloscope_pca.h5ad", "--sample", "patient", "--donor", "patient", "--label",
              "phenotype", "--positive", "Healthy", "--x", "X", "--folds", "4", "--repeats", "2",
              "--methods", "abmil", "--epochs", "3"],
    "kidney": ["kidney_igan_glomeruli.h5ad", "--sample", "sampleID", "--donor", "sampleID",
               "--label", "status", "--order", "<30,30-60,>60", "--preprocess", "scale",
               "--methods", "abmil", "--epochs", "2"],
}  # fmt: skip
KILLS = 3


class Run:
    """One ``smalti compare``, in a process group of its own."""

    def __init__(self, name: str, out: Path, cache: Path, *more: str) -> None:
        file, *asked = SETS[name]
        data = Path(os.environ["SMALTI_DATA"]) / "cohorts" / file
        words = ["compare", str(data), *asked, "--out", str(out), "--cache", str(cache), *more]
        self.log = out.with_suffix(f".{time.time_ns()}.log")
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "smalti.cli", *words]
            self.process = subprocess.Popen(command, stdout=log, stderr=log,
                                            start_new_session=True)  # fmt: skip
        self.began = time.monotonic()

    def end(self) -> float:
        """Wait for it; seconds that it took."""
        if self.process.wait():
            raise SystemExit(self.log.read_text()[-3000:])
        return time.monotonic() - self.began

    def kill(self) -> None:
        """Without a warning, its workers too."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def made(self) -> list[str]:
        """Fits that it made, by what it said of each."""
        return re.findall(r"(\S.*, repeat \d+, fold \d+): [\d.]+ s$", self.log.read_text(), re.M)


def same(one: Path, two: Path) -> str:
    """Whether two folders hold the same tables, but for the seconds."""
    for file in ("folds.csv", "predictions.csv"):
        a, b = (pd.read_csv(folder / file).drop(columns="seconds", errors="ignore")
                for folder in (one, two))  # fmt: skip
        pd.testing.assert_frame_equal(a, b, rtol=0, atol=0)
    return "equal to the last digit"


def fits(cache: Path) -> int:
    """Answers that a folder keeps."""
    return sum(p.is_file() and p.suffix == ".safetensors" for p in cache.rglob("[!.]*"))


def killed(name: str, work: Path, whole: Path, n_fits: int) -> str:
    """Three kills, then to the end."""
    rng, cache, out, told, made = np.random.default_rng(0), work / "c1", work / "killed", [], []
    for k in range(KILLS):
        run = Run(name, out, cache)
        least = rng.integers((k + 0.2) * n_fits / KILLS, (k + 0.9) * n_fits / KILLS)
        while fits(cache) < least and run.process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1))
        if run.process.poll() is not None:
            raise SystemExit("it ended before it was killed")
        run.kill()
        made += run.made()
        told.append(str(fits(cache)))
    last = Run(name, out, cache)
    last.end()
    made += last.made()
    return (
        f"killed when {', '.join(told)} of {n_fits} fits were kept; then to the end: "
        f"{same(whole, out)}; {fits(cache)} fits kept, {len(made)} made, {len(set(made))} of them "
        "different"
    )


def shared(name: str, work: Path, whole: Path, n_fits: int) -> str:
    """Two processes on one folder."""
    cache = work / "c2"
    runs = [Run(name, work / f"shared{i}", cache) for i in range(2)]
    for run in runs:
        run.end()
    made = [run.made() for run in runs]
    said = {same(whole, work / f"shared{i}") for i in range(2)}
    twice = set(made[0]) & set(made[1])
    return (
        f"two processes made {len(made[0])} and {len(made[1])} fits, {len(twice)} of them both; "
        f"{fits(cache)} fits kept; both {said.pop()}"
    )


def dask(name: str, work: Path, whole: Path, n_fits: int) -> str:
    """A scheduler and two workers on this machine, one of them killed."""
    file, log = work / "scheduler.json", (work / "dask.log").open("w")

    def start(module: str, *args: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", f"distributed.cli.{module}", "--host",
                                 "127.0.0.1", "--scheduler-file", str(file), *args],
                                stdout=log, stderr=log, cwd=work)  # fmt: skip

    group = [start("dask_scheduler", "--port", "0", "--no-dashboard")]
    group += [start("dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard",
                    "--local-directory", str(work)) for _ in range(2)]  # fmt: skip
    try:
        while not file.exists():
            time.sleep(0.1)
        address, cache = pd.read_json(file, typ="series")["address"], work / "c3"
        run = Run(name, work / "dask", cache, "--scheduler", address)
        while fits(cache) < 5 and run.process.poll() is None:
            time.sleep(0.1)
        before = fits(cache)
        group[1].kill()
        run.end()
        return (f"a worker killed after {before} fits: {same(whole, work / 'dask')}; "
                f"{fits(cache)} fits kept, {len(run.made())} said to be made")  # fmt: skip
    finally:
        for process in group:
            process.kill()
            process.wait()
        log.close()


def main() -> None:
    parts = {f.__name__: f for f in (killed, shared, dask)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=[*SETS], required=True)
    parser.add_argument("--part", nargs="*", choices=[*parts], default=[*parts])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run = Run(args.set, work / "whole", work / "c0")
        seconds = run.end()
        print(f"{args.set}: undisturbed {seconds:.0f} s, {fits(work / 'c0')} fits kept, "
              f"{len(run.made())} made", flush=True)  # fmt: skip
        for part in args.part:
            print(
                f"{part}: {parts[part](args.set, work, work / 'whole', fits(work / 'c0'))}",
                flush=True,
            )


if __name__ == "__main__":
    main()
