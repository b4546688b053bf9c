"""Killed at random instants: what goes on is what would have been, and nothing is left lying.

A small dose runs with all tests; ``make steel`` gives more. ``SMALTI_STEEL_KILLS`` are the kills of
each kind of work, ``SMALTI_STEEL_PAIRS`` the pairs of fits on one checkpoint, ``SMALTI_STEEL_SEED``
where it begins.
"""

import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KILLS = int(os.environ.get("SMALTI_STEEL_KILLS", "2"))
PAIRS = int(os.environ.get("SMALTI_STEEL_PAIRS", "3"))
SEED = int(os.environ.get("SMALTI_STEEL_SEED", "0"))

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

    def killed(self, rng, seconds, name, *args):
        """Kill it at a random instant, again and again; then let it end."""
        for _ in range(KILLS):
            process = self.start(name, *args)
            process.join(rng.uniform(0.02, 0.9) * seconds)
            process.kill()
            process.join()
            self.kills += process.exitcode == -9
        self.whole(name, *args)


@pytest.mark.parametrize("method", ["abmil", "cloudpred", "protocell4p", "mixmil", "umint", "sgn"])
def test_a_fit(method, steel, tmp_path):
    rng = random.Random(f"{SEED} {method}")
    steel.whole("fit", method, tmp_path / "whole", None)  # the first imports what is left
    seconds = steel.whole("fit", method, tmp_path / "whole", tmp_path / "unkilled")
    for i in range(0, KILLS, 4):  # chains of a few kills
        fit, model = tmp_path / f"fit{i}", tmp_path / f"model{i}"
        steel.killed(rng, seconds, "fit", method, model, fit)
        for file in ("whole/weights.safetensors", "whole.said"):  # history; whether it converged
            there = tmp_path / file.replace("whole", model.name)
            assert (tmp_path / file).read_bytes() == there.read_bytes(), there.name
    assert steel.kills
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
    steel.killed(rng, seconds, work, again, tmp_path / "cache")
    assert whole.read_bytes() == again.read_bytes()
    kept = [{p.name for p in (tmp_path / c).rglob("*")} for c in ("unkilled", "cache")]
    assert kept[0] == kept[1]


def test_two_fits_on_one_checkpoint(steel, tmp_path):
    """One of them fits; the other is refused, or finds the checkpoint free and fits as well."""
    rng = random.Random(f"{SEED} pairs")
    seconds = steel.whole("fit", "abmil", tmp_path / "whole", None)
    wanted, ended = (tmp_path / "whole" / "weights.safetensors").read_bytes(), 0
    for i in range(PAIRS):
        both = []
        for j in range(2):
            both.append(steel.start("fit", "abmil", tmp_path / f"{i}-{j}", tmp_path / "fit", 0.0))
            time.sleep(rng.uniform(0, 0.3) * seconds)
        for process in both:
            process.join()
        fits = [tmp_path / f"{i}-{j}" for j in range(2) if both[j].exitcode == 0]
        assert fits, "neither has ended"
        ended += len(fits)
        steel.pairs, steel.refused = steel.pairs + 1, steel.refused + 2 - len(fits)
        for fit in fits:
            assert (fit / "weights.safetensors").read_bytes() == wanted
        assert not (tmp_path / "fit").exists()
    assert not list(tmp_path.glob(".*"))
    assert ended < 2 * PAIRS, "no two were there at once"
