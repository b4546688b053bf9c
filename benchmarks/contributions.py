"""Shares of modalities in the code where the truth is planted; and the share of noise.

    python benchmarks/contributions.py --seeds 3

Kinds 0 and 1 differ in modality a alone, kinds 2 and 3 in b alone; a third modality is noise.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.bags import Bags

METHODS = {
    "block_pca, width 8": sm.make("block_pca", width=8),
    "block_pca": sm.make("block_pca"),
    "umint:fast, width 8": sm.make("umint:fast", width=8),
    "umint:fast": sm.make("umint:fast"),
    "ae:modality-fast": sm.make("ae:modality-fast"),
    "mofa, width 8": sm.make("mofa", width=8),
}


def parted(n: int, seed: int) -> tuple[Bags, np.ndarray]:
    """Cells and their kinds."""
    rng, law = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    kind = rng.integers(4, size=n)
    views = {"noise": rng.normal(size=(n, 20)).astype(np.float32)}
    for name, d, first in (("a", 60, 0), ("b", 15, 2)):
        profile = law.normal(size=d)
        state = np.select([kind == first, kind == first + 1], [-3.0, 3.0], 0.0)
        mean = state[:, None] * profile / np.linalg.norm(profile)
        views[name] = (mean + rng.normal(size=(n, d))).astype(np.float32)
    return Bags.from_rows(views, np.arange(n)), kind


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--cells", type=int, default=1200)
    ask.add_argument("--only", default="", help="methods whose label holds this text")
    args = ask.parse_args()
    rows = []
    for seed in range(args.seeds):
        bags, kind = parted(args.cells, seed)
        for label, method in METHODS.items():
            if args.only not in label or method.unavailable():
                continue
            model = method.set_params(seed=seed, progress=False, accelerator="cpu").fit(bags)
            for how in ("hidden", "gradient"):
                share = model.modality_contributions(bags, how)
                rows.append({
                    "method": label, "how": how,
                    "AUROC of a": roc_auc_score(kind < 2, share["a"]),
                    "AUROC of b": roc_auc_score(kind >= 2, share["b"]),
                    "noise": share["noise"].mean(),
                })  # fmt: skip
    print(pd.DataFrame(rows).groupby(["method", "how"], sort=False).mean().round(2).to_string())


if __name__ == "__main__":
    main()
