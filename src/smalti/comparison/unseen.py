"""Which genes a comparison hides from training: from the easy protocol to the hard one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.genes.sets import GeneSets, match
from smalti.genes.units import measured

PROTOCOLS = ("highest", "random", "blocks")
_BLOCK = (10, 60)  # genes of a gene set that may be hidden as a whole


def unseen_genes(
    train: Bags,
    names: Sequence[str],
    protocol: Any = "highest",
    n: int = 250,
    *,
    view: str = "counts",
    units: str = "log1p_cp10k",
    sets: GeneSets | None = None,
    seed: int = 0,
) -> tuple[str, ...]:
    """Choose the genes to hide.

    Parameters
    ----------
    train
        Training slides; nothing else is looked at.
    names
        Genes to choose from.
    protocol
        "highest": the genes of highest mean, as published (Yang et al. 2024): the easiest, for
        these are the least noisy. "random": any genes. "blocks": whole gene sets, chosen at random,
        until there are ``n`` genes: relatives of a hidden gene are hidden too, which is the
        hardest. Or the names themselves.
    n
        How many; "blocks" stops at the first set that reaches it, which is hidden whole too.
    view, units
        Of the expression whose mean counts.
    sets
        blocks: gene sets (:func:`smalti.genes.read_gmt`); those with 10 to 60 of the genes.
    seed
        Of random choices.

    Returns
    -------
    tuple of str
        In the order of ``names``.

    Raises
    ------
    InputError
        If the protocol is unknown, a named gene is none of ``names``, or too few are left to see.
    """
    names = tuple(map(str, names))
    place = {g: i for i, g in enumerate(names)}
    if not isinstance(protocol, str):
        chosen = tuple(map(str, protocol))
        absent = [g for g in chosen if g not in place]
        if absent:
            raise InputError(
                f"{len(absent)} of {len(chosen)} unseen genes cannot be hidden, for they are not "
                f"measured or have no vector: {', '.join(absent[:5])}. Leave them out."
            )
        at = np.array(sorted({place[g] for g in chosen}), dtype=np.int64)
    elif protocol not in PROTOCOLS:
        raise InputError(f"unseen={protocol!r} is not one of {', '.join(PROTOCOLS)}, nor names.")
    elif not 1 <= n <= len(names) - 2:
        raise InputError(f"n_unseen={n}: {len(names)} genes leave too few to see.")
    elif protocol == "highest":
        mean = measured(train, view=view, genes=names, units=units).mean(0, dtype=np.float64)
        at = np.sort(np.argsort(-mean, kind="stable")[:n])
    elif protocol == "random":
        at = np.sort(np.random.default_rng([seed, 31]).permutation(len(names))[:n])
    else:
        at = _blocks(names, n, sets, seed)
    if not 1 <= len(at) <= len(names) - 2:
        raise InputError(f"{len(at)} of {len(names)} genes hidden: too few are left to see.")
    return tuple(names[i] for i in at)


def _blocks(names: tuple[str, ...], n: int, sets: GeneSets | None, seed: int) -> np.ndarray:
    """Positions of the genes of random sets, whole."""
    if sets is None:
        raise InputError(
            "unseen='blocks' hides whole gene sets: give sets=..., what read_gmt reads."
        )
    found = match(sets, names, min_size=_BLOCK[0], max_size=_BLOCK[1]).sets
    if not found:
        raise InputError(f"no gene set has {_BLOCK[0]} to {_BLOCK[1]} of the genes to hide.")
    hidden: set[int] = set()
    for name in np.random.default_rng([seed, 32]).permutation(sorted(found)):
        block = set(map(int, found[name]))
        if len(names) - len(hidden | block) < max(2, len(names) // 5):
            continue  # it would leave too few to see
        hidden |= block
        if len(hidden) >= n:
            break
    return np.array(sorted(hidden), dtype=np.int64)
