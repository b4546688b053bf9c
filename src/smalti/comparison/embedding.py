"""Scores of one embedding: its clusters, its reconstruction, the labels it carries over."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.columns import batches_of, groups_of
from smalti.comparison.splits import Split
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.integrate.halves import measured
from smalti.preprocess import apply_steps, fit_steps, guess_steps, steps_of
from smalti.scores.clusters import cluster, cluster_scores, label_transfer, shape_scores
from smalti.scores.mixing import batch_mixing, mixing_within
from smalti.scores.reconstruction import overall_reconstruction_score
from smalti.solve.moments import center_and_spread
from smalti.system.extras import absent

CLIP = 10.0  # s.d. at which standardised inputs are cut before distances are compared


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What every embedding is asked."""

    labels: np.ndarray  # (n_cells,) codes, -1 where unknown
    names: tuple[str, ...]  # of the labels
    batch: np.ndarray | None  # (n_cells,) labels, None: mixing is not scored
    n_clusters: int
    by: tuple[str, ...]
    notes: tuple[str, ...] = ()


def ask(
    bags: Bags,
    *,
    label: str,
    batch: str | None,
    n_clusters: int | None,
    by: str | Sequence[str] | None,
    leave_out: Sequence[str],
) -> Question:
    """The question of a comparison (see :func:`smalti.compare_integration`).

    Raises
    ------
    InputError
        If a column is missing, there are fewer than two labels or batches, a cell has no batch, an
        algorithm is unknown, or there are fewer cells than clusters.
    """
    codes, names = groups_of(bags, label, leave_out)
    if len(names) < 2:
        raise InputError(f"column {label!r} has {len(names)} labels: at least two are needed.")
    chosen, notes = _algorithms(by)
    n, k = int((codes >= 0).sum()), n_clusters or len(names)
    if set(chosen) - {"kmeans", "ward", "leiden"} or not 2 <= k <= n:
        raise InputError(
            f"by={chosen}, n_clusters={k}: there are kmeans, ward and leiden, into 2 to {n:,} "
            "clusters."
        )
    where = None if batch is None else _batches(bags, batch)
    return Question(
        labels=codes, names=tuple(names), batch=where, n_clusters=k, by=chosen, notes=tuple(notes)
    )


def _algorithms(by: str | Sequence[str] | None) -> tuple[tuple[str, ...], list[str]]:
    """The algorithms to cluster by, and notes on what is not installed."""
    if by is not None:
        return ((by,) if isinstance(by, str) else tuple(by)), []
    reason = absent("igraph", "leiden")
    if reason is None:
        return ("kmeans", "ward", "leiden"), []
    return ("kmeans", "ward"), [f"clusters by Leiden were left out: {reason}."]


def _batches(bags: Bags, name: str) -> np.ndarray:
    """(n_cells,) batch of each cell; there are two or more."""
    batches = batches_of(bags, name)
    if len(set(batches)) < 2:
        raise InputError(
            f"batch {name!r} is {batches[0]!r} for every cell, and of one batch there is no mixing "
            "to score: name another column, or leave batch= out."
        )
    return batches


def embedding_scores(
    model: Integration, z: np.ndarray, cells: Bags, split: Split, question: Question
) -> dict[str, float]:
    """Metric -> value of one embedding.

    Parameters
    ----------
    model
        Fitted on the training side.
    z
        (n_cells, width) its embedding of all cells.
    cells
        All of them, each a bag of its own.
    split
        Positions of training and held-out cells; its repeat is the seed of what is drawn here.
    question
        What is asked.
    """
    known, seed = question.labels >= 0, split.repeat
    truth, part = question.labels[known], z[known]
    graph = model.graph(cells) if hasattr(model, "graph") and "leiden" in question.by else None
    out: dict[str, float] = {}
    for by in question.by:
        edges = graph[known][:, known] if graph is not None and by == "leiden" else None
        found = cluster(part, question.n_clusters, by=by, seed=seed, graph=edges)  # type: ignore[arg-type]
        out |= {f"{m}_{by}": v for m, v in cluster_scores(truth, found).items()}
        if by == "kmeans":
            out |= shape_scores(part, found, seed=seed)
    out["ari_own"] = out.get(f"ari_{model.clusters_by}", float("nan"))
    out["silhouette_labels"] = shape_scores(part, truth, seed=seed)["silhouette"]
    out |= _reconstruction(model, cells, split.test)
    a, b = (rows[question.labels[rows] >= 0] for rows in (split.train, split.test))
    if len(a) >= 15 and len(b):
        out |= label_transfer(z[a], question.labels[a], z[b], question.labels[b])
    out |= _halves(z, measured(cells), split, question.labels)
    if question.batch is not None:
        out |= batch_mixing(part, question.batch[known], truth)
    return out


def _halves(z: np.ndarray, there: np.ndarray, split: Split, labels: np.ndarray) -> dict[str, float]:
    """Labels from whole training cells to held-out ones that lack a modality; how the two mix.

    Of codes (n_cells, width), what was measured (n_cells, n_views), and codes of labels, -1 where
    unknown. Nothing where all cells are whole.
    """
    whole, known = there.all(1), labels >= 0
    if whole.all():
        return {}
    pattern = np.unique(there, axis=0, return_inverse=True)[1].reshape(-1)
    out = {"halves_mixing": mixing_within(z[known], pattern[known], labels[known])}
    a = split.train[(whole & known)[split.train]]
    b = split.test[(~whole & known)[split.test]]
    if len(a) >= 15 and len(b):
        found = label_transfer(z[a], labels[a], z[b], labels[b])
        out |= {f"halves_{name}": value for name, value in found.items()}
    return out


def _reconstruction(model: Integration, cells: Bags, test: np.ndarray) -> dict[str, float]:
    """Reconstruction scores of held-out cells; NaN overall where not every modality comes back."""
    if not model.reconstructs:
        return {"ors": float("nan")}
    held = cells[test]
    if model.at_hand():  # it takes all cells or none
        x, y = ({k: v[test] for k, v in part.items()}
                for part in (model.inputs(cells), model.reconstruct(cells)))  # fmt: skip
    else:
        x, y = model.inputs(held), model.reconstruct(held)
    if model.takes_counts:  # distances of counts would be those of library sizes
        words = guess_steps(Bags.from_rows(x, np.arange(held.n_instances), kinds=held.kinds))
        # expected counts are no whole numbers, which the step "normalize" refuses
        deep = [k for k, word in words.items() if word.startswith("normalize,")]
        x, y = ({k: _same_depth(v) if k in deep else v for k, v in part.items()} for part in (x, y))
        before = Bags.from_rows(x, np.arange(held.n_instances))
        words = {k: word.removeprefix("normalize,") for k, word in words.items()}
        steps, after = fit_steps(steps_of(words), before)
        x, y = dict(after.x), dict(apply_steps(steps, dataclasses.replace(before, x=y)).x)
    inputs, outputs = {}, {}
    for name, values in x.items():
        mean, sd = center_and_spread(values, held.present.get(name))
        inputs[name], outputs[name] = _scaled(values, mean, sd), _over(y[name], sd, values)
    present = {name: there for name, there in held.present.items() if name in inputs}
    found = overall_reconstruction_score(inputs, outputs, present)
    whole = found.pop("ors")
    whole = whole if set(y) == set(held.x) else float("nan")
    return {"ors": whole} | {f"ors_{name}": value for name, value in found.items()}


def _over(rows: Any, sd: np.ndarray, measured: Any) -> np.ndarray:
    """Rows over the s.d. of each feature; of sparse tables in place and in single precision.

    Of 4,000 cells with 100,000 peaks a copy in double precision would be 3 GB.
    """
    if sp.issparse(measured) and isinstance(rows, np.ndarray) and rows.dtype == np.float32:
        return np.divide(rows, sd.astype(np.float32), out=rows)
    return np.asarray(rows) / sd


def _same_depth(counts: Any) -> Any:
    """Counts of each cell to a sum of 10,000."""
    total = np.asarray(counts.sum(1), dtype=np.float64).reshape(-1)
    factor = np.divide(1e4, total, out=np.zeros_like(total), where=total > 0).astype(np.float32)
    if sp.issparse(counts):
        return sp.csr_matrix(sp.diags(factor) @ counts)
    return counts * factor[:, None]


def _scaled(values: Any, mean: np.ndarray, sd: np.ndarray) -> Any:
    """Values over their s.d., cut at so many above the mean; sparse stays sparse."""
    if not sp.issparse(values):
        return np.clip(values / sd, mean / sd - CLIP, mean / sd + CLIP)
    out = sp.csr_matrix(values, copy=True)
    top = mean / sd + CLIP  # values that are not stored are 0 and lie far above the lower cut
    out.data = np.minimum(out.data / sd[out.indices], top[out.indices]).astype(np.float32)
    return out
