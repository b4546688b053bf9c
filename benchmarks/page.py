"""How long the page of a comparison takes, and how large it is.

    python benchmarks/page.py                       # 100 donors of 5,000 cells, 30 features
    python benchmarks/page.py --donors 20 --cells 50 --epochs 1

Cells are Gaussian, of eight types; in ill donors one of them is more common. The comparison itself
is not timed but for what it keeps of the cells.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

import smalti as sm
from smalti.comparison.page.order import made, phenotype


def cohort(donors: int, cells: int, features: int, seed: int = 0) -> sm.Bags:
    """Half of the donors are ill; of them one cell in five is of type 7, else one in ten."""
    rng = np.random.default_rng(seed)
    ill = np.arange(donors) % 2
    middles = rng.normal(size=(8, features)) * 2
    x, types = [], []
    for i in range(donors):
        share = np.full(8, 0.9 / 7)
        share[7] = 0.2 if ill[i] else 0.1
        kind = rng.choice(8, size=cells, p=share / share.sum())
        x.append((middles[kind] + rng.normal(size=(cells, features))).astype(np.float32))
        types.append(kind)
    table = pd.DataFrame({"state": np.array(["healthy", "ill"])[ill],
                          "age": rng.integers(20, 80, donors), "batch": rng.integers(0, 4, donors),
                          "sex": np.array(["f", "m"])[rng.integers(0, 2, donors)]})  # fmt: skip
    instance = pd.DataFrame({"cell_type": [f"type {k}" for k in np.concatenate(types)]})
    return sm.Bags.from_list(x, donor="bag", target="state", bag=table, instance=instance)


def main() -> None:
    """Compare, then write the page as a user does, and time its sections one by one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--donors", type=int, default=100)
    parser.add_argument("--cells", type=int, default=5000)
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    bags = cohort(asked.donors, asked.cells, asked.features)
    print(bags)
    method = sm.make("abmil", epochs=asked.epochs, progress=False)
    began = time.perf_counter()
    table = sm.compare([method], bags, folds=5, repeats=asked.repeats, n_jobs=1, progress=False,
                       attributions=True, learning_curve={"bag_mean": (0.5,)})  # fmt: skip
    print(f"comparison: {time.perf_counter() - began:.0f} s")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        began = time.perf_counter()
        table.report(path)
        print(f"page: {time.perf_counter() - began:.1f} s, {path.stat().st_size / 1e6:.2f} MB")
        beside = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file() and p != path)
        print(f"beside it: {beside / 1e6:.2f} MB")
    for make in phenotype():
        began = time.perf_counter()
        sections = made(table, (make,))
        name = sections[0].name if sections else "nothing"
        print(f"  section {name}: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
