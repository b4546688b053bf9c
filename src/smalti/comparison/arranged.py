"""Bags with their labels in other places: which may change, and the arrangements there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from smalti.bags import Bags
from smalti.core.seen import donor_names
from smalti.errors import InputError
from smalti.scores.exchange import Exchange


def exchange_of(bags: Bags) -> Exchange:
    """Which labels may change places: within donors of several, within sites where there are.

    Raises
    ------
    InputError
        If there are several targets, or no label can change places with another.
    """
    if bags.task is None or bags.task.several:
        raise InputError("permutations need one target.")
    codes = bags.bag[_columns(bags)].groupby(_columns(bags), sort=False).ngroup().to_numpy()
    site = bags.site
    sites = None if site is None else bags.bag[site].to_numpy()
    exchange = Exchange.of(codes, donor_names(bags), sites)
    if exchange.count(exchange.label.astype(float)) < 2:
        raise InputError("no label can change places with another: there is nothing to permute.")
    return exchange


def arrangements(bags: Bags, exchange: Exchange, n: int, seed: int) -> Iterator[Bags]:
    """Bags with their labels in other places, the arrangement that was seen left out."""
    seen = exchange.label.astype(float)
    places, _ = exchange.arrangements(seen, n, seed)
    same = np.flatnonzero((places == seen).all(1))[0]
    values = bags.bag[_columns(bags)]
    first = {int(code): at for at, code in zip(exchange.first, exchange.label, strict=True)}
    for place in np.delete(places, same, axis=0):
        at = [first[int(code)] for code in place[exchange.arm]]
        moved = values.iloc[at].set_axis(bags.bag.index)
        yield dataclasses.replace(bags, bag=bags.bag.assign(**dict(moved.items())))


def _columns(bags: Bags) -> list[str]:
    """Those of the target, which move together."""
    return [bags.target] if isinstance(bags.target, str) else list(bags.target or ())
