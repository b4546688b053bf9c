"""``compare_expression``: genes from tiles, on the same splits, beside the same controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd

from smalti.comparison.expression_fit import Slides
from smalti.comparison.gene_maps import GeneMaps, gene_maps
from smalti.comparison.hiding import Hiding, controls, trained_on
from smalti.comparison.lineup import Lineup, line_up, of_search
from smalti.comparison.protocols import NAMED, protocol_of
from smalti.comparison.race import Outcome, race
from smalti.comparison.search.base import Choosing
from smalti.comparison.splits import expression_folds, seeds_of, tiles_of
from smalti.comparison.table import ScoreTable
from smalti.core.registry import methods
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod, as_slides
from smalti.expression.zero_shot import ZeroShotMethod
from smalti.genes.sets import GeneSets
from smalti.leaks.run import audit
from smalti.scores.expression_metrics import check_nan
from smalti.system.tables import write_table

if TYPE_CHECKING:
    from smalti.report.section import Section

Candidate: TypeAlias = str | ExpressionMethod | Choosing

_TOP = 50  # genes of PCC@H
_MOST = 2**31  # bytes of predictions that are kept


@dataclasses.dataclass(kw_only=True, repr=False)
class ExpressionComparison(ScoreTable):
    """Scores of predicted expression on slides that a method was not fitted on.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about, identities, failures, audit
        As in :class:`~smalti.scores.table.Scores`; ``repeat`` is the seed.
    genes
        One row per method, fold and gene (first seed): ``gene``, ``pcc_slide``, ``chosen`` (whether
        training slides chose it for PCC@H), ``morans_i_measured`` and ``morans_i_predicted``, where
        tiles have positions.
    ceiling
        Per fold and gene: the correlation that a perfect prediction would have, by thinning counts.
    predictions
        Method -> (n_tiles, n_genes) float32 of the first seed, each tile by the fold that tested
        it; empty where folds chose genes of their own, or all would take more than 2 GiB.
    gene_names
        Of ``predictions``.
    by
        What was left out: "donor", "slide" or "tile".
    unseen
        Per fold and gene: those that were hidden from training, and that the scores are of; empty
        where no gene was.
    maps
        The best, the median and the worst gene of the best method over the slide of most tiles;
        None where no predictions were kept or tiles have no places.
    """

    unit: ClassVar[str] = "folds and seeds"
    trains_on: ClassVar[str] = "tiles"
    deed: ClassVar[tuple[str, str]] = ("predicts expression", ", in predicting expression")
    pairs: ClassVar[tuple[str, ...]] = ("fold",)  # another seed is no other donor
    order: ClassVar[tuple[str, ...]] = (
        "pcc_slide", "pcc_fold", "pcc_tile", "pcc_slide_beyond_depth", "r2", "mse", "mae",
        "pcc_slide_chosen", "pcc_slide_h_optimistic", "pcc_fold_chosen", "pcc_fold_h_optimistic",
    )  # fmt: skip
    titles: ClassVar[dict[str, str]] = {
        "pcc_slide": "Pearson of a gene within each slide",
        "pcc_fold": "Pearson of a gene over all test tiles",
        "pcc_tile": "Pearson of a tile over the genes",
    }

    genes: pd.DataFrame
    ceiling: pd.DataFrame
    predictions: dict[str, np.ndarray]
    gene_names: tuple[str, ...]
    by: str
    unseen: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame({"fold": [], "gene": []})
    )
    maps: GeneMaps | None = None

    def facts(self) -> dict[str, str]:
        """Tiles, genes, folds and seeds."""
        fold = self.folds[["fold"]].drop_duplicates()
        hidden = {}
        if len(self.unseen):
            each = self.unseen.groupby("fold").size()
            hidden = {"genes hidden from training, and scored": f"{each.min():,} to {each.max():,}"}
        return hidden | {
            "left out in turn": self.by + (" (leaks: neighbours train)" * (self.by == "tile")),
            "folds": f"{len(fold)}",
            "seeds": f"{self.folds['repeat'].nunique()}",
            "genes": f"{len(self.gene_names):,}" if self.gene_names else "chosen in each fold",
            "tiles tested in a fold": f"{self.folds['n_test'].min():,} to "
            f"{self.folds['n_test'].max():,}",
            "mean ceiling of Pearson within slides": f"{self.ceiling['ceiling'].mean():.3f}",
        }

    def sections(self) -> list[Section]:
        """What a page of this comparison says, in order (see :mod:`smalti.comparison.page`)."""
        from smalti.comparison.page.order import EXPRESSION, made

        return made(self, EXPRESSION)

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        write_table(self.genes, folder / "genes.csv")
        write_table(self.ceiling, folder / "ceiling.csv")
        if len(self.unseen):
            write_table(self.unseen, folder / "unseen.csv")


def compare_expression(
    candidates: Iterable[Candidate] | Mapping[str, Candidate],
    slides: Any,
    *,
    by: str = "donor",
    folds: int | None = None,
    splits: Any = None,
    genes: Any = None,
    seeds: int | Sequence[int] = 3,
    view: str | None = None,
    top: int = _TOP,
    nan: str = "drop",
    n_jobs: int | None = None,
    progress: bool | None = None,
    cache: str | Path | None = None,
    scheduler: str | None = None,
    unseen: Any = None,
    n_unseen: int = 250,
    vectors: Any = None,
    sets: GeneSets | None = None,
) -> ExpressionComparison:
    """Fit methods on some slides and score them on others.

    Parameters
    ----------
    candidates
        Names ("ridge", "mlp:team") or instances of methods of :mod:`smalti.expression`; a mapping
        gives them labels of your own. A :class:`smalti.Search` of one chooses settings anew in each
        fold, by its training donors (slides, strips); the method as it was given runs beside it.
        Ridge and the controls (gene mean; total count and neighbour
        mean, which look at the measured test tiles) always run too.
    slides
        :class:`~smalti.Bags` of slides with features (or tiles) and counts.
    by
        What no fold has on both sides: "donor"; "site" (a site and its donors); "slide" (other
        slides of a donor train, which is easier than a new donor); "tile" (random tiles: leaks, as
        neighbours overlap and look alike; only to see by how much).
    folds
        Parts; each donor (slide) alone where there are ten or fewer, else 5; tiles 5.
    splits
        Another protocol, as of :func:`smalti.compare`: "leave-one-donor-out",
        "leave-one-site-out", a table or a column of the slides with folds; where it says train and
        test (slides of another source, for example) there is one. Leave ``by`` and ``folds`` out.
    genes
        For all methods: names; or a number: those of most variance in each training fold.
        None: each method's own.
    seeds
        How many, or which; methods without randomness are fitted once.
    view
        View of features for the methods that name none.
    top
        Genes of PCC@H. ``*_chosen``: the genes that ridge predicts best when donors (slides) of the
        training fold are left out in turn. ``*_h_optimistic``: the best by the test fold itself,
        as published.
    nan
        What a gene without a correlation counts (see :func:`expression_scores`).
    n_jobs
        Worker processes; 1: none, -1: every core, None: as many as make it end sooner.
    progress
        Show a bar; None: on a terminal or in a notebook, elsewhere a line of the log for each fit.
    cache
        Folder that keeps each fit's predictions; a comparison that was killed goes on.
    unseen
        Hide genes from training and score these: "highest" (the published protocol, and the easy
        one), "random", "blocks" (whole gene sets: the hard one), or names; see
        :func:`smalti.comparison.unseen.unseen_genes`. Bilinear ridge, the nearest seen gene and
        vectors that mean nothing then always run; methods that cannot predict unseen genes are
        trained on them, and their rows say so and race nobody.
    n_unseen, sets
        How many; gene sets for "blocks".
    vectors
        Of the genes, for the methods that name none (see :func:`smalti.genes.gene_vectors`).
    scheduler
        Address of a Dask scheduler, such as tcp://10.0.0.1:8786: its workers fit, on other
        machines (the extra "dask").

    Notes
    -----
    A spot's total, by which counts are scaled, is over all genes of the view, hidden ones included:
    it is the depth of the spot. ``units="log1p"`` of the methods knows no totals.

    Returns
    -------
    ExpressionComparison
        Metrics of :func:`smalti.scores.expression_metrics.expression_scores`, and
        ``pcc_slide_beyond_depth``: what is left of ``pcc_slide`` once the log of the spot's total
        count is regressed out of both sides
        (:func:`smalti.scores.expression_metrics.pcc_beyond`).

    Raises
    ------
    InputError
        If there is nothing to leave out, a view or gene is missing, or every method fails.

    Examples
    --------
    >>> import smalti as sm
    >>> slides = sm.datasets.planted_slides(4, 16, n_genes=12, seed=0)
    >>> table = sm.compare_expression(["knn"], slides, n_jobs=1, progress=False)
    >>> {"knn", "ridge", "gene_mean"} <= set(table.folds["method"])  # controls always run
    True
    """
    arena, lineup, notes = prepared(
        candidates, slides, by=by, folds=folds, splits=splits, genes=genes, seeds=seeds, view=view,
        top=top, nan=nan, unseen=unseen, n_unseen=n_unseen, vectors=vectors, sets=sets,
    )  # fmt: skip
    bags, hidden = arena.bags, arena.hidden
    outcome = race(arena, lineup, n_jobs=n_jobs, progress=progress, cache=cache,
                   scheduler=scheduler)  # fmt: skip
    varying = isinstance(genes, (int, np.integer)) if hidden is None \
        else len({h.unseen for h in hidden}) > 1  # fmt: skip
    names, predictions = ((), {}) if varying else _predictions(arena, outcome)
    table = ExpressionComparison(
        **outcome.table(lineup, notes), digest=arena.digest, about=arena.about,
        genes=pd.concat([a.extra["genes"].assign(method=label, fold=fold)
                         for (label, _, fold), a in outcome.answers.items()]),
        ceiling=arena.ceilings(lineup.methods, outcome.answers), by=arena.by,
        unseen=arena.hidden_genes(), gene_names=names, predictions=predictions,
        audit=audit(bags, lineup.methods, splits=arena.parts),
    )  # fmt: skip
    table.maps = gene_maps(table, bags, lineup.methods)
    return table


def prepared(
    candidates: Any,
    slides: Any,
    *,
    by: str = "donor",
    folds: int | None = None,
    splits: Any = None,
    genes: Any = None,
    seeds: int | Sequence[int] = 3,
    view: str | None = None,
    top: int = _TOP,
    nan: str = "drop",
    unseen: Any = None,
    n_unseen: int = 250,
    vectors: Any = None,
    sets: GeneSets | None = None,
) -> tuple[Slides, Lineup, list[str]]:
    """What a comparison of these arguments fits: its arena, who takes part, and notes.

    Raises
    ------
    InputError
        As :func:`compare_expression` does before the first fit.
    """
    check_nan(nan)
    bags = as_slides(slides)
    lineup = line_up(candidates, ExpressionMethod)
    lineup.beside_searched()
    _prepare(lineup, genes, view, unseen is not None, vectors)
    numbers, notes = seeds_of(seeds), [*bags.notes]
    if splits is None:
        parts = expression_folds(bags, by=by, folds=folds)
    else:
        if by != "donor" or folds is not None:
            raise InputError("splits= says all folds: leave by= and folds= out.")
        parts, by = tiles_of(bags, protocol_of(bags, splits).splits), "own splits"
        by = splits if isinstance(splits, str) and splits in NAMED else by
    hidden = None
    if unseen is not None:
        hiding = Hiding(unseen, n_unseen, vectors, sets, genes)
        hidden = hiding.of(bags, parts, lineup.methods)
        notes += hiding.notes
    return Slides(bags, parts, numbers, top, nan, view, hidden, by=by), lineup, notes


def _predictions(arena: Slides, outcome: Outcome) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Genes and predictions of the first seed, each tile by the fold that tested it.

    Nothing where methods have genes of their own, or all would take too much memory.
    """
    names = {tuple(a.note["genes"]) for a in outcome.answers.values()}
    if len(names) > 1:
        return (), {}
    (genes,) = names
    shape = (arena.bags.n_instances, len(genes))
    labels = dict.fromkeys(label for label, *_ in outcome.answers)
    if 4 * shape[0] * shape[1] * len(labels) > _MOST:
        return genes, {}
    tables = {label: np.full(shape, np.nan, dtype=np.float32) for label in labels}
    for (label, _, fold), answer in outcome.answers.items():
        tables[label][arena.parts[fold][1]] = answer.arrays["predicted"]
    return genes, tables


# ---------------------------------------------------------------- who takes part


def _prepare(lineup: Lineup, genes: Any, view: str | None, unseen: bool, vectors: Any) -> None:
    """What all methods share, ridge and the controls; labels say who saw the hidden genes."""
    for method in lineup.methods.values():
        if isinstance(of_search(method), ZeroShotMethod) and method.vectors is None:
            method.set_params(vectors=vectors)
    if unseen:
        for label, method in list(lineup.methods.items()):
            lineup.rename(label, trained_on(label, method))
        for label, method in controls(vectors).items():
            lineup.add_baseline(method, label)
    own = [m.genes for m in lineup.methods.values() if m.genes is not None]
    for name, cls in methods("expression").items():
        if not cls.baseline or "vectors" in cls().get_params():
            continue
        plain = cls(genes=own[0] if own and genes is None else None)
        label = f"{name} (oracle)" if cls.oracle else name
        lineup.add_baseline(plain, trained_on(label, plain) if unseen else label)
    for method in lineup.methods.values():
        if genes is not None and not unseen:
            method.set_params(genes=genes)
        if view is not None and method.x is None and not method.images and not method.oracle:
            method.set_params(x=view)
