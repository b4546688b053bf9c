"""ScRAT: a transformer over the cells of a sample, trained on mixtures of samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from smalti.bags import as_bags
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Part, Positive, Whole
from smalti.core.stage import Gradient, Stage, Sweep, Training, units_of_step
from smalti.core.store import Store
from smalti.errors import InputError
from smalti.mil.base import NetworkMethod
from smalti.mil.scrat.transformer import EncoderBlock
from smalti.nn import Dropout, Standardize
from smalti.nn.beside import Beside
from smalti.nn.order import content_hash, odd_numbers
from smalti.segment import Segments
from smalti.task import Task

_SCORES = 2**25  # attention scores held at a time in a prediction


class ScRAT(NetworkMethod):
    """One encoder block over draws of cells, mean over the cells, a small head.

    Each epoch trains on one draw of ``draw`` cells of every sample and on ``augment`` mixtures of
    two samples. A mixture draws lambda from Beta(alpha, alpha), the numbers of cells of each type
    in proportion to lambda f_1 + (1 - lambda) f_2 (at least 1 in ``pool``), and mixes pairs of
    cells of one type, lambda x_1 + (1 - lambda) x_2. A type that one sample lacks is mixed within
    the other. Nothing is allocated in advance: a mixture is two samples and a seed, made when its
    step comes. Its loss is lambda loss(y_1) + (1 - lambda) loss(y_2), which for classes is the
    cross-entropy of the mixed label.

    Covariates of a sample add a linear part to its logits; those of a mixture are mixed in
    proportion too.

    A prediction averages the probabilities of ``predict_draws`` draws that cover the cells of the
    sample evenly (all cells at once where there are no more than ``draw``). Draws go by a hash of
    the cells' values, so that neither their order nor other samples matter.

    ``top_key`` of a cell is the share of queries, over heads and draws of that very prediction,
    whose strongest key it is; see :meth:`drivers`. It says where the network looked, not in which
    direction.

    Notes
    -----
    Published: 20 draws of each sample and mixture are fixed before training and all seen in every
    epoch, 256 to a step. Here one fresh draw of each is seen per epoch, 16 to a step (``draws=20``
    has the published number). The authors' stored log used augment=50, epochs=10. Dropout acts on
    the result of the attention, not on its weights. Features are standardised.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(20, seed=0)
    >>> model = sm.mil.ScRAT(epochs=1, augment=8, draw=16, width=16, heads=2, progress=False)
    >>> model.fit(bags).predict_proba(bags).shape  # (n_bags, n_classes)
    (20, 2)
    >>> list(model.drivers(bags, top=5))
    ['predicted', 'group', 'count', 'share', 'expected', 'enrichment']
    """

    name: ClassVar[str] = "scrat"
    reference: ClassVar[str] = (
        "Mao et al. (2024). Phenotype prediction from single-cell RNA-seq data using "
        "attention-based neural networks. Bioinformatics 40, btae067"
    )
    cite: ClassVar[tuple[str, ...]] = ("mao2024",)
    group_predicts: ClassVar[bool] = False

    group: str | None = "cell_type"  # types that are mixed with one another; None: all cells alike
    covariates: tuple[str, ...] = ()  # columns of the bags, added to the logits; mixed as cells are
    augment: Whole = 300  # mixtures per epoch; 0: none
    mix: Literal["different", "same", "any"] = "different"  # classes of the two samples
    alpha: Positive = 0.5  # of the Beta distribution of lambda
    pool: Count = 10_000  # cells of a mixture that draws are thought to come from
    inter_only: bool = False  # train on mixtures alone
    draw: Count = 500  # cells in a draw
    draws: Count = 1  # of each sample and mixture, per epoch
    predict_draws: Count = 50  # per sample, in a prediction
    embed: Literal["linear", "mlp"] = "linear"  # of a cell; "mlp" (256 units first) for genes
    width: Count = 128  # of a cell's embedding
    heads: Count = 8  # of the attention
    hidden: Count = 256  # units of the block's perceptron
    dropout: Part = 0.3
    lr: Positive = 3e-3  # learning rate, halved every 50 epochs
    batch_size: Count = 16  # draws in a step; the command of the authors has 256

    def network(self, shape: Shape) -> nn.Module:
        """Embedding, encoder block, mean, head."""
        if len(shape.x) != 1:
            raise InputError(f"scrat takes vectors, not instances of shape {shape.x}.")
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, then follow the gradient over draws and mixtures."""
        from smalti.nn.scale import standardize_sweep

        if self.standardize:
            yield standardize_sweep()
        yield Sweep(step=self._note_small, name="lengths")
        classes = shape.task.kind in ("binary", "multiclass", "ordinal")
        if shape.task.compares and self.inter_only:
            raise InputError(
                "inter_only=True trains on mixtures of two samples, which have no place among "
                "those at risk of a Cox model: leave it out, or take survival='discrete'."
            )
        mixtures = 0 if shape.task.compares else self.augment
        yield Gradient(
            epochs=self.epochs, lr=self.lr, optimizer=self.optimizer, momentum=self.momentum,
            weight_decay=self.weight_decay, batch_size=units_of_step(shape.task, self.batch_size),
            max_instances=self.max_instances, patience=self.patience, loss=mixed_loss,
            schedule=_halved, name="train",
            sampler=Mixup(
                draw=self.draw, draws=self.draws, augment=mixtures, alpha=self.alpha,
                pool=self.pool, mix=self.mix if classes else "any",
                inter_only=self.inter_only,
                n_types=max(1, len(shape.levels)),
            ),
        )  # fmt: skip

    def _note_small(self, network: nn.Module, training: Training) -> None:
        lengths = training.bags.lengths
        small = lengths < self.draw
        if small.any():
            least = int(lengths.argmin())
            warnings.warn(
                f"{int(small.sum())} of {len(lengths)} training bags have fewer than "
                f"draw={self.draw} cells (least: {training.bags.bag.index[least]!r} with "
                f"{lengths[least]}): all of their cells are used each time.",
                UserWarning, stacklevel=2,
            )  # fmt: skip

    def drivers(self, X: Any, *, group: str | None = None, top: int = 20) -> pd.DataFrame:
        """Which types the phenotype-driving cells are of.

        Parameters
        ----------
        X
            Bags with a ``group`` column.
        group
            Column of the instances; the method's own when left out.
        top
            Cells with the highest ``top_key`` that are taken from each sample.

        Returns
        -------
        DataFrame
            One row per predicted class and type: ``count`` among the top cells, ``share`` of them,
            ``expected`` share of the type among all cells of these samples, and their ratio
            ``enrichment``. (Values of a regression are taken together.)

        Raises
        ------
        InputError
            If the bags have no such column, or the method predicts several labels.
        """
        bags = as_bags(X)
        group = group or self.group
        if group is None or group not in bags.instance:
            raise InputError(f"no instance column {group!r} to tally the cells by: name group=...")
        raw, instance, _ = self.forward(bags)
        guess = self.task_.decide(raw) if self.task_.is_classifier else np.zeros(len(bags))
        if guess.ndim == 2:
            raise InputError("drivers are told by predicted class: fit one label at a time.")
        frame = pd.DataFrame({
            "predicted": guess[bags.index], "group": bags.instance[group].astype(str).to_numpy(),
            "bag": bags.index, "key": instance["top_key"],
        })  # fmt: skip
        best = frame.sort_values("key", ascending=False, kind="stable").groupby("bag").head(top)
        count = best.value_counts(["predicted", "group"]).rename("count")
        every = frame.value_counts(["predicted", "group"]).rename("all")
        table = pd.concat([count, every], axis=1).fillna(0).reset_index()
        by = table.groupby("predicted")
        table["share"] = table["count"] / by["count"].transform("sum")
        table["expected"] = table["all"] / by["all"].transform("sum")
        table["enrichment"] = table["share"] / table["expected"]
        table = table.drop(columns="all").astype({"count": int})
        return table.sort_values(["predicted", "count"], ascending=[True, False], ignore_index=True)

    @classmethod
    def example(cls) -> ScRAT:
        """A tiny one."""
        return cls(augment=20, draw=16, predict_draws=4, width=16, heads=2, hidden=16, epochs=15,
                   lr=0.01, batch_size=8, dropout=0.1)  # fmt: skip


def _halved(epoch: float) -> float:
    return 0.5 ** (epoch // 50)


def mixed_loss(task: Task, output: Output, target: Any) -> Tensor:
    """Loss of each unit, (n_units,); of a mixture that of both labels, in proportion."""
    if isinstance(target, Tensor):  # whole samples, in validation
        return task.loss(output.raw, target)
    one, two, share = target
    share = share.to(output.raw.dtype)
    return share * task.loss(output.raw, one) + (1 - share) * task.loss(output.raw, two)


# -------------------------------------------------------------------- what it trains on


class Mixup:
    """Draws of samples and mixtures of two: units (first, second or -1, seed).

    Raises
    ------
    InputError
        If a number is too small, or mixtures alone are asked for and none are made.
    """

    def __init__(
        self, *, draw: int, draws: int, augment: int, alpha: float, pool: int, mix: str,
        inter_only: bool, n_types: int,
    ) -> None:  # fmt: skip
        if draw < 1 or draws < 1 or augment < 0 or alpha <= 0:
            raise InputError("draw and draws must be at least 1, augment 0 or more, alpha over 0.")
        if inter_only and not augment:
            raise InputError("inter_only=True trains on mixtures alone: augment must be over 0.")
        self.draw, self.draws, self.augment, self.alpha = draw, draws, augment, alpha
        self.pool, self.mix, self.inter_only, self.n_types = pool, mix, inter_only, n_types
        self._store: Store | None = None

    def epoch(
        self, train: np.ndarray, target: np.ndarray, store: Store, rng: np.random.Generator
    ) -> np.ndarray:
        """Every training sample, and ``augment`` pairs, each ``draws`` times, shuffled.

        (n_units, 3) int64: first, second or -1, seed. ``train`` (n_train,) are positions of bags,
        ``target`` has one row per bag of the store.
        """
        alone = np.stack([train, np.full(len(train), -1)], 1)
        pairs = self._pairs(train, target, rng)
        units = np.repeat(pairs if self.inter_only else np.concatenate([alone, pairs]),
                          self.draws, axis=0)  # fmt: skip
        units = rng.permutation(units)
        return np.column_stack([units, rng.integers(2**62, size=len(units))]).astype(np.int64)

    def _pairs(self, train: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(augment, 2) training samples whose classes differ, agree, or do as they like."""
        if len(train) < 2:
            return np.empty((0, 2), dtype=np.int64)
        label = target[train] if self.mix != "any" else np.zeros(len(train))
        fits = label[:, None] != label if self.mix == "different" else label[:, None] == label
        np.fill_diagonal(fits, val=False)
        able = np.flatnonzero(fits.any(1))
        if not len(able):
            return np.empty((0, 2), dtype=np.int64)
        first = rng.choice(able, self.augment)
        second = [rng.choice(np.flatnonzero(fits[i])) for i in first]
        return np.stack([train[first], train[np.array(second, dtype=np.int64)]], 1)

    def weight(self, units: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(n_units,) weight of the sample; of a mixture that of both, in proportion."""
        share = self.shares(units)
        return (share * weight[units[:, 0]] + (1 - share) * weight[units[:, 1]]).astype(np.float32)

    def target(self, units: np.ndarray, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both labels of (n_units, 3) units, and the share of the first, (n_units,)."""
        first, second = (torch.as_tensor(u, device=target.device) for u in units[:, :2].T)
        share = torch.as_tensor(self.shares(units), device=target.device)
        return target[first], target[torch.where(second < 0, first, second)], share

    def shares(self, units: np.ndarray) -> np.ndarray:
        """(n_units,) lambda; 1 where a sample is drawn alone."""
        mixed = [np.random.default_rng(s).beta(self.alpha, self.alpha) for s in units[:, 2]]
        return np.where(units[:, 1] < 0, 1.0, mixed)

    def batch(self, store: Store, units: np.ndarray) -> Batch:
        """Cells of (n_units, 3) units: drawn without replacement, or mixed in pairs of one type."""
        self._index(store)
        parts = [self._rows(*map(int, unit)) for unit in units]
        lengths = np.array([len(p[0]) for p in parts])
        one, two = (np.concatenate([p[j] for p in parts]) for j in range(2))
        share = torch.as_tensor(np.repeat(self.shares(units), lengths)).to(store.device)
        other = store.rows(two)
        views = {name: torch.lerp(other[name], rows, share.to(rows.dtype)[:, None])
                 for name, rows in store.rows(one).items()}  # fmt: skip
        offsets = torch.as_tensor(np.concatenate([[0], lengths.cumsum()]))
        return Batch(views, Segments.of(offsets, store.device), bag=self._bag(store, units))

    def _bag(self, store: Store, units: np.ndarray) -> dict[str, Tensor]:
        """Columns of both samples, in proportion."""
        mixed = {}
        for name, column in store.bag.items():
            first, second, share = self.target(units, column)
            mixed[name] = torch.lerp(second, first, share.to(column.dtype)[:, None])
        return mixed

    def _index(self, store: Store) -> None:
        """Sort cells by sample and type, once."""
        if self._store is store:
            return
        bag = np.repeat(np.arange(len(store.lengths)), store.lengths)
        kind = np.zeros(len(bag), dtype=np.int64)
        if "group" in store.instance:
            # a type that only validation samples have is beyond the last level
            kind = store.instance["group"].cpu().numpy().clip(max=self.n_types)
        key = bag * (self.n_types + 1) + kind
        self._order = np.argsort(key, kind="stable")
        count = np.bincount(key, minlength=len(store.lengths) * (self.n_types + 1))
        self._count = count.reshape(len(store.lengths), -1)
        self._start = (count.cumsum() - count).reshape(self._count.shape)
        self._offsets, self._lengths, self._store = store.offsets, store.lengths, store

    def _rows(self, first: int, second: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the cells of a unit, and of their partners."""
        rng = np.random.default_rng(seed)
        share = rng.beta(self.alpha, self.alpha)  # the same number as in shares()
        if second < 0:
            n = int(self._lengths[first])
            rows = self._offsets[first] + rng.choice(n, min(n, self.draw), replace=False)
            return rows, rows
        counts = self._count[[first, second]]
        mixed = np.array([share, 1 - share]) @ (counts / counts.sum(1, keepdims=True))
        quota = np.where(mixed > 0, np.maximum(1, np.floor(self.pool * mixed)), 0)
        kind = np.repeat(np.arange(len(quota)), rng.multinomial(self.draw, quota / quota.sum()))
        rows = []
        for own, other in ((0, 1), (1, 0)):
            # a type that this sample lacks is taken from the other
            side = np.where(counts[own, kind] > 0, own, other)
            bag = np.array([first, second])[side]
            place = (rng.random(len(kind)) * counts[side, kind]).astype(np.int64)
            rows.append(self._order[self._start[bag, kind] + place])
        return rows[0], rows[1]


# -------------------------------------------------------------------- the network


class _Net(nn.Module):
    hash: Tensor

    def __init__(self, method: ScRAT, shape: Shape) -> None:
        super().__init__()
        self.draw, self.draws, self.task = method.draw, method.predict_draws, shape.task
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        first: list[nn.Module] = []
        width = shape.x[0]
        if method.embed == "mlp":
            first = [nn.Linear(width, 256), nn.ReLU(), Dropout(method.dropout)]
            width = 256
        self.embed = nn.Sequential(*first, nn.Linear(width, method.width))
        self.block = EncoderBlock(method.width, method.heads, method.hidden, method.dropout)
        self.last = nn.Sequential(
            nn.Linear(method.width, method.width), nn.LayerNorm(method.width), nn.ReLU(),
            Dropout(method.dropout),
        )  # fmt: skip
        self.head, self.beside = shape.task.head(method.width), Beside(shape)
        self.register_buffer("hash", odd_numbers(shape.x))

    def forward(self, batch: Batch) -> Output:
        if not self.training:
            return self._predict(batch)
        h, there = _padded(self.embed(self.scale(batch.x)), batch.segments)
        h = self.block(h, there)
        if there is None:
            z = h.mean(1)
        else:  # the mean is over real cells
            z = (h * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)
        return Output(self.beside(batch, self.head(self.last(z))))

    def _predict(self, batch: Batch) -> Output:
        """Average draws, sample by sample; count the top keys on the way."""
        raw: list[Tensor] = []
        embedding, keys = [], []
        h, code = self.embed(self.scale(batch.x)), content_hash(batch.x, self.hash)
        ends = batch.segments.offsets.tolist()
        constant = self.beside(batch, h.new_zeros(len(ends) - 1, self.task.n_outputs))
        for start, stop in pairwise(ends):
            cells, order = h[start:stop], code[start:stop].argsort()
            z, count = [], order.new_zeros(len(order))
            for sets in self._draws(order):
                out, top = self.block.with_top_keys(cells[sets])
                z.append(self.last(out.mean(1)))
                count.index_add_(0, sets.flatten(), top.flatten())
            every = torch.cat(z)
            said = self.head(every) + constant[len(raw)]
            raw.append(self.task.raw(self.task.values(said).mean(0, keepdim=True)))
            embedding.append(every.mean(0))
            keys.append(count / count.sum())
        top_key = torch.cat(keys).to(h.dtype)
        return Output(torch.cat(raw), instance={"top_key": top_key},
                      bag={"embedding": torch.stack(embedding)})  # fmt: skip

    def _draws(self, order: Tensor) -> Iterator[Tensor]:
        """Positions of the cells of each draw, (n_sets, size), a few sets at a time.

        Windows that go round a fixed shuffle: each draw is one without replacement, and all cells
        are drawn equally often, give or take one.
        """
        n = len(order)
        size = min(n, self.draw)
        n_sets = self.draws if n > size else 1
        at = torch.arange(n_sets * size, device=order.device).view(n_sets, size) % n
        step = max(1, _SCORES // (self.block.heads * size * size))
        yield from order[at].split(step)


def _padded(h: Tensor, segments: Segments) -> tuple[Tensor, Tensor | None]:
    """(n, width) rows as (n_sets, size, width), and which are real; None where all are."""
    lengths = segments.lengths
    size = int(lengths.max())
    if int(lengths.min()) == size:
        return h.view(len(lengths), size, -1), None
    place = torch.arange(len(h), device=h.device) - segments.offsets[:-1][segments.index]
    out = h.new_zeros(len(lengths), size, h.shape[1])
    out = out.index_put((segments.index, place), h)
    return out, torch.arange(size, device=h.device) < lengths[:, None]
