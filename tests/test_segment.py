"""Segment kernels against a naive loop, forward and gradient."""

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


REDUCTIONS = ["total", "mean", "peak", "logsumexp"]


def test_index_and_lengths_follow_from_offsets():
    segments = Segments.of(torch.tensor([0, 2, 2, 5]))
    assert segments.index.tolist() == [0, 0, 2, 2, 2]
    assert segments.lengths.tolist() == [2, 0, 3]
    told = Segments.of(segments.offsets, 5)  # the number of rows said, not read
    assert told.index.tolist() == segments.index.tolist()


@pytest.mark.parametrize("lengths", [[3, 1, 2], [5], [2, 0, 3], [0, 70]], ids=str)
@pytest.mark.parametrize("name", [*REDUCTIONS, "softmax"])
def test_gradcheck(name, lengths):
    x, offsets = make(lengths, width=2, seed=1)
    segments = Segments.of(offsets)
    assert torch.autograd.gradcheck(lambda a: getattr(segment, name)(a, segments), x)


@pytest.mark.parametrize("lengths", [[2, 0, 3], [130]], ids=["spread", "by_slice"])
def test_gradcheck_of_the_weighted_total(lengths):
    """Both ways backward: a spread copy for short slices, a product per slice for long ones."""
    x, offsets = make(lengths, width=2, seed=2)
    weight = torch.linspace(-1, 2, len(x), dtype=torch.float64, requires_grad=True)
    segments = Segments.of(offsets)
    assert torch.autograd.gradcheck(lambda a, w: segment.total(a, segments, w), (x, weight))


@pytest.mark.parametrize("name", ["total", "mean", "peak", "logsumexp", "softmax"])
def test_an_empty_slice_is_zero_and_disturbs_no_other(name):
    x, _ = make([5])
    kernel = getattr(segment, name)
    full = kernel(x, Segments.of(torch.tensor([0, 2, 5])))
    holed = kernel(x, Segments.of(torch.tensor([0, 0, 2, 2, 5, 5])))
    if name == "softmax":
        torch.testing.assert_close(holed, full)
    else:
        torch.testing.assert_close(holed[[1, 3]], full)
        assert (holed[[0, 2, 4]] == 0).all()
    (grad,) = torch.autograd.grad(holed.square().sum(), x)
    assert grad.isfinite().all()


@pytest.mark.parametrize("name", [*REDUCTIONS, "softmax"])
def test_one_slice_is_the_plain_reduction(name):
    x, offsets = make([6])
    plain = {
        "total": x.sum(0, keepdim=True),
        "mean": x.mean(0, keepdim=True),
        "peak": x.amax(0, keepdim=True),
        "logsumexp": x.logsumexp(0, keepdim=True),
        "softmax": x.softmax(0),
    }[name]
    torch.testing.assert_close(getattr(segment, name)(x, Segments.of(offsets)), plain)


@pytest.mark.parametrize("name", [*REDUCTIONS, "softmax"])
def test_the_order_within_a_slice_does_not_matter(name):
    x, offsets = make([4, 1, 6], seed=3)
    generator = torch.Generator().manual_seed(0)
    order = torch.cat(
        [a + torch.randperm(b - a, generator=generator) for a, b in pairwise(offsets.tolist())]
    )
    assert (order != torch.arange(len(order))).any()
    segments, kernel = Segments.of(offsets), getattr(segment, name)
    before, after = kernel(x, segments), kernel(x[order], segments)
    torch.testing.assert_close(after, before[order] if name == "softmax" else before)


def test_the_order_of_slices_is_the_order_of_results():
    x, offsets = make([4, 1, 6], seed=4)
    parts = [x[a:b] for a, b in pairwise(offsets.tolist())]
    turned = Segments.of(torch.tensor([0, 6, 10, 11]))
    for name in REDUCTIONS:
        kernel = getattr(segment, name)
        torch.testing.assert_close(
            kernel(torch.cat([parts[i] for i in (2, 0, 1)]), turned),
            kernel(x, Segments.of(offsets))[[2, 0, 1]],
        )


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_logsumexp_of_far_scores_is_exact(shift):
    x, offsets = make([3, 4])
    segments = Segments.of(offsets)
    torch.testing.assert_close(
        segment.logsumexp(x + shift, segments), segment.logsumexp(x, segments) + shift
    )


def test_attend_is_the_weighted_mean_forward_and_backward():
    torch.manual_seed(0)
    offsets = torch.tensor([0, 3, 4, 4, 9])
    parts = Segments.of(offsets)
    for width in (1, 3, 20):
        inputs = [torch.randn(9, width, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        found = segment.attend(*inputs, parts)
        want = segment.total(segment.softmax(inputs[0], parts) * inputs[1], parts)
        torch.testing.assert_close(found, want)
        assert torch.autograd.gradcheck(lambda s, v: segment.attend(s, v, parts), inputs)
