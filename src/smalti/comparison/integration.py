"""``compare_integration``: embeddings of the same cells, with the same clusters and seeds."""

from __future__ import annotations

import dataclasses
import hashlib
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.columns import column_of
from smalti.comparison import adds
from smalti.comparison.arena import Arena
from smalti.comparison.cache import Answer
from smalti.comparison.corrections import check_corrections, correct
from smalti.comparison.embedding import Question, ask, embedding_scores
from smalti.comparison.lineup import Lineup, line_up
from smalti.comparison.race import race
from smalti.comparison.splits import Split, cell_splits, seeds_of
from smalti.comparison.table import ScoreTable
from smalti.errors import InputError
from smalti.integrate.base import Integration, as_cells
from smalti.integrate.block_pca import BlockPCA
from smalti.labels import missing
from smalti.leaks.run import audit
from smalti.preprocess import modalities, spec_text, steps_of
from smalti.scores.verdicts import in_words
from smalti.system.tables import write_table

if TYPE_CHECKING:
    from smalti.report.section import Section

Candidate: TypeAlias = str | Integration


@dataclasses.dataclass(kw_only=True, repr=False)
class IntegrationComparison(ScoreTable):
    """Scores of embeddings of the same cells.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about, identities, failures, audit
        As in :class:`~smalti.scores.table.Scores`; ``repeat`` is the seed.
    embeddings
        Method -> (n_scored, width) float32, of the first seed.
    labels
        (n_scored,) the label of each scored cell.
    cells
        (n_scored,) positions of the scored cells among all instances.
    unscored
        Label -> cells that were embedded and not scored: those of no group, "" of no label.
    contributions
        What each modality adds to held-out cells of each label, in each fit: method, repeat, label,
        modality, share, found, found_without; :meth:`adds` sums it up.
    corrections
        Where inputs were corrected: label -> label of the method, and its correction.
    """

    unit: ClassVar[str] = "seeds"
    trains_on: ClassVar[str] = "cells"
    deed: ClassVar[tuple[str, str]] = ("groups the cells", ", in grouping the cells")
    order: ClassVar[tuple[str, ...]] = (
        "ari_kmeans", "ari_leiden", "ari_own", "ors", "ari_ward", "transfer_f1",
        "transfer_accuracy", "halves_transfer_f1", "halves_transfer_accuracy", "halves_mixing",
        "ilisi", "kbet", "graph_connectivity", "unique_purity", "fmi_kmeans", "fmi_ward",
        "fmi_leiden", "nmi_kmeans", "nmi_ward", "nmi_leiden", "silhouette", "davies_bouldin",
        "silhouette_labels",
    )  # fmt: skip
    titles: ClassVar[dict[str, str]] = {
        "ari_kmeans": "Clusters by k-means against the labels",
        "ari_leiden": "Clusters by Leiden against the labels",
        "ari_own": "Clusters by what each method is meant for, against the labels",
        "ors": "Distances kept by the reconstruction",
        "transfer_f1": "Labels carried over to held-out cells",
    }

    embeddings: dict[str, np.ndarray]
    labels: np.ndarray
    cells: np.ndarray
    unscored: dict[str, int] = dataclasses.field(default_factory=dict)
    contributions: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=adds.COLUMNS)
    )

    corrections: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    def adds(self) -> pd.DataFrame:
        """What each modality adds to cells of each label, over the seeds.

        Returns
        -------
        DataFrame
            method, label, modality, ``share`` of the code (how far it moves when the modality is
            hidden), ``found`` and ``found_without`` (held-out cells that their nearest training
            cells label rightly), ``gain`` (their difference), ends of 95 % intervals. A share says
            nothing of what it is worth: noise has one too, and no gain.
        """
        return adds.over_seeds(self.contributions, self.folds["n_train"].mean(),
                               self.folds["n_test"].mean())  # fmt: skip

    def additions(self, metric: str | None = None) -> list[str]:
        """What the other modalities add to each alone: the same method, fitted on all or on one."""
        metric = metric or self.metrics[0]
        done, out = set(self.folds["method"]), []
        plain = {k: v for k, v in self.settings.items()
                 if self.corrections.get(k, ("", "none"))[1] == "none"}  # fmt: skip
        alone = {k: v["modality"] for k, v in plain.items() if v.get("modality")}
        for less, view in alone.items():
            rest = {**self.settings[less], "modality": None, "preprocess": None}
            more = [k for k, v in plain.items() if {**v, "preprocess": None} == rest]
            if not {less, *more[:1]} <= done or not more:
                continue
            others = [v for v in dict.fromkeys(alone.values()) if v != view]
            row = self.against(less, metric).set_index("method").loc[more[0]]
            out.append(in_words(f"{view} with {' and '.join(others)} added ({more[0]})", less, row))
        return out

    def terms(self) -> list[str]:
        """What words and intervals mean, and what agreement with the labels is."""
        return [
            "ARI, the adjusted Rand index: how far clusters agree with the labels, 1 where they "
            "are the same, 0 by chance.", *super().terms(),
        ]  # fmt: skip

    def facts(self) -> dict[str, str]:
        """Cells, labels, seeds."""
        n_train, n_test = self.folds["n_train"].min(), self.folds["n_test"].max()
        left = ", ".join(f"{name or 'without a label'} {n:,}" for name, n in self.unscored.items())
        embedded = len(self.cells) + sum(self.unscored.values())
        return {
            "cells embedded": f"{embedded:,}",
            "embedded and not scored": left or "none",
            "cells scored": f"{len(self.cells):,}",
            "labels": f"{len(np.unique(self.labels)):,}",
            "seeds": f"{self.n_fits}",
            "cells per fit": f"{n_train:,} to train, {n_test:,} held out",
        }

    def sections(self) -> list[Section]:
        """What a page of this comparison says, in order (see :mod:`smalti.comparison.page`)."""
        from smalti.comparison.page.order import INTEGRATION, made

        return made(self, INTEGRATION)

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        if len(self.contributions):
            write_table(self.contributions, folder / "contributions.csv")
        write_table(pd.DataFrame({"cell": self.cells, "label": self.labels}), folder / "cells.csv")


def compare_integration(
    candidates: Iterable[Candidate] | Mapping[str, Candidate],
    bags: Any,
    *,
    label: str = "cell_type",
    batch: str | None = None,
    corrections: str | Sequence[str] | None = None,
    n_clusters: int | None = None,
    by: str | Sequence[str] | None = None,
    seeds: int | Sequence[int] = 10,
    leave_out: Sequence[str] = ("unknown", "Unknown", "doublet"),
    n_jobs: int | None = None,
    progress: bool | None = None,
    cache: str | Path | None = None,
    scheduler: str | None = None,
) -> IntegrationComparison:
    """Embed the same cells by several methods, and score the embeddings alike.

    For each seed every method is fitted on the same 80 % of the cells (of the donors, where there
    are five or more) and embeds all; methods that know no new cells are fitted on all. No
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
        Column of the batches, of the instances or the bags; adds iLISI, kBET and graph
        connectivity, and the purity of types that one batch alone has.
    corrections
        Each method on each of these inputs, "umint, harmony" beside "umint": "none", "scaled" (each
        feature within each batch), "harmony", "combat". The last two have seen all cells, held-out
        ones included, and so has the method after them. Distances that ors compares are then those
        of the corrected input.
    n_clusters
        Clusters for all embeddings; the number of labels when left out.
    by
        Algorithms: kmeans, ward, leiden (see :func:`smalti.scores.cluster`); None: all, Leiden
        where igraph is installed. Of WNN, Leiden sees its own graph, in which cells that were held
        out are joined with training cells.
    seeds
        How many, or which.
    leave_out
        Labels that are no group: their cells are embedded and not scored.
    n_jobs
        Worker processes; 1: none, -1: every core, None: as many as make it end sooner.
    progress
        Show a bar; None: on a terminal or in a notebook, elsewhere a line of the log for each fit.
    cache
        Folder that keeps the scores of each fit as it is done; a comparison that was killed goes
        on from it.
    scheduler
        Address of a Dask scheduler, such as tcp://10.0.0.1:8786: its workers fit, on other
        machines (the extra "dask").

    Returns
    -------
    IntegrationComparison
        Metrics: ari, fmi and nmi of each algorithm's clusters against the labels; ari_own, the ari
        of the algorithm that the method is meant for (its ``clusters_by``; NaN where ``by`` leaves
        that out); silhouette and
        davies_bouldin of the k-means clusters, which depend on the scale and the width of an
        embedding and so rank methods with care; silhouette_labels; ors, the overall reconstruction
        score of the held-out cells, standardised and cut at 10 s.d. (counts after the log or the
        centred log ratio), and ors_VIEW of each modality; transfer_accuracy and transfer_f1 of
        held-out cells labelled by their 15 nearest training cells; where cells lack a modality,
        halves_transfer_f1 and halves_transfer_accuracy, of held-out ones of these labelled by whole
        training cells, and halves_mixing, of cells by what was measured within each label
        (:func:`smalti.scores.mixing_within`); with batches, iLISI, kBET and graph connectivity.

    Raises
    ------
    InputError
        If there is one view only, a column is missing, there are fewer than two labels, or every
        method fails.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_modalities(100, seed=0)
    >>> umint = sm.integrate.UMINT(width=4, epochs=2)
    >>> table = sm.compare_integration(
    ...     [umint], cells, label="kind", by="kmeans", seeds=2, n_jobs=1, progress=False
    ... )
    >>> {"umint", "block_pca"} <= set(table.folds["method"])
    True
    >>> {"ari_kmeans", "ors", "transfer_accuracy"} <= set(table.folds["metric"])
    True
    """
    arena, lineup, bags, notes = prepared(
        candidates, bags, label=label, batch=batch, corrections=corrections,
        n_clusters=n_clusters, by=by, seeds=seeds, leave_out=leave_out,
    )  # fmt: skip
    question = arena.question
    outcome = race(arena, lineup, n_jobs=n_jobs, progress=progress, cache=cache,
                   scheduler=scheduler)  # fmt: skip
    done = list(dict.fromkeys(outcome.folds["method"]))
    known = [k for k in done if lineup.methods[k].at_hand()]
    if any(m.preprocess == "auto" for m in lineup.methods.values()):
        notes += [f"{m}." for m in modalities(bags)]
    if known:
        notes.append("fitted on all cells, held-out ones included, as they place no new cells: "
                     f"{'; '.join(known)}.")  # fmt: skip
    scored = np.flatnonzero(question.labels >= 0)
    return IntegrationComparison(
        **outcome.table(lineup, [*bags.notes, *notes, *question.notes]),
        digest=arena.digest, about=repr(bags), cells=scored,
        unscored=_unscored(bags, label, scored),
        embeddings={k: a.arrays["embedding"] for (k, *_), a in outcome.answers.items() if a.arrays},
        contributions=pd.DataFrame(
            [{"method": k, "repeat": seed} | row for (k, seed, _), a in outcome.answers.items()
             for row in a.note.get("adds", ())], columns=adds.COLUMNS),
        labels=np.asarray(question.names, dtype=object)[question.labels[scored]],
        corrections=arena.corrections,
        audit=audit(bags, lineup.methods, label=label, batch=batch, leave_out=leave_out),
    )  # fmt: skip


def _unscored(bags: Bags, label: str, scored: np.ndarray) -> dict[str, int]:
    """Label -> cells that are not scored; "" where there is none."""
    rest = bags.instance[label].reset_index(drop=True).drop(scored)
    names = rest.astype(str).where(~missing(rest), "")
    return {str(k): int(n) for k, n in names.value_counts().items()}


def prepared(
    candidates: Any,
    bags: Any,
    *,
    label: str = "cell_type",
    batch: str | None = None,
    corrections: str | Sequence[str] | None = None,
    n_clusters: int | None = None,
    by: str | Sequence[str] | None = None,
    seeds: int | Sequence[int] = 10,
    leave_out: Sequence[str] = ("unknown", "Unknown", "doublet"),
) -> tuple[_Cells, Lineup, Bags, list[str]]:
    """What a comparison of these arguments fits: its arena, who takes part, cells, and notes.

    Raises
    ------
    InputError
        As :func:`compare_integration` does before the first fit.
    """
    bags = as_cells(bags).check()
    if len(bags.x) < 2:
        raise InputError(
            f"integration needs two views or more; there is {next(iter(bags.x))!r}. Name them all, "
            "x={'rna': 'X', 'protein': 'obsm/KEY'}."
        )
    asked = check_corrections(corrections, batch)
    question = ask(bags, label=label, batch=batch, n_clusters=n_clusters, by=by,
                   leave_out=leave_out)  # fmt: skip
    lineup = line_up(candidates, Integration)
    _add_controls(lineup, bags)
    parts, notes = cell_splits(bags, seeds_of(seeds))
    arena = _Cells(bags, question, parts, label)
    if asked:
        assert batch is not None
        arena.corrections = correct(lineup, bags, batch, asked)
    return arena, lineup, bags, notes


class _Cells(Arena):
    """Cells of which 80 % train; a fit answers with what its embedding of all is worth."""

    title, units = "integrations", "cells"

    def __init__(self, bags: Bags, question: Question, parts: list[Split], label: str) -> None:
        self.cells, self.question, self.parts = _loose(bags), question, parts
        self.about = repr(bags)
        self.corrections: dict[str, tuple[str, str]] = {}
        names = list(question.names)
        asked = f"adds {bags.asked_digest} {label} {names} {question.n_clusters} {question.by}"
        asked += f" {dict(bags.kinds)}" if bags.kinds else ""
        batch = "" if question.batch is None else "\0".join(question.batch)
        told = asked.encode() + question.labels.tobytes() + batch.encode()
        self.digest = hashlib.sha256(told).hexdigest()[:16]

    def splits(self, method: Any) -> list[Split]:
        return self.parts

    def seed(self, method: Any, split: Split) -> int:
        return split.repeat

    def key(self, method: Any, split: Split) -> str:
        return "with its embedding" if split.repeat == self.parts[0].repeat else ""

    def sizes(self, method: Any, split: Split) -> tuple[int, int]:
        n = len(self.cells) if method.at_hand() else len(split.train)
        return n, len(split.test)

    def fit(self, method: Any, split: Split) -> Answer:
        """Scores, for they take longer than many a fit; and the first seed's embedding."""
        reason = method.unavailable()
        if reason is not None:
            raise InputError(reason)
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = method.fit(self.cells if method.at_hand() else self.cells[split.train])
            z = np.asarray(model.transform(self.cells))
            seconds = time.perf_counter() - began
            scores = embedding_scores(model, z, self.cells, split, self.question)
            told = adds.added(model, z, self.cells, split, self.question.labels,
                              self.question.names)  # fmt: skip
        first = split.repeat == self.parts[0].repeat
        shown = {"embedding": z[self.question.labels >= 0].astype(np.float32)} if first else {}
        return Answer(shown, {"scores": scores, "adds": told}, seconds)

    def score(self, method: Any, split: Split, answer: Answer) -> dict[str, float]:
        return answer.note["scores"]


def _add_controls(lineup: Lineup, bags: Bags) -> None:
    """Block-scaled PCA of all modalities and of each alone."""
    # steps of the candidates' own go for the controls too, where all agree
    own = {spec_text(steps_of(m.preprocess)): m.preprocess for m in lineup.methods.values()
           if m.preprocess != "auto"}  # fmt: skip
    steps = next(iter(own.values())) if len(own) == 1 else "auto"
    lineup.add_baseline(BlockPCA(preprocess=steps))
    for view in bags.x:
        lineup.add_baseline(BlockPCA(modality=view, preprocess=steps), f"{view} alone")


def _loose(bags: Bags) -> Bags:
    """The same cells, each a bag of its own; their columns, and those of their bags, are kept."""
    n = bags.n_instances
    columns = [*bags.instance, *(c for c in bags.bag if c not in bags.instance)]
    if len(bags) == n:
        return dataclasses.replace(bags, target=None, kind=None, donor=None)
    return Bags.from_rows(
        bags.x, np.arange(n), features=bags.features, present=bags.present, kinds=bags.kinds,
        instance=pd.DataFrame({name: column_of(bags, name) for name in columns}),
    )  # fmt: skip
