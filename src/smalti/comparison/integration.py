"""``compare_integration``: embeddings of the same cells, with the same clusters and seeds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti._version import __version__
from smalti.bags import Bags
from smalti.comparison.embedding import Question, fit_and_score
from smalti.comparison.lineup import new_label
from smalti.comparison.phenotype import FAILURES
from smalti.comparison.table import ScoreTable
from smalti.core.registry import make
from smalti.errors import InputError
from smalti.integrate.base import Integration, as_cells
from smalti.integrate.block_pca import BlockPCA
from smalti.preprocess import spec_text, steps_of
from smalti.system.extras import absent
from smalti.system.files import atomic_write
from smalti.system.progress import Progress
from smalti.system.tables import write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Candidate: TypeAlias = str | Integration

_DONORS = 5  # from so many on, training and held-out cells come from different ones
_METRICS = (
    "ari_kmeans", "ari_leiden", "ors", "ari_ward", "transfer_f1", "transfer_accuracy", "ilisi",
    "kbet", "graph_connectivity", "fmi_kmeans", "fmi_ward", "fmi_leiden", "nmi_kmeans", "nmi_ward",
    "nmi_leiden", "silhouette", "davies_bouldin", "silhouette_labels",
)  # fmt: skip


@dataclasses.dataclass
class IntegrationComparison(ScoreTable):
    """Scores of embeddings of the same cells.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about
        As in :class:`~smalti.scores.table.Scores`; ``repeat`` is the seed.
    embeddings
        Method -> (n_scored, width) float32, of the first seed.
    labels
        (n_scored,) the label of each scored cell.
    cells
        (n_scored,) positions of the scored cells among all instances.
    """

    unit: ClassVar[str] = "seeds"

    embeddings: dict[str, np.ndarray]
    labels: np.ndarray
    cells: np.ndarray

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that some method has, the adjusted Rand index of k-means first."""
        there = dict.fromkeys(self.folds.dropna(subset="value")["metric"])
        return (*(m for m in _METRICS if m in there), *(m for m in there if m not in _METRICS))

    def counts(self) -> dict[str, str]:
        """Cells, labels, seeds."""
        n_train, n_test = self.folds["n_train"].min(), self.folds["n_test"].max()
        return {
            "cells scored": f"{len(self.cells):,}",
            "labels": f"{len(np.unique(self.labels)):,}",
            "seeds": f"{self.n_fits}",
            "cells per fit": f"{n_train:,} to train, {n_test:,} held out",
        }

    def figures(self) -> dict[str, Figure]:
        """Scores of each metric, and maps of the cells."""
        from smalti.plot import plot_embeddings, plot_scores

        shown = [m for m in ("ari_kmeans", "ari_leiden", "ors", "transfer_f1") if m in self.metrics]
        figures = {_TITLES[m]: plot_scores(self, m) for m in shown}
        if absent("umap") is None:
            figures["Maps of the cells (first seed)"] = plot_embeddings(
                self.embeddings, self.labels
            )
        return figures

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        write_table(pd.DataFrame({"cell": self.cells, "label": self.labels}), folder / "cells.csv")


_TITLES = {
    "ari_kmeans": "Clusters by k-means against the labels",
    "ari_leiden": "Clusters by Leiden against the labels",
    "ors": "Distances kept by the reconstruction",
    "transfer_f1": "Labels carried over to held-out cells",
}


def compare_integration(
    candidates: Iterable[Candidate] | Mapping[str, Candidate],
    bags: Any,
    *,
    label: str = "cell_type",
    batch: str | None = None,
    n_clusters: int | None = None,
    by: str | Sequence[str] | None = None,
    seeds: int | Sequence[int] = 10,
    leave_out: Sequence[str] = ("unknown", "Unknown", "doublet"),
    n_jobs: int = 1,
    progress: bool | None = None,
    cache: str | Path | None = None,
) -> IntegrationComparison:
    """Embed the same cells by several methods, and score the embeddings alike.

    For each seed every method is fitted on the same 80 % of the cells (of the donors, where there
    are five or more) and embeds all; methods that know no new cells (WNN) are fitted on all. No
    method sees a label.

    Parameters
    ----------
    candidates
        Names ("umint", "umint:fast") or instances of methods of :mod:`smalti.integrate`; a mapping
        gives them labels of your own. Block-scaled PCA and the PCA of each modality alone always
        run too.
    bags
        :class:`~smalti.Bags` with two or more views, or what :func:`smalti.read` reads as such.
    label
        Instance column of the known groups; cells without one are embedded and not scored.
    batch
        Instance column of the batches; adds iLISI, kBET and graph connectivity.
    n_clusters
        Clusters for all embeddings; the number of labels when left out.
    by
        Algorithms: kmeans, ward, leiden (see :func:`smalti.evaluate.cluster`); None: all, Leiden
        where igraph is installed. WNN's own graph is what Leiden sees of it.
    seeds
        How many, or which.
    leave_out
        Labels that are no group: their cells are embedded and not scored.
    n_jobs
        Worker processes of one thread each.
    progress
        Show a bar; None: on a terminal only.
    cache
        Folder that keeps the scores of each fit as it is done; a comparison that was killed goes
        on from it.

    Returns
    -------
    IntegrationComparison
        Metrics: ari, fmi and nmi of each algorithm's clusters against the labels; silhouette and
        davies_bouldin of the k-means clusters, which depend on the scale and the width of an
        embedding and so rank methods with care; silhouette_labels; ors, the overall reconstruction
        score of the held-out cells, standardised and cut at 10 s.d. (counts after the log or the
        centred log ratio), and ors_VIEW of each modality; transfer_accuracy and transfer_f1 of
        held-out cells labelled by their 15 nearest training cells; with batches, iLISI, kBET and
        graph connectivity.

    Raises
    ------
    InputError
        If there is one view only, a column is missing, there are fewer than two labels, or every
        method fails.
    """
    bags = as_cells(bags).check()
    if len(bags.x) < 2:
        raise InputError(f"integration needs two views or more; there is {next(iter(bags.x))!r}.")
    if isinstance(candidates, (str, Integration)):
        candidates = [candidates]
    codes, names = _groups(bags, label, leave_out)
    chosen_by, lacking = _algorithms(by)
    question = Question(
        labels=codes, batch=None if batch is None else _column(bags, batch).astype(str).to_numpy(),
        n_clusters=n_clusters or len(names), by=chosen_by,
    )  # fmt: skip
    chosen = dict(_line_up(candidates, bags))
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise InputError("seeds=0: at least one fit of each method is needed.")
    wrong = [a for a in question.by if a not in ("kmeans", "ward", "leiden")]
    if wrong or not 2 <= question.n_clusters <= (codes >= 0).sum():
        raise InputError(
            f"by={question.by}, n_clusters={question.n_clusters}: there are kmeans, ward and "
            f"leiden, into 2 to {int((codes >= 0).sum()):,} clusters."
        )
    groups, notes = _split_by(bags)
    cells, notes = _loose(bags), [*bags.notes, *notes, *lacking]
    digest = hashlib.sha256(
        f"{bags.digest} {label} {names} {question.n_clusters} {question.by}".encode()
        + codes.tobytes()
        + ("" if question.batch is None else "\0".join(question.batch)).encode()
    ).hexdigest()[:16]
    jobs = []
    for name, method in chosen.items():
        for number in numbers:
            file = None if cache is None else _file(Path(cache), method, number, digest)
            ready = clone(method).set_params(seed=number, progress=False)
            jobs.append((name, number, ready, _split(groups, number), file, number == numbers[0]))
    rows: list[dict[str, Any]] = []
    embeddings: dict[str, np.ndarray] = {}
    failed: dict[str, list[str]] = {}
    with Progress(progress, "integrations") as bar:
        bar.start("", len(jobs))
        for name, number, answer in _run(jobs, cells, question, n_jobs):
            bar.advance()
            if isinstance(answer, str):
                failed.setdefault(name, []).append(answer)
                continue
            scores, embedding = answer
            rows += [{"method": name, "repeat": number, "fold": 0, "metric": m, "value": v,
                      **scores["about"]} for m, v in scores["metrics"].items()]  # fmt: skip
            if embedding is not None:
                embeddings[name] = embedding
    for name, reasons in failed.items():
        whole = "was left out" if len(reasons) == len(numbers) else f"failed {len(reasons)} times"
        notes.append(f"{name} {whole}: {reasons[0]}")
    if not rows:
        raise InputError("no method could be run. " + " ".join(notes))
    folds = pd.DataFrame(rows)
    order = {name: i for i, name in enumerate(chosen)}
    folds = folds.sort_values(["method", "repeat"], kind="stable", key=lambda c: c.map(order)
                              if c.name == "method" else c).reset_index(drop=True)  # fmt: skip
    done = list(folds["method"].unique())
    if any(chosen[m].transductive for m in done):
        known = ", ".join(m for m in done if chosen[m].transductive)
        notes.append(f"{known} knows no new cells: fitted on all cells, held-out ones included.")
    scored = np.flatnonzero(codes >= 0)
    return IntegrationComparison(
        folds=folds, digest=digest, notes=tuple(notes), about=repr(bags),
        settings={m: chosen[m].get_params(deep=False) | {"preprocess": _steps(chosen[m])}
                  for m in done},
        baselines=tuple(m for m in done if chosen[m].baseline),
        embeddings={m: embeddings[m] for m in done if m in embeddings},
        labels=np.asarray(names, dtype=object)[codes[scored]], cells=scored,
    )  # fmt: skip


# ---------------------------------------------------------------- what is compared on what


def _line_up(
    candidates: Iterable[Candidate] | Mapping[str, Candidate], bags: Bags
) -> Iterator[tuple[str, Integration]]:
    """Label -> method, with the linear baselines."""
    given: list[tuple[str | None, Candidate]] = (
        list(candidates.items()) if isinstance(candidates, Mapping)
        else [(c if isinstance(c, str) else None, c) for c in candidates]
    )  # fmt: skip
    chosen: dict[str, Integration] = {}
    for label, candidate in given:
        method = make(candidate) if isinstance(candidate, str) else candidate
        if not isinstance(method, Integration):
            raise InputError(f"{candidate!r} is no method of smalti.integrate.")
        chosen[new_label(label, method, chosen)] = method
    # steps of the candidates' own go for the controls too, where all agree
    own = {spec_text(steps_of(m.preprocess)): m.preprocess for m in chosen.values()
           if m.preprocess != "auto"}  # fmt: skip
    steps = next(iter(own.values())) if len(own) == 1 else "auto"
    chosen.setdefault("block_pca", BlockPCA(preprocess=steps))
    for view in bags.x:
        chosen.setdefault(f"{view} alone", BlockPCA(modality=view, preprocess=steps))
    yield from chosen.items()


def _algorithms(by: str | Sequence[str] | None) -> tuple[tuple[str, ...], list[str]]:
    """The algorithms to cluster by, and notes on what is not installed."""
    if by is not None:
        return ((by,) if isinstance(by, str) else tuple(by)), []
    reason = absent("igraph")
    if reason is None:
        return ("kmeans", "ward", "leiden"), []
    return ("kmeans", "ward"), [f"clusters by Leiden were left out: {reason}."]


def _steps(method: Integration) -> str:
    return "auto" if method.preprocess == "auto" else spec_text(steps_of(method.preprocess))


def _column(bags: Bags, name: str) -> pd.Series:
    if name not in bags.instance:
        there = ", ".join(map(str, bags.instance.columns)) or "none"
        raise InputError(f"no column {name!r} of the cells; there are {there}.")
    return bags.instance[name].reset_index(drop=True)


def _groups(bags: Bags, label: str, leave_out: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(n_cells,) code of each cell's label, -1 where it has none; and the labels."""
    column = _column(bags, label)
    names = column.astype(str).where(column.notna())
    names = names.where(~names.isin(list(leave_out)))
    codes, known = pd.factorize(names, sort=True)
    if len(known) < 2:
        raise InputError(f"column {label!r} has {len(known)} labels: at least two are needed.")
    return codes, [str(k) for k in known]


def _split_by(bags: Bags) -> tuple[np.ndarray, list[str]]:
    """(n_cells,) group of each cell, none of which is split; and a note."""
    lone = len(bags) == bags.n_instances
    donors = np.arange(len(bags)) if bags.donor is None else bags.donors
    n = len(np.unique(donors))
    if lone and n == len(bags):
        return np.arange(len(bags)), []
    if n >= _DONORS:
        return np.unique(donors, return_inverse=True)[1][bags.index], []
    return np.arange(bags.n_instances), [
        f"{n} donors are too few to hold some out: held-out cells are of the donors in training."
    ]


def _split(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of 80 % of the cells to train on, and of the rest."""
    rng = np.random.default_rng([seed, 20])
    order = rng.permutation(int(groups.max()) + 1)
    held = np.isin(groups, order[: max(1, len(order) // 5)])
    return np.flatnonzero(~held), np.flatnonzero(held)


def _loose(bags: Bags) -> Bags:
    """The same cells, each a bag of its own."""
    n = bags.n_instances
    if len(bags) == n:
        return dataclasses.replace(bags, target=None, kind=None, donor=None)
    return Bags.from_rows(
        bags.x, np.arange(n), features=bags.features, present=bags.present
    )  # fmt: skip


# ---------------------------------------------------------------- one fit


def _run(
    jobs: list[Any], cells: Bags, question: Question, n_jobs: int
) -> Iterator[tuple[str, int, Any]]:
    if n_jobs == 1:
        for job in jobs:
            yield _one(job, cells, question)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered", inner_max_num_threads=1)
    yield from pool(delayed(_one_thread)(job, cells, question) for job in jobs)


def _one_thread(job: Any, cells: Bags, question: Question) -> tuple[str, int, Any]:
    import torch

    torch.set_num_threads(1)
    return _one(job, cells, question)


def _one(job: Any, cells: Bags, question: Question) -> tuple[str, int, Any]:
    """Scores of one fit, and its embedding if it is the first; or why it failed."""
    name, seed, method, (train, held), file, first = job
    if file is not None and file.exists() and (not first or file.with_suffix(".npy").exists()):
        kept = json.loads(file.read_text())
        return name, seed, (kept, np.load(file.with_suffix(".npy")) if first else None)
    reason = method.unavailable()
    if reason is not None:
        return name, seed, reason
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores, z = fit_and_score(method, cells, train, held, question, seed)
    except FAILURES as error:
        what = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        return name, seed, f"{what}{error}"
    embedding = z[question.labels >= 0] if first else None
    if file is not None:
        if embedding is not None:
            with atomic_write(file.with_suffix(".npy")) as temporary, temporary.open("wb") as out:
                np.save(out, embedding)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(scores))
    return name, seed, (scores, embedding)


def _file(folder: Path, method: Integration, seed: int, digest: str) -> Path:
    settings = {k: v for k, v in method.get_params(deep=False).items()
                if k not in ("progress", "accelerator", "seed", "preprocess")}  # fmt: skip
    key = f"{__version__} {method.name} {sorted(settings.items())} {_steps(method)} {seed} {digest}"
    return folder / f"{method.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
