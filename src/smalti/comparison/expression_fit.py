"""One fit of a comparison of expression: fitted or read from the cache, and scored."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti._version import __version__
from smalti.bags import Bags
from smalti.comparison.hiding import Hidden
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod, default_view
from smalti.genes.read import as_vectors
from smalti.genes.units import gene_positions, measured
from smalti.genes.vectors import GeneVectors
from smalti.scores.expression_limits import morans_i, reliability_ceiling
from smalti.scores.expression_metrics import expression_scores, pcc_beyond, pearson_slides
from smalti.solve.leave_out import tuning_groups
from smalti.solve.ridge import ALPHAS, left_out, tune
from smalti.system.files import atomic_write


class Runner:
    """Fits and scores; what folds share (chosen genes, ceilings) is computed once."""

    def __init__(
        self, bags: Bags, parts: list[tuple[np.ndarray, np.ndarray]], top: int, nan: str,
        cache: Path | None, digest: str, view: str | None = None,
    ) -> None:  # fmt: skip
        self.bags, self.parts, self.top, self.nan = bags, parts, top, nan
        self.cache, self.digest, self.view = cache, digest, view
        self.hidden: list[Hidden] | None = None
        self._best: dict[Any, list[str]] = {}
        self._ceilings: dict[int, pd.DataFrame] = {}
        self._vectors: dict[str, str] = {}

    def run(self, method: ExpressionMethod, k: int, seed: int) -> dict[str, Any]:
        """Scores, the genes' table and predictions of one fit."""
        fitted_on, asked = (None, None) if self.hidden is None else self.hidden[k].split(method)
        file = self._file(method, k, seed)
        train, test = (self.bags.keep(rows) for rows in self.parts[k])
        start = time.perf_counter()
        if file is not None and file.with_suffix(".json").exists() and file.exists():
            note = json.loads(file.with_suffix(".json").read_text())
            names, seconds = tuple(note["genes"]), note["seconds"]
            predicted = np.load(file, allow_pickle=False)
        else:
            fitted = clone(method).set_params(seed=seed, progress=False)
            if fitted_on is not None:
                fitted.genes = fitted_on
            fitted.fit(train)
            names = fitted.genes_ if asked is None else asked
            predicted = fitted.predict(test, names)
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
        if method.units != "given":
            total = np.asarray(test.view(method.counts)[1].sum(1), dtype=np.float64).reshape(-1)
            scores["pcc_slide_beyond_depth"] = pcc_beyond(
                predicted,
                true,
                test.index,
                np.log1p(total),
                nan=self.nan,  # type: ignore[arg-type]
            )
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
        try:  # by one view for all methods, so that all are judged by the same genes
            view = self.view or default_view(train, method.counts)
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

    def hidden_table(self) -> pd.DataFrame:
        """The hidden genes of all folds."""
        rows = [(k, g) for k, fold in enumerate(self.hidden or []) for g in fold.unseen]
        return pd.DataFrame(rows, columns=["fold", "gene"])

    def ceilings(self) -> pd.DataFrame:
        """Of all folds."""
        if not self._ceilings:
            return pd.DataFrame({"fold": [], "gene": [], "ceiling": []})
        return pd.concat(self._ceilings.values(), ignore_index=True)

    def _digest_of(self, vectors: Any) -> str:
        """Of what a file of vectors holds, not of its name: it may be written anew."""
        if isinstance(vectors, GeneVectors):
            return vectors.digest
        if str(vectors) not in self._vectors:
            self._vectors[str(vectors)] = as_vectors(vectors).digest
        return self._vectors[str(vectors)]

    def _file(self, method: ExpressionMethod, k: int, seed: int) -> Path | None:
        if self.cache is None:
            return None
        settings = {n: getattr(v, "digest", v) for n, v in method.get_params(deep=False).items()
                    if n not in ("progress", "accelerator", "seed")}  # fmt: skip
        if settings.get("vectors") not in (None, "random"):
            settings["vectors"] = self._digest_of(method.get_params(deep=False)["vectors"])
        hidden = "" if self.hidden is None else f" {self.hidden[k].digest}"
        key = (f"{__version__} {method.name} {sorted(settings.items())} {k} {seed} {self.digest}"
               f"{hidden}")  # fmt: skip
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
