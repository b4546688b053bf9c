"""Segment kernels against a naive loop, forward and gradient, alone and under vmap."""

from itertools import pairwise

import pytest
import torch

from smalti import segment
from smalti.segment import Segments

LENGTHS = {"short": [3, 1, 5, 2], "one": [7], "long": [200, 90, 130], "empty": [3, 0, 4]}


def loop(name, x, offsets):
    parts = [x[a:b] for a, b in pairwise(offsets)]
    zero = torch.zeros_like(x[0])
    if name == "softmax":
        return torch.cat([p.softmax(0) for p in parts])
    how = {
        "total": lambda p: p.sum(0),
        "mean": lambda p: p.mean(0),
        "peak": lambda p: p.amax(0),
        "logsumexp": lambda p: p.logsumexp(0),
    }[name]
    return torch.stack([how(p) if len(p) else zero for p in parts])


def make(lengths, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    x = torch.randn(int(offsets[-1]), width, generator=generator, dtype=torch.float64)
    return x.requires_grad_(), offsets


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("name", ["total", "mean", "peak", "softmax", "logsumexp"])
def test_equals_the_loop_forward_and_backward(name, lengths):
    x, offsets = make(lengths)
    ours = getattr(segment, name)(x, Segments.of(offsets))
    naive = loop(name, x, offsets.tolist())
    torch.testing.assert_close(ours, naive)
    seed = torch.randn_like(naive)
    (one,) = torch.autograd.grad(ours, x, seed)
    (two,) = torch.autograd.grad(naive, x, seed)
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_weighted_total(lengths):
    x, offsets = make(lengths)
    weight = torch.rand(len(x), dtype=torch.float64, requires_grad=True)
    ours = segment.total(x, Segments.of(offsets), weight)
    torch.testing.assert_close(ours, loop("total", x * weight[:, None], offsets.tolist()))
    seed = torch.randn_like(ours)
    grads = torch.autograd.grad(ours, (x, weight), seed)
    naive = torch.autograd.grad(loop("total", x * weight[:, None], offsets.tolist()), (x, weight),
                                seed)  # fmt: skip
    for a, b in zip(grads, naive, strict=True):
        torch.testing.assert_close(a, b)


def test_ties_share_the_gradient_of_a_peak():
    x = torch.tensor([[1.0], [1.0], [0.0]], requires_grad=True)
    segment.peak(x, Segments.of(torch.tensor([0, 3]))).sum().backward()
    assert x.grad.tolist() == [[0.5], [0.5], [0.0]]


def test_softmax_of_huge_scores_is_finite():
    x = torch.tensor([[1e4], [-1e4], [1e4]])
    share = segment.softmax(x, Segments.of(torch.tensor([0, 2, 3])))
    assert share[:, 0].tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("name", ["total", "mean", "peak", "softmax", "logsumexp"])
def test_a_stack_equals_each_alone(name):
    """Different slices in each entry, and rows that belong to none."""
    offsets = torch.tensor([[0, 3, 4, 9], [0, 2, 5, 6], [0, 1, 1, 7]])
    index = torch.stack([segment._index(o, 9) for o in offsets])
    x = torch.randn(3, 9, 4, dtype=torch.float64, requires_grad=True)
    kernel = getattr(segment, name)
    stack = torch.vmap(lambda a, o, i: kernel(a, Segments(o, i)))(x, offsets, index)
    for f in range(3):
        n = int(offsets[f, -1])
        alone = kernel(x[f, :n], Segments.of(offsets[f]))
        torch.testing.assert_close(stack[f, : len(alone)], alone)
        seed = torch.randn_like(alone)
        (one,) = torch.autograd.grad(stack[f, : len(alone)], x, seed, retain_graph=True)
        (two,) = torch.autograd.grad(alone, x, seed)
        torch.testing.assert_close(one, two)
