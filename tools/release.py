"""Build what is released, look at it, and use it as a stranger would, in an empty environment.

    python tools/release.py [--tag v0.1.0] [--work FOLDER]

One number is written in ``_version.py``; the tag, ``CITATION.cff``, ``recipe/recipe.yaml`` and the
changelog must say the same. It builds into ``dist/``, by packages of the extra ``release``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
_COHORT = """
import anndata, numpy as np, pandas as pd
rng = np.random.default_rng(0)
donor = np.repeat(np.arange(12), 40)
ill = donor % 2 == 1
x = rng.normal(size=(480, 10)).astype("float32")
x[:, 0] += 2 * ill
obs = pd.DataFrame({"donor": [f"d{d}" for d in donor], "disease": np.where(ill, "ill", "well")},
                   index=[f"c{i}" for i in range(480)])
anndata.AnnData(x, obs=obs).write_h5ad("cells.h5ad")
"""


def version() -> str:
    """As the build reads it."""
    text = (ROOT / "src/smalti/_version.py").read_text(encoding="utf-8")
    return re.findall(r'__version__ = "(.+)"', text)[0]


def disagreements(tag: str | None) -> list[str]:
    """Where another version is written; with a tag, also whether the changelog has closed it."""
    wanted, found = version(), []
    for name, pattern in (
        ("CITATION.cff", r"^version: (\S+)"),
        ("recipe/recipe.yaml", r'^  version: "(.+)"'),
    ):
        said = re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        if said != [wanted]:
            found.append(f"{name} says {said}, _version.py {wanted}")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    head = re.findall(r"^## (.+)", changes, re.MULTILINE)[0]
    if head.split()[0] != wanted:
        found.append(f"CHANGELOG.md begins with {head}, _version.py says {wanted}")
    if tag is not None:
        if tag != f"v{wanted}":
            found.append(f"the tag is {tag}, _version.py says {wanted}")
        if "unreleased" in head:
            found.append(f"CHANGELOG.md begins with {head}: give it a date")
    return found


def strays(names: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Files of an archive that do not belong there."""
    made = re.compile(r"__pycache__|\.pyc$|\.(ipynb_checkpoints|\w+_cache)/")
    return [n for n in names if made.search(n) or not n.startswith(wanted)]


def run(*command: object, cwd: Path = ROOT) -> str:
    """Run a command, stop where it fails; what it printed."""
    print("$", *command, flush=True)
    done = subprocess.run([str(c) for c in command], cwd=cwd, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{command[0]} failed")
    return done.stdout


def built() -> tuple[Path, Path]:
    """The wheel and the sdist, looked at."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build")
    wheel, sdist = next(DIST.glob("*.whl")), next(DIST.glob("*.tar.gz"))
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    run(sys.executable, "-m", "check_wheel_contents", wheel)
    name = f"smalti-{version()}"
    inside = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        sources = archive.getnames()
    wrong = strays(inside, ("smalti/", f"{name}.dist-info/")) + strays(sources, (f"{name}/", name))
    wrong += [f"no {n} in the wheel" for n in ("smalti/py.typed",) if n not in inside]
    wrong += [f"no {n} in the sdist" for n in ("tests/conftest.py", "docs/conf.py", "LICENSE")
              if f"{name}/{n}" not in sources]  # fmt: skip
    if wrong:
        sys.exit("\n".join(wrong))
    for path in (wheel, sdist):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    return wheel, sdist


def megabytes(folder: Path) -> float:
    """MB (10^6 bytes) of the files in a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def as_a_stranger(wheel: Path, work: Path) -> None:
    """Install the wheel alone, without constraints; demo, fit and predict."""
    home = work / "venv"
    venv.create(home, with_pip=True, clear=True)
    folder = home / ("Scripts" if sys.platform == "win32" else "bin")
    python, smalti = folder / "python", folder / "smalti"
    torch = re.findall(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    start = time.monotonic()
    run(*pip, torch, cwd=work)  # by hand, so that a CPU build at hand is taken
    run(*pip, wheel, cwd=work)
    print(f"installed in {time.monotonic() - start:.0f} s, {megabytes(home):,.0f} MB")
    start = time.monotonic()
    print(run(smalti, "demo", "--out", "demo", cwd=work).splitlines()[-1])
    print(f"smalti demo: {time.monotonic() - start:.0f} s, {megabytes(work / 'demo'):.1f} MB")
    run(python, "-c", _COHORT, cwd=work)
    named = ("--sample", "donor", "--label", "disease")
    print(run(smalti, "fit", "abmil", "cells.h5ad", *named, "--out", "model", cwd=work))
    print(run(smalti, "predict", "model", "cells.h5ad", "--out", "said.csv", cwd=work))
    rows = (work / "said.csv").read_text(encoding="utf-8").splitlines()
    if len(rows) != 13:
        sys.exit(f"12 donors gave {len(rows) - 1} predictions")
    print("\n".join(rows[:3]))


def main() -> None:
    """Check, build, look, use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag", help="that is released; CHANGELOG.md must have closed it")
    parser.add_argument("--work", type=Path, help="a folder to keep the environment in")
    given = parser.parse_args()
    if wrong := disagreements(given.tag or None):
        sys.exit("\n".join(wrong))
    wheel, _ = built()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        as_a_stranger(wheel, work)


if __name__ == "__main__":
    main()
