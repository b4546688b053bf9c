"""Multigrate: a variational autoencoder with one encoder per modality, trained by multigrate."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Part, Positive, Weight
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.io.tables import plain_anndata
from smalti.nn.modalities import whole_views
from smalti.system.extras import absent, calling, need, seeded_scvi


class Multigrate(Integration):
    """Encoders per modality, their Gaussians multiplied to one code, a decoder per modality.

    The package multigrate builds and trains the model (squared error in each view, no covariates,
    90 % of the cells for training and 10 % to stop by). The embedding is the mean of the joint
    q(z | x), a product of experts over the views that were measured; the package's own
    ``get_model_output`` draws from it instead. ``reconstruct`` decodes that mean.

    Views go in as preprocessing gives them, not standardised: normalised log RNA and CLR proteins.
    The package takes a view whose row does not sum to more than 0 for not measured, so a feature
    with negative values is raised by its minimum over the training cells, and a row of zeros
    counts as a gap.

    Needs Python 3.12 or later, as the package does.

    Raises
    ------
    InputError
        In ``fit``: if multigrate is not installed, or Python is too old for it.
    """

    name: ClassVar[str] = "multigrate"
    reference: ClassVar[str] = "Lotfollahi, Litinetskaya & Theis (2022), bioRxiv 2022.03.16.484643"
    cite: ClassVar[tuple[str, ...]] = ("lotfollahi2022",)
    # its tutorials cluster nothing; the authors' scores (scIB) are of Leiden, resolution by NMI
    clusters_by: ClassVar[str] = "leiden"
    missing: ClassVar[bool] = True

    width: Count = 16  # of the code
    hidden: Count = 128  # units of the hidden layers, two in each encoder and decoder
    kl: Weight = 1e-5  # weight of the divergence from the prior
    dropout: Part = 0.2  # probability, after each layer
    epochs: Count = 200  # passes over the cells, at most
    patience: Count = 10  # epochs without a better error in validation before stopping
    batch_size: Count = 256  # cells in a step
    lr: Positive = 5e-4  # learning rate of AdamW

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot run here (Python before 3.12, multigrate not installed), or None."""
        if sys.version_info < (3, 12):
            here = ".".join(map(str, sys.version_info[:2]))
            return f"multigrate needs Python 3.12 or later, this is {here}"
        return absent("multigrate")

    def network(self, shape: Shape) -> nn.Module:
        """Multigrate's module, as its model builds it without covariates."""
        return MultigrateNet(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One call of the library."""
        yield Sweep(step=self._fit, name="multigrate")

    @classmethod
    def example(cls) -> Multigrate:
        """Small and quick."""
        return cls(
            width=8, hidden=32, kl=0.1, dropout=0.0, epochs=40, patience=40, batch_size=32, lr=5e-3
        )

    def _fit(self, network: nn.Module, training: Training) -> None:
        assert isinstance(network, MultigrateNet)
        package = need("multigrate")
        network.set_lowest(training)
        device = network.lowest.device
        show = bool(self.progress)
        with (
            calling("multigrate", prints=show),
            seeded_scvi(self.seed),
            tempfile.TemporaryDirectory() as folder,
        ):
            tables = []
            for i, rows in enumerate(whole_views(network, training, network.rows)):
                tables.append([plain_anndata(rows, f"{i}_")])
            data = package.data.organize_multimodal_anndatas(tables)
            data.obs["size"] = 1.0  # asked for, but used by losses of counts only
            package.model.MultiVAE.setup_anndata(data, size_factor_key="size")
            with torch.enable_grad():
                model = package.model.MultiVAE(
                    data, z_dim=self.width, losses=["mse"] * len(tables), dropout=self.dropout,
                    loss_coefs={"kl": self.kl}, n_hidden_encoders=[self.hidden] * len(tables),
                    n_hidden_decoders=[self.hidden] * len(tables),
                )  # fmt: skip
                model.train(
                    max_epochs=self.epochs, lr=self.lr, batch_size=self.batch_size,
                    early_stopping_patience=self.patience,
                    accelerator="gpu" if device.type == "cuda" else "cpu",
                    devices=[device.index or 0] if device.type == "cuda" else 1,
                    enable_progress_bar=show, default_root_dir=folder,
                )  # fmt: skip
            network.module.load_state_dict(model.module.state_dict())
            model.deregister_manager(data)  # the class would keep the data alive
        network.eval()


class MultigrateNet(nn.Module):
    """multigrate's MultiVAETorch, used without sampling.

    Parameters
    ----------
    method
        Its settings.
    shape
        Of the views.

    Raises
    ------
    InputError
        If multigrate is not installed, or needs a later Python.
    """

    lowest: Tensor  # (d,) of all views side by side: what features with negative values go down to

    def __init__(self, method: Multigrate, shape: Shape) -> None:
        super().__init__()
        reason = method.unavailable()
        if reason:
            raise InputError(f"{reason}.")
        self.names = tuple(shape.views)
        self.sizes = [int(v[0]) for v in shape.views.values()]
        hidden, none = [method.hidden] * len(self.sizes), torch.zeros(0, dtype=torch.long)
        self.module = need("multigrate.module").MultiVAETorch(
            self.sizes, z_dim=method.width, dropout=method.dropout, losses=["mse"] * len(hidden),
            n_hidden_encoders=hidden, n_hidden_decoders=hidden, cat_covariate_dims=[],
            cont_covariate_dims=[], cat_covs_idx=none, cont_covs_idx=none,
        )  # fmt: skip
        self.register_buffer("lowest", torch.zeros(sum(self.sizes)))

    def set_lowest(self, training: Training) -> None:
        """Take the minimum of each feature over the cells that were measured, 0 at most."""
        for batch in training.instances(self):
            # rows that were not measured come out as 0, which lowers nothing
            lows = torch.cat([rows.min(0).values for rows in self.rows(batch, raised=False)])
            self.lowest.copy_(torch.minimum(self.lowest, lows))

    def rows(self, batch: Batch, *, raised: bool = True) -> list[Tensor]:
        """Each view, (n, n_features), with features of negative values raised.

        Zeros where it was not measured.
        """
        present = batch.instance.get("present")
        out = []
        for i, (name, low) in enumerate(zip(self.names, self.lowest.split(self.sizes),
                                            strict=True)):  # fmt: skip
            x = batch.views[name]
            x = x - low if raised else x
            out.append(x if present is None else x * present[:, i, None])
        return out

    def forward(self, batch: Batch) -> Output:
        """Mean of the joint q(z | x) of each cell, (n, width), as ``raw``."""
        weighted: Tensor | float = 0.0
        precision: Tensor | float = 1.0  # of the prior
        for i, x in enumerate(self.rows(batch)):
            h = self.module.encoders[i](x)
            seen = (x.sum(1, keepdim=True) > 0) * torch.exp(-self.module.logvars[i](h))
            weighted, precision = weighted + seen * self.module.mus[i](h), precision + seen
        return Output(torch.as_tensor(weighted / precision))

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """Each view, (n, n_features), from the code (n, width), in the units that it was given."""
        lows = self.lowest.split(self.sizes)
        return {name: self.module.decoders[i](z) + lows[i] for i, name in enumerate(self.names)}


__all__ = ["Multigrate", "MultigrateNet"]
