"""Samples as patpy represents them, beside methods for bags: same cohorts, same folds of donors.

patpy (BSD-3; it brings ehrapy, gudhi, openTSNE) makes a matrix of distances between samples, and
says what a sample is by its nearest neighbours. Its matrix is made of the cells of all samples, the
left-out ones too (never of their labels); the neighbours that vote are training donors only.

    python -m venv pp
    pp/bin/pip install -c constraints.txt patpy pynndescent WassersteinTSNE .
    pp/bin/python benchmarks/patpy_peer.py

Cohorts: "covid", 20 patients of 500 cells (16 Covid, 4 healthy; 50 components); "kidney", 634
patients of 2 to 415 glomeruli (14 measures of shape; function normal or reduced).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import anndata as ad
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import smalti as sm
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count
from smalti.core.stage import Stage, Sweep, Training
from smalti.mil.base import Method

SAMPLE = "sample"  # the view that says which sample a cell is of
MATRICES: dict[str, np.ndarray] = {}  # name -> distances (n_samples, n_samples)


class NearestSamples(Method):
    """The vote of the nearest training samples, by patpy's distances, weighted as patpy does it."""

    name: ClassVar[str] = "nearest_samples"
    reference: ClassVar[str] = "Baseline: patpy"
    kinds: ClassVar[tuple[str, ...]] = ("binary",)
    embeds: ClassVar[bool] = False

    matrix: str = ""  # name in MATRICES
    n_neighbors: Count = 3  # patpy's own default

    def network(self, shape: Shape) -> nn.Module:
        """What is kept: which samples were in training, and what they are."""
        return _Votes(self)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Read the training samples, once."""
        yield Sweep(step=self._read, name="neighbours")

    def _read(self, network: nn.Module, training: Training) -> float:
        network.known = torch.cat([samples(batch) for batch in training.batches(network)])
        network.target = torch.as_tensor(training.target, dtype=torch.float64).reshape(-1)
        return 0.0

    @classmethod
    def example(cls) -> NearestSamples:
        return cls()


def samples(batch: Batch) -> Tensor:
    """Number of the sample of each bag, (n_bags,)."""
    return batch.x[batch.segments.offsets[:-1], 0].round().long()


class _Votes(nn.Module):
    def __init__(self, method: NearestSamples) -> None:
        super().__init__()
        self.distances, self.k = MATRICES[method.matrix], method.n_neighbors
        self.register_buffer("known", torch.zeros(0, dtype=torch.long))
        self.register_buffer("target", torch.zeros(0, dtype=torch.float64))

    def forward(self, batch: Batch) -> Output:
        found = torch.as_tensor(self.distances)[samples(batch)][:, self.known]  # (n, n_training)
        near, which = found.topk(min(self.k, len(self.known)), largest=False)
        weight = 1 / near.clamp(min=1e-12)
        share = (weight * self.target[which]).sum(1) / weight.sum(1)
        return Output(torch.logit(share, eps=1e-6)[:, None].float())


# ---------------------------------------------------------------- cohorts


def covid() -> sm.Bags:
    return sm.read(of_data("covid_gloscope_pca.h5ad"), sample="patient", donor="patient",
                   label="phenotype", cell_type="cell_type")  # fmt: skip


def kidney() -> sm.Bags:
    return sm.datasets.load("kidney")


def of_data(name: str) -> Path:
    return Path(os.environ["SMALTI_DATA"]) / "cohorts" / name


COHORTS: dict[str, Callable[[], sm.Bags]] = {"covid": covid, "kidney": kidney}


# ---------------------------------------------------------------- representations


def representations(few: bool) -> dict[str, Any]:
    """Name -> patpy's object. GloScope asks for neighbours once a pair of samples: of few only."""
    import patpy.tl as tl

    names = {"sample_key": "sample", "cell_group_key": "type"}
    layer = {"layer": "X_pca"}
    found = {
        "pseudobulk": tl.Pseudobulk(**names, **layer),
        "pseudobulk by type": tl.GroupedPseudobulk(**names, **layer),
        "composition": tl.CellGroupComposition(**names),
        "composition, clr": tl.CellGroupComposition(**names, apply_clr=True),
        "Wasserstein": tl.WassersteinTSNE(**names, **layer, replicate_key="type"),
    }
    if few:
        found["GloScope"] = tl.GloScope_py(**names, **layer)
    return found


def matrices(bags: sm.Bags) -> dict[str, np.ndarray]:
    """patpy's distances between samples, in the order of the bags."""
    standard = bags.table().astype(np.float32)
    standard = (standard - standard.mean(0)) / np.maximum(standard.std(0), 1e-6)
    obs = pd.DataFrame({"sample": pd.Categorical([f"s{b}" for b in bags.index]),
                        "type": pd.Categorical(bags.instance["cell_type"].astype(str))},
                       index=[f"c{i}" for i in range(len(standard))])  # fmt: skip
    cells = ad.AnnData(standard, obs=obs, obsm={"X_pca": standard})
    order, found = [f"s{b}" for b in range(len(bags))], {}
    for name, method in representations(len(bags) <= 30).items():
        started = time.process_time()
        try:
            method.prepare_anndata(cells.copy())
            square = pd.DataFrame(np.asarray(method.calculate_distance_matrix(force=True)),
                                  index=method.samples, columns=method.samples)  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a peer that cannot is a row that says so
            print(f"patpy {name}: {type(error).__name__}: {error}", flush=True)
            continue
        found[name] = square.loc[order, order].to_numpy(float)
        print(f"patpy {name}: {time.process_time() - started:.1f} CPU s", flush=True)
    return found


def compared(name: str, args: argparse.Namespace) -> pd.DataFrame:
    """AUROC of patients left out, and its difference to that of ABMIL."""
    bags = COHORTS[name]()
    first = next(iter(bags.x))
    MATRICES.clear()
    MATRICES.update({f"{name} {k}": v for k, v in matrices(bags).items()})
    which = bags.index.astype(np.float32)[:, None]  # (n_cells, 1)
    bags = dataclasses.replace(bags, x={**bags.x, SAMPLE: which})
    ours = sm.mil.ABMIL(views=first, epochs=args.epochs, preprocess="scale", progress=False)
    chosen: dict[str, Any] = {"abmil": ours}
    for matrix in MATRICES:
        said = matrix.removeprefix(f"{name} ")
        chosen[f"patpy {said}"] = NearestSamples(views=SAMPLE, matrix=matrix)
    table = sm.compare(chosen, bags, folds=args.folds, repeats=args.repeats, n_jobs=1,
                       progress=False)  # fmt: skip
    rows = table.intervals("roc_auc").set_index("method")
    beside, said = table.against("abmil", "roc_auc").set_index("method"), []
    for method, row in rows.iterrows():
        score = f"{row['value']:.3f}"
        if row["value_low"] == row["value_low"]:  # else all folds are equal
            score += f" ({row['value_low']:.3f} to {row['value_high']:.3f})"
        gap = ""
        if method in beside.index:
            by = beside.loc[method]
            gap = (
                f"{by['difference']:+.3f} ({by['low']:+.3f} to {by['high']:+.3f}), {by['verdict']}"
            )
        said.append({"cohort": name, "method": f"`{method}`", "AUROC": score, "less `abmil`": gap})
    print(table.about)
    return pd.DataFrame(said)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--cohorts", nargs="+", default=list(COHORTS), choices=list(COHORTS))
    ask.add_argument("--folds", type=int, default=4, help="four healthy patients are the fewest")
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--epochs", type=int, default=100)
    args = ask.parse_args()
    warnings.simplefilter("ignore")
    for name in args.cohorts:
        found = compared(name, args)
        print(
            "\n".join(
                [
                    "| " + " | ".join(found) + " |",
                    "|" + "---|" * found.shape[1],
                    *("| " + " | ".join(r) + " |" for r in found.to_numpy()),
                ]
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
