"""Gradient-boosted trees, a few splits deep, for each gene."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive, Share
from smalti.core.stage import Stage, Sweep, Training
from smalti.expression.base import ExpressionMethod
from smalti.system.extras import absent, need

_PIECE = 2**21  # places in trees that are held at once


class Trees(ExpressionMethod):
    """Boosted regression trees for each gene, by LightGBM: what a linear map cannot say.

    The baseline beside ridge for features that act together or with a threshold. Trees are few and
    shallow, and no number of them is tuned: with the tiles of a handful of donors deep ones learn
    the donors. LightGBM fits them; the model keeps splits and leaves as numbers and predicts
    without it.

    Raises
    ------
    InputError
        In ``fit``: if LightGBM is not installed.
    """

    name: ClassVar[str] = "trees"
    reference: ClassVar[str] = "Ke et al. (2017), NeurIPS (LightGBM)"
    cite: ClassVar[tuple[str, ...]] = ("ke2017",)
    stochastic: ClassVar[bool] = True

    trees: Count = 100  # of each gene
    depth: Count = 3  # splits from the root to a leaf
    lr: Positive = 0.05  # what each tree adds
    feature_share: Share = 0.3  # of the features that a tree may split by
    tile_share: Share = 0.5  # of the tiles that a tree sees
    least: Count = 20  # tiles in a leaf

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot be fitted here (LightGBM is not installed), or None."""
        return absent("lightgbm", "trees")

    def network(self, shape: Shape) -> nn.Module:
        """Splits and leaves, filled by the fit."""
        return TreeNet(shape, self.trees, self.depth)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One booster per gene."""
        yield Sweep(step=self._fit, name="trees")

    def _fit(self, network: Any, training: Training) -> None:
        library = need("lightgbm", "trees")
        x, y = training.bags.table().astype(np.float64), training.target.astype(np.float64)
        settings = {
            "objective": "regression", "learning_rate": self.lr, "max_depth": self.depth,
            "num_leaves": 2**self.depth, "min_data_in_leaf": self.least, "verbosity": -1,
            "feature_fraction": max(self.feature_share, 1e-6), "bagging_freq": 1,
            "bagging_fraction": max(self.tile_share, 1e-6), "boost_from_average": False,
            "seed": self.seed % 2**31,
            "deterministic": True, "force_row_wise": True, "num_threads": torch.get_num_threads(),
            "feature_pre_filter": False,
        }  # fmt: skip
        network.base.copy_(torch.as_tensor(y.mean(0)))
        table = library.Dataset(x, free_raw_data=False, params=settings).construct()
        for gene in range(y.shape[1]):
            wanted = y[:, gene] - y[:, gene].mean()
            if np.ptp(wanted) < 1e-9:
                continue
            table.set_label(wanted)
            booster = library.train(settings, table, num_boost_round=self.trees)
            for k, tree in enumerate(booster.dump_model()["tree_info"]):
                network.plant(gene, k, tree["tree_structure"])

    @classmethod
    def example(cls) -> Trees:
        """Few, of small leaves."""
        return cls(trees=30, least=5, lr=0.2, feature_share=1.0, tile_share=0.9)


class TreeNet(nn.Module):
    """Trees of one depth as tables: node i leads to 2 i + 1 where x <= threshold, else to 2 i + 2.

    Parameters
    ----------
    shape
        Of features and genes.
    trees, depth
        Of each gene.

    Notes
    -----
    ``feature`` and ``threshold`` are (n_genes, trees, 2^depth - 1), ``leaf`` is (n_genes, trees,
    2^depth), ``base`` (n_genes,).
    """

    feature: Tensor  # (n_genes, trees, 2^depth - 1) which feature a node splits by
    threshold: Tensor  # the same shape; infinite where a branch ended above
    leaf: Tensor  # (n_genes, trees, 2^depth)
    base: Tensor  # (n_genes,)

    def __init__(self, shape: Shape, trees: int, depth: int) -> None:
        super().__init__()
        self.depth, nodes, genes = depth, 2**depth - 1, len(shape.outputs)
        feature = torch.zeros(genes, trees, nodes, dtype=torch.int32)
        self.register_buffer("feature", feature)
        self.register_buffer("threshold", torch.full(feature.shape, torch.inf))
        self.register_buffer("leaf", torch.zeros(genes, trees, nodes + 1))
        self.register_buffer("base", torch.zeros(genes))

    def plant(self, gene: int, tree: int, node: Any, at: int = 0) -> None:
        """Write a tree as LightGBM dumps it; what is under a leaf that ends early is that leaf."""
        nodes = self.feature.shape[2]
        if "leaf_value" in node:
            first, last = at, at
            while first < nodes:
                first, last = 2 * first + 1, 2 * last + 2
            self.leaf[gene, tree, first - nodes : last - nodes + 1] = node["leaf_value"]
            return
        self.feature[gene, tree, at] = node["split_feature"]
        # features are float32: the largest one that goes left
        threshold = np.float32(node["threshold"])
        if threshold > node["threshold"]:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        self.threshold[gene, tree, at] = float(threshold)
        self.plant(gene, tree, node["left_child"], 2 * at + 1)
        self.plant(gene, tree, node["right_child"], 2 * at + 2)

    def forward(self, batch: Batch) -> Output:
        """(n_tiles, n_genes)."""
        x, (genes, trees, nodes) = batch.x, self.feature.shape
        out = self.base.repeat(len(x), 1)
        step = max(1, _PIECE // max(1, len(x) * trees))
        for start in range(0, genes, step):
            part = slice(start, start + step)
            feature, threshold, leaf = (
                t[part].flatten(0, 1) for t in (self.feature, self.threshold, self.leaf)
            )  # (g trees, nodes)
            row = torch.arange(len(feature), device=x.device)
            at = torch.zeros(len(x), len(feature), dtype=torch.int64, device=x.device)
            for _ in range(self.depth):
                value = x.gather(1, feature[row, at].long())
                at = 2 * at + 1 + (value > threshold[row, at]).long()
            found = leaf[row, at - nodes]  # (n, g trees)
            out[:, part] += found.view(len(x), -1, trees).sum(2)
        return Output(out)
