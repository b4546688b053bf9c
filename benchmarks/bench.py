"""Speed beside peers, as one table: work, smalti, peer, ratio, limit, share of the limit.

    python benchmarks/bench.py                   # all rows (make bench): some 25 minutes, two cores
    python benchmarks/bench.py mixmil ridge      # some of them; --list names all
    python benchmarks/bench.py --growth          # rows that have SIZES, at each of them
    python benchmarks/bench.py --page            # docs/results/bench.md and its pictures

A row is a file of ``benchmarks/rows``. Its name is that of the file, and it has

- ``WORK``, what is done, in words; ``PEER``, what the other side is; ``GOAL``, the ratio wanted;
- ``NEEDS``, the distribution that the peer's side imports, for it runs in the environment of
  ``make bench-peers``; without it both sides run in this one;
- ``data(share)``, the same for both sides and of NumPy alone; ``share`` scales its size;
- ``smalti(*data)`` and ``peer(*data)``: get ready, and return what is timed, a function without
  arguments; or two, and what is timed is the first less the second, as a fit less its start. What
  the first returns, if numbers, is compared;
- ``least(*data)``: what the work takes at the least: floating-point operations as "float32" and
  "float64", bytes as "memory" and "disk". The limit is the time of those at the rates of this
  machine, measured in turn with the row;
- where wanted ``BOUND``, words on what bounds it; ``ROUNDS``; ``SIZES``, (share, size in words) of
  the growth; and ``WARM``, the share of a first run, not timed, where the whole would take long.

A benchmark of its own becomes a row by ``SCRIPT = "slides_epoch.py --json {file}"`` in place of the
functions: it writes {"smalti": [seconds, ...], "peer": [seconds, ...], "limit": seconds,
"peaks": [GiB, GiB]}, what it has of these.

Each side is a process of one thread. Sides take turns, machine, smalti, peer, machine, ...: CPU
seconds of the process and its children, medians and ranges. Memory is the most that a process
held, libraries and data too, as the operating system tells its parent.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ROWS = sorted(p.stem for p in (HERE / "rows").glob("*.py"))
PEERS = ROOT / ".bench" / "bin" / "python"
ONE = {f"{k}_NUM_THREADS": "1" for k in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


def load(name: str) -> Any:
    """A row, as a module; nothing heavy is loaded with it."""
    spec = importlib.util.spec_from_file_location(name, HERE / "rows" / f"{name}.py")
    row = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(row)
    return row


# -------------------------------------------------------------------- in the child


def child(name: str, side: str, share: float) -> None:
    """Get ready, then run once for each line that comes in, and tell the seconds."""
    import resource

    def made(share: float) -> Any:
        data.append(row.data(share))
        return getattr(row, side)(*data[-1])

    row, data = load(name), []
    work = machine if side == "machine" else made(share)
    warm = made(share * row.WARM) if side != "machine" and hasattr(row, "WARM") else work

    def spent() -> float:
        used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)

    for call in warm if isinstance(warm, tuple) else (warm,):
        call()  # libraries load, and compile, at first use
    work, *start = work if isinstance(work, tuple) else (work,)
    least = side == "smalti" and hasattr(row, "least")
    tell({"least": row.least(*data[0])} if least else {})
    for _ in sys.stdin:
        times = [spent()]
        for call in (*start, work):
            answer = call()
            times.append(spent())
        seconds = times[-1] - times[-2] - (times[1] - times[0] if start else 0)
        tell({"seconds": seconds, "answer": plain(answer)})


def tell(what: dict[str, Any]) -> None:
    os.write(REPLIES, (json.dumps(what) + "\n").encode())


def plain(answer: Any) -> Any:
    """Numbers as JSON, at most a thousand; anything else is no answer."""
    if isinstance(answer, dict):
        return answer
    if answer is None:
        return None
    import numpy as np

    return np.asarray(answer, dtype=np.float64).ravel()[:1000].tolist()


def machine() -> dict[str, float]:
    """Operations a second of products of matrices, and bytes a second of a copy."""
    import numpy as np

    rates, n = {}, 1536
    for kind in ("float32", "float64"):
        a = np.random.default_rng(0).random((n, n)).astype(kind)
        rates[kind] = 2 * n**3 / best(lambda a=a: a @ a)
    a = np.zeros(2**24)
    rates["memory"] = 2 * a.nbytes / best(a.copy)  # read and written
    return rates


def best(call: Any, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def disk(folder: Path, size: int = 2**28) -> float:
    """Bytes a second that are read of a file which no cache holds."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(os.urandom(2**24) * (size // 2**24))
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        with Path(file.name).open("rb", buffering=0) as again:
            while again.read(2**23):
                pass
        return size / (time.perf_counter() - began)


# -------------------------------------------------------------------- in the parent


class Side:
    """A child that waits for its turn."""

    def __init__(self, python: Path | str, name: str, side: str, share: float) -> None:
        read, write = os.pipe()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", __file__, "--child", side, "--share", str(share),
             "--replies", str(write), name],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.errors,
            env=os.environ | ONE, pass_fds=[write], text=True,
        )  # fmt: skip
        os.close(write)
        self.replies = os.fdopen(read)
        self.ready = self.reply()

    def reply(self) -> dict[str, Any]:
        line = self.replies.readline()
        if not line:
            self.end()
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError((said or ["it ended without a word"])[-1][:200])
        return json.loads(line)

    def turn(self) -> dict[str, Any]:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.reply()

    def end(self) -> float:
        """GiB that it held at the most."""
        self.process.stdin.close()
        _, _, used = os.wait4(self.process.pid, 0)
        self.process.returncode = 0  # waited for
        return used.ru_maxrss / 2**20


def version(python: Path | str, needs: str) -> str | None:
    """Of a distribution in an environment; None where it is not there."""
    ask = f"import importlib.metadata as m; print(m.version({needs!r}))"
    try:
        said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return said.stdout.strip() or None if said.returncode == 0 else None


def measure(name: str, share: float, rounds: int | None, peers: Path | None) -> dict[str, Any]:
    """All that a row of the table says; without ``peers`` of smalti alone."""
    row = load(name)
    found = {"name": name, "share": share, "seconds": {}, "peaks": {}} | words_of(row)
    if hasattr(row, "SCRIPT"):
        return found | of_script(row.SCRIPT)
    needs = getattr(row, "NEEDS", "")
    pythons: dict[str, Path | str] = {"machine": sys.executable, "smalti": sys.executable}
    if peers is None or not hasattr(row, "peer"):
        pass
    elif needs:
        there = version(peers, needs)
        found["version"] = f"{needs} {there or ''}".strip()
        if there:
            pythons["peer"] = peers
        else:
            found["note"] = f"{needs} is not installed: make bench-peers"
    else:
        pythons["peer"] = sys.executable
    sides: dict[str, Side] = {}
    for side, python in pythons.items():
        try:
            sides[side] = Side(python, name, side, share)
        except RuntimeError as error:
            found["note"] = f"{side}: {error}"
    turns: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(rounds or getattr(row, "ROUNDS", 5)):
        for side in list(sides):
            try:
                turns[side].append(sides[side].turn())
            except RuntimeError as error:
                found["note"] = f"{side}: {error}"
                del sides[side]
    peaks = {side: one.end() for side, one in sides.items()}
    rates = [t["answer"] for t in turns.pop("machine")]
    found["rates"] = {k: statistics.median(r[k] for r in rates) for k in rates[0]}
    for side, times in turns.items():
        found["seconds"][side] = [t["seconds"] for t in times]
        found["peaks"][side] = peaks.get(side)
    found["least"] = sides["smalti"].ready.get("least", {}) if "smalti" in sides else {}
    answers = [turns[s][-1]["answer"] for s in ("smalti", "peer") if turns.get(s)]
    if len(answers) == 2 and None not in answers and len(answers[0]) == len(answers[1]):
        found["difference"] = max(abs(a - b) for a, b in zip(*answers, strict=True))
    return found


def words_of(row: Any) -> dict[str, Any]:
    """What a row says of itself."""
    return {"work": row.WORK, "peer": getattr(row, "PEER", ""), "goal": getattr(row, "GOAL", None)}


def of_script(command: str) -> dict[str, Any]:
    """What a benchmark of its own measured."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured.json"
        script, *args = shlex.split(command.format(file=file))
        made = subprocess.run([sys.executable, str(HERE / script), *args], check=False,
                              env=os.environ | ONE, capture_output=True, text=True)  # fmt: skip
        if not file.exists():
            said = made.stderr.strip().splitlines() or ["it wrote nothing"]
            return {"note": f"{script}: {said[-1][:200]}"}
        told = json.loads(file.read_text())
    sides = ("smalti", "peer")
    peaks = dict(zip(sides, told.get("peaks", ()), strict=False))
    return {"seconds": {s: told[s] for s in sides if told.get(s)}, "peaks": peaks,
            "limit": told.get("limit")}  # fmt: skip


def limit(row: dict[str, Any]) -> float | None:
    """Seconds that the work takes at the least."""
    if not row.get("least"):
        return row.get("limit")
    return sum(amount / row["rates"][what] for what, amount in row["least"].items())


# -------------------------------------------------------------------- what is drawn from it

HEAD = ("work", "smalti, s", "peer", "peer, s", "ratio", "goal", "limit, s", "share of limit",
        "peak, GiB")  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """All rows in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    return "\n".join(lines + ["| " + " | ".join(cells(row)) + " |" for row in rows])


def cells(row: dict[str, Any]) -> list[str]:
    """Of one row: medians, ranges in brackets."""
    ours, theirs = row["seconds"].get("smalti"), row["seconds"].get("peer")
    if not ours:
        return [row["work"], row.get("note", "failed"), row["peer"], *[""] * (len(HEAD) - 3)]
    least, peaks = limit(row), row.get("peaks", {})
    ratio = ""
    if theirs:
        pairs = sorted(b / a for a, b in zip(ours, theirs, strict=False))
        middle = statistics.median(pairs)
        ratio = f"**{middle:.1f}x** ({pairs[0]:.1f} to {pairs[-1]:.1f})"
    goal = "" if row["goal"] is None else f"{row['goal']:g}x"
    if theirs and row["goal"] is not None:
        goal += ", met" if middle >= row["goal"] else ", missed"
    held = [f"{peaks[s]:.2f}" for s in ("smalti", "peer") if peaks.get(s)]
    return [
        row["work"], spread(ours), ", ".join(filter(None, (row.get("version"), row["peer"]))),
        spread(theirs) if theirs else row.get("note", ""), ratio, goal,
        f"{least:.2g}" if least else "",
        f"{least / statistics.median(ours):.0%}" if least else "", " / ".join(held),
    ]  # fmt: skip


def spread(seconds: list[float]) -> str:
    """Median and range, three digits."""
    middle, *ends = (f"{s:.3g}" for s in (statistics.median(seconds), min(seconds), max(seconds)))
    return f"{middle} ({ends[0]} to {ends[1]})"


def rates_of(kept: dict[str, Any]) -> str:
    """The machine in words."""
    rates = [r["rates"] for r in kept["rows"] if r.get("rates")]
    said = [f"{kept['machine']['cpu']}, {kept['machine']['cores']} cores"]
    for what, unit in (("float32", "GFLOP/s"), ("float64", "GFLOP/s"), ("memory", "GB/s")):
        some = sorted(r[what] / 1e9 for r in rates)
        if some:
            said.append(f"{what} {statistics.median(some):.0f} {unit} ({some[0]:.0f} to "
                        f"{some[-1]:.0f} between rows)")  # fmt: skip
    return ", ".join([*said, f"disk {kept['machine']['disk'] / 1e9:.1f} GB/s"])


def cpu() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def keep(path: Path, kept: dict[str, Any]) -> None:
    fresh = path.with_suffix(".part")
    fresh.write_text(json.dumps(kept, indent=1) + "\n")
    fresh.replace(path)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("rows", nargs="*", help="names; all when left out")
    ask.add_argument("--list", action="store_true", help="names of the rows, and their work")
    ask.add_argument("--growth", action="store_true", help="rows with SIZES, smalti alone")
    ask.add_argument("--page", action="store_true", help="draw the page; measures nothing")
    ask.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json")
    ask.add_argument("--peers", type=Path, default=PEERS, help="Python of the peers' environment")
    ask.add_argument("--rounds", type=int, help="turns of each side, in place of the row's own")
    ask.add_argument("--share", type=float, default=1.0, help="of all sizes; for a trial")
    ask.add_argument("--child", choices=["machine", "smalti", "peer"], help=argparse.SUPPRESS)
    ask.add_argument("--replies", type=int, help=argparse.SUPPRESS)
    args = ask.parse_args()
    if unknown := sorted(set(args.rows) - set(ROWS)):
        raise SystemExit(f"no row {unknown[0]!r} here; there are {', '.join(ROWS)}.")
    if args.child:
        global REPLIES
        REPLIES = args.replies
        child(args.rows[0], args.child, args.share)
    elif args.list:
        for name in ROWS:
            print(f"{name:18s} {load(name).WORK}")
    elif args.page:
        from bench_page import write_page

        write_page(json.loads(args.out.read_text()), ROOT / "docs" / "results")
    else:
        run(args)


def run(args: argparse.Namespace) -> None:
    """Measure rows one after another; each is kept as soon as it is there."""
    args.out.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(args.out.read_text()) if args.out.exists() else {"rows": [], "growth": []}
    kept["machine"] = {
        "cpu": cpu(), "cores": os.cpu_count(), "disk": disk(args.out.parent),
        "python": platform.python_version(), "day": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    made, key = [], "growth" if args.growth else "rows"
    for name in args.rows or ROWS:
        sizes = [s for s, _ in getattr(load(name), "SIZES", ())]
        for share in [args.share * s for s in sizes] if args.growth else [args.share]:
            row = measure(name, share, args.rounds, None if args.growth else args.peers)
            made.append(row)
            others = [r for r in kept[key] if (r["name"], r["share"]) != (name, share)]
            kept[key] = sorted([*others, row], key=lambda r: (r["name"], r["share"]))
            keep(args.out, kept)
            print(f"{name}: {' | '.join(cells(row)[1:])}", flush=True)
    print(f"\n{table(made)}\n\n{rates_of(kept | {'rows': made})}; kept in {args.out}")


if __name__ == "__main__":
    main()
