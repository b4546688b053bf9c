"""Killed at random instants: what goes on is what would have been, and nothing is left lying.

A small dose runs with all tests; ``make steel`` gives more. ``SMALTI_STEEL_KILLS`` are the kills of
each kind of work, ``SMALTI_STEEL_PAIRS`` the pairs of fits on one checkpoint, ``SMALTI_STEEL_SEED``
where it begins.
"""

import multiprocessing
import os
import random
import shutil
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KILLS = int(os.environ.get("SMALTI_STEEL_KILLS", "2"))
PAIRS = int(os.environ.get("SMALTI_STEEL_PAIRS", "3"))
SEED = int(os.environ.get("SMALTI_STEEL_SEED", "0"))
TRIES = 10  # for each kill and each pair: some end before another is there

# a machine of two cores makes some of these in a minute
pytestmark = [pytest.mark.steel, pytest.mark.slow]


@pytest.fixture(scope="module")
def steel():
    """Starts processes that have imported all there is to import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, sys.path)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.syspath_prepend(str(HERE))
        import killed_work

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["killed_work"])
        steel = Steel(context, killed_work)
        yield steel
    said = f"{steel.kills} killed before they ended, {steel.pairs} pairs, {steel.refused} refused"
    print(f" {said}")  # shown with -s


class Steel:
    def __init__(self, context, work):
        self.context, self.work = context, work
        self.kills, self.pairs, self.refused = 0, 0, 0

    def start(self, name, *args):
        process = self.context.Process(target=getattr(self.work, name), args=args)
        process.start()
        return process

    def whole(self, name, *args):
        """Let it end; the seconds that it took."""
        began = time.monotonic()
        process = self.start(name, *args)
        process.join()
        assert process.exitcode == 0, f"{name}{args} ended with {process.exitcode}"
        return time.monotonic() - began

    def killed(self, rng, kills, seconds, name, *args):
        """Kill it at random instants, as often as asked; then let it end.

        One that ended before its kill is none, be it that the machine is quicker than where
        ``seconds`` were measured, or that little was left to do: the work begins anew, and another
        instant is drawn. The last of ``args`` is what it keeps.
        """
        done, anew = 0, True
        for _ in range(TRIES * kills):
            if done == kills:
                break
            began = time.monotonic()
            process = self.start(name, *args)
            process.join(rng.uniform(0.02, 0.9) * seconds)
            took = time.monotonic() - began
            process.kill()
            process.join()
            died = process.exitcode == -9
            done += died
            if not died:
                assert process.exitcode == 0, f"{name}{args} ended with {process.exitcode}"
                shutil.rmtree(args[-1], ignore_errors=True)
                seconds = min(seconds, took) if anew else seconds  # a rest is no measure
            anew = not died
        assert done == kills, f"{done} of {kills} killed before they ended"
        self.kills += done
        self.whole(name, *args)


def nap(kept):
    """Work that keeps nothing."""
    time.sleep(0.05)


def test_a_measure_that_was_too_long_still_kills(tmp_path):
    """The harness itself: a machine may be a hundred times quicker than where it was measured."""
    steel = Steel(multiprocessing.get_context("fork"), sys.modules[__name__])
    steel.killed(random.Random(0), 3, 5.0, "nap", tmp_path / "kept")
    assert steel.kills == 3


@pytest.mark.parametrize("method", ["abmil", "cloudpred", "protocell4p", "mixmil", "umint", "sgn"])
def test_a_fit(method, steel, tmp_path):
    rng = random.Random(f"{SEED} {method}")
    steel.whole("fit", method, tmp_path / "whole", None)  # the first imports what is left
    seconds = steel.whole("fit", method, tmp_path / "whole", tmp_path / "unkilled")
    for i in range(0, KILLS, 4):  # chains of a few kills
        fit, model = tmp_path / f"fit{i}", tmp_path / f"model{i}"
        steel.killed(rng, min(4, KILLS - i), seconds, "fit", method, model, fit)
        for file in ("whole/weights.safetensors", "whole.said"):  # history; whether it converged
            there = tmp_path / file.replace("whole", model.name)
            assert (tmp_path / file).read_bytes() == there.read_bytes(), there.name
    left = [
        p.name for p in tmp_path.iterdir() if p.name.split(".")[0][:5] not in ("whole", "model")
    ]
    assert not left


@pytest.mark.parametrize(("work", "end"), [("compare", ".csv"), ("extract", ".npy")])
def test_a_comparison_and_an_extraction(work, end, steel, tmp_path):
    rng = random.Random(f"{SEED} {work}")
    whole, again = tmp_path / f"whole{end}", tmp_path / f"again{end}"
    steel.whole(work, whole, None)
    seconds = steel.whole(work, whole, tmp_path / "unkilled")
    steel.killed(rng, KILLS, seconds, work, again, tmp_path / "cache")
    assert whole.read_bytes() == again.read_bytes()
    kept = [{p.name for p in (tmp_path / c).rglob("*")} for c in ("unkilled", "cache")]
    assert kept[0] == kept[1]


def test_two_fits_on_one_checkpoint(steel, tmp_path):
    """One of them fits; the other is refused, or comes too late, fits as well and is no pair."""
    rng = random.Random(f"{SEED} pairs")
    steel.whole("fit", "abmil", tmp_path / "whole", None)
    seconds = steel.whole("fit", "abmil", tmp_path / "whole", None)
    wanted, refused = (tmp_path / "whole" / "weights.safetensors").read_bytes(), 0
    for i in range(TRIES * PAIRS):
        if refused == PAIRS:
            break
        both, began = [], time.monotonic()
        for j in range(2):
            time.sleep(j * rng.uniform(0, 0.3) * seconds)
            both.append(steel.start("fit", "abmil", tmp_path / f"{i}-{j}", tmp_path / "fit", 0.0))
        both[0].join()
        took = time.monotonic() - began
        both[1].join()
        fits = [tmp_path / f"{i}-{j}" for j in range(2) if both[j].exitcode == 0]
        assert fits, "neither has ended"
        steel.pairs, refused = steel.pairs + 1, refused + 2 - len(fits)
        if len(fits) == 2:  # a quicker machine than where it was measured
            seconds = min(seconds, took)
        for fit in fits:
            assert (fit / "weights.safetensors").read_bytes() == wanted
        assert not (tmp_path / "fit").exists()
    steel.refused += refused
    assert not list(tmp_path.glob(".*"))
    assert refused == PAIRS, f"{refused} of {PAIRS} pairs were there at once"
