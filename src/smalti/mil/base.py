"""``Method``: a scikit-learn estimator that is its settings, a network and a plan of stages.

Bags to phenotype; what it shares with other methods is in :mod:`smalti.core.estimator`. Design:

- The fields of a method *are* its hyper-parameters, written once; a subclass becomes a
  keyword-only data class by itself. ``fit`` computes, fitted names end in ``_``.
- A subclass says ``network(shape)`` and ``plan(shape)``, and ``example()`` for the contract suite.
  ``fit``, ``predict``, ``predict_proba``, ``transform``, ``attribute``, ``save`` and ``load`` live
  here and are overridden by none.
- Methods are found by class: any named subclass in a module of ``smalti.mil`` is one, and so is
  one that is registered or that another package ships (:mod:`smalti.core.registry`).
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from smalti.bags import Bags, as_bags
from smalti.batch import Batch, Shape
from smalti.columns import Columns
from smalti.core import training
from smalti.core.align import said, view_of
from smalti.core.estimator import Estimator
from smalti.core.fit import Fit, fresh
from smalti.core.rows import GivesRows
from smalti.core.seen import Seen, told_of, warn_of_training
from smalti.core.settings import Count, Part, Positive, Weight
from smalti.core.stage import Gradient, Stage, task_loss, units_of_step
from smalti.errors import InputError
from smalti.labels import KINDS, Kind, missing, scikit_kind
from smalti.mil import heatmaps, reading, results
from smalti.mil.running import Running
from smalti.names import meant
from smalti.nn.encoders import Encoder
from smalti.task import Task
from smalti.task.survival import MODELS, Model, Survival

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smalti.scores.table import Scores
    from smalti.tiles.heatmap import Heatmap


class Method(GivesRows, Estimator):
    """Bags to phenotype: what all such methods share.

    Attributes
    ----------
    kinds
        Kinds of target it can learn.
    embeds
        Whether its network gives one embedding per bag, so that ``transform`` exists.
    group_predicts
        Whether a prediction needs the ``group`` column too, where the method has one.
    takes_counts
        Whether it takes raw counts only; a comparison then gives it no preprocessing.
    survivals
        Models of a survival target that it can learn, that of a fit where nothing is said first.

    Notes
    -----
    ``views`` names the views that a method reads, one or several, which then stand side by side
    after the steps of each: ``views=("counts", "X_morphology"), preprocess={"counts":
    "normalize,log1p,pca=20", "X_morphology": "pca=20"}``. Steps on other views are passed over.
    When left out it reads the first.
    """

    room: ClassVar[str] = "mil"
    kinds: ClassVar[tuple[str, ...]] = KINDS
    embeds: ClassVar[bool] = True
    group_predicts: ClassVar[bool] = True
    takes_counts: ClassVar[bool] = False
    survivals: ClassVar[tuple[str, ...]] = MODELS

    views: str | tuple[str, ...] | None = None  # those that it reads, side by side; None: the first
    task: Kind | None = None  # kind of target; inferred from the labels when None
    survival: Model | None = None  # of a survival target; None: the first that it can learn
    strata: str | None = None  # of "cox": column of bags; compared are bags of one value
    class_weight: Any = None  # "balanced": each class the same mass in the loss; or {class: weight}

    def unfit_for(self, bags: Bags) -> str | None:
        """Why these bags cannot be used, or None. Asked of baselines, which run uncalled."""
        return None

    # ---------------------------------------------------------------- scikit-learn

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        positive: Any = None,
        order: Sequence[Any] | None = None,
        checkpoint: str | Path | None = None,
        callbacks: Any = None,
    ) -> Self:
        """Learn from bags.

        Parameters
        ----------
        X
            :class:`~smalti.Bags`; or a list of (n_i, n_features) arrays, one per bag; or a
            (n_bags, n_features) array, read as bags of one instance.
        y
            (n_bags,) target, or (n_bags, n_labels); not needed where ``Bags`` name theirs. Beside
            arrays, up to 20 different whole numbers are classes, as scikit-learn has it.
        positive
            The positive one of two labels. When left out the one that does not mean control
            ("healthy", "ctrl", "no", ...); where none or both do, the last in sorted order.
        order
            Labels from the least to the most, of an ordinal target.
        checkpoint
            A file to leave and take up the fit at, by Ctrl-C, SIGTERM or a kill: the same call
            goes on, and ends in the same model, on a CPU to the bit. Removed when the fit ends; one
            process at a time has it.
        callbacks
            What watches the fit, one or a list: functions of a record, called after each epoch, and
            objects with ``on_epoch(record)`` (:mod:`smalti.core.callbacks`); loggers of Lightning,
            or "csv", "tensorboard", "wandb", "mlflow" ("csv:FOLDER"). True from one ends a stage.

        Returns
        -------
        Method
            Itself, fitted: ``task_`` (with ``task_.positive``), ``classes_`` (sorted),
            ``network_``, ``history_``, ``digest_``.

        Raises
        ------
        InputError
            If labels are missing or constant, or a feature is NaN or infinite.

        Warns
        -----
        UserWarning
            Where one bag only is of a class.
        """
        with fresh(self):
            whole = self._read_training(X, y, positive, order)
            asked = self.views, self.preprocess
            raw = reading.read_views(whole, *asked).check()
            steps = reading.steps_for(whole, raw, *asked)
            return self._train(raw, steps, checkpoint, callbacks, self.prepare)

    def predict(self, X: Any, *, missing: str | None = None) -> np.ndarray:
        """(n_bags,) classes or values as they stood in training; (n_bags, n_labels) for labels.

        ``missing`` says what to take features for that ``X`` lacks (see :meth:`complete`).
        """
        raw = self._of_new_bags(X, missing)  # first: this also asks whether there is a fit
        return self.task_.decide(raw)

    @available_if(lambda self: self._is_classifier())
    def predict_proba(self, X: Any, *, missing: str | None = None) -> np.ndarray:
        """(n_bags, n_classes) probabilities in the order of ``classes_``; or (n_bags, n_labels).

        ``classes_`` are sorted, for scikit-learn's scorers rely on it: take the column of a class
        by its name, ``list(model.classes_).index(model.task_.positive)``. ``missing`` is as in
        :meth:`predict`.
        """
        raw = self._of_new_bags(X, missing)
        p = self.task_.probabilities(raw)
        return p[:, [self.task_.classes.index(c) for c in self.classes_.tolist()]]

    @available_if(lambda self: self._is_survival())
    def predict_survival(
        self, X: Any, times: Any = None, *, missing: str | None = None
    ) -> pd.DataFrame:
        """Probability of no event until each of some times, one row per bag, one column per time.

        Parameters
        ----------
        X
            Bags.
        times
            (n_times,) in the unit of training; deciles of the training events when left out.
            Beyond the last of these a curve stays as it is there (but for a Weibull). Of a model
            with ``strata`` curves are those of one baseline for all.
        missing
            As in :meth:`predict`.

        Returns
        -------
        DataFrame
            (n_bags, n_times), falling along a row; its columns are the times.
        """
        raw = self._of_new_bags(X, missing)
        at = self.task_.deciles if times is None else np.sort(np.asarray(times, float).ravel())
        return pd.DataFrame(self.task_.curves(raw, at), columns=pd.Index(at, name="time"),
                            index=as_bags(X).bag.index)  # fmt: skip

    @available_if(lambda self: self._is_survival())
    def predict_restricted_mean(
        self, X: Any, until: float, *, missing: str | None = None
    ) -> np.ndarray:
        """(n_bags,) mean time without an event, of the time up to ``until``.

        Raises
        ------
        InputError
            If ``until`` is no time over 0.
        """
        if not until > 0:
            raise InputError(f"a mean time needs a time to end at, over 0, and not {until}.")
        return self.task_.restricted_mean(self._of_new_bags(X, missing), float(until))

    def _of_new_bags(self, X: Any, missing: str | None) -> np.ndarray:
        """(n_bags, n_outputs) raw predictions; says so where the bags are not new."""
        bags = as_bags(self._filled(X, missing))
        raw = self.forward(bags)[0]
        warn_of_training(self, bags.only([view_of(self, bags, k) for k in self.features_]))
        return raw

    def embedded(self, X: Any, missing: str | None) -> tuple[np.ndarray, pd.Index]:
        """(n_bags, width) embedding of each bag: what the last layer of the network reads."""
        bags = as_bags(self._filled(X, missing))
        return self.forward(bags)[2]["embedding"], bags.bag.index

    def embeds_as(self, batch: Batch) -> torch.Tensor:
        """(n_bags, width) what the last layer of the network reads of a batch."""
        found: torch.Tensor = self.network_(batch).bag["embedding"]
        return found

    def score(self, X: Any, y: Any = None) -> float:
        """The default score of scikit-learn: accuracy, or R2 of a regression (higher is better)."""
        from sklearn.metrics import accuracy_score, r2_score

        labels = as_bags(X).labels if y is None else y
        measure = accuracy_score if self._is_classifier() else r2_score
        return float(measure(labels, self.predict(X)))

    def attribute(self, X: Any, *, missing: str | None = None) -> pd.DataFrame:
        """What each instance had to do with the prediction.

        Parameters
        ----------
        X
            Bags.
        missing
            What to take features for that they lack (see :meth:`complete`).

        Returns
        -------
        DataFrame
            One row per instance, in the order of the bags: ``bag`` and the method's named columns,
            e.g. ``attention`` (sums to 1 in a bag; says where the network looked, not in which
            direction) and ``contribution`` (signed, on the raw scale; sums over the bag to the raw
            prediction less its constant). What has a direction names the class that it is for:
            ``contribution_case``.
        """
        return results.instance_frame(self, self._filled(as_bags(X), missing))

    def heatmap(
        self, X: Any, slide: str | None = None, *, missing: str | None = None, **cut: Any
    ) -> Heatmap:
        """What the tiles of a slide had to do with the prediction, over the slide.

        Parameters
        ----------
        X
            Bags of tiles with their places: of :func:`smalti.read_slides` (and features of them),
            or of :func:`smalti.read_features` with ``slides``. Or the picture of a slide (its
            path), which is cut as the slides of the training were.
        slide
            Name of the slide, where there are several.
        missing
            What to take features for that ``X`` lacks (see :meth:`complete`).
        **cut
            Of a picture: ``um_per_px``, ``tissue_min`` and ``overlap`` as of
            :func:`smalti.read_slides`; ``cache`` (folder that keeps features), ``n_jobs`` and
            ``progress`` as of :func:`smalti.features.extract`.

        Returns
        -------
        Heatmap
            With the columns of :meth:`attribute`. See :func:`smalti.heatmap.write` for its files.

        Raises
        ------
        InputError
            If the slide is not named or not there, the method says nothing of tiles, or their
            places are not known.
        """
        check_is_fitted(self)
        if not isinstance(X, Bags):
            X, missing = heatmaps.slide_bags(self, X, **cut), None
        elif cut:
            raise InputError(f"{next(iter(cut))}= is of a picture, and these are bags: leave it "
                             "out.")  # fmt: skip
        return heatmaps.heatmap_of(self, self._filled(X, missing), slide)

    def write(
        self,
        data: Any,
        *,
        out: str | Path | None = None,
        copy: bool = False,
        key_added: str | None = None,
        overwrite: bool = False,
        scores: Scores | None = None,
        label: str | None = None,
        missing: str | None = None,
        obs: str | Path | pd.DataFrame | None = None,
        runs: Sequence[str] | None = None,
    ) -> Any:
        """Write attributions and settings into the table that the training bags were read from.

        Parameters
        ----------
        data
            AnnData or MuData, changed in place; or the path of an .h5ad, .h5mu or .zarr, which gets
            these columns and keeps all else; or what :func:`smalti.read` takes besides (files of
            Cell Ranger, several), which needs ``out``.
        out
            Write to this path instead; data in memory stay as they are.
        copy
            Put the result into a copy of AnnData or MuData in memory and return it, as scanpy does.
        key_added
            NAME, under which all is written; the method's own where left out.
        overwrite
            Replace what another model has written under that name, and a file ``out`` that is
            there; otherwise that is refused.
        scores
            A comparison that this method took part in: the fold scores of the row that has its
            settings are noted.
        label
            Name of that row, where settings do not tell.
        missing
            What to take features for that the data lack (see :meth:`complete`); ``uns`` says so.
        obs, runs
            As of :func:`smalti.read`, where the data are read with them; what comes of it needs
            ``out``.

        Returns
        -------
        AnnData or MuData
            The copy; without ``copy`` None.

        Raises
        ------
        InputError
            If the bags were not read from AnnData or MuData, a name is taken by another model, or
            no row, or several, of ``scores`` have these settings.

        Notes
        -----
        ``obs[NAME_COLUMN]`` holds what is one number per cell; where it is one per class,
        ``obsm[NAME_COLUMN]`` holds all of them and ``obs`` that of the class that the cell's sample
        is predicted to be. ``uns[NAME]`` has settings (the seed among them), target, digest of the
        training data and fold scores. Scores of the patients that the method was fitted on describe
        the fit, they do not test it.
        """
        from smalti.io.anndata import read
        from smalti.io.open import to_change, to_write
        from smalti.io.write import write

        check_is_fitted(self)
        data = to_change(to_write(data, out, obs=obs, runs=runs, origin=self.origin_), out, copy)
        if self.origin_ is None or "sample" not in self.origin_:
            raise InputError("these bags were not read by smalti.read: use attribute() instead.")
        source = {
            k: self.origin_[k] for k in ("sample", "x", "cells", "backed") if k in self.origin_
        }
        if self.columns_.group == "cell_type" and self.group_predicts:
            source["cell_type"] = self.origin_.get("cell_type")
        read_as = read(data, **source, bag_columns=[c["name"] for c in self.columns_.covariates])
        bags = self._filled(read_as, missing)
        key, n = key_added or self.name, len(data.obs) if hasattr(data, "obs") else None
        note = results.note(self, scores, label) | said(bags, read_as)
        columns, obsm = results.cell_tables(self, bags, n, key)
        note["fitted_on"] = told_of(self, [f"obsm/{name}" for name in obsm])
        write(data, obs=columns, obsm=obsm, uns={key: note}, out=out, overwrite=overwrite,
              bags=read_as)  # fmt: skip
        return data if copy else None

    def samples(self, X: Any, *, group: str | None = None, missing: str | None = None) -> Any:
        """One row per bag, as AnnData: ready for a plot of patients, or as input of another method.

        Parameters
        ----------
        X
            Bags.
        group
            Column of the instances (cell type); then attention and contribution are summed over
            each group, ``obsm["attention_by_group"]``. The method's own where it has one.
        missing
            What to take features for that the bags lack (see :meth:`complete`); ``uns`` says so.

        Returns
        -------
        AnnData
            ``X`` the embedding (raw predictions where a method has none), ``obs`` the bag table
            with ``prediction`` and ``p_CLASS``, ``uns`` as in :meth:`write`.
        """
        from smalti.io.write import samples

        check_is_fitted(self)
        given = as_bags(X)
        bags = self._filled(given, missing)
        x, obs, obsm = results.bag_tables(self, bags, group)
        return samples(x, obs, obsm, {self.name: results.note(self) | said(bags, given)})

    def complete(self, X: Any, missing: str | None = None) -> Bags:
        """As :meth:`Estimator.complete`, of all that :meth:`predict` takes."""
        return super().complete(as_bags(X), missing)

    # ---------------------------------------------------------------- for training and io

    def prepare(self, bags: Bags, members: np.ndarray, device: torch.device) -> Fit:
        """Set up a fit on some of the bags, (k,) positions: task, validation split, network.

        Raises
        ------
        InputError
            If the method cannot learn this kind of target, or bags have gaps that it has no answer
            to.
        """
        self._check_present(bags)  # after the steps: an embedding may have filled the gaps
        reading.check_read(bags, getattr(self, "steps_", ()), self.name)
        part = bags if len(members) == len(bags) else bags[members]
        task = part.as_task(self.task)
        if task.kind not in self.kinds:
            raise InputError(
                f"{type(self).__name__} cannot learn a {task.kind} target (only "
                f"{', '.join(self.kinds)})."
            )
        if isinstance(task, Survival):
            task = self._survival(task, part)
        _tell_of_lone_classes(task, part.labels)
        rng = np.random.default_rng(self.seed)
        train, valid = self._hold_out(part, task, rng)
        self.task_ = task
        covariates = getattr(self, "covariates", ())
        self.columns_ = Columns.fit(
            part, getattr(self, "group", None), covariates, placed=getattr(self, "by_place", False)
        )
        self.shape_ = Shape(
            {k: v.shape[1:] for k, v in bags.x.items()}, task, len(train), self.columns_.levels,
            self.columns_.n_covariates, n_donors=self._donors(bags),
        )  # fmt: skip
        known = task.encode(part.labels)
        if self.strata is not None:
            known = np.column_stack([known, self._strata(task, part)])
        target = np.zeros((len(bags), *known.shape[1:]), dtype=known.dtype)
        target[members] = known
        weight = np.ones(len(bags), dtype=np.float32)
        weight[members] = task.weights(part.labels, self.class_weight)
        return Fit(
            network=self._seeded().to(device), task=task, train=members[train],
            valid=members[valid], target=target, weight=weight, order=rng,
            noise=training.noise_stream(self.seed, device),
        )  # fmt: skip

    def _survival(self, task: Survival, bags: Bags) -> Task:
        """The model of a survival target that was asked for, if this method can learn it."""
        model = self.survival or self.survivals[0]
        if model not in self.survivals:
            raise InputError(
                f"{type(self).__name__} cannot learn survival={model!r} (only "
                f"{', '.join(self.survivals)})."
            )
        return task.as_model(bags.labels, model)

    def _donors(self, bags: Bags) -> int:
        """How many donors the bags are of, where the method has an intercept of each."""
        if not getattr(self, "donor_intercept", False):
            return 0
        donors = bags.donors
        n = len(np.unique(donors))
        if n == len(bags):
            raise InputError("donor_intercept=True: each donor has one bag, and nothing tells its "
                             "level from its bag: leave it out.")  # fmt: skip
        self.columns_ = dataclasses.replace(self.columns_, donor=bags.donor)
        return n

    def _strata(self, task: Task, bags: Bags) -> np.ndarray:
        """(n_bags,) codes of the strata of a Cox model."""
        if not task.compares:
            raise InputError(f"strata={self.strata!r} has a meaning for a Cox model only: leave it "
                             "out.")  # fmt: skip
        if self.strata not in bags.bag:
            raise InputError(f"strata={self.strata!r} is no column of the bags; there are "
                             f"{', '.join(map(str, bags.bag))}."
                             f"{meant(self.strata, bags.bag)}")  # fmt: skip
        if missing(bags.bag[self.strata]).any():
            raise InputError(f"strata={self.strata!r} is missing for some bags: drop them.")
        return pd.factorize(bags.bag[self.strata])[0]

    def adopt(self, job: Fit, bags: Bags) -> Self:
        """Take over the result of a fit."""
        super().adopt(job, bags)
        self.task_ = job.task
        self.seen_ = Seen.of(bags)
        if self.task_.is_classifier:
            self.classes_ = self.task_.sorted_classes
        return self

    def _hold_out(
        self, bags: Bags, task: Task, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions of training and validation bags; no validation where no stage needs one."""
        return np.arange(len(bags)), np.empty(0, dtype=np.int64)

    def _read_training(self, X: Any, y: Any, positive: Any, order: Sequence[Any] | None) -> Bags:
        if y is None and not isinstance(X, Bags):
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        if y is not None and not isinstance(X, Bags):
            from sklearn.utils import check_consistent_length
            from sklearn.utils.validation import column_or_1d

            y = np.asarray(y)
            if y.ndim == 2 and y.shape[1] == 1:
                y = column_or_1d(y, warn=True)
            check_consistent_length(X, y)
        kind = None
        if y is not None and self._is_classifier() and self.task is None and order is None:
            from sklearn.utils.multiclass import check_classification_targets

            if not isinstance(X, Bags):
                check_classification_targets(y)
                kind = scikit_kind(y)
        return as_bags(X, y, kind=kind, positive=positive, order=order)

    def _read_new(self, X: Any) -> Bags:
        """Bags to predict: the same views, the same features in the same order, or an error."""
        check_is_fitted(self)
        return self._check_present(self._stepped(self._same_views(as_bags(X))))

    def forward(self, X: Any) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Run the network: raw predictions, and its named instance and bag tensors, as arrays.

        (n_bags, n_outputs), then by name (n_instances, ...) and (n_bags, ...). Bags are packed by a
        budget of instances; no prediction depends on its neighbours.
        """
        return Running(self, self._read_new(X)).whole()

    def running(self, X: Any) -> Running:
        """The network on new bags, whole or in parts of them."""
        return Running(self, self._read_new(X))

    def _is_classifier(self) -> bool:
        task = getattr(self, "task_", None)
        if task is None:
            return self.task not in ("regression", "binomial", "survival")
        return task.is_classifier

    def _is_survival(self) -> bool:
        return getattr(getattr(self, "task_", self), "kind", self.task) == "survival"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, TransformerTags

        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        # a network computes in float32, whatever it is given
        told = TransformerTags(preserves_dtype=["float32"])
        tags.transformer_tags = told if self.embeds else None
        if not self._is_classifier():
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        else:
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags


def _tell_of_lone_classes(task: Task, labels: np.ndarray) -> None:
    """Warn of classes that one bag only is of: nothing general can be learned of them."""
    alone = task.alone(labels)
    if alone:
        some = ", ".join(map(repr, alone[:5])) + (", ..." if len(alone) > 5 else "")
        warnings.warn(
            f"target {task.column!r}: one bag only is of class {some} ({len(alone)} of "
            f"{len(task.classes)} classes). Merge such a class with another or leave it out; where "
            "labels are a quantity say kind='regression' (task='regression' of a method).",
            UserWarning, stacklevel=4,
        )  # fmt: skip


class NetworkMethod(Method):
    """A method trained by gradient: the settings that all of these share, and their plan."""

    encoder: Encoder = "auto"  # goes by the instances' shape
    widths: tuple[Count, ...] = (256, 128, 64)  # units of the layers of the "mlp" encoder
    dropout: Part = 0.5  # probability, after each layer of the encoder
    standardize: bool = True  # features to mean 0, s.d. 1, by the training bags
    epochs: Count = 100  # passes over the training bags, at most
    lr: Positive = 1e-3  # learning rate
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"  # "sgd": Nesterov's
    momentum: Part = 0.9  # of "sgd"
    weight_decay: Weight = 1e-4  # L2 penalty
    batch_size: Count = 32  # bags in a step; 1 reproduces the published one-bag steps
    max_instances: Count = 200_000  # instances in a step
    validation: Part = 0.0  # share of the donors held out for early stopping; small cohorts: 0
    patience: Count | None = 20  # epochs without a better validation loss; None: never stop early

    def loss(self, task: Task, output: Any, target: torch.Tensor) -> torch.Tensor:
        """Loss of each bag, (n_bags,)."""
        return task_loss(task, output, target)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, then follow the gradient."""
        from smalti.nn.scale import standardize_sweep

        if self.standardize:
            yield standardize_sweep()
        yield Gradient(
            epochs=self.epochs, lr=self.lr, optimizer=self.optimizer, momentum=self.momentum,
            weight_decay=self.weight_decay, batch_size=units_of_step(shape.task, self.batch_size),
            max_instances=self.max_instances, patience=self.patience, loss=self.loss,
            name="train",
        )  # fmt: skip

    def _hold_out(
        self, bags: Bags, task: Task, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        from smalti.core.validation import hold_out

        return hold_out(bags, task, self.validation, rng)
