"""``compare_expression``: genes from tiles, on the same splits, beside the same controls."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti._version import __version__
from smalti.bags import Bags
from smalti.errors import InputError
from smalti.evaluate.compare import FAILURES
from smalti.evaluate.expression_limits import morans_i, reliability_ceiling
from smalti.evaluate.expression_metrics import expression_scores, pearson_slides
from smalti.evaluate.scores import Scores, new_label
from smalti.expression_method import ExpressionMethod, as_slides, default_view
from smalti.genes.units import gene_positions, measured
from smalti.io.files import atomic_write
from smalti.io.table import write_table
from smalti.nn.leave_out import tuning_groups
from smalti.nn.ridge import ALPHAS, left_out, tune
from smalti.progress import Progress
from smalti.registry import make, methods

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Candidate: TypeAlias = str | ExpressionMethod

_METRICS = ("pcc_slide", "pcc_fold", "pcc_tile", "r2", "mse", "mae", "pcc_slide_chosen",
            "pcc_slide_h_optimistic", "pcc_fold_chosen", "pcc_fold_h_optimistic")  # fmt: skip
_TOP = 50  # genes of PCC@H
_MOST_FOLDS = 10
BY = ("donor", "slide", "tile")


@dataclasses.dataclass
class ExpressionComparison(Scores):
    """Scores of predicted expression on slides that a method was not fitted on.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about
        As in :class:`~smalti.evaluate.scores.Scores`; ``repeat`` is the seed.
    genes
        One row per method, fold and gene (first seed): ``gene``, ``pcc_slide``, ``chosen`` (whether
        training slides chose it for PCC@H), ``morans_i_measured`` and ``morans_i_predicted``, where
        tiles have positions.
    ceiling
        Per fold and gene: the correlation that a perfect prediction would have, by thinning counts.
    predictions
        Method -> (n_tiles, n_genes) float32 of the first seed, each tile by the fold that tested
        it; empty where folds chose genes of their own.
    gene_names
        Of ``predictions``.
    by
        What was left out: "donor", "slide" or "tile".
    """

    unit: ClassVar[str] = "folds and seeds"

    genes: pd.DataFrame
    ceiling: pd.DataFrame
    predictions: dict[str, np.ndarray]
    gene_names: tuple[str, ...]
    by: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that some method has, Pearson within slides first."""
        there = dict.fromkeys(self.folds.dropna(subset="value")["metric"])
        return (*(m for m in _METRICS if m in there), *(m for m in there if m not in _METRICS))

    def counts(self) -> dict[str, str]:
        """Tiles, genes, folds and seeds."""
        fold = self.folds[["fold"]].drop_duplicates()
        return {
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

    Returns
    -------
    ExpressionComparison
        Metrics of :func:`smalti.evaluate.expression_metrics.expression_scores`.

    Raises
    ------
    InputError
        If there is nothing to leave out, a view or gene is missing, or every method fails.
    """
    bags = as_slides(slides)
    chosen = _line_up(candidates, genes, view)
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise InputError("seeds=0: at least one fit of each method is needed.")
    parts = expression_folds(bags, by=by, folds=folds)
    notes = [*bags.notes, *_warnings(bags, by)]
    digest = _digest(bags, parts)
    jobs = [(label, k, seed) for label, method in chosen.items() for k in range(len(parts))
            for seed in (numbers if method.stochastic else numbers[:1])]  # fmt: skip
    runner = _Runner(bags, parts, top, nan, None if cache is None else Path(cache), digest)
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
                table = predictions.setdefault(
                    label, np.full((bags.n_instances, len(own)), np.nan, dtype=np.float32)
                )
                if names.setdefault(label, own) == own:
                    table[parts[k][1]] = answer["predicted"]
    done = [m for m in chosen if m not in failed]
    if not done:
        raise InputError("no method could be run. " + " ".join(failed.values()))
    rows = [r for r in rows if r["method"] not in failed]
    common = {names[m] for m in done}
    same = len(common) == 1 and not isinstance(genes, (int, np.integer))
    return ExpressionComparison(
        folds=pd.DataFrame(rows), digest=digest, notes=(*notes, *failed.values()), about=repr(bags),
        settings={m: chosen[m].get_params(deep=False) for m in done},
        baselines=tuple(m for m in done if chosen[m].baseline),
        genes=pd.concat([t for t in tables if t["method"].iloc[0] not in failed]),
        ceiling=runner.ceilings(), by=by, gene_names=next(iter(common)) if same else (),
        predictions={m: predictions[m] for m in done} if same else {},
    )  # fmt: skip


def expression_folds(
    bags: Bags, *, by: str = "donor", folds: int | None = None, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test tiles of each fold.

    Parameters
    ----------
    bags
        Slides.
    by
        "donor", "slide" or "tile" (see :func:`compare_expression`).
    folds
        How many.
    seed
        Of the dealing, where a fold holds several donors, slides or tiles.

    Returns
    -------
    list of tuple
        (training, test) positions of tiles, int64.

    Raises
    ------
    InputError
        If there are too few donors or slides.
    """
    if by not in BY:
        raise InputError(f"by={by!r} is not one of {', '.join(BY)}.")
    if by == "donor":
        units = np.unique(bags.donors, return_inverse=True)[1][bags.index]
    else:
        units = bags.index if by == "slide" else np.arange(bags.n_instances)
    n = int(units.max()) + 1
    if n < 2:
        raise InputError(f"one {by} only: there is nothing to leave out. Try by='tile', or strips.")
    k = folds or (n if n <= _MOST_FOLDS and by != "tile" else 5)
    if not 2 <= k <= n:
        raise InputError(f"folds={k}: there are {n} {by}s to deal to them.")
    order = np.random.default_rng([seed, 77]).permutation(n) if k < n else np.arange(n)
    part = np.empty(n, dtype=np.int64)
    part[order] = np.arange(n) % k
    return [(np.flatnonzero(part[units] != i), np.flatnonzero(part[units] == i)) for i in range(k)]


# ---------------------------------------------------------------- what is compared


def _line_up(candidates: Any, genes: Any, view: str | None) -> dict[str, ExpressionMethod]:
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
        chosen[new_label(label, method, chosen)] = method
    own = [m.genes for m in chosen.values() if m.genes is not None]
    for name, cls in methods("expression").items():
        plain = cls(genes=own[0] if own and genes is None else None)
        same = [m for m in chosen.values() if m.get_params() == plain.get_params()
                and m.name == name]  # fmt: skip
        if cls.baseline and not same:
            chosen.setdefault(f"{name} (oracle)" if cls.oracle else name, plain)
    for method in chosen.values():
        if genes is not None:
            method.genes = genes
        if view is not None and method.x is None and not method.images and not method.oracle:
            method.x = view
    return chosen


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


# ---------------------------------------------------------------- one fit


class _Runner:
    """Fits and scores; what folds share (chosen genes, ceilings) is computed once."""

    def __init__(
        self, bags: Bags, parts: list[tuple[np.ndarray, np.ndarray]], top: int, nan: str,
        cache: Path | None, digest: str,
    ) -> None:  # fmt: skip
        self.bags, self.parts, self.top, self.nan = bags, parts, top, nan
        self.cache, self.digest = cache, digest
        self._best: dict[Any, list[str]] = {}
        self._ceilings: dict[int, pd.DataFrame] = {}

    def run(self, method: ExpressionMethod, k: int, seed: int) -> dict[str, Any]:
        """Scores, the genes' table and predictions of one fit."""
        file = self._file(method, k, seed)
        train, test = (self.bags.keep(rows) for rows in self.parts[k])
        start = time.perf_counter()
        fitted = None
        if file is not None and file.with_suffix(".json").exists() and file.exists():
            names = tuple(json.loads(file.with_suffix(".json").read_text())["genes"])
            predicted = np.load(file, allow_pickle=False)
            seconds = json.loads(file.with_suffix(".json").read_text())["seconds"]
        else:
            fitted = clone(method).set_params(seed=seed, progress=False).fit(train)
            predicted, names = fitted.predict(test), fitted.genes_
            seconds = time.perf_counter() - start
            if file is not None:
                _keep(file, predicted, names, seconds)
        true = measured(test, view=method.counts, genes=names, units=method.units)
        best = self._chosen(method, names, k, train)
        at = {g: i for i, g in enumerate(names)}
        scores = expression_scores(
            predicted, true, test.index, chosen=[at[g] for g in best] if best else None,
            top=self.top, nan=self.nan,  # type: ignore[arg-type]
        )  # fmt: skip
        each = pearson_slides(predicted, true, test.index)
        with np.errstate(invalid="ignore"):
            mean = np.nansum(each, 0) / np.isfinite(each).sum(0)
        self._ceiling(method, names, k, test)
        table = pd.DataFrame({"gene": names, "pcc_slide": mean, "chosen": np.isin(names, best)})
        if {"x_um", "y_um"} <= set(test.instance):
            xy = test.instance[["x_um", "y_um"]].to_numpy(float)
            for name, values in (("measured", true), ("predicted", predicted)):
                table[f"morans_i_{name}"] = morans_i(values, xy, test.index)
        about = {"n_train": train.n_instances, "n_test": test.n_instances, "seconds": seconds}
        return {"metrics": scores, "genes": table, "predicted": predicted, "about": about}

    def _chosen(
        self, method: ExpressionMethod, names: tuple[str, ...], k: int, train: Bags
    ) -> list[str]:
        """Genes that ridge predicts best in the training slides; never looks at the test fold."""
        if len(names) <= self.top:
            return []  # PCC@H is PCC@M then
        try:
            view = (
                method.x if method.x and not method.images else default_view(train, method.counts)
            )
            if len(train.view(view)[1].shape) != 2:
                return []
        except InputError:
            return []
        key = (k, view, method.units, names)
        if key not in self._best:
            target = measured(train, view=method.counts, genes=names, units=method.units)
            self._best[key] = [names[i] for i in best_predicted(train, view, target, self.top)]
        return self._best[key]

    def _ceiling(
        self, method: ExpressionMethod, names: tuple[str, ...], k: int, test: Bags
    ) -> None:
        if k in self._ceilings or method.units == "given":
            return
        table = test.view(method.counts)[1][:, gene_positions(test, names, method.counts)]
        values = reliability_ceiling(table, test.index, repeats=2)
        self._ceilings[k] = pd.DataFrame({"fold": k, "gene": names, "ceiling": values})

    def ceilings(self) -> pd.DataFrame:
        """Of all folds."""
        if not self._ceilings:
            return pd.DataFrame({"fold": [], "gene": [], "ceiling": []})
        return pd.concat(self._ceilings.values(), ignore_index=True)

    def _file(self, method: ExpressionMethod, k: int, seed: int) -> Path | None:
        if self.cache is None:
            return None
        settings = {n: v for n, v in method.get_params(deep=False).items()
                    if n not in ("progress", "accelerator", "seed")}  # fmt: skip
        key = f"{__version__} {method.name} {sorted(settings.items())} {k} {seed} {self.digest}"
        return self.cache / f"{method.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"


def best_predicted(bags: Bags, view: str, target: np.ndarray, top: int) -> np.ndarray:
    """Positions of the genes that ridge predicts best when groups of the slides are left out.

    Parameters
    ----------
    bags
        Training slides.
    view
        View of features.
    target
        (n_tiles, n_genes).
    top
        How many.

    Returns
    -------
    ndarray
        (top,) int64, best first, by the Pearson correlation within slides.
    """
    x = bags.table(view)
    groups = tuning_groups(bags)[0]
    error = tune(x, target, groups)
    known = np.isfinite(error).all(0)
    alpha = ALPHAS[int(error[:, known].mean(1).argmin())] if known.any() else ALPHAS[-1]
    guess = np.empty(target.shape)
    for rows, path in left_out(x, target, groups):
        guess[rows] = next(path.predictions(x[rows].astype(np.float64), (alpha,)))
    each = pearson_slides(guess, target, bags.index)
    seen = np.isfinite(each)
    mean = np.where(seen, each, 0).sum(0) / np.maximum(seen.sum(0), 1)
    return np.argsort(-np.where(seen.any(0), mean, -2), kind="stable")[:top]


def _keep(file: Path, predicted: np.ndarray, names: tuple[str, ...], seconds: float) -> None:
    with atomic_write(file) as temporary, temporary.open("wb") as out:
        np.save(out, predicted)
    with atomic_write(file.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({"genes": names, "seconds": seconds}))
