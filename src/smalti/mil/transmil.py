"""TransMIL: a transformer over the instances of a bag, laid out in a square."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Part, Positive, Weight
from smalti.errors import InputError
from smalti.mil.base import NetworkMethod
from smalti.nn import Dropout, Standardize, encoder
from smalti.nn.order import in_order

_TOKENS = 2**15  # that a prediction reads at a time


class TransMIL(NetworkMethod):
    """A class token among the instances, two layers of attention, convolutions between them.

    The n encoded instances of a bag fill a square of side s = ceil(sqrt(n)), row by row; the first
    s^2 - n of them are there again at its end. With a class token before them,

        t <- t + A(LN(t)),   t <- P(t),   t <- t + A(LN(t)),

    and the head reads LN of the class token. P leaves that token as it is and adds to each place of
    the square three convolutions, of 7 x 7, 5 x 5 and 3 x 3 places, each unit by itself: it tells
    places apart. A is attention of several heads by the method of Nystrom (Xiong et al. 2021): of
    queries Q, keys K and values V, and with Q~ and K~ the means of m stretches of them (landmarks),

        A = S(Q K~') S(Q~ K~')^+ S(Q~ K') V + C(V),   S softmax of the rows, Q over sqrt(d),

    the inverse after Moore and Penrose by the iteration Z <- Z (13 - B (15 - B (7 - B))) / 4,
    B = S(Q~ K~') Z, and C a convolution along the sequence, one for each head. Time and memory
    grow with n m, not with n^2. A bag of no more tokens than landmarks needs none: its attention is
    S(Q K') V + C(V).

    ``attention`` of an instance is that of the class token in the last layer, mean over the heads;
    of those that are in the square twice both, of negative ones, which the approximation makes, 0;
    and all such that a bag has 1. It says where the network looked, not in which direction.

    Notes
    -----
    What stands side by side in the square matters, and so does their order. Where the training
    bags say where instances lie (columns ``x_um`` and ``y_um``, or ``x_px`` and ``y_px``), they
    stand in reading order of their slide: a neighbour in a row of the square is one in the tissue.
    One above is not, as the square is not as wide as the tissue: so the paper has it, which wraps
    the tiles as a file lists them. Elsewhere, and with ``by_place=False``, they stand by the sum of
    their standardised features, so that like is beside like and a landmark stands for something. No
    order of a file matters in either way.

    Bags of one side make one tensor, and none is padded. The authors pad the sequence with zeros to
    a multiple of m, which attention then reads; here stretches are as equal as can be, and share a
    token where m does not divide n + 1. They start the inverse from a number over all heads, here
    each has its own. They train by Lookahead and RAdam.
    """

    name: ClassVar[str] = "transmil"
    reference: ClassVar[str] = (
        "Shao et al. (2021). TransMIL: Transformer based correlated multiple instance learning for "
        "whole slide image classification. NeurIPS. arXiv:2106.00908"
    )
    cite: ClassVar[tuple[str, ...]] = ("shao2021", "xiong2021")

    heads: Count = 8  # of the attention; they share the units of an encoded instance
    landmarks: Count = 256  # m, of the attention
    iterations: Count = 6  # of the inverse
    reach: Count = 33  # tokens of the convolution along the sequence; an odd number
    by_place: bool = True  # tiles in reading order where bags say where they lie; else by content
    widths: tuple[Count, ...] = (512,)  # units of the layers of the "mlp" encoder
    dropout: Part = 0.1  # probability, after the attention of each layer
    lr: Positive = 2e-4  # learning rate
    weight_decay: Weight = 1e-5  # L2 penalty
    batch_size: Count = 1  # bags in a step
    max_instances: Count = 20_000  # instances in a step; at 512 units each takes some 60 kB

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, attention, convolutions, attention, head."""
        if self.reach % 2 == 0:
            raise InputError(f"reach={self.reach} must be odd, to reach as far to either side.")
        return _Net(self, shape)

    @classmethod
    def example(cls) -> TransMIL:
        """A tiny one, of fewer landmarks than most bags have instances."""
        return cls(heads=2, landmarks=8, reach=5, widths=(16,), epochs=30, lr=0.005, batch_size=8)


class _Net(nn.Module):
    def __init__(self, method: TransMIL, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, 0.0)
        if width % method.heads:
            raise InputError(
                f"heads={method.heads} must share the {width} units of an encoded instance: take "
                "a number that divides them, or other widths."
            )
        self.token = nn.Parameter(torch.randn(width))
        self.first, self.last = (_Layer(width, method) for _ in range(2))
        self.places = _Places(width)
        self.norm = nn.LayerNorm(width)
        self.head = shape.task.head(width)

    def forward(self, batch: Batch) -> Output:
        x, segments = self.scale(batch.x), batch.segments
        h = self.encoder(x)  # (n, width)
        rows = in_order(segments, *self._keys(x, batch))
        sides = (segments.lengths - 1).double().sqrt().floor().long() + 1  # ceil(sqrt(n)), exactly
        z, attention = h.new_zeros(len(sides), h.shape[1]), h.new_zeros(len(h))
        for side in sides.unique().tolist():
            alike = (sides == side).nonzero()[:, 0]
            some = len(alike) if self.training else max(1, _TOKENS // side**2)
            for bags in alike.split(some):
                place = torch.arange(side**2, device=h.device) % segments.lengths[bags][:, None]
                at = rows[segments.offsets[bags][:, None] + place]  # (k, side^2)
                square = h.index_select(0, at.flatten()).unflatten(0, at.shape)
                tokens = torch.cat([self.token.expand(len(at), 1, -1).to(h), square], 1)
                tokens = self.places(self.first(tokens), side)
                z = z.index_copy(0, bags, self.norm(self.last(tokens, 1)[:, 0]).to(h))
                if not self.training:
                    looked = self.last.looked(tokens).to(h)
                    attention.index_add_(0, at.flatten(), looked.flatten())
        raw = self.head(z)
        if self.training:
            return Output(raw)
        whole = segment.total(attention[:, None], segments)[:, 0]
        return Output(raw, instance={"attention": attention / whole[segments.index]},
                      bag={"embedding": z})  # fmt: skip

    def _keys(self, x: Tensor, batch: Batch) -> list[Tensor]:
        """What instances (n, ...) are ordered by, (n,) each."""
        place = [batch.instance["place"]] if "place" in batch.instance else []
        return [*place, x.detach().flatten(1).sum(1, dtype=torch.float64)]


class _Places(nn.Module):
    """t + the sum of three convolutions of the square, unit by unit; the class token as it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seven, self.five, self.three = (
            nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in (7, 5, 3)
        )

    def forward(self, tokens: Tensor, side: int) -> Tensor:
        """(n_bags, 1 + side^2, width) to the same."""
        # a sum of convolutions is one, of the sum of their kernels
        five, three = F.pad(self.five.weight, [1] * 4), F.pad(self.three.weight, [2] * 4)
        kernel = self.seven.weight + five + three
        bias = sum(c.bias for c in (self.seven, self.five, self.three) if c.bias is not None)
        assert isinstance(bias, Tensor)
        square = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        moved = F.conv2d(square, kernel, bias, padding=3, groups=len(bias))
        return torch.cat([tokens[:, :1], tokens[:, 1:] + moved.flatten(2).transpose(1, 2)], 1)


class _Layer(nn.Module):
    """t + A(LN(t))."""

    def __init__(self, width: int, method: TransMIL) -> None:
        super().__init__()
        self.heads, self.landmarks, self.steps = method.heads, method.landmarks, method.iterations
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        reach = method.reach
        self.along = nn.Conv2d(self.heads, self.heads, (reach, 1), padding=(reach // 2, 0),
                               groups=self.heads, bias=False)  # fmt: skip
        self.out = nn.Sequential(nn.Linear(width, width), Dropout(method.dropout))

    def forward(self, tokens: Tensor, first: int | None = None) -> Tensor:
        """(n_bags, n, width) to the same, or of the first tokens only."""
        q, k, v = self._queries_keys_values(tokens)
        n, asked = q.shape[2], q[:, :, :first]
        if n <= self.landmarks:
            read = F.scaled_dot_product_attention(asked, k, v, scale=1.0)
        else:
            q_mean, k_mean = _stretches(q, self.landmarks), _stretches(k, self.landmarks)
            told = F.scaled_dot_product_attention(q_mean, k, v, scale=1.0)  # S(Q~ K') V
            told = self._inverse(q_mean, k_mean, told)
            read = F.scaled_dot_product_attention(asked, k_mean, told, scale=1.0)
        near = v[:, :, : asked.shape[2] + self.along.kernel_size[0] // 2]  # all that reaches them
        read = (read + self.along(near)[:, :, : asked.shape[2]]).transpose(1, 2).flatten(2)
        return tokens[:, :first] + self.out(read)

    def looked(self, tokens: Tensor) -> Tensor:
        """(n_bags, n, width) to (n_bags, n - 1): what the class token reads of each other."""
        q, k, _ = self._queries_keys_values(tokens)
        own = q[:, :, :1]
        if q.shape[2] <= self.landmarks:
            share = (own @ k.transpose(2, 3)).softmax(3)
        else:
            q_mean, k_mean = _stretches(q, self.landmarks), _stretches(k, self.landmarks)
            told = (q_mean @ k.transpose(2, 3)).softmax(3)  # S(Q~ K')
            share = (own @ k_mean.transpose(2, 3)).softmax(3)
            share = share @ self._inverse(q_mean, k_mean, told)
        return share[:, :, 0, 1:].mean(1).clamp(min=1e-12)  # that a bag has 1 to share whatever

    def _queries_keys_values(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(n_bags, heads, n, width / heads) each, the queries over the root of their width."""
        parts = self.query_key_value(self.norm(tokens)).unflatten(2, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        return q * q.shape[3] ** -0.5, k, v

    def _inverse(self, q: Tensor, k: Tensor, told: Tensor) -> Tensor:
        """S(q k')^+ told, of landmarks (n_bags, heads, m, d) and (n_bags, heads, m, ...)."""
        with torch.autocast(q.device.type, enabled=False):  # the iteration needs all digits
            wide = torch.promote_types(q.dtype, torch.float32)
            middle = (q.to(wide) @ k.to(wide).transpose(2, 3)).softmax(3)
            return (pseudo_inverse(middle, self.steps) @ told.to(wide)).to(told.dtype)


def pseudo_inverse(a: Tensor, iterations: int) -> Tensor:
    """The inverse of matrices (..., m, m) after Moore and Penrose, by an iteration of third order.

    It begins at a' / (largest sum of a row x largest sum of a column), each matrix by itself.
    """
    sizes = a.abs().sum(-1).amax(-1) * a.abs().sum(-2).amax(-1)
    z = a.transpose(-1, -2) / sizes[..., None, None]
    one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    for _ in range(iterations):
        b = a @ z
        z = z @ (13 * one - b @ (15 * one - b @ (7 * one - b))) / 4
    return z


def _stretches(x: Tensor, m: int) -> Tensor:
    """Means of m stretches of the tokens: (n_bags, heads, n, d) to (n_bags, heads, m, d)."""
    means = F.adaptive_avg_pool1d(x.transpose(2, 3).flatten(0, 1), m)
    return means.unflatten(0, x.shape[:2]).transpose(2, 3)
