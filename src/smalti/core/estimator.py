"""``Estimator``: what every method is, whether it reads bags or modalities.

A scikit-learn estimator that is its settings, a network and a plan of stages. Its kinds are
:class:`~smalti.mil.base.Method` (bags -> phenotype), :class:`~smalti.integrate.base.Integration`
(modalities -> embedding) and :class:`~smalti.expression.base.ExpressionMethod` (tiles -> genes);
they differ in what they predict, not in how they are trained, saved and found.
"""

from __future__ import annotations

import dataclasses
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import nn

from smalti._version import __version__
from smalti.bags import Bags
from smalti.batch import Shape
from smalti.core import training
from smalti.core.align import aligned, column_means, view_of, with_means
from smalti.core.alone import DTYPES
from smalti.core.callbacks import Callbacks
from smalti.core.fit import Fit, FittedState
from smalti.core.identity import identity
from smalti.core.publishing import Publishing
from smalti.core.registry import path_of
from smalti.core.save import save
from smalti.core.scale import TileScale, at_scale
from smalti.core.settings import Count, Whole, check_names, check_setting
from smalti.core.stage import Stage
from smalti.core.store import Store
from smalti.errors import InputError
from smalti.preprocess import Trace, apply_steps, at_hand, fit_steps, steps_of
from smalti.system.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    class BaseEstimator:
        """scikit-learn's, which has no types: below an unknown base no setting is checked."""

        shape_: Any
        task_: Any
        columns_: Any

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...  # noqa: D102
        def set_params(self, **params: Any) -> Self: ...  # noqa: D102
        def __sklearn_tags__(self) -> Any: ...
else:
    from sklearn.base import BaseEstimator


@dataclass_transform(kw_only_default=True)
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Estimator(Publishing, BaseEstimator):
    """What all methods share.

    Attributes
    ----------
    room
        Which kind of method it is, said by the base class of the kind.
    name
        How the command line and tables call it.
    reference
        Where it comes from.
    cite
        Keys of ``references.bib``: its papers, and that of the package that does the work.
    bibtex
        BibTeX entries of its own, for a method that is in another package.
    baseline
        Whether it is in every comparison, asked for or not.
    sparse
        Whether its network takes CSR views as sparse tensors.
    missing
        Whether it takes instances that were not measured in every view.
    presets
        Name -> settings that differ from the defaults: ``make("umint:fast")``.
    """

    room: ClassVar[str] = ""
    name: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    cite: ClassVar[tuple[str, ...]] = ()
    bibtex: ClassVar[str] = ""
    baseline: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    missing: ClassVar[bool] = False
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    preprocess: Any = None  # steps fitted in training: "normalize,log1p,genes=2000,pca=50"
    seed: Whole = 0  # of everything random in a fit
    accelerator: str = "auto"  # "cpu", "cuda"; auto takes a GPU where there is one
    devices: Count = 1  # processes, under torchrun or SLURM
    precision: str = "32-true"  # by Fabric's names: "64-true", "bf16-mixed" (in large steps), ...
    progress: bool | None = None  # show a bar; None: on a terminal, in a notebook

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __new__(cls, *_: Any, **settings: Any) -> Self:  # noqa: D102
        check_names(cls, settings)  # Python's own error does not say which was meant
        return super().__new__(cls)

    def set_params(self, **params: Any) -> Self:
        """Change settings, as scikit-learn's estimators do; ``NAME__SETTING`` of one inside.

        Raises
        ------
        InputError
            If there is no such setting, or it cannot have that value.
        """
        check_names(type(self), (name.partition("__")[0] for name in params))
        super().set_params(**params)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        check_setting(type(self), name, value)
        super().__setattr__(name, value)

    # ---------------------------------------------------------------- said by each method

    def network(self, shape: Shape) -> nn.Module:
        """Build the network: ``forward(batch) -> Output``."""
        raise TypeError(f"{type(self).__name__} must define network(shape).")

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Yield the stages of training."""
        raise TypeError(f"{type(self).__name__} must define plan(shape).")

    @classmethod
    def example(cls) -> Self:
        """A tiny instance that learns planted data in seconds, for the contract suite."""
        return cls()

    def inner_methods(self) -> list[Any]:
        """Methods inside this one, which a model file needs too: among its settings or steps.

        A method that names others by texts adds these (see ``expression/ensemble.py``).
        """
        found = []
        for value in self.get_params(deep=False).values():
            parts = value if isinstance(value, (list, tuple)) else [value]
            found += [part for part in parts if isinstance(part, Estimator)]
        steps = getattr(self, "steps_", None)
        if steps is None:  # not fitted: "auto" is what the data will say
            steps = [] if isinstance(self.preprocess, str) else steps_of(self.preprocess)
        return found + [method for step in steps for method in step.inner_methods()]

    # ---------------------------------------------------------------- for all

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write ``weights.safetensors`` and ``model.json`` into a folder, whole or not at all.

        Parameters
        ----------
        folder
            A new one, an empty one, or one that holds a model and nothing else, which is replaced.
        overwrite
            Replace any other folder too, with all that is in it.

        Raises
        ------
        InputError
            If the folder holds other files, or cannot be written; if the model could not be loaded
            again, because its class is not known: see :func:`smalti.register`.

        Examples
        --------
        >>> import smalti as sm
        >>> from pathlib import Path
        >>> bags = sm.datasets.planted_bags(20, seed=0)
        >>> sm.mil.BagMean(progress=False).fit(bags).save("model")
        >>> sorted(file.name for file in Path("model").iterdir())
        ['model.json', 'weights.safetensors']
        """
        save(self, Path(folder), overwrite=overwrite)

    def recut(self, X: Bags) -> Bags:
        """Slides with tiles as long as those that this model was fitted on, for features of them.

        Parameters
        ----------
        X
            Slides, read from pictures. A method that reads tiles itself does this when it predicts;
            for one that reads features, cut first: ``features.extract(model.recut(slides))``.

        Returns
        -------
        Bags
            The same where the lengths agree or are not known.

        Raises
        ------
        InputError
            If lengths differ and the tiles are files, or features of them are there already.

        Warns
        -----
        UserWarning
            What is cut anew; lengths that are known on one side only.
        """
        check_is_fitted(self)
        return at_scale(X, self.tile_scale_, self.name)

    def _train(
        self, raw: Bags, steps: Any, checkpoint: str | Path | None, callbacks: Any,
        prepare: Callable[[Bags, np.ndarray, torch.device], Fit],
    ) -> Self:  # fmt: skip
        """Preprocess, train, adopt.

        ``prepare`` sets up the fit on some of the bags, by their positions, as the kind of method
        asks for: what is learned from them, the split, the network.
        """
        self._check_steps(steps)
        fabric = training.make_fabric(self.accelerator, self.devices, self.precision)
        kept = None
        if checkpoint is not None:
            who = f"{__version__} {path_of(type(self))} {identity(self)} {self.seed}"
            where = f"{self.accelerator} {self.devices} {raw.asked_digest}"
            kept = training.Checkpoint(checkpoint, identity=f"{who} {where}")
        with (
            nullcontext() if kept is None else kept.held(fabric),
            Callbacks(callbacks, fabric).watching(self) as told,
        ):
            self.steps_, bags = fit_steps(steps_of(steps), raw)
            self.means_ = column_means(bags)
            job = prepare(bags, np.arange(len(bags)), fabric.device)
            store = self._store(bags, fabric.device)
            with Progress(False if fabric.global_rank else self.progress, self.name) as bar:
                training.run(self.plan(self.shape_), job, bags, store, fabric,
                             checkpoint=kept, progress=bar, callbacks=told)  # fmt: skip
            return self.adopt(job, raw)

    def _check_steps(self, steps: Any) -> None:
        """Refuse steps that take no new cells, where a method is there to take new ones."""
        if only := at_hand(steps):
            raise InputError(
                f"{only[0]} corrects only the cells that it was fitted on, and {self.name} must "
                "take new ones: correct batches by a step that does, such as scale_batch."
            )

    def _seeded(self) -> nn.Module:
        """The network as it is before a fit: of the seed's weights, whatever was drawn before."""
        with torch.random.fork_rng(devices=[]):  # of the CPU, where its weights are drawn:
            torch.default_generator.manual_seed(int(self.seed))  # torch.manual_seed moves GPUs' too
            return self.network(self.shape_)

    def _unlabelled(self, bags: Bags, members: np.ndarray, device: torch.device) -> Fit:
        """A fit of bags without labels, of equal weight, none of them held out."""
        return Fit(
            network=self._seeded().to(device), task=self.task_, train=members,
            valid=np.empty(0, dtype=np.int64), target=np.zeros(len(bags), dtype=np.float32),
            weight=np.ones(len(bags), dtype=np.float32), order=np.random.default_rng(self.seed),
            noise=training.noise_stream(self.seed, device),
        )  # fmt: skip

    def adopt(self, job: Fit, bags: Bags) -> Self:
        """Take over the result of a fit."""
        if not hasattr(self, "steps_"):
            self.steps_ = []
        self.network_ = job.network.cpu() if self.accelerator == "cpu" else job.network
        self.history_ = pd.DataFrame(job.history)
        self.converged_ = not job.falling
        if job.falling:
            warnings.warn(
                f"{self.name}: the training loss was still falling after the last epoch: more "
                "epochs=, or a higher learning rate lr=, may make another model of it.",
                ConvergenceWarning, stacklevel=4,
            )  # fmt: skip
        self.digest_ = bags.digest
        self.identity_ = identity(self)  # of the settings that it was fitted with
        self.origin_ = bags.origin
        self.tile_scale_ = TileScale.of(bags)
        self.features_ = {k: bags.features.get(k) for k in bags.x}
        self.inputs_ = {k: tuple(v.shape[1:]) for k, v in bags.x.items()}
        name, view = bags.view()
        self.n_features_in_ = int(view.shape[1])
        if bags.features.get(name):
            self.feature_names_in_ = np.asarray(bags.features[name], dtype=object)
        self.n_parameters_ = sum(p.numel() for p in job.network.parameters())
        return self

    @property
    def _dtype(self) -> torch.dtype:
        return DTYPES.get(self.precision, torch.float32)

    def _store(self, bags: Bags, device: torch.device) -> Store:
        return Store(bags, device, self._dtype, self.columns_, sparse=self.sparse)

    def fitted_state(self) -> FittedState:
        """What a model file must hold beside the network; :meth:`from_state` reads it."""
        return FittedState()

    @classmethod
    def from_state(cls, settings: dict[str, Any], state: FittedState) -> Self:
        """A method with the settings of a model file and its :meth:`fitted_state`, no network yet.

        A setting that JSON cannot hold stands in the file as a text; what it stands for is in the
        state.
        """
        return cls(**settings)

    def _check_present(self, bags: Bags) -> Bags:
        """Refuse gaps where a method has no answer to them."""
        for name, there in bags.present.items():
            if not (self.missing or there.all()):
                raise InputError(
                    f"{type(self).__name__} needs every view of every cell: {name!r} was not "
                    f"measured in {int((~there).sum()):,} of {len(there):,}. Read with "
                    "cells='intersection', or choose a method that takes gaps, such as umint (as a "
                    "step before another method: sm.integrate.Embed('umint'))."
                )
        return bags

    # ---------------------------------------------------------------- new data

    def complete(self, X: Bags, missing: str | None = None) -> Bags:
        """The same bags with the features of training, those that they lack filled in.

        What ``missing=`` of :meth:`predict` does; notes of the bags say how many were filled in.

        Parameters
        ----------
        X
            New bags.
        missing
            "zero": features that the model reads and the bags lack count as measured and 0, before
            the steps; "mean": they are what they were on average in training, after the steps;
            None: they are an error. Those of which the model makes nothing are never needed.

        Raises
        ------
        InputError
            If a feature is lacking and ``missing`` does not say what to take it for, none is
            there, or a name is there twice.
        """
        check_is_fitted(self)
        bags = aligned(self, X, missing)
        here = {name: view_of(self, X, name) for name in bags.x}  # what the view is called in X
        others = {k: gone for k, gone in X.lacking.items() if k not in here.values()}
        return dataclasses.replace(
            X, x={**X.x, **{here[k]: view for k, view in bags.x.items()}}, notes=bags.notes,
            features={**X.features, **{here[k]: names for k, names in bags.features.items()}},
            lacking={**others, **{here[k]: gone for k, gone in bags.lacking.items()}},
        )  # fmt: skip

    def _filled(self, X: Any, missing: str | None) -> Any:
        """What was given, completed where ``missing`` says how."""
        return X if missing is None else self.complete(X, missing)

    def reads(self) -> Trace:
        """Which features of training it makes anything of."""
        return Trace.of(self.steps_, {k: shape[0] for k, shape in self.inputs_.items()})

    def _same_views(self, bags: Bags) -> Bags:
        """The views of the training data, their features in the same order, or an error."""
        check_is_fitted(self)
        if not getattr(self, "oracle", False):  # what was measured knows no pixels
            bags = at_scale(bags, self.tile_scale_, self.name, self.features_)
        return aligned(self, bags)

    def _stepped(self, bags: Bags) -> Bags:
        """Bags after the fitted steps; what is lacking there is at its mean."""
        return with_means(apply_steps(self.steps_, bags), self.means_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")
