"""``compare_expression``: genes from tiles, on the same splits, beside the same controls."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti.bags import Bags
from smalti.comparison.expression_fit import Runner
from smalti.comparison.hiding import Hiding, controls, trained_on
from smalti.comparison.lineup import new_label
from smalti.comparison.phenotype import FAILURES
from smalti.comparison.splits import expression_folds
from smalti.comparison.table import ScoreTable
from smalti.core.registry import make, methods
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod, as_slides
from smalti.genes.sets import GeneSets
from smalti.system.progress import Progress
from smalti.system.tables import write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Candidate: TypeAlias = str | ExpressionMethod

_METRICS = ("pcc_slide", "pcc_fold", "pcc_tile", "pcc_slide_beyond_depth", "r2", "mse", "mae",
            "pcc_slide_chosen", "pcc_slide_h_optimistic", "pcc_fold_chosen",
            "pcc_fold_h_optimistic")  # fmt: skip
_TOP = 50  # genes of PCC@H
_AGAIN = " (control)"  # of a control whose name a candidate with other settings has
_MOST = 2**31  # bytes of predictions that are kept


@dataclasses.dataclass
class ExpressionComparison(ScoreTable):
    """Scores of predicted expression on slides that a method was not fitted on.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about
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
    """

    unit: ClassVar[str] = "folds and seeds"

    genes: pd.DataFrame
    ceiling: pd.DataFrame
    predictions: dict[str, np.ndarray]
    gene_names: tuple[str, ...]
    by: str
    unseen: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame({"fold": [], "gene": []})
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that some method has, Pearson within slides first."""
        there = dict.fromkeys(self.folds.dropna(subset="value")["metric"])
        return (*(m for m in _METRICS if m in there), *(m for m in there if m not in _METRICS))

    def counts(self) -> dict[str, str]:
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

    def figures(self) -> dict[str, Figure]:
        """Scores in the three forms of Pearson."""
        from smalti.plot import plot_scores

        return {_TITLES[m]: plot_scores(self, m) for m in _TITLES if m in self.metrics}

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        write_table(self.genes, folder / "genes.csv")
        write_table(self.ceiling, folder / "ceiling.csv")
        if len(self.unseen):
            write_table(self.unseen, folder / "unseen.csv")


_TITLES = {
    "pcc_slide": "Pearson of a gene within each slide",
    "pcc_fold": "Pearson of a gene over all test tiles",
    "pcc_tile": "Pearson of a tile over the genes",
}


def compare_expression(
    candidates: Iterable[Candidate] | Mapping[str, Candidate],
    slides: Any,
    *,
    by: str = "donor",
    folds: int | None = None,
    genes: Any = None,
    seeds: int | Sequence[int] = 3,
    view: str | None = None,
    top: int = _TOP,
    nan: str = "drop",
    progress: bool | None = None,
    cache: str | Path | None = None,
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
        gives them labels of your own. Ridge and the controls (gene mean; total count and neighbour
        mean, which look at the measured test tiles) always run too.
    slides
        :class:`~smalti.Bags` of slides with features (or tiles) and counts.
    by
        What no fold has on both sides: "donor"; "slide" (other slides of a donor train, which is
        easier than a new donor); "tile" (random tiles: leaks, as neighbours overlap and look alike;
        only to see by how much).
    folds
        Parts; each donor (slide) alone where there are ten or fewer, else 5; tiles 5.
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
    progress
        Show a bar; None: on a terminal only.
    cache
        Folder that keeps each fit's scores and predictions; a comparison that was killed goes on.
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
    """
    bags = as_slides(slides)
    chosen = _line_up(candidates, genes, view, unseen is not None, vectors)
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise InputError("seeds=0: at least one fit of each method is needed.")
    parts = expression_folds(bags, by=by, folds=folds)
    notes = [*bags.notes, *_warnings(bags, by)]
    digest = _digest(bags, parts)
    jobs = [(label, k, seed) for label, method in chosen.items() for k in range(len(parts))
            for seed in (numbers if method.stochastic else numbers[:1])]  # fmt: skip
    runner = Runner(bags, parts, top, nan, None if cache is None else Path(cache), digest,
                    view)  # fmt: skip
    if unseen is not None:
        hiding = Hiding(unseen, n_unseen, vectors, sets, genes)
        runner.hidden = hiding.of(bags, parts, chosen)
        notes += hiding.notes
    rows: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    predictions: dict[str, np.ndarray] = {}
    names: dict[str, tuple[str, ...]] = {}
    failed: dict[str, str] = {}
    with Progress(progress, "expression") as bar:
        bar.start("", len(jobs))
        for label, k, seed in jobs:
            bar.advance()
            if label in failed:
                continue
            try:
                answer = runner.run(chosen[label], k, seed)
            except FAILURES as error:
                what = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                failed[label] = f"{label} was left out: {what}{error}"
                continue
            rows += [{"method": label, "repeat": seed, "fold": k, "metric": m, "value": v,
                      **answer["about"]} for m, v in answer["metrics"].items()]  # fmt: skip
            if seed == numbers[0]:
                tables.append(answer["genes"].assign(method=label, fold=k))
                own = tuple(answer["genes"]["gene"])
                if names.setdefault(label, own) != own or _too_large(bags, own, len(chosen)):
                    continue
                shape = (bags.n_instances, len(own))
                table = predictions.setdefault(label, np.full(shape, np.nan, dtype=np.float32))
                table[parts[k][1]] = answer["predicted"]
    done = [m for m in chosen if m not in failed]
    if not done:
        raise InputError("no method could be run. " + " ".join(failed.values()))
    rows = [r for r in rows if r["method"] not in failed]
    common = {names[m] for m in done}
    by_fold = {h.unseen for h in runner.hidden or ()}
    same = len(common) == 1 and (
        len(by_fold) == 1 if by_fold else not isinstance(genes, (int, np.integer))
    )
    return ExpressionComparison(
        folds=pd.DataFrame(rows), digest=digest, notes=(*notes, *failed.values()), about=repr(bags),
        settings={m: chosen[m].get_params(deep=False) for m in done},
        baselines=tuple(m for m in done if chosen[m].baseline or
                        (unseen is not None and m.removesuffix(_AGAIN) in controls(vectors))),
        genes=pd.concat([t for t in tables if t["method"].iloc[0] not in failed]),
        ceiling=runner.ceilings(), by=by, unseen=runner.hidden_table(),
        gene_names=next(iter(common)) if same else (),
        predictions={m: predictions[m] for m in done if m in predictions} if same else {},
    )  # fmt: skip


# ---------------------------------------------------------------- what is compared


def _line_up(
    candidates: Any, genes: Any, view: str | None, unseen: bool, vectors: Any
) -> dict[str, ExpressionMethod]:
    """Label -> method, with ridge and the controls."""
    if isinstance(candidates, (str, ExpressionMethod)):
        candidates = [candidates]
    given: list[tuple[str | None, Candidate]] = (
        list(candidates.items()) if isinstance(candidates, Mapping)
        else [(c if isinstance(c, str) else None, c) for c in candidates]
    )  # fmt: skip
    chosen: dict[str, ExpressionMethod] = {}
    for label, candidate in given:
        method = make(candidate) if isinstance(candidate, str) else clone(candidate)
        if not isinstance(method, ExpressionMethod):
            raise InputError(f"{candidate!r} is no method of smalti.expression.")
        if getattr(method, "vectors", "none") is None:
            method.vectors = vectors
        label = new_label(label, method, chosen)
        chosen[trained_on(label, method) if unseen else label] = method
    if unseen:
        for label, method in controls(vectors).items():
            there = chosen.get(label, method)
            taken = (there.name, there.get_params()) != (method.name, method.get_params())
            chosen.setdefault(f"{label}{_AGAIN}" if taken else label, method)
    own = [m.genes for m in chosen.values() if m.genes is not None]
    for name, cls in methods("expression").items():
        if "vectors" in cls().get_params():
            continue
        plain = cls(genes=own[0] if own and genes is None else None)
        same = [m for m in chosen.values() if m.get_params() == plain.get_params()
                and m.name == name]  # fmt: skip
        if cls.baseline and not same:
            label = f"{name} (oracle)" if cls.oracle else name
            chosen.setdefault(trained_on(label, plain) if unseen else label, plain)
    for method in chosen.values():
        if genes is not None and not unseen:
            method.genes = genes
        if view is not None and method.x is None and not method.images and not method.oracle:
            method.x = view
    return chosen


def _too_large(bags: Bags, genes: Sequence[str], n_methods: int) -> bool:
    """Whether predictions of all methods would take more memory than a comparison may."""
    return 4 * bags.n_instances * len(genes) * n_methods > _MOST


def _warnings(bags: Bags, by: str) -> Iterator[str]:
    if by == "tile":
        yield (
            "random tiles leak: a test tile's neighbours train. These scores are no estimate for a "
            "new slide."
        )
    if by == "slide" and bags.donor is not None and len(np.unique(bags.donors)) < len(bags):
        yield "other slides of a test slide's donor train: a new donor is harder."
    if by == "donor" and bags.donor == "bag":
        yield "each slide counts as its own donor."


def _digest(bags: Bags, parts: list[tuple[np.ndarray, np.ndarray]]) -> str:
    sha = hashlib.sha256(bags.digest.encode())
    for train, test in parts:
        sha.update(train.tobytes() + b"|" + test.tobytes())
    return sha.hexdigest()[:16]
