"""Features that were fitted on the whole cohort, test donors included."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from scipy.stats import binom, chi2, kendalltau

from smalti.core.seen import Seen, made, row_prints
from smalti.leaks.case import Case, check
from smalti.leaks.finding import Finding
from smalti.views import dense, take

_COLUMNS = 64  # that are looked at
_SAMPLE = 20_000
_NULL = 1e-6
# embeddings that leave no trace in their numbers: only their names can tell
_NAMED = {
    "pca",
    "umap",
    "tsne",
    "scvi",
    "harmony",
    "scanvi",
    "mofa",
    "totalvi",
    "multivi",
    "umint",
    "lsi",
}
_MEND = "Read the values before this step, and have it done in each fold: preprocess={}."


@check("fitted on the cohort")
def fitted(case: Case) -> Iterator[Finding]:
    """Numbers that only a step fitted on all of these instances leaves; else, names that say so.

    Of an embedding that a model of smalti wrote another kind says whom it knows.
    """
    origin = case.bags.origin or {}
    keys, records = (origin.get(k, {}) for k in ("keys", "recorded"))
    for name in case.bags.x:
        found, table = None, case.tables.get(name)
        if name in origin.get("fitted_on", {}):
            continue
        if isinstance(table, np.ndarray) and table.dtype.kind == "f":
            found = _trace(case, name, table)
        words = re.findall(r"[a-z]+", f"{name} {keys.get(name, '')}".casefold())
        by_record = name in records and not _whole(case, name)
        if found is None and (_NAMED & set(words) or by_record):
            told = f" (uns[{records[name]!r}] says so)" if by_record else ""
            found = Finding(
                "fitted on the cohort",
                f"{name!r} is an embedding{told}: where it was fitted on the whole cohort it has "
                "seen the test donors, and scores may be too good.",
                "Read what it was made of, and fit it in each fold (preprocess=); or say that it "
                "was fitted on other donors.",
                "doubt", {"view": name, "by": "record" if by_record else "name"},
            )  # fmt: skip
        if found is not None:
            yield found


def _whole(case: Case, name: str) -> bool:
    """Whether a view holds whole numbers: counts, of which neighbours may be taken too."""
    table = case.tables.get(name)
    part = None if table is None else dense(take(table, np.arange(min(100, table.shape[0]))))
    return part is None or bool((part == np.round(part)).all())


def _trace(case: Case, name: str, table: np.ndarray) -> Finding | None:
    n, d = table.shape
    if n < 50:
        return None
    columns = np.unique(np.linspace(0, d - 1, min(d, _COLUMNS)).astype(int))
    rows = np.sort(case.rng.permutation(n)[:_SAMPLE])
    sample = table[np.ix_(rows, columns)].astype(np.float64)
    several = np.array([len(np.unique(column[:200])) > 2 for column in sample.T], dtype=bool)
    columns, sample = columns[several], sample[:, several]
    if len(columns) < 2:
        return None
    x = table if len(columns) == d else table[:, columns]  # all of a cohort is no copy
    mean, spread = x.mean(0, dtype=np.float64), sample.std(0)
    if _centred(mean, sample, n) and not _centred_by_bag(case, x, spread):
        what, step = _what(x, sample)
        return Finding(
            "fitted on the cohort",
            f"{name!r} was fitted on the whole cohort, test donors included: {what}, nearer to "
            "zero than chance can have it.",
            _MEND.format(step), evidence={"view": name, "by": "means of zero"},
        )  # fmt: skip
    if _ranged(x):
        return Finding(
            "fitted on the cohort",
            f"{name!r} was fitted on the whole cohort, test donors included: each feature runs "
            "from just 0 to just 1 over all donors.",
            _MEND.format("'minmax'"), evidence={"view": name, "by": "ranges"},
        )  # fmt: skip
    if _components(sample):
        return Finding(
            "fitted on the cohort",
            f"{name!r} looks like principal components (columns around zero, in the order of their "
            "spread, hardly correlated): where they were fitted on the whole cohort they have seen "
            "the test donors.",
            _MEND.format("'pca=50'"), "doubt", {"view": name, "by": "order of spreads"},
        )  # fmt: skip
    return None


def _centred(mean: np.ndarray, sample: np.ndarray, n: int) -> bool:
    """Whether means lie nearer to zero than those of any sample of n instances would.

    Null: true means of zero and independent instances, which is when they come nearest; donors
    that differ, and any other mean, only carry them away. Then n times the squared distance is
    chi-squared; and one column in 1250 is within a thousandth of its standard error.
    """
    z = np.abs(mean) * np.sqrt(n) / sample.std(0)
    least = max(2, len(z) // 2)
    if (z < 1e-3).sum() >= least and binom.sf(least - 1, len(z), 8e-4) < _NULL:
        return True
    values, axes = np.linalg.eigh(np.cov(sample.T))
    whole = values > 1e-6 * values.max()
    far = n * ((axes.T @ mean)[whole] ** 2 / values[whole]).sum()
    return bool(chi2.cdf(far, whole.sum()) < _NULL)


def _centred_by_bag(case: Case, x: np.ndarray, spread: np.ndarray) -> bool:
    """Whether each bag was centred by itself, which tells nothing of the others."""
    bags = case.bags
    if bags.lengths.max() == 1:
        return False
    means = np.add.reduceat(x, bags.offsets[:-1], axis=0, dtype=np.float64) / bags.lengths[:, None]
    return bool((np.abs(means) < 1e-2 * spread).mean() > 0.9)


def _what(x: np.ndarray, sample: np.ndarray) -> tuple[str, str]:
    """What is centred, in words, and the step that does it in the fold."""
    unit = np.abs(x.std(0, dtype=np.float64) - 1) < 5e-3
    between = np.corrcoef(sample.T)[np.triu_indices(sample.shape[1], 1)]
    # correlations of a sample of columns that have none are within 1 / sqrt(n)
    if np.abs(between).max() < 6 / np.sqrt(len(sample)) and sample.shape[1] > 2:
        return (
            "its columns have means of zero and no correlation, as principal components",
            "'pca=50'",
        )
    if unit.mean() > 0.5:
        return "its columns have means of zero and standard deviations of one", "'scale'"
    return "its columns have means of zero", "'pca=50'"


def _ranged(x: np.ndarray) -> bool:
    """Whether columns were brought to the range from 0 to 1: one instance in each at its end.

    Shares end at 0 and 1 too, but many instances then do; a step that was not fitted ends a column
    at just 1, once, by no chance.
    """
    if x.shape[1] < 3:
        return False
    low, high = x.min(0), x.max(0)
    ended = (low == 0) & (high == 1)
    if ended.mean() <= 0.5:
        return False
    return bool(((x[:, ended] == 1).sum(0) == 1).mean() > 0.5)


def _components(sample: np.ndarray) -> bool:
    """Whether columns are ordered by their spread, around zero and hardly correlated.

    Null: the order of the columns has nothing to do with their spread (Kendall's tau).
    """
    spread, d = sample.std(0), sample.shape[1]
    order = kendalltau(np.arange(d), -spread, alternative="greater")
    around = np.abs(sample.mean(0)) < spread
    between = np.abs(np.corrcoef(sample.T)[np.triu_indices(d, 1)])
    return bool(order.pvalue < 1e-4 and around.mean() > 0.8 and np.median(between) < 0.15)


@check("fitted by a model")
def given_out(case: Case) -> Iterator[Finding]:
    """Features that a model of smalti gave out which was fitted on these very donors.

    It is known in the process that did it by the rows themselves, and from a file by what was
    written beside them.
    """
    everywhere = np.arange(len(case.bags))
    for name, note in (case.bags.origin or {}).get("fitted_on", {}).items():
        if name in case.bags.x:
            seen = Seen(donors=tuple(note["donors"]))
            yield from _given(case, name, note["method"], seen, everywhere)
    for name, table in case.tables.items() if made else ():
        if name in (case.bags.origin or {}).get("fitted_on", {}):
            continue
        prints = None
        for model in made:
            if model.prints.size == 0 or table.shape[1] < 1:
                continue
            prints = row_prints(table) if prints is None else prints
            at = np.minimum(np.searchsorted(model.prints, prints), len(model.prints) - 1)
            own = (model.prints[at] == prints) & (prints != 0)  # (n,); zeros alone are anywhere
            if own.mean() < 0.01:
                continue
            bags = np.unique(case.bags.index[own])
            found = list(_given(case, name, model.model, model.seen, bags))
            if found:
                yield from found
                break


def _given(case: Case, name: str, model: str, seen: Seen, bags: np.ndarray) -> Iterator[Finding]:
    """Whether a model that gave out the rows of some bags, (k,), knows their donors."""
    known = seen.has_donors(case.bags)[bags]
    named = bool(seen.donors) and case.bags.donor is not None
    if named and not known.any():
        return  # fitted on other donors
    yield Finding(
        "fitted by a model",
        f"{name!r} of {len(bags):,} bags is what a fitted {model} gave out"
        + (f", and {int(known.sum()):,} of them are of donors that it was fitted on."
           if named else ", and nobody knows which donors it was fitted on."),
        "Compare the model itself, or embed in each fold (sm.integrate.Embed as a step of "
        "preprocess=).",
        "leak" if named else "doubt",
        {"view": name, "model": model, "bags": len(bags)},
    )  # fmt: skip
