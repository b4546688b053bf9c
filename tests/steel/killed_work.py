"""What runs in a process that is killed; imported once, by the server that processes fork of."""

import os
from pathlib import Path

# what a fit would import is there before the first kill
import lightning_fabric.strategies  # noqa: F401
import numpy as np
import scipy.optimize  # noqa: F401
import sklearn.cluster
import sklearn.model_selection  # noqa: F401
import torch
import torch._dynamo

import smalti as sm
from smalti import features
from smalti.core.checkpoint import Checkpoint
from smalti.datasets import planted_bags, planted_modalities, planted_slides
from smalti.datasets.programmes import planted_programmes

torch.set_num_threads(1)

FITS = {
    # early stopping; sweeps of many rounds; two gradient stages; a sweep after; cells; slides
    "abmil": dict(widths=(16,), epochs=60, batch_size=4, validation=0.25, patience=5, lr=0.01),
    "cloudpred": dict(centers=(2, 4), starts=2, epochs=15),
    "protocell4p": dict(pretrain_epochs=6, epochs=6),
    "mixmil": dict(epochs=60, batch_size=16),
    "umint": dict(width=8, epochs=15, batch_size=16),
    "sgn": dict(vectors="random", width=16, layers=2, gene_width=16, text_layers=1, epochs=30),
}


def data(name):
    """A small cohort of the kind that a method reads."""
    if name == "umint":
        return planted_modalities(160)
    if name == "sgn":
        return planted_programmes(3, 16, n_genes=14)[0]
    return planted_bags(40)


def fit(name, out, checkpoint, every=0.01):
    """Fit and save; a checkpoint each hundredth of a second, so that most kills find a new one."""
    _quiet()
    Checkpoint.__init__.__kwdefaults__["every"] = every
    method = sm.make(name, accelerator="cpu", progress=False, **FITS[name])
    model = method.fit(data(name), checkpoint=checkpoint)
    model.save(out)
    Path(f"{out}.said").write_text(f"{model.converged_}\n{model.history_.to_csv()}")


def compare(out, cache):
    """Compare two methods, fit by fit into a cache, and keep the predictions."""
    _quiet()
    table = sm.compare(
        {"abmil": sm.make("abmil", widths=(16,), epochs=20, accelerator="cpu")},
        planted_bags(40), folds=3, cache=cache, n_jobs=1, progress=False,
    )  # fmt: skip
    table.predictions.to_csv(out)


def extract(out, cache):
    """Features of tiles, slide by slide into a cache."""
    _quiet()
    slides = planted_slides(n_slides=6, n_tiles=60, n_genes=4, images=True, size=32)
    table = features.extract(slides, "morphology", cache=cache, progress=False)
    np.save(out, table.table("X_morphology"))


def _quiet():
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
