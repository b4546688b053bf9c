"""Bags of digit images by the rule of Ilse et al. 2018: positive if they hold a 9.

The rule is that of the paper's loader, which decides the published numbers: bag lengths are normal
(the "variance" of the paper is used as standard deviation), positive and negative bags alternate,
so that the set is balanced at every length, and instances are drawn with replacement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.datasets.fetch import mnist_arrays
from smalti.errors import InputError


def image_bags(
    images: np.ndarray,
    digits: np.ndarray,
    n_bags: int,
    *,
    mean_length: float = 10.0,
    std_length: float = 2.0,
    target: int = 9,
    seed: int = 0,
) -> Bags:
    """Draw bags of images.

    Parameters
    ----------
    images
        (n, 1, height, width) float32.
    digits
        (n,) what each shows.
    n_bags
        Number of bags; every second one is positive.
    mean_length, std_length
        Normal distribution of the lengths, cut to whole numbers, at least 1.
    target
        The digit that makes a bag positive.
    seed
        Of the draw.

    Returns
    -------
    Bags
        View "image"; instance columns ``digit``, ``key`` (is the target digit); bag column
        ``has_9`` (or another digit), each bag its own donor.

    Raises
    ------
    InputError
        If there are no bags to draw, or the images are not both of the target digit and of others.
    """
    if n_bags < 1 or std_length < 0:
        raise InputError(f"n_bags={n_bags} must be at least 1, std_length={std_length} at least 0.")
    if len(images) != len(digits):
        raise InputError(f"{len(images)} images but {len(digits)} digits.")
    if len(np.unique(digits == target)) < 2:
        raise InputError(
            f"the images must show {target} and other digits; they show "
            f"{np.unique(digits).tolist()}."
        )
    rng = np.random.default_rng(seed)
    lengths = np.maximum(1, rng.normal(mean_length, std_length, n_bags).astype(int))
    positive = np.arange(n_bags) % 2 == 0
    bag_of = np.repeat(np.arange(n_bags), lengths)
    is_key = digits == target
    others = np.flatnonzero(~is_key)
    drawn = rng.integers(len(digits), size=len(bag_of))
    # a negative bag drawn until it has no 9 is a bag of non-9s
    negative = ~positive[bag_of]
    drawn[negative] = others[rng.integers(len(others), size=int(negative.sum()))]
    while True:  # a positive bag is drawn anew until it has a 9
        keys = np.bincount(bag_of, weights=is_key[drawn], minlength=n_bags)
        again = (positive & (keys == 0))[bag_of]
        if not again.any():
            break
        drawn[again] = rng.integers(len(digits), size=int(again.sum()))
    name = f"has_{target}"
    table = pd.DataFrame({name: positive.astype(int)}, index=pd.RangeIndex(n_bags, name="bag"))
    return Bags.from_rows(
        {"image": images[drawn]}, bag_of, target=name, donor="bag", bag=table,
        instance=pd.DataFrame({"digit": digits[drawn], "key": is_key[drawn]}),
    )  # fmt: skip


def digit_bags(n_bags: int = 200, *, split: str = "train", seed: int = 0, **kwargs: Any) -> Bags:
    """Bags of the 1,797 real 8 x 8 digits that scikit-learn ships; needs no network.

    Parameters
    ----------
    n_bags
        Number of bags.
    split
        "train" or "test": bags of disjoint halves of the images (the split is fixed).
    seed
        Of the draw.
    **kwargs
        As in :func:`image_bags`.

    Returns
    -------
    Bags
        View "image", (n, 1, 8, 8) float32 in [0, 1].

    Raises
    ------
    InputError
        If ``split`` is neither.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if split not in ("train", "test"):
        raise InputError(f"split={split!r} is not 'train' or 'test'.")
    source = load_digits()
    halves = train_test_split(
        np.arange(len(source.target)), test_size=0.5, random_state=0, stratify=source.target
    )
    part = halves[split == "test"]
    images = (source.images[part, None] / 16).astype(np.float32)
    return image_bags(images, source.target[part], n_bags, seed=seed, **kwargs)


def mnist_bags(
    n_bags: int = 200,
    *,
    split: str = "train",
    seed: int = 0,
    path: str | Path | None = None,
    images: tuple[np.ndarray, np.ndarray] | None = None,
    **kwargs: Any,
) -> Bags:
    """Bags of MNIST, normalised as published (mean 0.1307, s.d. 0.3081).

    Parameters
    ----------
    n_bags
        Number of bags.
    split
        "train" or "test": the two parts of MNIST.
    seed
        Of the draw.
    path
        An npz with x_train, y_train, x_test, y_test; fetched when left out.
    images
        Instead: the images of this part, (n, 28, 28) from 0 to 255, and their digits (n,).
    **kwargs
        As in :func:`image_bags`.

    Returns
    -------
    Bags
        View "image", (n, 1, 28, 28) float32.
    """
    pixels, digits = mnist_arrays(split, path) if images is None else images
    scaled = np.asarray(pixels, dtype=np.float32)[:, None]
    scaled = (scaled / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)
    return image_bags(scaled, digits, n_bags, seed=seed, **kwargs)
