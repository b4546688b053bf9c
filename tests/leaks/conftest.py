"""A cohort without a leak, into which tests plant one."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from smalti.bags import Bags


@pytest.fixture(scope="session")
def clean():
    """clean(seed, n, cells, d): donors differ, and in size; no effect of the label."""

    def make(seed=0, n=24, cells=30, d=10, **columns):
        rng = np.random.default_rng(seed)
        rows = np.repeat(np.arange(n), rng.integers(cells // 2, 2 * cells, n))
        x = rng.normal(size=(len(rows), d)) + 0.3 * rng.normal(size=(n, d))[rows]
        bag = pd.DataFrame({"donor": [f"D{i}" for i in range(n)],
                            "label": np.where(np.arange(n) % 2, "ill", "well")} | columns,
                           index=[f"S{i}" for i in range(n)])  # fmt: skip
        types = pd.DataFrame({"cell_type": rng.choice(["T", "B", "NK"], len(rows))})
        return Bags.from_rows(x.astype(np.float32), bag.index.to_numpy()[rows], bag=bag,
                              target="label", donor="donor", instance=types)  # fmt: skip

    return make


@pytest.fixture(scope="session")
def change():
    """change(bags, x=..., donor=...): the same bags with other features or columns."""

    def made(bags, x=None, **columns):
        views = bags.x if x is None else {"x": x}
        return dataclasses.replace(bags, x=views, bag=bags.bag.assign(**columns))

    return made
