"""Partitions of genes, so that each group can have a loss, or a head, of its own.

Groups are chosen by looking at genes, and at expression, so at the training tiles only.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from smalti.errors import InputError
from smalti.genes.profiles import gene_points, profiles
from smalti.genes.sets import GeneSets, match

HOW = ("none", "prefix", "kmeans", "function")
OTHER = "other"
_PREFIX = re.compile(r"[A-Za-z]+")


def gene_groups(
    genes: Sequence[str],
    how: str = "kmeans",
    *,
    target: Any = None,
    sets: GeneSets | None = None,
    mapping: Mapping[str, str] | None = None,
    n_groups: int = 5,
    min_size: int = 20,
    max_share: float = 0.25,
    n_components: int = 50,
    standardise: bool = True,
    ignore_case: bool = False,
    others: str = "apart",
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Part genes into groups.

    Parameters
    ----------
    genes
        (n_genes,) names.
    how
        none: one group, "all". prefix: the letters a symbol begins with, AL357054.4 in "AL",
        LINC01770 in "LINC"; these of clones are sequencing centres, no function. kmeans: genes as
        points, by their profiles over the training tiles, in ``n_components`` principal
        components. function: each gene goes to the smallest of a few broad gene sets that has it;
        these are picked one by one, the set with the most genes that are in none yet first.
    target
        kmeans, and ``others="nearest"``: (n_tiles, n_genes) expression of the **training** tiles,
        dense or sparse.
    sets, mapping
        function: either gene sets (:func:`smalti.genes.read_gmt`), or gene to group.
    n_groups
        kmeans: clusters. function: at most so many sets; "other" comes on top.
    min_size
        prefix, function: genes of smaller groups go to "other".
    max_share
        function: sets with a larger share of the genes are too broad to be picked.
    n_components
        kmeans: principal components, at most.
    standardise
        kmeans: profiles to mean 0 and sd 1, so that genes which go up and down together meet;
        False: those of the same level.
    ignore_case
        function: as :func:`smalti.genes.match`.
    others
        prefix, function: what becomes of genes in no group. apart: a group "other" of their own.
        nearest: each goes to the group whose mean profile over the training tiles it correlates
        with most; genes that do not vary there stay in "other".
    seed
        kmeans: of the components and the starts.

    Returns
    -------
    dict
        Name to sorted positions; each gene is in exactly one group, none is empty. Larger first,
        "other" last.

    Warns
    -----
    UserWarning
        If half of the genes or more end in "other": prefixes and sets said little of them.

    Raises
    ------
    InputError
        If ``how`` is unknown, or what it needs is missing or does not fit.
    """
    names = [str(g) for g in genes]
    if not names:
        raise InputError("there are no genes: give their names.")
    if others not in ("apart", "nearest"):
        raise InputError(f"others={others!r} is neither 'apart' nor 'nearest'.")
    if how == "none":
        return {"all": np.arange(len(names))}
    if how == "kmeans":
        labels = _kmeans(names, target, n_groups, n_components, standardise, seed)
        return _partition(labels, 1)
    if how == "prefix":
        labels = [(m.group().upper() if (m := _PREFIX.match(g)) else OTHER) for g in names]
    elif how == "function":
        labels = _by_function(names, sets, mapping, n_groups, min_size, max_share, ignore_case)
    else:
        raise InputError(f"how={how!r} is not one of {HOW}.")
    found = _partition(labels, min_size)
    if others == "nearest":
        found = _nearest(found, profiles(names, target))
    _say(found, how, min_size, len(names))
    return found


def _by_function(
    names: list[str], sets: GeneSets | None, mapping: Mapping[str, str] | None, n_groups: int,
    min_size: int, max_share: float, ignore_case: bool,
) -> list[str]:  # fmt: skip
    """The group of each gene by gene sets, or by the user's mapping."""
    if (sets is None) == (mapping is None):
        raise InputError("how='function' takes either sets or a mapping: give one of them.")
    if mapping is not None:
        labels = [str(mapping[g]) if g in mapping else OTHER for g in names]
        if set(labels) == {OTHER}:
            raise InputError(f"mapping: none of the genes is in it, {names[0]!r} neither.")
        return labels
    assert sets is not None
    most = max(1, int(max_share * len(names)))
    found = match(sets, names, min_size=min_size, max_size=most, ignore_case=ignore_case).sets
    if not found:
        raise InputError(
            f"no set has {min_size} to {most} of the genes: lower min_size or raise max_share."
        )
    return _by_sets(found, len(names), n_groups, min_size)


def _say(found: Mapping[str, np.ndarray], how: str, min_size: int, n_genes: int) -> None:
    """Warn where the groups say little: most genes are in none."""
    rest = len(found.get(OTHER, ()))
    if 2 * rest < n_genes:
        return
    named = [f"{name} {len(at) / n_genes:.0%}" for name, at in found.items() if name != OTHER]
    why = f"groups of fewer than {min_size}" if how == "prefix" else "no group"
    what = (f"the others: {', '.join(named[:5])}{', ...' * (len(named) > 5)}" if named else
            "so there is one group, as with 'none'")  # fmt: skip
    warnings.warn(
        f"groups by {how}: {rest:,} of {n_genes:,} genes ({rest / n_genes:.0%}) are in {why} and "
        f"end in {OTHER!r}; {what}. others='nearest' gives each to the group it goes up and down "
        "with, 'kmeans' groups all by expression.",
        UserWarning, stacklevel=3,
    )  # fmt: skip


def _nearest(found: dict[str, np.ndarray], profile: np.ndarray) -> dict[str, np.ndarray]:
    """Each gene of "other" in the group whose mean profile it correlates with most."""
    named = [name for name in found if name != OTHER]
    if OTHER not in found or not named:
        return found
    rest = found[OTHER]
    centre = np.stack([profile[found[name]].mean(0) for name in named])
    length = np.linalg.norm(centre, axis=1, keepdims=True)
    alike = profile[rest] @ np.divide(centre, length, out=np.zeros_like(centre),
                                      where=length > 0).T  # fmt: skip
    labels = np.full(len(profile), OTHER, object)
    for name in named:
        labels[found[name]] = name
    varies = profile[rest].any(1)
    labels[rest[varies]] = np.array(named, object)[alike[varies].argmax(1)]
    return _partition(labels.tolist(), 1)


def _by_sets(
    found: Mapping[str, np.ndarray], n_genes: int, n_groups: int, min_size: int
) -> list[str]:
    """Greedy cover by at most ``n_groups`` sets; each gene to the smallest of those that has it."""
    free, picked = np.ones(n_genes, bool), list[str]()
    while len(picked) < n_groups:
        gain, name = max(((free[w].sum(), n) for n, w in found.items()), key=lambda pair: pair[0])
        if gain < min_size:
            break
        picked.append(name)
        free[found[name]] = False
    labels = np.full(n_genes, OTHER, object)
    for name in sorted(picked, key=lambda n: -len(found[n])):
        labels[found[name]] = name
    return labels.tolist()


def _kmeans(
    names: list[str], target: Any, n_groups: int, n_components: int, standardise: bool, seed: int
) -> list[str]:
    profile = profiles(names, target, standardise=standardise)
    if not 1 <= n_groups <= len(names):
        raise InputError(f"n_groups={n_groups} for {len(names)} genes: give 1 to that many.")
    points = gene_points(profile, n_components, seed)
    labels = KMeans(n_groups, n_init=10, random_state=seed).fit_predict(points)
    # numbered by size, so that the names do not hang on the order of the starts
    order = np.argsort(-np.bincount(labels, minlength=n_groups), kind="stable")
    rank = np.argsort(order)
    return [f"cluster_{rank[c]}" for c in labels]


def _partition(labels: Sequence[str], min_size: int) -> dict[str, np.ndarray]:
    found: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        found.setdefault(label, []).append(position)
    kept = {n: p for n, p in found.items() if n != OTHER and len(p) >= min_size}
    out = {n: np.array(p) for n, p in sorted(kept.items(), key=lambda item: -len(item[1]))}
    rest = sorted(p for n, positions in found.items() if n not in kept for p in positions)
    return out | ({OTHER: np.array(rest)} if rest else {})
