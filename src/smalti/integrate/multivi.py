"""MultiVI: a variational autoencoder of RNA counts and open peaks, trained by scvi-tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.integrate.scvi_tools import (
    batch_column,
    check_counts,
    trained_quietly,
    training_settings,
    whole,
)
from smalti.io.tables import plain_anndata
from smalti.preprocess import kind_of
from smalti.system.extras import absent, need

_STEPS = "'count_genes' of the RNA"


class MultiVI(Integration):
    """Zero-inflated negative binomial RNA and Bernoulli peaks, a code of both or of either.

    scvi-tools builds, starts and trains the model on raw counts (its own architecture, 90 % of the
    cells for training and 10 % to stop by); a peak is open where it has a count. The code of a cell
    is the mean of q(z) of each modality that it was measured in, averaged over those: cells with
    one modality are taken, in training and after (Ashuach et al. 2023). It reconstructs nothing
    here. With ``batch=`` the decoder is told the batch of a cell, and a classifier of batches
    trained against the code; cells of a batch that it was not fitted on are refused.

    It takes both modalities to show one state: the penalty draws their codes together. In simulated
    cells of which each modality shows a state of its own, ``penalty="None"`` with a divergence that
    counts little (``kl_warmup`` far beyond the epochs) found both states, and neither alone did.

    ``preprocess="auto"`` keeps the ``genes`` genes that vary most after normalisation and log, as
    raw counts; all peaks are kept.

    Raises
    ------
    InputError
        In ``fit``: if scvi-tools is not installed; if there are not exactly two views, or their
        names do not tell which is which; if a view does not hold raw counts.
    """

    name: ClassVar[str] = "multivi"
    reference: ClassVar[str] = "Ashuach et al. (2023), Nat. Methods 20:1222-1231"
    cite: ClassVar[tuple[str, ...]] = ("ashuach2023", "gayoso2022")
    # that of MultiVI in scvi-tools clusters nothing; those of PeakVI and PoissonVI do so
    clusters_by: ClassVar[str] = "leiden"
    reconstructs: ClassVar[bool] = False
    takes_counts: ClassVar[bool] = True
    # open or closed says less than a count: 12 features are few, and 60 show more at this distance
    example_cells: ClassVar[Mapping[str, Any]] = {"features": (40, 60), "effect": 12.0}

    batch: str | None = None  # column of the batches of cells, the batch_key of scvi-tools
    peaks: str | None = None  # view; None: the first that is taken for one
    genes: Count = 2000  # kept by preprocess="auto"
    width: Count = 20  # of the code
    hidden: Count | None = None  # None: the root of the number of peaks, at most 128
    penalty: Literal["Jeffreys", "MMD", "None"] = "Jeffreys"  # on codes of modalities that differ
    kl_warmup: Count = 50  # epochs in which the weight of the divergence grows from 0 to 1
    epochs: Count = 500  # passes over the cells, at most
    early_stopping: bool = True  # after 50 epochs without a better validation
    batch_size: Count = 128  # cells in a step
    lr: Positive = 1e-4  # learning rate of AdamW

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot run here (scvi-tools is not installed), or None."""
        return absent("scvi", "scvi")

    def steps_for(self, bags: Bags) -> Any:  # type: ignore[override]
        """What ``preprocess="auto"`` means: some genes, as raw counts."""
        names = self.views_of(bags.x)
        check_counts(self.name, bags, names, _STEPS)
        return {names[0]: f"count_genes={self.genes}"}

    def views_of(self, views: Mapping[str, Any]) -> tuple[str, str]:
        """Names of the RNA view and of the view of peaks.

        Raises
        ------
        InputError
            If there are not two views, or the settings and the names do not tell them apart.
        """
        names = list(views)
        if len(names) != 2:
            raise InputError(f"multivi takes two views, RNA and peaks; there are {names}.")
        peaks = self.peaks
        if peaks is None:
            told = {m.view: m.kind for m in getattr(self, "modalities_", ())}
            peaks = next((n for n in names if (told.get(n) or kind_of(n)) == "atac"), None)
        if peaks is None:
            raise InputError(f"which of {names} holds the peaks? Say peaks={names[1]!r}.")
        if peaks not in names:
            raise InputError(f"peaks={peaks!r} is no view; there are {names}.")
        return next(n for n in names if n != peaks), peaks

    def network(self, shape: Shape) -> nn.Module:
        """scvi-tools' module, as its model builds it."""
        names = self.views_of(shape.views)
        sizes = (int(shape.views[names[0]][0]), int(shape.views[names[1]][0]))
        return MultiVINet(
            tuple(shape.views), names, sizes, width=self.width, hidden=self.hidden,
            n_batches=max(1, len(shape.batches)),
        )  # fmt: skip

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One call of the library."""
        yield Sweep(step=self._fit, name="scvi-tools")

    @classmethod
    def example(cls) -> MultiVI:
        """Small and quick; of any two views of which the second is taken for peaks."""
        return cls(
            peaks="protein", width=8, hidden=32, penalty="None", kl_warmup=1000, epochs=60,
            batch_size=64, lr=4e-3,
        )  # fmt: skip

    def _read_new(self, X: Any) -> Bags:
        bags = super()._read_new(X)
        check_counts(self.name, bags, self.views_of(bags.x), _STEPS)
        return bags

    def _fit(self, network: nn.Module, training: Training) -> None:
        assert isinstance(network, MultiVINet)
        model_of, bags = need("scvi", "scvi").model.MULTIVI, training.bags
        mudata = need("mudata")
        check_counts(self.name, bags, network.names, _STEPS)
        device = next(network.parameters()).device
        show = bool(self.progress)
        with trained_quietly(self.seed, show) as folder:
            tables = {}
            for key, name in zip(("rna", "atac"), network.names, strict=True):
                counts = sp.csr_matrix(whole(bags, name), dtype=np.float32)
                there = bags.present.get(name)
                if there is not None:  # what stands where nothing was measured must not be seen
                    counts = sp.csr_matrix(sp.diags(there.astype(np.float32)) @ counts)
                tables[key] = plain_anndata(counts)
                tables[key].var_names = [f"{key}_{i}" for i in range(counts.shape[1])]
            data = mudata.MuData(tables)
            data.obs["batch"] = batch_column(self.columns_, bags)
            model_of.setup_mudata(
                data, batch_key="batch", modalities={"rna_layer": "rna", "atac_layer": "atac"}
            )
            model = model_of(
                data, n_latent=self.width, n_hidden=self.hidden, modality_penalty=self.penalty
            )
            model.train(
                max_epochs=self.epochs, lr=self.lr, early_stopping=self.early_stopping,
                n_epochs_kl_warmup=self.kl_warmup,
                **training_settings(data.n_obs, self.batch_size, device, show=show, folder=folder),
            )  # fmt: skip
            network.module.load_state_dict(model.module.state_dict())
            model.deregister_manager(data)  # the class would keep the data alive
        network.eval()


class MultiVINet(nn.Module):
    """scvi-tools' MULTIVAE, used without sampling.

    Parameters
    ----------
    views
        All, in the order of ``present``.
    names
        The RNA view and the view of peaks.
    sizes
        Genes and peaks.
    width, hidden
        Of the code and of the layers before it.
    n_batches
        Batches of cells.
    """

    def __init__(
        self, views: tuple[str, ...], names: tuple[str, str], sizes: tuple[int, int], *,
        width: int, hidden: int | None, n_batches: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.names, self.places = names, [views.index(n) for n in names]
        self.module = need("scvi.module", "scvi").MULTIVAE(
            n_input_genes=sizes[0], n_input_regions=sizes[1], n_batch=n_batches, n_latent=width,
            n_hidden=hidden, n_cats_per_cov=[],
        )  # fmt: skip

    def forward(self, batch: Batch) -> Output:
        """Mean of q(z) over the modalities measured in each cell, (n, width), as ``raw``."""
        encoders = (self.module.z_encoder_expression, self.module.z_encoder_accessibility)
        present = batch.instance.get("present")
        total: Tensor | float = 0.0
        count: Tensor | float = 0.0
        for name, place, encoder in zip(self.names, self.places, encoders, strict=True):
            x = batch.views[name]
            x = x if present is None else x * present[:, place, None]
            there = (x.sum(1, keepdim=True) > 0).to(x.dtype)  # as scvi-tools tells it
            # without covariates, which scvi-tools leaves out of these encoders
            total = total + there * encoder.mean_encoder(encoder.encoder(x))
            count = count + there
        assert isinstance(total, Tensor)
        assert isinstance(count, Tensor)
        return Output(total / count.clamp(min=1))


__all__ = ["MultiVI", "MultiVINet"]
