"""Two processes on one machine give the fit of one process, to rounding; its history is theirs.

Each reads its own share of the bags.

Bitwise are the same two processes again, killed or not: the order of bags, the noise of each
process and the sums over both are those of the seed. One process and two differ by the rounding of
sums of gradients, and with dropout by its masks, which each process draws for its own bags.
"""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from smalti.core.load import load
from smalti.datasets import planted_bags

pytestmark = pytest.mark.slow  # processes are started

FIT = """
import os, signal, sys
import numpy as np
from smalti import mil
from smalti.core import training
from smalti.core.checkpoint import Checkpoint
from smalti.datasets import planted_bags

out, devices, dropout, stop = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
if stop:
    Checkpoint.__init__.__kwdefaults__["every"] = 0.0
    step, count = training.Runner.step, 0

    def stops(self, units):
        global count
        count += 1
        if count == 11 and self.fabric.global_rank == self.fabric.world_size - 1:
            os.kill(os.getpid(), getattr(signal, stop))  # of the last process alone
        return step(self, units)

    if not os.path.exists(out + ".fit"):
        training.Runner.step = stops
model = mil.ABMIL(widths=(8,), dropout=dropout, epochs=4, batch_size=7, validation=0.25,
                  accelerator="cpu", devices=devices, progress=False)
model.fit(planted_bags(30), checkpoint=out + ".fit" if stop else None)
rank = os.environ.get("RANK", "0")
model.history_.to_csv(f"{out}.{rank}.csv")
np.savez(f"{out}.{rank}.npz", **{k: v.numpy() for k, v in model.network_.state_dict().items()})
"""


READS = """
import collections, json, os, sys
import numpy as np
from smalti import mil
from smalti.bags import Bags
from smalti.core import training
from smalti.datasets import planted_bags


class OnDisk:
    \"\"\"Rows that note who reads them, and when: in a step of training or elsewhere.\"\"\"

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.read_in_steps = collections.Counter()
        self.stepping = False

    def read(self, start, stop):
        return self.values[start:stop]

    def fill(self, start, out):
        if self.stepping:
            self.read_in_steps.update(range(start, start + len(out)))
        out[:] = self.values[start : start + len(out)]

    def digest(self):
        return "these"


out, devices = sys.argv[1], int(sys.argv[2])
bags = planted_bags(30)
view = OnDisk(bags.table())
bags = Bags({"x": view}, bags.offsets, bags.instance, bags.bag, bags.rows, target=bags.target,
            donor=bags.donor)
descend = training.descend


def watched(*args, **kwargs):
    view.stepping = True
    descend(*args, **kwargs)
    view.stepping = False


training.descend = watched
mil.ABMIL(widths=(8,), dropout=0.0, epochs=1, batch_size=10, accelerator="cpu", devices=devices,
          progress=False).fit(bags)
rank = os.environ.get("RANK", "0")
with open(f"{out}.{rank}.json", "w") as file:
    json.dump({"read": sorted(view.read_in_steps.items()), "offsets": bags.offsets.tolist()}, file)
"""


def free_port():
    """Of its own for each job: tests run beside one another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def torchrun(*command):
    started = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1"]
    return [sys.executable, *started, f"--master_port={free_port()}", *map(str, command)]


def run(command, folder, **how):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False,
                          cwd=folder, env=env, **how)  # fmt: skip


def fits(folder, name, devices, dropout, stop=""):
    """History and weights of each process."""
    script = folder / "fit.py"
    script.write_text(FIT)
    args = [script, folder / name, devices, dropout, stop]
    alone = [sys.executable, *map(str, args)]
    command = torchrun(*args) if devices == 2 else alone
    if stop:
        assert run(command, folder).returncode != 0
        assert (folder / f"{name}.fit").exists()
    out = run(command, folder)
    assert out.returncode == 0, out.stderr[-3000:]
    ranks = range(devices)
    return ([(folder / f"{name}.{r}.csv").read_text() for r in ranks],
            [np.load(folder / f"{name}.{r}.npz") for r in ranks])  # fmt: skip


def table(text):
    return np.genfromtxt(text.splitlines()[1:], delimiter=",", usecols=(3, 4))


def test_two_processes_are_one_fit(tmp_path):
    alone, (one,) = fits(tmp_path, "alone", 1, 0.0)
    both, weights = fits(tmp_path, "both", 2, 0.0)
    assert both[0] == both[1]
    np.testing.assert_allclose(table(both[0]), table(alone[0]), rtol=1e-4)
    for name in one:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
        np.testing.assert_allclose(weights[0][name], one[name], atol=2e-3)


def test_each_process_reads_its_share_of_the_bags(tmp_path):
    """In an epoch each reads half of the bags of every step, and no bag is read by both."""
    script = tmp_path / "reads.py"
    script.write_text(READS)
    for name, command in (
        ("alone", [sys.executable, str(script), str(tmp_path / "alone"), "1"]),
        ("both", torchrun(script, tmp_path / "both", 2)),
    ):
        out = run(command, tmp_path)
        assert out.returncode == 0, (name, out.stderr[-3000:])
    (alone,), both = (
        [json.loads((tmp_path / f"{name}.{rank}.json").read_text()) for rank in range(n)]
        for name, n in (("alone", 1), ("both", 2))
    )
    rows = [dict(part["read"]) for part in both]
    offsets = alone["offsets"]
    assert set(dict(alone["read"])) == set(range(offsets[-1]))
    assert {count for part in rows for count in part.values()} == {1}
    assert not set(rows[0]) & set(rows[1])
    assert set(rows[0]) | set(rows[1]) == set(range(offsets[-1]))
    for part in rows:  # whole bags, 5 of the 10 of each of three steps
        own = [i for i in range(30) if offsets[i] in part]
        assert len(own) == 15
        assert set(part) == {r for i in own for r in range(offsets[i], offsets[i + 1])}


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_two_processes_go_on_from_their_checkpoint(how, tmp_path):
    whole, weights = fits(tmp_path, "whole", 2, 0.3)
    again, resumed = fits(tmp_path, "again", 2, 0.3, how)
    assert whole[0] == whole[1] == again[0] == again[1]
    for name in weights[0]:
        for rank in range(2):
            np.testing.assert_array_equal(weights[0][name], resumed[rank][name])
    assert not list(tmp_path.glob("*fit")) + list(tmp_path.glob(".*"))


@pytest.mark.parametrize("started", ["torchrun", "smalti"])
def test_of_two_processes_one_speaks_and_writes(started, tmp_path):
    bags = planted_bags(24, n_features=4)
    names = bags.bag.index.to_numpy().astype(str)
    np.savez(tmp_path / "bags.npz", x=bags.table(), bag=names[bags.index], label=bags.labels,
             donor=bags.bag["donor"].to_numpy())  # fmt: skip
    verb = ["fit", "abmil", "bags.npz", "--out", "model", "--epochs", "3", "--set", "widths=[8]",
            "--set", "accelerator=cpu", "--set", "dropout=0"]  # fmt: skip
    begin = [sys.executable, "-m", "smalti.cli"]
    alone = run([*begin, *verb[:4], "alone", *verb[5:]], tmp_path)
    assert alone.returncode == 0, alone.stderr
    if started == "torchrun":
        refused = run(torchrun("-m", "smalti.cli", *verb), tmp_path)
        assert "torchrun started 2 processes: say --set devices=2" in refused.stderr
        assert not (tmp_path / "model").exists()
        begin = torchrun("-m", "smalti.cli")
    both = run([*begin, *verb, "--set", "devices=2"], tmp_path)
    assert both.returncode == 0, both.stderr
    assert both.stdout == alone.stdout.replace("saved to alone", "saved to model")
    assert both.stderr.count("still falling") == alone.stderr.count("still falling") == 1
    one, two = load(tmp_path / "alone"), load(tmp_path / "model")
    for column in ("train_loss", "val_loss"):
        np.testing.assert_allclose(two.history_[column], one.history_[column], rtol=1e-4)
    assert not list(tmp_path.glob(".*"))
