"""Data sets by name, classical ones and a real cohort: fetched once, checked by a checksum.

Reads a local folder first (argument ``folder``, or the environment variable SMALTI_DATA), then
pooch's cache, then the network (another server with SMALTI_MIRROR).
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.datasets.digits import digit_bags, mnist_bags
from smalti.datasets.fetch import fetch, mirror, read_arrays
from smalti.errors import InputError
from smalti.io.anndata import read
from smalti.names import meant

_MIL = (
    "https://raw.githubusercontent.com/komartom/MIDatasets.jl/"
    "0118728ce3501a29f5c6e4ff7640b15db39fc417/data/"
)
_ANDREWS = "Andrews, Tsochantaridis & Hofmann (2002). NIPS"
# name -> (file at the source, sha256, name of a local npz, what it is, citation)
_SETS = {
    "musk1": (
        "Musk1.jld", "32ccface3c549889d48030a44f2d193c048a09247f1d825e45f7c6cdd6590e39", "musk1",
        "molecules of conformations, 92 bags", "Dietterich, Lathrop & Lozano-Perez (1997). AIJ 89",
    ),
    "elephant": (
        "Elephant.jld", "29da4dbf76a8c1a09cfb5d03ffc640315383dee77d6f384596e5d58e2a8f91ac",
        "elephant", "pictures of segments, 200 bags", _ANDREWS,
    ),
    "fox": (
        "Fox.jld", "5cb2fdbd8a07ec72f94a55db4d6bb18fd57458798b5b01a7ed864a0d6f56e98c", "fox",
        "pictures of segments, 200 bags", _ANDREWS,
    ),
    "tiger": (
        "Tiger.jld", "98beed698b05ff574707197f11da1689024326970a3868462709f93b080e9bf4", "tiger",
        "pictures of segments, 200 bags", _ANDREWS,
    ),
    "birds": (
        "BrownCreeper.jld", "cdab25e2bfc45357e8390bd0da60f1a48584ee1fbb369c055c65e5c95a24233a",
        "birds_browncreeper", "recordings of syllables (brown creeper), 548 bags",
        "Briggs, Fern & Raich (2012). KDD",
    ),
    "mutagenesis1": (
        "Mutagenesis1.jld", "fe4382bf74595cfee1bceb5cca581d50304cc32c0b295a7654eb09e86c896379",
        "mutagenesis1", "molecules of bonds, 188 bags",
        "Srinivasan, Muggleton & King (1995). ILP",
    ),
    "newsgroups2": (
        "Newsgroups2.jld", "be22123a6636f05381e574faa580589f8a9d3281294633a73f9eeb7dc00fd5ef",
        "newsgroups2", "groups of posts, 100 bags", "Zhou, Sun & Li (2009). ICML",
    ),
}  # fmt: skip
_KIDNEY = (
    "https://raw.githubusercontent.com/CostaLab/PILOT/"
    "4eb26b135a2948bbd97436e8057bf387e36ab3a6/Tutorial/Datasets/"
)
_KIDNEY_FILE = "Kidney_IgAN_G.h5ad"
_KIDNEY_SHA = "1501dc1ba58f5e0e3cc3850004a378a7e1a1cae114190111b0eaaed14d4398ba"


def names() -> dict[str, str]:
    """Name -> what it is and whom to cite."""
    about = {name: f"{what}; {cite}" for name, (*_, what, cite) in _SETS.items()}
    about["kidney"] = (
        "patients of glomeruli (14 measures of shape), normal or reduced function of the kidney, "
        "634 bags; Joodaki et al. (2024). Mol Syst Biol, and Hölscher et al. (2023). Nat Commun"
    )
    about["digits"] = "bags of scikit-learn's 8 x 8 digits; positive if they hold a 9"
    about["mnist"] = "bags of MNIST; positive if they hold a 9; LeCun et al. (1998)"
    return about


def load(name: str, *, folder: str | Path | None = None, base_url: str | None = None) -> Bags:
    """Load a data set.

    Parameters
    ----------
    name
        One of :func:`names`.
    folder
        Look for ``mil_benchmarks/NAME.npz`` here first, of "kidney" for
        ``cohorts/kidney_igan_glomeruli.h5ad``; SMALTI_DATA when left out.
    base_url
        Fetch from this server instead; SMALTI_MIRROR when left out.

    Returns
    -------
    Bags
        Each bag its own donor. Columns of "kidney": ``sex`` (0 or 1, as its authors have it) and
        ``Age`` (years) of the patient, and ``cell_type`` of a glomerulus, a cluster of its authors
        over all patients. The target parts their classes of eGFR at 60.

    Raises
    ------
    InputError
        If the name is unknown, the file cannot be had, or its checksum differs.
    """
    if name in ("digits", "mnist"):
        return digit_bags() if name == "digits" else mnist_bags()
    if name == "kidney":
        return _kidney(folder, base_url)
    x, lengths, y, _ = _read(name, folder, base_url)
    ids = np.repeat(np.arange(len(lengths)), lengths)
    return Bags.from_rows({"x": x.astype(np.float32)}, ids, y=y[ids], donor="bag")


def folds(
    name: str, *, folder: str | Path | None = None, base_url: str | None = None
) -> np.ndarray:
    """The published folds of a classical set: (5, 10, n_bags) bool, of 5 repeats; True: test."""
    return _read(name, folder, base_url)[3]


def _kidney(folder: str | Path | None, base_url: str | None) -> Bags:
    """Biopsies of patients with IgA nephropathy: a bag of glomeruli each."""
    root = folder or os.environ.get("SMALTI_DATA")
    path = Path(root) / "cohorts" / "kidney_igan_glomeruli.h5ad" if root else None
    if path is None or not path.exists():
        path = fetch(_KIDNEY_FILE, f"sha256:{_KIDNEY_SHA}", base_url or mirror() or _KIDNEY)
    bags = read(path, sample="sampleID", donor="sampleID", label="status", cell_type="Cell_type")
    said = np.where(bags.labels == ">60", "normal", "reduced")
    # the classes tell the target: as a column they would be a leak
    bags = dataclasses.replace(bags, bag=bags.bag.drop(columns="status"),
                               instance=bags.instance.drop(columns="status"))  # fmt: skip
    return bags.with_target(said)


def _read(name: str, folder: str | Path | None, base_url: str | None) -> tuple[np.ndarray, ...]:
    """Instances, bag lengths, bag labels and test folds."""
    if name not in _SETS:
        raise InputError(
            f"no data set {name!r}; there are {', '.join(names())}.{meant(name, names())}"
        )
    file, sha, local, *_ = _SETS[name]
    root = folder or os.environ.get("SMALTI_DATA")
    path = Path(root) / "mil_benchmarks" / f"{local}.npz" if root else None
    if path is not None and path.exists():
        x, bag_id, y, packed = read_arrays(path, "X", "bag_id", "bag_label", "folds_test")
        tests = np.unpackbits(packed, axis=-1, count=len(y)).astype(bool)
        order = np.argsort(bag_id, kind="stable")
        return x[order], np.bincount(bag_id, minlength=len(y)), y.astype(int), tests
    return _read_julia(fetch(file, f"sha256:{sha}", base_url or mirror() or _MIL))


def _read_julia(path: Path) -> tuple[np.ndarray, ...]:
    """Parse the HDF5 that Julia's JLD wrote: references to matrices, packed bits."""
    import h5py

    def bits(file: Any, value: Any) -> np.ndarray:
        words = np.asarray(file[value["chunks_"]]).astype("<u8")
        return np.unpackbits(words.view(np.uint8), bitorder="little")[: value["len_"]].astype(bool)

    try:
        with h5py.File(path, "r") as file:
            parts = [np.asarray(file[r]).T for r in file["X"][()]]
            y = bits(file, file["y"][()]).astype(int)
            tests = [[bits(file, file[r][()]) for r in file[f][()]] for f in file["folds"][()]]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it and try again.") from error
    # the file marks the training bags
    return np.concatenate(parts), np.array([len(p) for p in parts]), y, ~np.array(tests)
