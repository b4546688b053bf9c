"""Memory of a comparison on worker processes, as a multiple of the cohort.

    python benchmarks/workers.py                    # 1, 2 and 4 workers
    python benchmarks/workers.py --cells 1000000 --width 200 --workers 2
    python benchmarks/workers.py --epochs 20 --preprocess scale    # what the steps cost each epoch

A simulated cohort in memory; a comparison of ABMIL (one epoch) and bag mean in as many worker
processes as said. All processes of it are looked at ten times a second: proportional set size (PSS,
pages that several share are counted once), which the system keeps; of the process alone before the
comparison begins, and the most of all together after. Seconds of the processor are those of all of
them, as last seen of each.
"""

import argparse
import os
import threading
import time
from pathlib import Path

import numpy as np


def pss(pids):
    """Proportional set size of processes, GiB."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # it has ended
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
    return total / 2**20


def family(pid):
    """A process and all that it started."""
    own = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            own += family(int(path.parent.name))
    return own


def spent(pid):
    """Seconds of the processor of a process; none where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watch(threading.Thread):
    """The most that a process and its children take, and the seconds of each, while it runs."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.ended = pid, 0.0, threading.Event()
        self.begun = {own: spent(own) or 0.0 for own in family(pid)}  # workers may be older
        self.last = dict(self.begun)

    def run(self):
        """Look ten times a second."""
        while not self.ended.wait(0.1):
            pids = family(self.pid)
            self.most = max(self.most, pss(pids))
            seen = {pid: spent(pid) for pid in pids}
            self.last |= {pid: seconds for pid, seconds in seen.items() if seconds is not None}

    def seconds(self):
        """Of the processor, of all."""
        return sum(self.last.values()) - sum(self.begun.values())


def cohort(n, width, bags=100):
    """Cells of as many donors, float32."""
    import smalti as sm

    rng = np.random.default_rng(0)
    ids = np.sort(rng.integers(bags, size=n))
    x = rng.standard_normal((n, width), dtype=np.float32)
    x[:, 0] += 0.2 * (ids % 2)
    return sm.Bags.from_rows(x, ids, y=ids % 2, donor=ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--preprocess")
    args = parser.parse_args()
    import smalti as sm
    from smalti.mil import ABMIL, BagMean

    bags = cohort(args.cells, args.width)
    size = bags.x["x"].nbytes / 2**30
    print(f"cohort: {size:.3f} GiB")
    print("| workers | before, GiB | most, GiB | less before, in cohorts | clock, s | CPU, s |")
    print("|---" * 6 + "|")
    steps = args.preprocess
    methods = [ABMIL(epochs=args.epochs, widths=(32,), preprocess=steps), BagMean(preprocess=steps)]
    for workers in args.workers:
        before, watch, began = pss([os.getpid()]), Watch(os.getpid()), time.perf_counter()
        watch.start()
        sm.compare(methods, bags, folds=args.folds, n_jobs=workers, progress=False)
        clock = time.perf_counter() - began
        watch.ended.set()
        watch.join()
        taken = (watch.most - before) / size
        print(f"| {workers} | {before:.2f} | {watch.most:.2f} | {taken:.2f} | "
              f"{clock:.0f} | {watch.seconds():.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
