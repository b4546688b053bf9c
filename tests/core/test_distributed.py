"""Two processes on one machine give the fit of one process, to rounding."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, numpy as np
from smalti import mil
from smalti.datasets import planted_bags
bags = planted_bags(30)
model = mil.ABMIL(widths=(8,), dropout=0.0, epochs=4, batch_size=7, validation=0.25,
                  accelerator="cpu", devices=int(sys.argv[1]), progress=False)
p = model.fit(bags).predict_proba(bags)[:, 1]
import os
if os.environ.get("RANK", "0") == "0":
    last = model.history_.val_loss.iloc[-1]
    print("RESULT", *np.round(p, 5), len(model.history_), round(last, 4))
"""


def result(command, script):
    out = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    lines = [x for x in out.stdout.splitlines() if x.startswith("RESULT")]
    assert len(lines) == 1, out.stderr[-2000:]
    return [float(x) for x in lines[0].split()[1:]]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT)
    alone = result([sys.executable, str(script), "1"], script)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2",
                "--master_addr=127.0.0.1", "--master_port=29611"]  # fmt: skip
    both = result([*torchrun, str(script), "2"], script)
    assert both == pytest.approx(alone, abs=2e-3)
