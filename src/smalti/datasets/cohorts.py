"""Simulated single-cell cohorts with a known truth.

The seed of the law (where cell types lie, which direction marks a driver) and the seed of the
sample (patients and cells) are separate: training and test cohorts share one law, never a cell.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError

# Healthy ranges of the raw weights of ten blood cell types, before they are normalised.
_RANGES = {
    "B": (4, 69), "monocyte": (0, 49), "CD4": (22, 93), "NK": (0, 59), "CD8": (6, 65),
    "type6": (0, 50), "type7": (0, 50), "type8": (0, 50), "type9": (0, 50), "type10": (0, 50),
}  # fmt: skip


def proportion_cohort(
    kind: str = "signature",
    n_patients: int = 100,
    *,
    cells: int = 1000,
    n_features: int = 25,
    separation: float = 6.0,
    split: float = 0.5,
    margin: float = 0.0,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """CloudPred's simulations: disease is in the proportions of the cell types alone.

    Ten types; each patient's raw weights are drawn evenly from healthy ranges and normalised.
    "signature": a patient is ill by too few CD4 cells (weight below 22, with probability
    ``split``) or too many (93 to 115): two-sided, so that no line in the proportions tells.
    "interaction": ill patients have many monocytes (49 to 69) and many CD4 cells (93 to 115);
    healthy ones have many of the one, of the other, or of neither, a third each.

    Parameters
    ----------
    kind
        "signature" or "interaction".
    n_patients
        Patients, half of them ill.
    cells
        Cells of each patient.
    n_features
        Width of a cell; types are Gaussians with unit variance.
    separation
        Standard deviation of the types' centres around 0, over all features together.
    split
        Share of the ill patients of a signature that have too few.
    margin
        Gap between healthy and ill ranges of the deciding weights, cut from the healthy side. At
        0 the ranges touch, as published, and the other types' weights blur them once normalised:
        even with the true proportions of 20,000 training patients a quadratic reaches AUROC 0.93.
    law_seed, seed
        Seeds of the types' centres, and of patients and cells.

    Returns
    -------
    Bags
        View "x" (float32); instance column ``cell_type``; bag columns ``target`` (0, 1),
        ``donor``, and ``share_TYPE``, the proportions that the cells were drawn with.

    Raises
    ------
    InputError
        For an unknown kind, or numbers that make no cohort.

    References
    ----------
    He et al. (2022). CloudPred. PSB. Section on simulations; Gaussians stand for the sorted cells.
    """
    if kind not in ("signature", "interaction"):
        raise InputError(f"kind={kind!r} is not 'signature' or 'interaction'.")
    _counts(n_patients=n_patients, cells=cells, n_features=n_features)
    if not 0 < separation < np.inf:
        raise InputError(f"separation={separation} must be over 0 and finite.")
    if not 0 <= split <= 1:
        raise InputError(f"split={split} must be from 0 to 1.")
    if not 0 <= margin < 30:
        raise InputError(f"margin={margin} must be at least 0 and less than 30.")
    # a stream of its own for the law, also where both seeds are equal
    law, rng = np.random.default_rng([law_seed, 1]), np.random.default_rng(seed)
    centers = law.normal(size=(len(_RANGES), n_features)) * separation / np.sqrt(n_features)
    y = np.arange(n_patients) % 2
    low, high = np.array(list(_RANGES.values()), dtype=float).T
    names = list(_RANGES)
    monocyte, cd4 = names.index("monocyte"), names.index("CD4")
    high[[monocyte, cd4]] -= margin
    low[cd4] += margin if kind == "signature" else 0.0
    weight = rng.uniform(low, high, (n_patients, len(_RANGES)))
    few, many = rng.uniform(0, 22, n_patients), rng.uniform(93, 115, n_patients)
    many_monocytes = rng.uniform(49, 69, n_patients)
    if kind == "signature":
        ill = np.where(rng.random(n_patients) < split, few, many)
        weight[:, cd4] = np.where(y == 1, ill, weight[:, cd4])
    else:
        third = rng.integers(3, size=n_patients)  # of the healthy: the one, the other, neither
        weight[:, monocyte] = np.where((y == 1) | (third == 0), many_monocytes, weight[:, monocyte])
        weight[:, cd4] = np.where((y == 1) | (third == 1), many, weight[:, cd4])
    share = weight / weight.sum(1, keepdims=True)
    types = np.concatenate([rng.choice(len(names), cells, p=p) for p in share])
    x = centers[types] + rng.normal(size=(len(types), n_features))
    index = pd.Index([f"patient{i}" for i in range(n_patients)], name="bag")
    table = pd.DataFrame(share, index=index, columns=[f"share_{n}" for n in names])
    table.insert(0, "target", y)
    table.insert(1, "donor", 10_000 * seed + np.arange(n_patients))  # others of other seeds
    return Bags.from_rows(
        x.astype(np.float32), np.repeat(index.to_numpy(), cells), target="target", donor="donor",
        bag=table, instance=pd.DataFrame({"cell_type": np.array(names)[types]}),
    )  # fmt: skip


def driver_cohort(
    n_donors: int = 60,
    *,
    samples_per_donor: int = 1,
    cells: tuple[int, int] = (200, 2000),
    n_types: int = 8,
    n_features: int = 30,
    driver_rate: float = 0.05,
    effect: float = 2.0,
    driver_type: str | None = None,
    background_rate: float = 0.0,
    batches: int = 1,
    batch_effect: float = 0.0,
    confounder: float = 0.0,
    kind: str = "binary",
    n_classes: int = 3,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """Cells of several types; in patients of a class some cells are shifted: the drivers.

    Parameters
    ----------
    n_donors, samples_per_donor
        Donors, and samples of each, which share its label.
    cells
        Least and most cells of a sample, drawn log-uniformly.
    n_types
        Cell types T0, T1, ...: Gaussians of unit variance around centres 4 apart or so, in
        proportions that vary between samples (Dirichlet).
    n_features
        Width of a cell.
    driver_rate
        Share of drivers among the cells of a positive sample (rounded, at least one cell).
    effect
        Length of their shift, in standard deviations within a type, along a direction of the law.
    driver_type
        Type that all drivers are of; any when left out. Every sample, of either class, then has at
        least as many cells of it as the highest rate asks, so that composition tells nothing.
    background_rate
        Share of drivers in negative samples; not for "regression", whose rate is the target.
    batches, batch_effect
        Batches that donors are dealt to, and the length of the shift of all cells of a batch.
    confounder
        Correlation, from 0 to 1, of a trait of the donor (``confounder``, s.d. 1) with the label;
        of "multiclass" with being of a class over 0.
        It shifts all cells of the donor by itself along a direction of its own.
    kind
        "binary"; "multiclass": class c > 0 has drivers along a direction of its own; "regression":
        the share is drawn evenly from 0 to ``driver_rate`` and is the target.
    n_classes
        Classes of "multiclass".
    law_seed, seed
        Seeds of centres and directions, and of donors and cells.

    Returns
    -------
    Bags
        View "x" (float32); instance columns ``cell_type`` and ``key`` (bool: a driver); bag
        columns ``target``, ``donor``, ``batch``, ``confounder``.

    Raises
    ------
    InputError
        For numbers that make no cohort.
    """
    if kind not in ("binary", "multiclass", "regression"):
        raise InputError(f"kind={kind!r} is not 'binary', 'multiclass' or 'regression'.")
    if np.shape(cells) != (2,):
        raise InputError(f"cells={cells}: give the least and the most, (200, 2000).")
    _counts(n_donors=n_donors, samples_per_donor=samples_per_donor, n_types=n_types,
            n_features=n_features, batches=batches, least=cells[0], most=cells[1],
            n_classes=n_classes)  # fmt: skip
    if cells[1] < cells[0]:
        raise InputError(f"cells={cells}: the least comes first.")
    if kind == "multiclass" and n_classes < 2:
        raise InputError(f"n_classes={n_classes}: a multi-class target has at least 2.")
    if not np.isfinite([effect, batch_effect]).all():
        raise InputError(f"effect={effect} and batch_effect={batch_effect} must be finite.")
    if not 0 < driver_rate <= 1 or not 0 <= background_rate <= 1:
        raise InputError("driver_rate must be over 0 and up to 1, background_rate from 0 to 1.")
    if kind == "regression" and background_rate:
        raise InputError("background_rate is of negative samples, a regression has none: leave it.")
    if not 0 <= confounder <= 1:
        raise InputError(f"confounder={confounder} is a correlation: from 0 to 1.")
    names = [f"T{i}" for i in range(n_types)]
    if driver_type is not None and driver_type not in names:
        raise InputError(f"driver_type={driver_type!r} is not one of {names}.")
    n_drivers = n_classes - 1 if kind == "multiclass" else 1
    if n_features < n_drivers + 1:
        raise InputError(f"n_features={n_features}: this cohort needs {n_drivers + 1} directions.")
    # a stream of its own for the law, also where both seeds are equal
    law, rng = np.random.default_rng([law_seed, 1]), np.random.default_rng(seed)
    centers = law.normal(size=(n_types, n_features)) * 3 / np.sqrt(n_features)
    axes = np.linalg.qr(law.normal(size=(n_features, n_features)))[0].T
    of_batch = law.normal(size=(batches, n_features))
    of_batch *= batch_effect / np.linalg.norm(of_batch, axis=1, keepdims=True)

    donor = np.repeat(np.arange(n_donors), samples_per_donor)
    n = len(donor)
    if kind == "regression":
        y: np.ndarray = rng.permutation((np.arange(n_donors) + 0.5) / n_donors)[donor] * driver_rate
        rate, level = y, y / driver_rate * np.sqrt(12) - np.sqrt(3)
    else:
        y = (np.arange(n_donors) % (2 if kind == "binary" else n_classes))[donor]
        rate = np.where(y > 0, driver_rate, background_rate)
        odds = n_classes - 1 if kind == "multiclass" else 1  # of being ill; keeps the s.d. at 1
        level = np.where(y > 0, odds**-0.5, -(odds**0.5))
    noise = rng.normal(size=n_donors)[donor]
    trait = confounder * level + np.sqrt(1 - confounder**2) * noise
    batch = rng.permutation(np.arange(n_donors) % batches)[donor]
    lengths = np.exp(rng.uniform(np.log(cells[0]), np.log(cells[1]), n)).round().astype(int)

    types, keys, rows = [], [], []
    for i in range(n):
        own = rng.choice(n_types, lengths[i], p=rng.dirichlet(np.full(n_types, 2.0)))
        count = max(round(rate[i] * lengths[i]), int(rate[i] > 0))
        key = np.zeros(lengths[i], dtype=bool)
        key[:count] = True
        if driver_type is not None:
            kin = names.index(driver_type)
            own = own[np.argsort(own != kin, kind="stable")]  # the type first: there drivers lie
            own[: max(round(max(driver_rate, background_rate) * lengths[i]), 1)] = kin
        x = centers[own] + rng.normal(size=(lengths[i], n_features))
        x[:count] += effect * axes[max(int(y[i]) - 1, 0) if kind == "multiclass" else 0]
        x += of_batch[batch[i]] + (trait[i] * axes[-1] if confounder else 0.0)
        order = rng.permutation(lengths[i])  # drivers anywhere in the sample
        types.append(own[order])
        keys.append(key[order])
        rows.append(x[order].astype(np.float32))
    index = pd.Index([f"sample{i}" for i in range(n)], name="bag")
    table = pd.DataFrame(
        {
            "target": y,
            "donor": 10_000 * seed + donor,
            "batch": [f"batch{b}" for b in batch],
            "confounder": trait,
        },
        index=index,
    )
    return Bags.from_rows(
        np.concatenate(rows), np.repeat(index.to_numpy(), lengths), target="target",
        donor="donor", bag=table, kind=kind,
        instance=pd.DataFrame({"cell_type": np.array(names)[np.concatenate(types)],
                               "key": np.concatenate(keys)}),
    )  # fmt: skip


def _counts(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value >= 1 or value % 1:  # NaN is neither
            raise InputError(f"{name}={value} must be a whole number, at least 1.")
