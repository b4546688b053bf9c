"""The engine of all comparisons: a kind of comparison says little, and the rest holds for each."""

import dataclasses
import functools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.bags import Bags
from smalti.comparison.arena import Arena
from smalti.comparison.cache import Answer, Cache
from smalti.comparison.lineup import Lineup, line_up
from smalti.comparison.race import race
from smalti.comparison.splits import Split
from smalti.comparison.table import ScoreTable
from smalti.datasets import planted_bags, planted_modalities, planted_slides
from smalti.errors import InputError
from smalti.expression.ridge import Ridge
from smalti.integrate.block_pca import BlockPCA
from smalti.mil.bag_mean import BagMean
from smalti.mil.base import Method
from smalti.mil.majority import Majority
from smalti.system.lock import lock

pytestmark = pytest.mark.usefixtures("one_penalty")
QUIET = dict(accelerator="cpu", progress=False)

# ---------------------------------------------------------------- a fourth kind of comparison
#
# How many donors are enough? A method is fitted on the first n donors and tested on the rest. The
# kind says how data is split, what one fit answers and what that is worth; the line-up, the queue,
# the cache, failed fits and the table come from the engine.


class Enough(Arena):
    title = "donors"

    def __init__(self, bags, numbers):
        self.bags, self.numbers, self.digest = bags, numbers, bags.digest

    def splits(self, method):
        every = np.arange(len(self.bags))
        return [Split(0, n, every[:n], every[max(self.numbers) :]) for n in self.numbers]

    def seed(self, method, split):
        return method.seed

    def fit(self, method, split):
        model = method.fit(self.bags[split.train])
        return Answer({"predicted": model.predict(self.bags[split.test])})

    def score(self, method, split, answer):
        right = answer.arrays["predicted"] == self.bags[split.test].labels
        return {"accuracy": float(right.mean())}


@dataclasses.dataclass(kw_only=True)
class LearningCurve(ScoreTable):
    unit = "numbers of donors"
    metrics = ("accuracy",)


def compare_sizes(candidates, bags, sizes=(10, 20), **how):
    lineup = line_up(candidates, Method)
    lineup.add_baseline(Majority())
    arena = Enough(bags, sizes)
    outcome = race(arena, lineup, **how)
    return LearningCurve(**outcome.table(lineup, bags.notes), digest=arena.digest, about=repr(bags))


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_fourth_kind_of_comparison_is_short(n_jobs, tmp_path):
    bags = planted_bags(30, effect=4.0)
    table = compare_sizes(["bag_mean"], bags, n_jobs=n_jobs, cache=tmp_path, progress=False)
    assert list(table.folds["method"]) == ["bag_mean"] * 2 + ["majority"] * 2
    assert list(table.folds["n_train"]) == [10, 20, 10, 20]
    assert table.baselines == ("bag_mean", "majority")
    assert "majority (baseline)" in str(table)
    assert list(table.failures) == ["method", "repeat", "fold", "reason"]  # none
    assert len(list(tmp_path.iterdir())) == 4
    by_hand = BagMean().fit(bags[:20]).predict(bags[20:]) == bags[20:].labels
    found = table.folds.query("method == 'bag_mean' and fold == 20")["value"].item()
    assert found == pytest.approx(by_hand.mean())


# ---------------------------------------------------------------- one rule for a failed fit


def unlucky(base):
    """A method of which the second fit fails."""

    class Unlucky(base):
        calls = 0

        def fit(self, X, y=None, *, checkpoint=None):
            type(self).calls += 1
            if type(self).calls == 2:
                raise RuntimeError("out of memory")
            return super().fit(X, y, checkpoint=checkpoint)

    return Unlucky(**QUIET)


def comparisons():
    def phenotype():
        few = {"bag_mean": BagMean, "majority": Majority}  # of the baselines
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("smalti.comparison.phenotype.methods", lambda: few)
            chosen = {"unlucky": unlucky(BagMean)}
            return sm.compare(chosen, planted_bags(24), folds=3, **settings)

    def integration():
        cells = planted_modalities(90)
        chosen = {"unlucky": unlucky(BlockPCA).set_params(width=4)}
        return sm.compare_integration(chosen, cells, label="kind", seeds=3, by="kmeans", **settings)

    def expression():
        slides = planted_slides(6, 16, n_genes=6, donors=3)
        chosen = {"unlucky": unlucky(Ridge).set_params(alpha=1.0)}
        return sm.compare_expression(chosen, slides, seeds=1, **settings)

    settings = dict(progress=False, n_jobs=1)
    return [functools.cache(f) for f in (phenotype, integration, expression)]


COMPARISONS = comparisons()


@pytest.mark.slow
@pytest.mark.parametrize("run", COMPARISONS, ids=lambda f: f.__name__)
def test_a_method_with_a_failed_fit_stays_and_is_not_ranked(run, tmp_path):
    table = run()
    assert table.failed == {"unlucky": 1}
    (note,) = [n for n in table.notes if "unlucky" in n]
    assert note == ("unlucky: 1 of 3 fits failed, so it is not ranked: RuntimeError: out of memory")
    assert table.folds.query("method == 'unlucky'")[["repeat", "fold"]].drop_duplicates().shape == (
        2, 2)  # fmt: skip
    rows = table.summary()
    assert rows.query("method == 'unlucky'")["mean"].isna().all()
    assert set(rows.query("method == 'unlucky'")["n_failed"]) == {1}
    assert rows["method"].iloc[-1] == "unlucky"
    assert rows.query("method != 'unlucky'")["n_failed"].eq(0).all()
    assert "(1 of 3 fits failed)" in str(table)
    with pytest.raises(InputError, match="1 of 3 fits of 'unlucky' failed"):
        table.of("unlucky")
    table.write(tmp_path / "run")
    kept = pd.read_csv(tmp_path / "run" / "failures.csv")
    assert kept[["method", "reason"]].to_numpy().tolist() == [
        ["unlucky", "RuntimeError: out of memory"]
    ]
    table.report(tmp_path / "report.html", sections=[])
    assert "1 of 3 fits failed" in (tmp_path / "report.html").read_text()


def test_a_difference_to_a_method_with_a_failed_fit_is_none():
    table = COMPARISONS[0]()
    against = table.against("majority").set_index("method")
    assert np.isnan(against.loc["unlucky", "difference"])
    assert np.isfinite(against.loc["bag_mean", "difference"])


# ---------------------------------------------------------------- who takes part


def test_a_baseline_is_never_pushed_out():
    lineup = line_up([BagMean(covariates=("age",)), "majority"], Method)
    lineup.add_baseline(BagMean())
    lineup.add_baseline(Majority())
    lineup.add_baseline(BagMean(covariates=("age",)))
    assert list(lineup.methods) == ["bag_mean + covariates", "majority", "bag_mean"]
    assert lineup.baselines == {"bag_mean + covariates", "majority", "bag_mean"}
    lineup = line_up({"bag_mean": BagMean(preprocess="scale")}, Method)
    lineup.add_baseline(BagMean())
    assert list(lineup.methods) == ["bag_mean", "bag_mean (default)"]
    with pytest.raises(InputError, match="'majority' is the name of a baseline"):
        line_up({"majority": BagMean()}, Method).add_baseline(Majority())


def test_namesakes_say_what_differs():
    lineup = line_up([sm.mil.ABMIL(), sm.mil.ABMIL(gated=True), "mean_pooling"], Method)
    assert list(lineup.methods) == ["abmil", "abmil gated=True", "mean_pooling"]
    with pytest.raises(InputError, match="named twice with the same settings"):
        line_up(["abmil", sm.mil.ABMIL()], Method)
    with pytest.raises(InputError, match="is no method of smalti.mil"):
        line_up(["umint"], Method)
    with pytest.raises(InputError, match=r"^ABMIL is a class: give ABMIL\(\)\.$"):
        line_up(sm.mil.ABMIL, Method)
    assert isinstance(line_up("abmil", Method), Lineup)


# ---------------------------------------------------------------- cache, kill, log


def test_a_cached_fit_is_whole_or_refused(tmp_path):
    cache = Cache(tmp_path)
    file = cache.file("abmil", "key")
    assert cache.read(file) is None
    answer = Answer({"p": np.random.default_rng(0).random((5, 2))}, {"genes": ["a"]}, 1.5)
    cache.write(file, answer)
    back = cache.read(file)
    np.testing.assert_array_equal(back.arrays["p"], answer.arrays["p"])
    assert (back.note, back.seconds) == ({"genes": ["a"]}, 1.5)
    whole = file.read_bytes()
    for at in range(len(whole) - 80, len(whole), 7):  # in the numbers
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InputError, match=f"{file.name} is damaged.*delete it"):
            cache.read(file)


KILLED = """
    import os, signal, sys
    import smalti as sm
    from smalti.datasets import planted_bags
    from smalti.comparison import phenotype
    from smalti.mil.bag_mean import BagMean

    dies, fit = int(sys.argv[2]), BagMean.fit
    count = 0

    def counted(self, X, y=None, **kwargs):
        global count
        count += 1
        if count == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return fit(self, X, y, **kwargs)

    BagMean.fit = counted
    table = sm.compare(["bag_mean"], planted_bags(24), folds=4, cache=sys.argv[1], n_jobs=1,
                       progress=False)
    print(count, table.folds["value"].sum())
"""


@pytest.mark.slow  # three processes; in one, see test_integration and test_phenotype
def test_a_killed_comparison_goes_on_fit_by_fit(tmp_path):
    def run(dies, folder):
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path / folder, str(dies)],
            capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    assert run(3, "cache").returncode == -signal.SIGKILL
    kept = {p.name: p.read_bytes() for p in (tmp_path / "cache").glob("[!.]*")}
    # two of its fits had ended, and those of others on the same splits; nothing is half there
    assert len([name for name in kept if name.startswith("bag_mean-")]) == 2
    again, whole = run(0, "cache"), run(0, "other")
    assert again.stdout.split()[0] == "2", again.stderr  # the two that were left
    assert whole.stdout.split()[0] == "4", whole.stderr
    assert again.stdout.split()[1] == whole.stdout.split()[1]
    for name, content in kept.items():
        assert (tmp_path / "cache" / name).read_bytes() == content


@pytest.mark.slow  # five processes
def test_a_comparison_that_is_killed_thrice_is_the_uninterrupted_one(tmp_path):
    def run(dies, folder):
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path / folder, str(dies)],
            capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    assert [run(2, "killed").returncode for _ in range(3)] == [-signal.SIGKILL] * 3
    last, whole = run(0, "killed"), run(0, "whole")
    assert last.stdout.split() == ["1", whole.stdout.split()[1]], last.stderr
    names = [sorted(p.name for p in (tmp_path / f).glob("[!.]*")) for f in ("killed", "whole")]
    assert names[0] == names[1]


SHARED = """
    import os, sys, time
    import smalti as sm
    from smalti.datasets import planted_bags
    from smalti.comparison import phenotype
    from smalti.mil.bag_mean import BagMean

    phenotype.methods = lambda: {"bag_mean": BagMean}
    fit = BagMean.fit

    def noted(self, X, y=None, **kwargs):
        with open(sys.argv[2], "a") as file:
            file.write(f"{os.getpid()} {self.seed} {X.digest}" + chr(10))
        time.sleep(0.3)
        return fit(self, X, y, **kwargs)

    BagMean.fit = noted
    open(sys.argv[3], "w").close()
    while len([p for p in os.listdir(os.path.dirname(sys.argv[3])) if p.endswith(".ready")]) < 2:
        time.sleep(0.01)
    table = sm.compare(["bag_mean"], planted_bags(24), folds=4, repeats=2, cache=sys.argv[1],
                       n_jobs=1, progress=False)
    print(table.folds["value"].sum())
"""


@pytest.mark.slow  # two processes
def test_two_processes_on_one_folder_do_no_fit_twice(tmp_path):
    def start(name):
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SHARED),
             *(tmp_path / part for part in ("cache", "fits", name))],
            stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    both = [start("a.ready"), start("b.ready")]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert said[0] == said[1] != ""
    fits = [line.split() for line in (tmp_path / "fits").read_text().splitlines()]
    assert len(fits) == 8 == len({(seed, digest) for _, seed, digest in fits})
    assert len({pid for pid, *_ in fits}) == 2  # they share the work


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["kept", "failed"])
def test_what_another_process_makes_is_waited_for(ends, tmp_path, monkeypatch):
    """Once its claim is gone the answer is there, or the fit is made here."""
    bags, claimed = planted_bags(24), threading.Event()
    whole = compare_sizes(["majority"], bags, cache=tmp_path / "whole", n_jobs=1, progress=False)
    kept = sorted((tmp_path / "whole").iterdir())
    there = tmp_path / "cache" / kept[0].name
    there.parent.mkdir()

    def other():
        with lock(there.with_suffix(".claim")):
            claimed.set()
            time.sleep(0.3)
            if ends == "kept":
                there.write_bytes(kept[0].read_bytes())

    thread = threading.Thread(target=other)
    thread.start()
    claimed.wait()
    fits, fit = [], Majority.fit
    monkeypatch.setattr(Majority, "fit", lambda *a, **k: fits.append(1) or fit(*a, **k))
    table = compare_sizes(["majority"], bags, cache=there.parent, n_jobs=1, progress=False)
    thread.join()
    assert len(fits) == (1 if ends == "kept" else 2)
    columns = ["method", "fold", "value"]
    pd.testing.assert_frame_equal(table.folds[columns], whole.folds[columns])
    assert sorted(p.name for p in there.parent.iterdir()) == [p.name for p in kept]


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
@pytest.mark.parametrize("kept", [True, False])
def test_a_signal_ends_a_comparison_and_says_how_to_go_on(
    number, error, kept, tmp_path, monkeypatch, caplog
):
    bags, fit, count = planted_bags(24), BagMean.fit, 0

    def counted(self, X, y=None, **kwargs):
        nonlocal count
        count += 1
        if count == 3:
            signal.raise_signal(number)
        return fit(self, X, y, **kwargs)

    monkeypatch.setattr(BagMean, "fit", counted)
    how = dict(sizes=(8, 10, 12, 14), n_jobs=1, progress=False, cache=tmp_path if kept else None)
    before = signal.getsignal(number)
    with pytest.raises(error):
        compare_sizes(["bag_mean"], bags, **how)
    assert signal.getsignal(number) == before
    (said,) = [r.getMessage() for r in caplog.records]
    if not kept:
        assert said.startswith("stopped after 4 of 8 fits, of which nothing is kept: with cache=")
        return
    assert said == (
        "stopped; 4 of 8 fits are kept, and the same makes the others when it is run again: "
        f"cache={str(tmp_path)!r}"
    )
    assert len(list(tmp_path.iterdir())) == 4
    compare_sizes(["bag_mean"], bags, **how)
    assert count == 3 + 2  # the two that were kept were not made again


STOPPED = """
    import os, signal, sys, threading, time
    import smalti as sm
    from smalti.datasets import planted_bags

    def watch():
        while len([p for p in os.listdir(sys.argv[1]) if p[0] != "."]) < 2:
            time.sleep(0.05)
        print(*[p for p in os.listdir("/proc") if p.isdigit() and parent(p) == os.getpid()])
        sys.stdout.flush()
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))

    def parent(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            return 0

    os.makedirs(sys.argv[1])
    threading.Thread(target=watch, daemon=True).start()
    methods = {s: sm.mil.ABMIL(widths=(64,), epochs=n, accelerator="cpu")
               for s, n in (("short", 2), ("long", 2000))}
    sm.compare(methods, planted_bags(40), folds=4, cache=sys.argv[1], n_jobs=2, progress=False)
"""


@pytest.mark.slow  # processes are started
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_workers_end_with_their_parent(name, tmp_path):
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STOPPED), tmp_path / "cache", name],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120,
    )  # fmt: skip
    code = {"SIGINT": -signal.SIGINT, "SIGTERM": 143, "SIGKILL": -signal.SIGKILL}[name]
    assert out.returncode == code, out.stderr
    if name != "SIGKILL":
        assert "fits are kept, and the same makes the others when it is run again" in out.stderr
    workers = out.stdout.split()
    assert len(workers) >= 2
    for _ in range(100):
        left = [pid for pid in workers if os.path.isdir(f"/proc/{pid}")]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"{left} go on without their parent")


def test_each_fit_is_a_line_of_the_log_where_there_is_no_terminal(caplog, tmp_path):
    bags = planted_bags(24)
    with caplog.at_level(logging.INFO, logger="smalti"):
        compare_sizes([unlucky(BagMean)], bags, sizes=(8, 12), n_jobs=1, cache=tmp_path)
        compare_sizes(["majority"], bags, sizes=(8, 12), n_jobs=1, cache=tmp_path)
    lines = [r.getMessage() for r in caplog.records]
    assert len(lines) == 4 + 2
    assert lines[0].startswith("donors 1 of 4: bag_mean, repeat 0, fold 8: ")
    assert (
        lines[2]
        == "donors 3 of 4: bag_mean, repeat 0, fold 12: failed: RuntimeError: out of memory"
    )
    assert lines[-1] == "donors 2 of 2: majority, repeat 0, fold 12: kept"
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="smalti"):
        compare_sizes(["majority"], bags, sizes=(8, 12), n_jobs=1, progress=False)
    assert not caplog.records


@pytest.mark.parametrize("change", [
    "target", pytest.param("donor", marks=pytest.mark.slow),  # the same lines
    pytest.param("types", marks=pytest.mark.slow),
])  # fmt: skip
def test_the_cache_knows_all_that_a_fit_reads(change, majority_alone, tmp_path):
    """Bags that differ in what is asked of them only, never in their features and bag table."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "ill": np.arange(24) % 2, "old": np.arange(24) // 2 % 2, "one": np.arange(24),
        "two": [f"d{i // 2}" for i in range(24)],
    })  # fmt: skip
    kinds = pd.DataFrame({"cell_type": rng.choice(["T", "B"], 96)})
    x, ids = rng.normal(size=(96, 3)), np.repeat(np.arange(24), 4)

    def bags(target="ill", donor="one", instance=kinds):
        return Bags.from_rows(x, ids, target=target, donor=donor, bag=table, instance=instance)

    other = {
        "target": lambda: bags(target="old"),
        "donor": lambda: bags(donor="two"),
        "types": lambda: bags(instance=kinds[::-1].reset_index(drop=True)),
    }[change]()
    splits = [(np.arange(16), np.arange(16, 24)), (np.arange(8, 24), np.arange(8))]
    settings = dict(splits=splits, progress=False, n_jobs=1)
    sm.compare(["type_composition"], bags(), cache=tmp_path, **settings)
    kept = len(list(tmp_path.iterdir()))
    found = sm.compare(["type_composition"], other, cache=tmp_path, **settings)
    assert len(list(tmp_path.iterdir())) == 2 * kept
    alone = sm.compare(["type_composition"], other, **settings)
    pd.testing.assert_frame_equal(found.predictions, alone.predictions)
