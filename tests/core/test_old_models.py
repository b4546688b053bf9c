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
name, folder = sys.argv[1], Path(sys.argv[2])
d = np.load(folder / "data.npz")
if name == "ridge":
    views, ids = {"X_f": d["feats"], "counts": d["counts"]}, d["slide"]
    bags = sm.Bags.from_rows(views, ids, features={"counts": ("G1", "G2", "G3")})
    found = sm.load(folder / name).predict(bags)
else:
    views = d["x"] if name == "abmil" else {k: d[k] for k in ("rna", "protein")}
    found = sm.load(folder / name).forward(sm.Bags.from_rows(views, d["ids"], y=d["y"]))[0]
assert np.abs(found - d[name]).max() < 1e-5, np.abs(found - d[name]).max()
"""


@pytest.mark.parametrize("name", ["abmil", "embed", "ridge"])
def test_an_old_model_loads_and_predicts_the_same(name):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, name, MODELS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
