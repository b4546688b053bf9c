"""Models that were saved before the package was arranged in rooms load, and predict the same."""

import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parent / "models"

# in a process of its own: nothing but what loading asks for may be needed
CODE = """
import sys, numpy as np, smalti as sm
from pathlib import Path

import pytest
folder = Path(sys.argv[1])
d = np.load(folder / "data.npz")
two = {k: d[k] for k in ("rna", "protein")}
tiles = {"X_f": d["feats"], "counts": d["counts"]}
found = {
    # first, while nothing has been imported for the others
    "embed": sm.load(folder / "embed").forward(sm.Bags.from_rows(two, d["ids"], y=d["y"]))[0],
    "abmil": sm.load(folder / "abmil").forward(sm.Bags.from_rows(d["x"], d["ids"], y=d["y"]))[0],
    "ridge": sm.load(folder / "ridge").predict(
        sm.Bags.from_rows(tiles, d["slide"], features={"counts": ("G1", "G2", "G3")})
    ),
}
for name, values in found.items():
    assert np.abs(values - d[name]).max() < 1e-5, (name, np.abs(values - d[name]).max())
"""


@pytest.mark.slow  # a process is started
def test_old_models_load_and_predict_the_same():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, MODELS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
