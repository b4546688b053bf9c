"""A package with methods of its own, installed beside smalti: found, checked, saved, loaded."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import smalti

PLUGIN = Path(__file__).parent.parent / "plugin"

WITH = """
import sys, numpy as np, smalti as sm
from typer.testing import CliRunner
from smalti import contract
from smalti.cli import app
from smalti.datasets import planted_bags
assert "top_mean" in sm.methods() and "linear_code" in sm.methods("integrate")
assert "one_penalty" in sm.methods("expression")
assert "linear_code" not in sm.methods() and sm.methods()["abmil"] is sm.mil.ABMIL
for room, name in (("mil", "top_mean"), ("integrate", "linear_code"),
                   ("expression", "one_penalty")):
    for check in contract.checks(room):
        check(sm.methods(room)[name])
bags = planted_bags(20)
model = sm.make("top_mean", widths=(8,), epochs=2, progress=False, k=3).fit(bags)
model.save(sys.argv[1])
np.save(sys.argv[2], model.predict_proba(bags))
table = sm.compare(["top_mean"], bags, folds=2, progress=False).summary()
assert "top_mean" in table.reset_index().astype(str).to_numpy()
print(sm.citation("top_mean", "linear_code"))
print(CliRunner().invoke(app, ["methods"]).output)
for name in ("top_mean", "linear_code", "one_penalty"):
    print(CliRunner().invoke(app, ["methods", name]).output)
"""
LOAD = """
import sys, numpy as np, smalti as sm
from smalti.datasets import planted_bags
model = sm.load(sys.argv[1])
assert model.k == 3
np.testing.assert_array_equal(model.predict_proba(planted_bags(20)), np.load(sys.argv[2]))
"""
WITHOUT = """
import sys, smalti as sm
assert "top_mean" not in sm.methods()
sm.load(sys.argv[1])
"""


class Environment:
    """A fresh environment that sees what this one has installed, and the smalti under test."""

    def __init__(self, folder):
        venv.create(folder, with_pip=False, symlinks=os.name != "nt")
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
        lines = [str(Path(smalti.__file__).parents[1]), *packages]
        site = self.run("-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])")
        Path(site.stdout.strip(), "here.pth").write_text("\n".join(lines))

    def run(self, *args, code=0):
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        env = {k: v for k, v in os.environ.items() if k not in hidden} | {"COLUMNS": "500"}
        out = subprocess.run([self.bin / "python", *map(str, args)], env=env, text=True,
                             capture_output=True, cwd=self.bin, check=False)  # fmt: skip
        assert out.returncode == code, out.stdout + out.stderr
        return out


@pytest.mark.slow
def test_a_package_of_ones_own(tmp_path):
    env, source = Environment(tmp_path / "env"), tmp_path / "plugin"
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__"))
    env.run("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", source)
    model, wanted = tmp_path / "model", tmp_path / "wanted.npy"
    told = env.run("-c", WITH, model, wanted).stdout
    for key in ("{smalti,", "{example2025,", "{vincent2008,"):
        assert key in told
    for name in ("top_mean", "linear_code", "one_penalty"):
        assert told.count(name) >= 2  # in the list of all, and a page of its own
    assert told.count("from smalti-example 0.3") == 3
    assert json.loads((model / "model.json").read_text())["needs"] == [{
        "method": "top_mean", "class": "smalti_example.top_mean:TopMean",
        "package": "smalti-example", "version": "0.3",
    }]  # fmt: skip
    env.run("-c", LOAD, model, wanted)

    env.run("-m", "pip", "uninstall", "-y", "smalti-example")
    said = env.run("-c", WITHOUT, model, code=1).stderr.splitlines()[-1]
    assert "InputError" in said
    assert "needs method 'top_mean', the class smalti_example.top_mean:TopMean" in said
    assert "install smalti-example 0.3" in said
