r"""Time and memory of integration: fit and embed, on simulated RNA and protein counts.

    python benchmarks/integration.py --cells 8000 30000 --out integration.csv
    python benchmarks/integration.py --cells 30000 --methods umint:fast umint totalvi \
        --faithful-epochs 3 --totalvi-epochs 20     # the slow ones from some of their epochs
    python benchmarks/integration.py --growth       # umint:fast, block_pca up to 300,000 cells

2,000 genes, sparse as CSR (about 8 % not zero), and 25 proteins, 8 known clusters. All methods at
their defaults, on the CPU. Each runs in a process of its own, one after another, and first on 300
cells, so that libraries are loaded; "held" is what the process has in memory then, with the data,
and "peak" the most it has in fit and embed. Each is timed once: ratios compare methods only as far
as the machine was as busy during one as during another. Wants Linux, for memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

METHODS = ("umint:fast", "umint", "ae:fast", "ae", "dae:fast", "sae:fast", "block_pca", "mofa",
           "wnn", "totalvi")  # fmt: skip
BASE = "umint:fast"  # ratios are to this one
GROWTH = ("umint:fast", "block_pca")
GENES, PROTEINS, CLUSTERS = 2000, 25, 8
MEMORY_GOAL = 6.0  # GiB in all
BLOCK = 4096  # cells simulated at a time
RUN = time.strftime("%Y-%m-%dT%H:%M:%S")  # rows of one run, in the CSV

# -------------------------------------------------------------------- in the child


def memory() -> tuple[float, float]:
    """GiB of this process now, and the most so far."""
    try:
        status = Path("/proc/self/status").read_text()
        found = dict(line.split(":", 1) for line in status.splitlines())
        return tuple(int(found[k].split()[0]) / 2**20 for k in ("VmRSS", "VmHWM"))
    except (OSError, KeyError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return most, most


def forget_peak() -> None:
    """Count the most from now on: simulating may have held more than its result."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # freed memory back, or fits would reuse it
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # then the peak of simulating counts, a few hundred MB
        Path("/proc/self/clear_refs").write_text("5")


def cells(n: int, seed: int = 0):
    """Poisson counts of cells of 8 kinds, simulated in blocks."""
    import smalti as sm

    law, rng = np.random.default_rng(0), np.random.default_rng([seed, 1])
    fold = np.where(law.random((CLUSTERS, GENES)) < 0.03, 4.0, 1.0)  # markers
    rate = (law.lognormal(-3.23, 1.3, GENES) * fold).astype(np.float32)
    surface = 5 + np.where(law.random((CLUSTERS, PROTEINS)) < 0.3, 60.0, 0.0)
    kind = rng.integers(CLUSTERS, size=n)
    depth = rng.lognormal(0, 0.3, n).astype(np.float32)
    columns, values, ends = [], [], [np.zeros(1, dtype=np.int64)]
    for start in range(0, n, BLOCK):
        some = slice(start, min(start + BLOCK, n))
        mean = rate[kind[some]] * depth[some, None]
        # waiting times for the first event: where it comes, the rest is Poisson again
        draw = rng.random(mean.shape, dtype=np.float32)
        first = draw < -np.expm1(-mean)
        left = mean[first] + np.log1p(-draw[first])
        values.append(1 + rng.poisson(np.maximum(left, 0)).astype(np.float32))
        columns.append(np.nonzero(first)[1].astype(np.int32))
        ends.append(ends[-1][-1] + first.sum(1).cumsum())
    parts = (np.concatenate(values), np.concatenate(columns), np.concatenate(ends))
    rna = sp.csr_matrix((parts[0], parts[1], parts[2].astype(np.int32)), shape=(n, GENES))
    protein = rng.poisson(surface[kind] * depth[:, None]).astype(np.float32)
    types = pd.DataFrame({"cell_type": pd.Categorical.from_codes(
        kind, [f"T{i}" for i in range(CLUSTERS)])})  # fmt: skip
    return sm.Bags.from_rows(
        {"rna": rna, "protein": protein}, np.arange(n) * 10 // n, instance=types,
        features={"rna": [f"G{i}" for i in range(GENES)],
                  "protein": [f"P{i}" for i in range(PROTEINS)]},
    )  # fmt: skip


class Log:
    """Events as lines of JSON, read by the parent, also after the child was killed."""

    def __init__(self, path: str) -> None:
        self.file = Path(path).open("a")  # noqa: SIM115
        self.began = time.perf_counter()

    def __call__(self, what: str, **values: object) -> None:
        now = time.perf_counter() - self.began
        line = {"what": what, "at": now, "peak": memory()[1]} | values
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


def clock_epochs(log: Log, name: str) -> None:
    """Log the end of each epoch: of smalti's own loop, and of scvi-tools'."""
    from smalti.core import estimator

    class Clock(estimator.Progress):
        epochs = 0

        def start(self, name: str, total: int) -> None:
            self.epochs = total if name == "train" else 0
            if self.epochs:
                log("train", total=total)

        def advance(self, *_: object, **__: object) -> None:
            if self.epochs:
                log("epoch")

    estimator.Progress = Clock
    if name.startswith("totalvi"):
        import scvi
        from lightning.pytorch.callbacks import Callback

        class Ends(Callback):
            def on_train_start(self, trainer, *_: object) -> None:
                log("train", total=trainer.max_epochs)

            def on_train_epoch_end(self, *_: object) -> None:
                log("epoch")

        plain = scvi.model.TOTALVI.train
        scvi.model.TOTALVI.train = lambda self, *args, **kwargs: plain(
            self, *args, callbacks=[Ends()], **kwargs)  # fmt: skip


def fit_one(path: str, name: str, n: int, epochs: int | None) -> None:
    """Fit and embed, the whole or some epochs of it."""
    import smalti as sm

    warnings.simplefilter("ignore")
    small = sm.make(name, accelerator="cpu", progress=False)
    known = small.get_params()
    few = {"epochs": 1, "iterations": 10}
    small.set_params(**{k: v for k, v in few.items() if k in known}).fit_transform(cells(300))
    settings = {} if epochs is None else {"epochs": epochs}
    model, bags = sm.make(name, accelerator="cpu", progress=False, **settings), cells(n)
    forget_peak()
    log = Log(path)
    clock_epochs(log, name)
    rna = bags.x["rna"]
    log("ready", held=memory()[0], filled=rna.nnz / rna.shape[0] / rna.shape[1])
    log.began = time.perf_counter()
    model.fit(bags)
    log("fit")
    z = model.transform(bags)
    log("embed", width=z.shape[1])
    if epochs is None:
        from smalti.scores import cluster, cluster_scores

        truth = bags.instance["cell_type"].cat.codes.to_numpy()
        found = cluster(z, CLUSTERS)
        log("score", ari=cluster_scores(truth, found)["ari"])


# -------------------------------------------------------------------- in the parent


def apart(call: list, threads: int, limit: float, what: str) -> tuple[list[dict], str]:
    """Run a function of this file in a process of its own.

    Its events; and "" or why it did not end: "limit", or the last line of its error.
    """
    counts = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    env = os.environ | {f"{k}_NUM_THREADS": str(threads) for k in counts}
    with tempfile.TemporaryDirectory() as folder:
        path, errors = Path(folder) / "events", Path(folder) / "errors"
        path.touch()
        with errors.open("w") as err:
            child = subprocess.Popen(
                [sys.executable, __file__, "--call", json.dumps([call[0], str(path), *call[1:]])],
                stdout=subprocess.DEVNULL, stderr=err, env=env,
            )  # fmt: skip
        began = said = time.monotonic()
        ended = ""
        try:
            while child.poll() is None:
                time.sleep(0.2)
                now = time.monotonic()
                ready = path.stat().st_size > 0
                if not ready:
                    began = now  # the limit is of fit and embed, not of loading libraries
                if now - began > limit:
                    ended = "limit"
                    break
                if ready and now - said > 30:
                    done = sum(e["what"] == "epoch" for e in events(path))
                    epochs = f", {done} epochs" if done else ""
                    print(f"  {what}: {now - began:.0f} s so far{epochs}", flush=True)
                    said = now
            out = events(path)
            if ended:
                try:
                    status = Path(f"/proc/{child.pid}/status").read_text()
                    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
                    out.append({"what": "killed", "at": limit, "peak": peak})
                except (OSError, IndexError):
                    pass
        finally:
            child.kill()
            child.wait()
        if not ended and child.returncode < 0:
            ended = f"killed by signal {-child.returncode}"
        elif not ended and child.returncode:
            lines = errors.read_text().strip().splitlines()
            ended = (lines or [f"ended with {child.returncode}"])[-1][:150]
        return out, ended


def events(path: Path) -> list[dict]:
    """What a child has logged so far, whole lines only."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def measure(name: str, n: int, args: argparse.Namespace) -> dict:
    """One row: a method at a size."""
    asked = partial_epochs(name, args)
    out, ended = apart(["fit_one", name, n, asked], args.threads, args.limit, f"{name} {n:,}")
    row: dict = {"method": name, "cells": n, "threads": args.threads, "how": "measured"}
    by = {e["what"]: e for e in out}  # the last of each
    if "ready" not in by or ended not in ("", "limit"):
        return row | {"how": f"failed: {ended}"}
    held, peak = by["ready"]["held"], max(e["peak"] for e in out if e["what"] != "score")
    row |= {"held": held, "peak": peak, "above": peak - held, "filled": by["ready"]["filled"]}
    done = sum(e["what"] == "epoch" for e in out)
    total = by.get("train", {}).get("total", 0)
    if "embed" in by:
        fit = by["fit"]["at"]
        row |= {"fit": fit, "embed": by["embed"]["at"] - fit, "total": by["embed"]["at"]}
        row |= {"ari": by["score"]["ari"]} if "score" in by else {}
        if not done:
            return row
        row |= {"epochs": done}
        if asked is None:
            stopped = f", stopped by itself after {done} of {total} epochs"
            return row | ({"how": "measured" + stopped} if done < total else {})
        total = whole_epochs(name, n)
        if done >= total:
            return row
        # what comes before the first epoch and after the last one comes once
        more = (total - done) * seconds_an_epoch(out)
        row |= {"fit": fit + more, "total": row["total"] + more}
        return row | {"how": f"extrapolated from {done} of {total} epochs{at_most(name)}"}
    row |= {"how": f"over {args.limit:g} s"}
    if done >= 3 and total:  # the first epoch alone may be slow
        fit = by["train"]["at"] + total * seconds_an_epoch(out)
        row |= {"fit": fit, "total": fit, "epochs": done}
        row["how"] += f"; extrapolated from {done} of {total} epochs{at_most(name)}, without embed"
    return row


def seconds_an_epoch(out: list[dict]) -> float:
    """Mean of the epochs that were finished."""
    ends = [e["at"] for e in out if e["what"] == "epoch"]
    return (ends[-1] - next(e["at"] for e in out if e["what"] == "train")) / len(ends)


def partial_epochs(name: str, args: argparse.Namespace) -> int | None:
    """How many epochs to run, None: as many as there are."""
    if name.startswith("totalvi"):
        return args.totalvi_epochs
    return args.faithful_epochs if name in ("umint", "ae", "dae", "sae") else None


def whole_epochs(name: str, n: int) -> int:
    """How many epochs a fit has."""
    import smalti as sm

    given = sm.make(name).epochs
    return max(1, min(round(20_000 / n * 400), 400)) if given is None else given


def at_most(name: str) -> str:
    """A word on methods that may stop early."""
    return ", at most: it may stop earlier" if name.startswith("totalvi") else ""


def keep(path: Path | None, rows: list[dict]) -> None:
    """Write the rows of this run, as far as it is; those of other runs in the file stay."""
    if path is None:
        return
    before = pd.read_csv(path).to_dict("records") if path.exists() else []
    others = [r for r in before if r["run"] != RUN]
    fresh = path.with_suffix(".part")
    pd.DataFrame(others + [{"run": RUN} | r for r in rows]).to_csv(fresh, index=False)
    fresh.replace(path)


def number(row: dict, key: str, form: str) -> str:
    """A value of a row, or nothing."""
    value = row.get(key)
    return "" if value is None or np.isnan(value) else format(value, form)


def table(args: argparse.Namespace) -> None:
    """All methods at all sizes, with the ratio to umint:fast of the same run."""
    order = sorted(args.methods, key=lambda m: m != BASE)  # it first: ratios are to it
    rows = []
    for n in args.cells:
        print(f"{n:,} cells x ({GENES:,} genes + {PROTEINS} proteins)", flush=True)
        base = None
        for name in order:
            row = measure(name, n, args)
            if name == BASE:
                base = row.get("total")
            row["ratio"] = row["total"] / base if base and row.get("total") else None
            rows.append(row)
            keep(args.out, rows)
            print(f"  {name}: {number(row, 'total', ',.1f')} s, {row['how']}", flush=True)
    print(f"\n| cells | method | fit, s | embed, s | sum, s | times {BASE} | held, GiB "
          "| peak, GiB | above, GiB | ARI | how |")  # fmt: skip
    print("|---" * 11 + "|")
    for r in rows:
        values = [number(r, "fit", ",.2f"), number(r, "embed", ".2f"), number(r, "total", ",.2f"),
                  number(r, "ratio", ".2f"), number(r, "held", ".2f"), number(r, "peak", ".2f"),
                  number(r, "above", ".2f"), number(r, "ari", ".2f")]  # fmt: skip
        print(f"| {r['cells']:,} | `{r['method']}` | " + " | ".join(values) + f" | {r['how']} |")
    filled = [r["filled"] for r in rows if "filled" in r]
    if filled:
        print(f"\n{np.mean(filled):.1%} of the RNA counts are not zero; threads: {args.threads}.")


def growth(args: argparse.Namespace) -> None:
    """Time and memory of the quick methods up to 300,000 cells."""
    sizes, rows = args.cells, []
    for name in args.methods:
        for n in sizes:
            rows.append(measure(name, n, args))
            keep(args.out, rows)
            print(f"  {name} {n:,}: {number(rows[-1], 'total', ',.1f')} s, {rows[-1]['how']}",
                  flush=True)  # fmt: skip
    print("\n| method | cells | fit, s | embed, s | grows as n^ | held, GiB | peak, GiB | above, "
          f"GiB | under {MEMORY_GOAL:g} GiB in all | how |")  # fmt: skip
    print("|---" * 10 + "|")
    before: dict = {}
    for r in rows:
        power = ""
        if before.get("method") == r["method"] and "total" in before and "total" in r:
            times, steps = r["total"] / before["total"], r["cells"] / before["cells"]
            power = f"{np.log(times) / np.log(steps):.2f}"
        met = "" if "peak" not in r else "yes" if r["peak"] < MEMORY_GOAL else "no"
        values = [number(r, "fit", ",.2f"), number(r, "embed", ".2f"), power,
                  number(r, "held", ".2f"), number(r, "peak", ".2f"), number(r, "above", ".2f"),
                  met]  # fmt: skip
        print(f"| `{r['method']}` | {r['cells']:,} | " + " | ".join(values) + f" | {r['how']} |")
        before = r


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, nargs="+", help="8000 30000; --growth: 30000 100000 "
                        "300000")  # fmt: skip
    parser.add_argument("--methods", nargs="+", help="names, with presets; all when left out")
    parser.add_argument("--growth", action="store_true", help="the quick methods, to 300,000 cells")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--limit", type=float, default=1800, help="seconds of fit and embed")
    parser.add_argument("--totalvi-epochs", type=int, help="run so many and extrapolate")
    parser.add_argument("--faithful-epochs", type=int,
                        help="umint, ae: run so many of 25 and extrapolate")  # fmt: skip
    parser.add_argument("--out", type=Path, help="CSV; rows are added to it after each method")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        name, *values = json.loads(args.call)
        {"fit_one": fit_one}[name](*values)
        return
    if args.growth:
        args.cells = args.cells or [30_000, 100_000, 300_000]
        args.methods = args.methods or list(GROWTH)
        growth(args)
    else:
        args.cells = args.cells or [8000, 30_000]
        args.methods = args.methods or list(METHODS)
        table(args)


if __name__ == "__main__":
    main()
