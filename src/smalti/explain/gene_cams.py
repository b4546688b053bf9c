"""Grad-CAM of a fitted model's genes: from slides to maps, by the names of genes and tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.explain.grad_cams import cam_faithfulness, find_layer, grad_cam
from smalti.nn.tile_net import TileNet
from smalti.views import read_rows, take


def gene_cam(
    model: Any,
    bags: Bags,
    genes: str | Sequence[str],
    *,
    tiles: Any = None,
    layer: str | nn.Module | None = None,
    raw: bool = False,
    batch_size: int = 32,
) -> np.ndarray:
    """Map where tiles hold evidence for genes.

    Parameters
    ----------
    model
        Fitted :class:`~smalti.expression.FineTune`, or any method with its ``network_.features``
        and ``network_.head``. One that predicts by the mean over flips is explained on the tile as
        it stands.
    bags
        Slides with the tiles that the model reads.
    genes
        Names, of those that the model predicts.
    tiles
        Which tiles: positions in the bags, or names in ``bags.instance.index``; all when left out.
        The maps of all of them are in memory at once.
    layer
        Name in ``model.network_.named_modules()``, or a module; when left out, the last but one
        stage of the small backbone (1/8 of the tile's size; the maps of the last are coarser, and
        less faithful), and what :func:`~smalti.explain.grad_cams` chooses of other ones.
    raw
        Signed sums in units of the prediction, not cut off at zero and not scaled.
    batch_size
        Tiles in a forward pass.

    Returns
    -------
    ndarray
        (n_tiles, n_genes, height, width) float32, in 0..1 unless ``raw``.

    Raises
    ------
    InputError
        If the model reads no tiles, does not predict a gene, or a tile or layer is not there.

    See Also
    --------
    gene_cam_faithfulness : Whether the maps mean something.
    """
    network, images, outputs, layer = _opened(model, bags, genes, tiles, layer)
    return grad_cam(network, images, outputs, layer=layer, raw=raw, batch_size=batch_size)


def gene_cam_faithfulness(
    model: Any,
    bags: Bags,
    genes: str | Sequence[str],
    *,
    cams: np.ndarray | None = None,
    tiles: Any = None,
    layer: str | nn.Module | None = None,
    top: float = 0.2,
    n_random: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare what the prediction of a gene loses without its map's top area and without another.

    Parameters
    ----------
    model, bags, genes, tiles, layer
        As for :func:`gene_cam`.
    cams
        (n_tiles, n_genes, height, width) maps to test; those of :func:`gene_cam` when left out.
    top, n_random, seed
        As for :func:`~smalti.explain.cam_faithfulness`.

    Returns
    -------
    DataFrame
        A row per gene: ``gene``, ``top``, ``random``, ``wins``, ``n``; the falls are in units of
        the prediction.

    Raises
    ------
    InputError
        As :func:`gene_cam` and :func:`~smalti.explain.cam_faithfulness`.
    """
    network, images, outputs, layer = _opened(model, bags, genes, tiles, layer)
    table = cam_faithfulness(
        network, images, outputs, cams=cams, layer=layer, top=top, n_random=n_random, seed=seed
    )
    table.insert(0, "gene", [model.genes_[i] for i in outputs])
    return table.drop(columns="output")


class _Genes(nn.Module):
    """Pixels 0..255 to genes: the network of a method without its batch."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        like = next(self.network.head.parameters())
        return self.network.head(self.network.features(x.to(like.dtype)))[0]


def _opened(
    model: Any, bags: Bags, genes: str | Sequence[str], tiles: Any, layer: str | nn.Module | None
) -> tuple[nn.Module, np.ndarray, list[int], str | nn.Module | None]:
    """A network of pixels, the tiles, the positions of the genes, and the layer."""
    name = getattr(model, "name", type(model).__name__)
    if not getattr(model, "images", False):
        raise InputError(f"{name} reads no tiles, but features of them: Grad-CAM needs a method "
                         "that reads tiles, as fine_tune does.")  # fmt: skip
    check_is_fitted(model)
    network = model.network_
    if not hasattr(network, "features") or not hasattr(network, "head"):
        raise InputError(f"{name}: its network has no 'features' and 'head': call grad_cam on it.")
    wanted = (genes,) if isinstance(genes, str) else tuple(genes)
    place = {gene: i for i, gene in enumerate(model.genes_)}
    lacking = [gene for gene in wanted if gene not in place]
    if lacking or not wanted:
        what = ", ".join(map(repr, lacking[:5])) if wanted else "no gene"
        raise InputError(f"genes names {what}, not predicted by this {name}; it predicts "
                         f"{len(place)}: {', '.join(model.genes_[:5])}, ...")  # fmt: skip
    read = model._read_new(bags)
    rows = _rows(read, tiles)
    images = np.asarray(read_rows(take(read.view()[1], rows), 0, len(rows)))
    if isinstance(layer, str):
        layer = find_layer(network, layer)
    elif layer is None and isinstance(getattr(network, "backbone", None), TileNet):
        layer = network.backbone.stages[-2]  # measured: truer than the last, which is too coarse
    return _Genes(network), images, [place[gene] for gene in wanted], layer


def _rows(bags: Bags, tiles: Any) -> np.ndarray:
    """Positions of the tiles that were asked for."""
    if tiles is None:
        return np.arange(bags.n_instances)
    asked = np.atleast_1d(np.asarray(tiles))
    if asked.dtype == bool and len(asked) == bags.n_instances:
        return np.flatnonzero(asked)
    if np.issubdtype(asked.dtype, np.integer):
        wrong = asked[(asked < 0) | (asked >= bags.n_instances)]
        rows = asked
    else:
        rows = bags.instance.index.get_indexer(pd.Index(asked.astype(str)))
        wrong = asked[rows < 0]
    if len(wrong) or not len(rows):
        what = repr(wrong.tolist()[0]) if len(wrong) else "none"
        raise InputError(
            f"tiles names {what}, which is not among the {bags.n_instances} tiles of these bags."
        )
    return rows
