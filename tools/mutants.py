"""Plant small faults in the source, one at a time, and see whether the tests notice.

mutmut makes the faults ("mutants": ``<`` for ``<=``, None for an argument, 2 for 1) of all
functions in ``FILES``; a sample of them, drawn in proportion to each file's, is judged by every
quick test that runs the function, the fastest first. Decorated functions (properties) and values
outside of functions are not mutated.

    python tools/mutants.py            # draws 310, goes on where it was stopped
    python tools/mutants.py --slow     # those that lived, judged by the slow tests
    python tools/mutants.py --again    # those that lived, judged anew: after tests were written
    python tools/mutants.py --seed 1   # others: those of seed 0 are what tests were written for

All imports and the collection of the tests are paid once: each mutant is a fork of that process.
Verdicts are in ``mutants/DIGEST/``, where DIGEST is that of the source.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "segment.py", "bags.py", "task.py", "labels.py", "mil/**/*.py", "explain/*.py", "io/write.py",
    "comparison/lineup.py", "comparison/race.py", "comparison/cache.py", "comparison/table.py",
    "comparison/phenotype.py", "comparison/phenotype_fit.py", "comparison/phenotype_table.py",
    "comparison/splits.py", "scores/statistics.py",
    "scores/exchange.py", "scores/table.py",
)  # fmt: skip
# they read the source and the documentation, or every docstring, of which each mutant has a copy
ABOUT_TEXT = ("architecture", "docs", "docstrings", "doctests", "types")


class Mutants:
    """A copy of the source that holds all mutants, asleep, and the verdicts so far."""

    def __init__(self) -> None:
        source = ROOT / "src"
        self.files = sorted(f for g in FILES for f in (source / "smalti").glob(g))
        sha = hashlib.sha256(b"".join(f.read_bytes() for f in self.files))
        self.folder = ROOT / "mutants" / sha.hexdigest()[:8]
        self.by_file: dict[str, list[str]] = {}
        if not (self.folder / "names.json").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            shutil.copytree(source, self.folder / "src")
            for file in self.files:
                self._mutate(file.relative_to(source))
            (self.folder / "names.json").write_text(json.dumps(self.by_file))
        self.by_file = json.loads((self.folder / "names.json").read_text())

    def _mutate(self, file: Path) -> None:
        from mutmut.mutation.file_mutation import mutate_file_contents

        code = (ROOT / "src" / file).read_text(encoding="utf-8")
        made = mutate_file_contents(str(file), code)
        (self.folder / "src" / file).write_text(made.code, encoding="utf-8")
        parts = file.with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if made.mutant_names:
            self.by_file[str(file)] = [f"{module}.{name}" for name in made.mutant_names]

    def sample(self, n: int, seed: int) -> list[str]:
        """About n of them in proportion to each file's, shuffled: a part of a run is a sample."""
        rng = np.random.default_rng(seed)
        share = n / sum(map(len, self.by_file.values()))
        drawn = [
            str(name) for names in self.by_file.values()
            for name in rng.choice(names, round(share * len(names)), replace=False)
        ]  # fmt: skip
        return [drawn[i] for i in rng.permutation(len(drawn))]

    def file_of(self, name: str) -> str:
        """The file that a mutant is in."""
        return next(file for file, names in self.by_file.items() if name in names)

    def difference(self, name: str) -> str:
        """What a mutant changes, as a diff without its context."""
        text = (self.folder / "src" / self.file_of(name)).read_text(encoding="utf-8")
        own = name.rpartition(".")[2]
        one, two = (_function(text, f) for f in (own.rpartition("_")[0] + "_orig", own))
        lines = list(difflib.unified_diff(one, two, n=0, lineterm=""))[2:]  # names of files
        return "\n".join(line for line in lines if not line.startswith("@@"))

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Mutant -> its last verdict."""
        file = self.folder / "verdicts.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return {v["mutant"]: v for v in map(json.loads, lines)}

    def note(self, verdict: dict[str, Any]) -> None:
        """Keep a verdict."""
        with open(self.folder / "verdicts.jsonl", "a") as file:
            file.write(json.dumps(verdict) + "\n")

    def table(self, drawn: list[str]) -> str:
        """Counts by file, and what those that lived change."""
        found = self.verdicts()
        count: dict[str, Counter[str]] = defaultdict(Counter)
        for name in drawn:
            count[self.file_of(name)][found.get(name, {"verdict": "waits"})["verdict"]] += 1
        count["all"] = sum(count.values(), Counter())
        words = ("killed", "too long", "lived", "no test", "waits")
        lines = [f"{'file':<40}{'mutants':>9}" + "".join(f"{w:>10}" for w in words)]
        for file, one in sorted(count.items(), key=lambda c: (c[0] == "all", c[0])):
            n = len(self.by_file.get(file, ())) or sum(map(len, self.by_file.values()))
            lines.append(f"{file:<40}{n:>9}" + "".join(f"{one[w]:>10}" for w in words))
        lived = [n for n in drawn if found.get(n, {}).get("verdict") in ("lived", "no test")]
        return "\n".join([*(f"{n}\n{self.difference(n)}\n" for n in sorted(lived)), *lines])


def _function(text: str, name: str) -> list[str]:
    """Lines of one function of the generated code, but for that with its name."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if f"def {name}(" in line)
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while end < len(lines) and (
        not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent
        or lines[end].strip().startswith(")")
    ):  # fmt: skip
        end += 1
    return [lines[start].replace(name, "f"), *lines[start + 1 : end]]


class Judge:
    """A plugin of pytest that runs the collected tests once for each mutant, in a fork."""

    def __init__(self, mutants: Mutants, names: list[str], slow: bool, jobs: int) -> None:
        self.mutants, self.names, self.slow, self.jobs = mutants, names, slow, jobs
        self.failed = False

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Whether the test that runs fails."""
        self.failed |= report.failed

    def pytest_runtestloop(self, session: Any) -> bool:
        """Instead of pytest's own loop."""
        self.items = {item.nodeid: item for item in session.items}
        known = self.mutants.folder / ("slow.json" if self.slow else "quick.json")
        seen = json.loads(known.read_text()) if known.exists() else {}
        new = [nodeid for nodeid in self.items if nodeid not in seen]  # or written since
        if new:
            print(f"{len(new)} tests once without a mutant, to see what each runs", flush=True)
            pid, room = self._fork(lambda: self._watch(new, known, seen))
            os.waitpid(pid, 0)
            shutil.rmtree(room)
            seen = json.loads(known.read_text())
        self._judge({k: v for k, v in seen.items() if k in self.items})
        return True

    def _fork(self, work: Any) -> tuple[int, str]:
        """A child that does some work in a session and a temporary folder of its own."""
        room = tempfile.mkdtemp(prefix="mutant-")
        pid = os.fork()
        if pid:
            return pid, room
        code = 1
        try:
            os.setsid()
            os.environ["PYTEST_DEBUG_TEMPROOT"] = room
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            code = work()
        finally:
            os._exit(code)

    def _run(self, nodeid: str, following: str | None) -> bool:
        """Whether a test passes."""
        item = self.items[nodeid]
        self.failed = False
        item.ihook.pytest_runtest_protocol(
            item=item, nextitem=None if following is None else self.items[following]
        )
        return not self.failed

    def _watch(self, tests: list[str], file: Path, seen: dict[str, Any]) -> int:
        """Note the functions that each test runs, its seconds, and whether it passes at all."""
        from mutmut.mutation import trampoline

        hits: set[str] = set()
        trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)
        os.environ["MUTANT_UNDER_TEST"] = "stats"
        for one, following in zip(tests, [*tests[1:], None], strict=True):
            hits.clear()
            began = time.perf_counter()
            passes = self._run(one, following)
            seconds = time.perf_counter() - began
            seen[one] = {"passes": passes, "seconds": seconds, "runs": sorted(hits)}
        file.write_text(json.dumps(seen))
        return 0

    def _judge(self, seen: dict[str, Any]) -> None:
        """Fork after fork, some at a time."""
        broken = [test for test, about in seen.items() if not about["passes"]]
        print(f"{len(broken)} tests fail without a mutant and judge none: {broken}", flush=True)
        concerned = defaultdict(list)
        for test in sorted(seen, key=lambda t: seen[t]["seconds"]):
            for function in seen[test]["runs"] if seen[test]["passes"] else ():
                concerned[function].append(test)
        waiting = list(self.names)
        running: dict[int, tuple[str, list[str], str, float, float]] = {}
        while waiting or running:
            while waiting and len(running) < self.jobs:
                name = waiting.pop(0)
                tests = concerned[name.partition("__mutmut_")[0]]
                limit = 20 + 10 * sum(seen[t]["seconds"] for t in tests)
                pid, room = self._fork(lambda n=name, t=tests: self._try(n, t))
                running[pid] = name, tests, room, time.monotonic(), limit
            for pid in list(running):
                name, tests, room, began, limit = running[pid]
                seconds = time.monotonic() - began
                ended, status = os.waitpid(pid, os.WNOHANG)
                if not ended and seconds < limit:
                    continue
                if not ended:
                    os.killpg(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                said = Path(room, "killer")
                verdict = "too long" if not ended else "lived" if status == 0 else "killed"
                self.mutants.note({
                    "mutant": name, "verdict": verdict if tests else "no test", "tests": len(tests),
                    "killer": said.read_text() if said.exists() else "", "slow": self.slow,
                    "seconds": round(seconds, 1),
                })  # fmt: skip
                shutil.rmtree(room, ignore_errors=True)
                del running[pid]
                print(f"{len(waiting) + len(running):>5} left: {verdict:<9}{name}", flush=True)
            time.sleep(0.02)

    def _try(self, name: str, tests: list[str]) -> int:
        """1 if one of the tests fails with the mutant awake."""
        os.environ["MUTANT_UNDER_TEST"] = name
        for test in tests:
            # each takes down what it set up
            Path(os.environ["PYTEST_DEBUG_TEMPROOT"], "killer").write_text(test)
            if not self._run(test, None):
                return 1
        Path(os.environ["PYTEST_DEBUG_TEMPROOT"], "killer").write_text("")
        return 0


def main() -> None:
    """Draw, judge, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-n", type=int, default=310, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--slow", action="store_true", help="judge those that lived by slow tests")
    parser.add_argument("--again", action="store_true", help="judge those that lived anew")
    parser.add_argument("--table", action="store_true", help="print what is known and end")
    asked = parser.parse_args()
    mutants = Mutants()
    drawn = mutants.sample(asked.n, asked.seed)
    found = mutants.verdicts()
    lived = {n for n, v in found.items() if v["verdict"] in ("lived", "no test")}
    names = [n for n in drawn if (n in lived if asked.slow or asked.again else n not in found)]
    if names and not asked.table:
        os.environ |= {"PYTHONPATH": str(mutants.folder / "src"), "OMP_NUM_THREADS": "1"}
        sys.path.insert(0, str(mutants.folder / "src"))
        ignored = [f"--ignore=tests/test_{name}.py" for name in ABOUT_TEXT]
        chosen = ["-m", "slow" if asked.slow else "not slow"]
        judge = Judge(mutants, names, asked.slow, asked.jobs)
        os.chdir(ROOT)
        pytest.main(["-s", "-p", "no:cacheprovider", "tests", *ignored, *chosen], plugins=[judge])
    table = mutants.table(drawn)
    (mutants.folder / "table.txt").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
