"""Labels of cells that were cut from a modality which is integrated, or lie in one batch alone."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA

from smalti.columns import of_instances
from smalti.leaks.borders import Border, borders
from smalti.leaks.case import Case, check
from smalti.leaks.finding import Finding
from smalti.names import some
from smalti.preprocess import fit_steps, guess_steps, steps_of
from smalti.views import dense, is_made, take, whole

_MOST = 20_000  # cells
_FEATURES = 300  # of a panel, of which single ones are gated by
_WIDTH = 30  # of what planes are laid through
_NULL = 1e-5  # of a view, over all borders
_OF_ONE_BATCH = 0.95
_LEAST = 30  # cells of a label


@check("labels cut from a modality")
def gated(case: Case) -> Iterator[Finding]:
    """Borders between labels that are sharper, in one modality, than populations have them.

    Gates and clusters leave no cell of the other label beyond the border, however many cells lie
    beside it; types that differ in the modality overlap there (:mod:`smalti.leaks.borders`).
    """
    if case.label is None or len(case.bags.x) < 2:
        return
    codes, names = case.groups
    shown = [*names, "no label"]
    # a sample is enough, so that what is on disk is looked into too
    for view in [k for k, v in case.bags.x.items() if k in case.tables or is_made(v)]:
        rows = _rows(case, view)
        if len(rows) < 200:
            continue
        found = _sharp(case, view, rows, codes[rows] % len(shown))  # -1 is the last
        if not found:
            continue
        cut = [b for b in found if b.axis >= 0]
        first = (cut or found)[0]
        known = case.bags.features.get(view) or [f"number {j}" for j in range(10**6)]
        by = list(dict.fromkeys(str(known[b.axis]) for b in cut))
        pair = " and ".join(repr(shown[c]) for c in first.pair)
        where = f"of {some(by)} in {view!r}" if cut else f"in {view!r}"
        yield Finding(
            "labels cut from a modality",
            f"{case.label!r} parts {pair} at a sharp border {where}: of {first.near:,} cells "
            f"beside it {first.wrong:,} are on the other side, where populations as far apart "
            f"would have {first.expected:.0f}. Labels that were made from what is integrated "
            "favour methods that read it.",
            "Score by labels from elsewhere (sorting, hashing, genotype, a modality that is left "
            "out), or say that scores are agreement with this gating.",
            "leak" if cut else "doubt",
            {"view": view, "features": by[:20], "near": first.near, "wrong": first.wrong,
             "expected": round(first.expected, 1),
             "pairs": [[shown[c] for c in b.pair] for b in found[:20]]},
        )  # fmt: skip


def _rows(case: Case, view: str) -> np.ndarray:
    """(k,) cells that were measured in a view, or a sample of them, in order."""
    there = case.bags.present.get(view)
    n = case.bags.n_instances
    rows = np.arange(n) if there is None else np.flatnonzero(there)
    return np.sort(case.rng.permutation(rows)[:_MOST])


def _sharp(case: Case, view: str, rows: np.ndarray, groups: np.ndarray) -> list[Border]:
    """Borders of a view that are too sharp, the sharpest first."""
    raw, stepped = whole(take(case.bags.x[view], rows)), _stepped(case, view, rows)
    found: list[Border] = []
    if raw.shape[1] <= _FEATURES:
        tables = [dense(stepped)]
        if guess_steps(case.bags.only(view)):  # counts, which are gated one by one, too
            tables.append(np.log1p(dense(raw)))
        for table in tables:
            found += borders(table.astype(np.float64), groups, case.rng)
    found += borders(_narrow(stepped), groups, case.rng, planes=True)
    sharp = [b for b in found if b.p * len(found) < _NULL]
    return sorted(sharp, key=lambda b: b.p)


def _stepped(case: Case, view: str, rows: np.ndarray) -> np.ndarray | sp.csr_matrix:
    """These rows of a view after the steps that are guessed for it."""
    part = case.bags.only(view).keep(rows)
    part = dataclasses.replace(part, x={view: whole(part.x[view])})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_steps(steps_of(guess_steps(part)), part)[1].x[view]


def _narrow(table: np.ndarray | sp.csr_matrix) -> np.ndarray:
    """(n, at most 30) components of a wide table."""
    if table.shape[1] <= _WIDTH:
        return dense(table).astype(np.float64)
    return np.asarray(PCA(_WIDTH, svd_solver="arpack", random_state=0).fit_transform(table))


@check("labels of one batch")
def of_one_batch(case: Case) -> Iterator[Finding]:
    """Labels nearly all cells of which are in one batch: mixing and labels then disagree."""
    if case.label is None or case.batch is None:
        return
    codes, names = case.groups
    batch = of_instances(case.bags, case.batch).astype(str).to_numpy()
    share = {b: float((batch[codes >= 0] == b).mean()) for b in np.unique(batch)}
    alone = {}
    for code, name in enumerate(names):
        own, counts = np.unique(batch[codes == code], return_counts=True)
        top = int(counts.argmax())
        if counts.sum() >= _LEAST and counts[top] >= _OF_ONE_BATCH * counts.sum() \
                and share[str(own[top])] < 0.8:  # fmt: skip
            alone[name] = str(own[top])
    if alone:
        yield Finding(
            "labels of one batch",
            f"{case.label!r} {some([repr(k) for k in alone])} "
            f"{'is' if len(alone) == 1 else 'are'} of one {case.batch!r} nearly alone: a method "
            "that keeps batches apart scores well by the labels, and one that mixes them does not.",
            "Leave these labels out (leave_out=), or take mixing and label scores of the others.",
            "doubt", {"labels": list(alone)[:20], "batches": list(alone.values())[:20]},
        )  # fmt: skip
