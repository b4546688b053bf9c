"""totalVI: a variational autoencoder of RNA and protein counts, trained by scvi-tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.integrate.scvi_tools import (
    batch_column,
    batch_index,
    check_counts,
    trained_quietly,
    training_settings,
    whole,
)
from smalti.io.tables import plain_anndata
from smalti.preprocess import controls, kind_of
from smalti.system.extras import absent, need


class TotalVI(Integration):
    """Negative binomial RNA and a two-part mixture of protein background and foreground.

    scvi-tools builds, starts and trains the model on raw counts (its own architecture, 90 % of the
    cells for training and 10 % to stop by). The embedding is the mean of q(z | x, y).
    ``reconstruct`` gives expected counts: RNA of a cell whose library is the median of the training
    cells, as the code does not hold the library size; proteins with their background, the mean over
    the background's log-normal law (Gayoso et al. 2021, equations 3 to 10). With ``batch=`` encoder
    and decoder are told the batch of a cell; cells of a batch that the model was not fitted on are
    refused.

    ``preprocess="auto"`` keeps the ``genes`` genes that vary most after normalisation and log, as
    raw counts; all proteins are kept.

    Raises
    ------
    InputError
        In ``fit``: if scvi-tools is not installed; if there are not exactly two views, or their
        names do not tell which is which; if a view does not hold raw counts.
    """

    name: ClassVar[str] = "totalvi"
    reference: ClassVar[str] = "Gayoso et al. (2021), Nat. Methods 18:272-282"
    cite: ClassVar[tuple[str, ...]] = ("gayoso2021", "gayoso2022")
    clusters_by: ClassVar[str] = "leiden"  # the tutorial of totalVI in scvi-tools
    missing: ClassVar[bool] = False
    takes_counts: ClassVar[bool] = True

    batch: str | None = None  # column of the batches of cells, the batch_key of scvi-tools
    rna: str | None = None  # view; None: the other one
    protein: str | None = None  # view; None: the first that is taken for one
    genes: Count = 2000  # kept by preprocess="auto"
    width: Count = 20  # of the code
    epochs: Count | None = None  # passes over the cells; None: 20,000 / cells * 400, at most 400
    early_stopping: bool = True  # after 45 epochs without a better bound in validation
    batch_size: Count = 256  # cells in a step
    lr: Positive = 4e-3  # learning rate of Adam

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot run here (scvi-tools is not installed), or None."""
        return absent("scvi", "scvi")

    def steps_for(self, bags: Bags) -> Any:  # type: ignore[override]
        """What ``preprocess="auto"`` means: raw counts of some genes, and of proteins."""
        names = self.views_of(bags.x)
        check_counts("totalvi", bags, names, "'count_genes'")
        steps = {names[0]: f"count_genes={self.genes}"}
        aside = 0 < len(controls(bags.features.get(names[1]))) < bags.x[names[1]].shape[1]
        return steps | ({names[1]: "drop_controls"} if aside else {})

    def views_of(self, views: Mapping[str, Any]) -> tuple[str, str]:
        """Names of the RNA view and of the protein view.

        Raises
        ------
        InputError
            If there are not two views, or the settings and the names do not tell them apart.
        """
        names = list(views)
        if len(names) != 2:
            raise InputError(f"totalvi takes two views, RNA and protein; there are {names}.")
        for setting, given in (("rna", self.rna), ("protein", self.protein)):
            if given is not None and given not in names:
                raise InputError(f"{setting}={given!r} is no view; there are {names}.")
        protein = self.protein
        if protein is None and self.rna is not None:
            protein = next(n for n in names if n != self.rna)
        elif protein is None:
            told = {m.view: m.kind for m in getattr(self, "modalities_", ())}
            kinds = {n: told.get(n) or kind_of(n) for n in names}
            protein = next((n for n in names if kinds[n] == "protein"), None)
        if protein is None:
            raise InputError(f"which of {names} is the protein? Say protein={names[1]!r}.")
        rna = next(n for n in names if n != protein)
        if self.rna not in (None, rna):
            raise InputError(f"rna and protein are both {protein!r}: name two views.")
        return rna, protein

    def network(self, shape: Shape) -> nn.Module:
        """scvi-tools' module, as its model builds it."""
        rna, protein = self.views_of(shape.views)
        sizes = (int(shape.views[rna][0]), int(shape.views[protein][0]))
        n_batches = max(1, len(shape.batches))
        return TotalVINet((rna, protein), sizes, width=self.width, n_batches=n_batches)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One call of the library."""
        yield Sweep(step=self._fit, name="scvi-tools")

    @classmethod
    def example(cls) -> TotalVI:
        """Small and quick."""
        return cls(width=8, epochs=40, batch_size=64)

    def _read_new(self, X: Any) -> Bags:
        bags = super()._read_new(X)
        # scaled values would be embedded as nonsense
        check_counts("totalvi", bags, self.views_of(bags.x), "'count_genes'")
        return bags

    def _fit(self, network: nn.Module, training: Training) -> None:
        assert isinstance(network, TotalVINet)
        scvi = need("scvi", "scvi")
        bags, (rna, protein) = training.bags, network.names
        check_counts("totalvi", bags, network.names, "'count_genes'")
        counts = sp.csr_matrix(whole(bags, rna), dtype=np.float32)
        surface = whole(bags, protein)
        surface = surface.toarray() if sp.issparse(surface) else np.asarray(surface)
        library = np.asarray(counts.sum(1)).reshape(-1)
        network.library.fill_(float(np.median(library)))
        show = bool(self.progress)
        with trained_quietly(self.seed, show) as folder:
            data = plain_anndata(counts)
            data.obsm["protein"] = surface.astype(np.float32)
            data.obs["batch"] = batch_column(self.columns_, bags)
            scvi.model.TOTALVI.setup_anndata(
                data, protein_expression_obsm_key="protein", batch_key="batch"
            )
            model = scvi.model.TOTALVI(data, n_latent=self.width, override_missing_proteins=True)
            model.train(
                max_epochs=self.epochs, lr=self.lr, early_stopping=self.early_stopping,
                **training_settings(len(library), self.batch_size, network.library.device,
                                    show=show, folder=folder),
            )  # fmt: skip
            network.module.load_state_dict(model.module.state_dict())
            model.deregister_manager(data)  # the class would keep the data alive
        network.eval()


class TotalVINet(nn.Module):
    """scvi-tools' TOTALVAE, used without sampling.

    Parameters
    ----------
    names
        The RNA view and the protein view.
    sizes
        Genes and proteins.
    width
        Of the code.
    n_batches
        Batches of cells.
    """

    library: Tensor  # (), a scalar

    def __init__(
        self, names: tuple[str, str], sizes: tuple[int, int], *, width: int, n_batches: int = 1
    ) -> None:
        super().__init__()
        module = need("scvi.module", "scvi").TOTALVAE
        self.names = names
        self.module = module(
            n_input_genes=sizes[0], n_input_proteins=sizes[1], n_batch=n_batches, n_latent=width,
            n_panel=n_batches,
        )  # fmt: skip
        self.register_buffer("library", torch.ones(()))  # median RNA counts of the training cells

    def forward(self, batch: Batch) -> Output:
        """Mean of q(z | x, y) of each cell, (n, width), as ``raw``."""
        parts = [batch.views[name] for name in self.names]
        x = torch.cat([torch.log1p(v / (1 + v.mean(1, keepdim=True))) for v in parts], dim=1)
        encoder, b = self.module.encoder, batch_index(batch.instance.get("batch"), x)
        return Output(encoder.z_mean_encoder(encoder.encoder(x, b)))

    def decode(self, z: Tensor, batch: Tensor | None = None) -> dict[str, Tensor]:
        """Expected counts, (n, n_features) each, from the code (n, width) in batches (n,).

        RNA at the median library of training, proteins with background.
        """
        net, b = self.module.decoder, batch_index(batch, z)
        scale = net.px_scale_decoder(torch.cat([net.px_decoder(z, b), z], dim=1), b)
        back = torch.cat([net.py_back_decoder(z, b), z], dim=1)
        alpha = net.py_back_mean_log_alpha(back, b)
        beta = net.activation_function_bg(net.py_back_mean_log_beta(back, b)) + 1e-8
        fore = torch.cat([net.py_fore_decoder(z, b), z], dim=1)
        times = net.py_fore_scale_decoder(fore, b) + 1 + 1e-8  # foreground over background
        mixing = net.py_background_decoder(torch.cat([net.sigmoid_decoder(z, b), z], dim=1), b)
        share = torch.sigmoid(mixing)  # probability of background
        efficiency = self.module.log_per_batch_efficiency.t()[b[:, 0]]
        rate = torch.exp(alpha + beta.square() / 2 + efficiency)
        rna, protein = self.names
        return {
            rna: self.library * net.px_scale_activation(scale),
            protein: rate * (share + (1 - share) * times),
        }


__all__ = ["TotalVI", "TotalVINet"]
