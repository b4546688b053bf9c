"""Segment kernels against a naive loop, forward and gradient."""

import math
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


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_ranks_are_those_of_each_slice_alone(lengths):
    x, offsets = make(lengths)
    x = x.detach().round(decimals=0)  # with ties, which keep their order
    wanted = []
    for a, b in pairwise(offsets.tolist()):
        for k in range(a, b):
            above = x[a:b] > x[k]
            before = (x[a:k] == x[k]).sum(0)
            wanted.append(above.sum(0) + before)
    assert torch.equal(segment.ranks(x, Segments.of(offsets)), torch.stack(wanted))


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
    assert segments.pieces is None  # no slice is long


def test_long_slices_are_cut_into_pieces_from_their_own_start():
    rows, slices, many = Segments.of(torch.tensor([0, 3, 3, 163, 400])).pieces
    assert rows.tolist() == [0, 3, 83, 163, 243, 323, 400]
    assert slices.tolist() == [0, 1, 1, 3, 6]
    assert not many  # pieces of a slice: float64 from 81
    assert Segments.of(torch.tensor([0, 6401])).pieces[2]


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
    for width, columns in ((1, 1), (3, 3), (20, 20), (3, 1)):  # a column of scores serves all
        inputs = [torch.randn(9, w, dtype=torch.float64, requires_grad=True)
                  for w in (columns, width)]  # fmt: skip
        found = segment.attend(*inputs, parts)
        want = segment.total(segment.softmax(inputs[0], parts) * inputs[1], parts)
        torch.testing.assert_close(found, want)
        assert torch.autograd.gradcheck(lambda s, v: segment.attend(s, v, parts), inputs)


@pytest.mark.parametrize("n", [0, 1, 90, 700, 7000])
def test_a_slice_alone_is_as_among_others(n):
    torch.manual_seed(0)
    scores, values = torch.randn(n + 2, 1), torch.randn(n + 2, 3)
    alone, among = Segments.of(torch.tensor([0, n])), Segments.of(torch.tensor([0, n, n + 2]))
    for kernel in (lambda s, v, p: segment.softmax(s, p), segment.attend):
        found = []
        for rows, parts in ((n, alone), (n + 2, among)):
            s, v = (t[:rows].clone().requires_grad_() for t in (scores, values))
            out = kernel(s, v, parts)[: n if kernel is not segment.attend else 1]
            grads = torch.autograd.grad(out.square().sum(), (s, v), materialize_grads=True)
            found.append((out, *(g[:n] for g in grads)))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b)


N = 300_000  # rows of a long slice, between two short ones


def long_rows(n):
    """Scores (n + 5, 1) of which naive float32 sums lose most, values about 10, float64."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.full((n + 5, 1), -10.0, dtype=torch.float64)  # beside a sum of 100 exp is lost
    scores[:102] = 0.0
    values = 10 + torch.randn(n + 5, 1, generator=generator, dtype=torch.float64)
    return scores.float().double(), values.float().double(), torch.tensor([0, 2, n + 2, n + 5])


LONG = {
    "total": lambda s, v, parts: segment.total(v, parts),
    "weighted": lambda s, v, parts: segment.total(v, parts, s.exp()[:, 0]),
    "mean": lambda s, v, parts: segment.mean(v, parts),
    "softmax": lambda s, v, parts: segment.softmax(s, parts),
    "attention": lambda s, v, parts: segment.total(v, parts, segment.softmax(s, parts)[:, 0]),
    "attend": lambda s, v, parts: segment.attend(s, v, parts),
    "logsumexp": lambda s, v, parts: segment.logsumexp(s, parts),
}


def off_by(name, n):
    """Errors of the outcome and of the gradients in float32, as shares of the largest sizes."""
    scores, values, offsets = long_rows(n)
    found = []
    for kind in (torch.float64, torch.float32):
        inputs = [t.to(kind).requires_grad_() for t in (scores, values)]
        out = LONG[name](*inputs, Segments.of(offsets))
        seed = torch.randn(len(out), 1, generator=torch.Generator().manual_seed(1)).to(kind)
        found.append([out, *torch.autograd.grad(out, inputs, seed, materialize_grads=True)])
    return [
        ((b.double() - a).abs().max() / a.abs().max().clamp(min=1e-30)).item()
        for a, b in zip(*found, strict=True)
    ]


@pytest.mark.parametrize("name", LONG)
def test_long_slices_are_summed_to_the_last_digits(name):
    assert max(off_by(name, N)) < 2e-6  # row by row in float32: 1e-4 to 1e-2


@pytest.mark.slow  # tables of ten million rows
@pytest.mark.parametrize("name", LONG)
def test_ten_million_rows_are_summed_to_the_last_digits(name):
    assert max(off_by(name, 10_000_000)) < 1e-5


@pytest.mark.parametrize("n", [6_000, 7_000])
@pytest.mark.parametrize("least", [0.7, 2**-24.1])
def test_the_worst_of_rows_is_within_the_bound(n, least):
    """Equal rows, whose roundings all go one way, and a first row that swallows the others."""
    x = torch.full((n, 2), least)
    x[0] = max(least, 1.0)
    found = segment.total(x, Segments.of(torch.tensor([0, n])))
    torch.testing.assert_close(found[0].double(), x.double().sum(0), rtol=1e-5, atol=0)


def test_a_product_over_rows_is_summed_to_the_last_digits():
    a, b = torch.full((N, 2), 0.7), torch.linspace(0, 1, N)[:, None]
    torch.testing.assert_close(segment.product(a, b).double(), a.double().T @ b.double(),
                               rtol=5e-6, atol=0)  # fmt: skip
    torch.testing.assert_close(segment.product(a[:9], b[:9]), a[:9].T @ b[:9])
    assert segment.product(a[:0], b[:0]).tolist() == [[0.0], [0.0]]


def test_a_sum_is_the_same_bits_in_any_batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3_000, 5, generator=generator)
    all_ = segment.total(x, Segments.of(torch.tensor([0, 70, 1_000, 3_000])))
    for i, (a, b) in enumerate([(0, 70), (70, 1_000), (1_000, 3_000)]):
        assert torch.equal(segment.total(x[a:b], Segments.of(torch.tensor([0, b - a])))[0], all_[i])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_sums_of_16_bits_are_not_in_16_bits(kind):
    n = 70_000
    x = torch.full((n, 1), 10.0, dtype=kind, requires_grad=True)
    parts = Segments.of(torch.tensor([0, n]))
    assert segment.mean(x, parts).item() == 10.0  # the sum is beyond float16
    assert segment.attend(torch.zeros_like(x), x, parts).item() == pytest.approx(10.0, rel=0.01)
    assert segment.softmax(x, parts).float().sum().item() == pytest.approx(1.0, rel=0.02)
    assert segment.logsumexp(x, parts).item() == pytest.approx(10 + math.log(n), rel=0.01)
    (grad,) = torch.autograd.grad(segment.peak(x, parts), x)
    assert grad.dtype == kind
    assert grad.float().sum().item() == pytest.approx(1.0, rel=0.02)
