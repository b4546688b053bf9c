"""``audit``: every check on one set of bags."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.leaks.case import CHECKS, Case
from smalti.leaks.finding import SEVERITIES, Audit


def audit(
    bags: Bags,
    methods: Mapping[str, Any] | None = None,
    *,
    splits: Iterable[tuple[np.ndarray, np.ndarray]] = (),
    seed: int = 0,
    label: str | None = None,
    batch: str | None = None,
    leave_out: Sequence[str] = ("unknown", "Unknown", "doublet"),
) -> Audit:
    """Look for what makes scores too good: in seconds, without a fit.

    Every comparison does it. Kinds: donors under two names; instances copied, or nearly so, from
    donor to donor; features fitted on the whole cohort, or by a model of smalti that knows these
    donors; features chosen by the labels; columns, cell types or features that are the label;
    batch, site or date that go with it; instances or samples counted as donors; of splits of tiles
    overlapping tiles, sections of one donor on both sides, and vectors or lists of genes that know
    the test; of integrations labels that were cut from a modality that is integrated, and labels of
    one batch alone.

    Parameters
    ----------
    bags
        What is to be compared. What needs a donor or a target is not looked for without.
    methods
        Methods that are to be fitted, by their labels: which columns they read.
    splits
        (training, test) positions of instances in the bags, for each fold: what lies on both
        sides. Where none are given, bags of one donor never part.
    seed
        Of the samples of instances and the permutations.
    label, batch, leave_out
        Of integrations, as in :func:`smalti.compare_integration`: columns of the instances with the
        groups that embeddings are scored by and with the batches, and labels that are no group.

    Returns
    -------
    Audit
        Its ``findings``, each with its mend; ``str`` says them. That there is none proves nothing:
        what was removed from the data before they came here cannot be seen. Images, and views with
        NaN or infinity, which no method takes, are not looked into.

    Raises
    ------
    InputError
        If a donor is missing, or a column is not there.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(24, seed=0)
    >>> len(sm.audit(bags))
    0
    >>> names = bags.bag["donor"].astype(str)
    >>> twice = bags.bag.assign(donor=["p1", "P1", *names[2:]])
    >>> import dataclasses
    >>> [finding.kind for finding in sm.audit(dataclasses.replace(bags, bag=twice))]
    ['donor names']
    """
    _load_checks()
    case = Case(bags, dict(methods or {}), tuple(splits), seed, label, batch, tuple(leave_out))
    found = [finding for kind in sorted(CHECKS) for finding in CHECKS[kind](case)]
    found.sort(key=lambda f: SEVERITIES.index(f.severity))
    return Audit(tuple(found), tuple(sorted(CHECKS)))


def _load_checks() -> None:
    """Every file of this room, so that a check is there by being written."""
    import smalti.leaks as room

    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"smalti.leaks.{module.name}")
