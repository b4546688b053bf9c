"""Losses over genes against loops, closed forms and SciPy."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.stats import pearsonr

from smalti.errors import InputError
from smalti.expression.losses.composite import (
    CompositeLoss,
    PathwayLoss,
    correlation,
    covariance_loss,
    pearson_loss,
    squared_error,
)

B, G = 9, 40


@pytest.fixture
def pair():
    make = torch.Generator().manual_seed(0)
    pred, target = torch.randn(2, B, G, dtype=torch.float64, generator=make)
    return (pred + 3).requires_grad_(), target + 0.5 * pred.detach()


@pytest.fixture
def weights():
    return torch.rand(G, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1


def naive_covariance(pred, target, weights, corr=False):
    make = torch.corrcoef if corr else torch.cov
    gap = make(pred.T) - make(target.T)
    return (weights[:, None] * weights * gap**2).sum() / weights.sum() ** 2


def naive_composite(pred, target, alpha, beta, axis, w):
    """By loops, G x G matrices and NumPy's weighted moments."""
    p, y, v = pred.detach().numpy(), target.numpy(), w.numpy()
    mse = sum(v[g] * (p[b, g] - y[b, g]) ** 2 for b in range(len(p)) for g in range(len(v)))
    mse /= len(p) * v.sum()
    if axis == "gene":
        r = sum(v[g] * pearsonr(p[:, g], y[:, g])[0] for g in range(len(v))) / v.sum()
    else:
        each = [np.cov(p[b], y[b], aweights=v) for b in range(len(p))]
        r = np.mean([c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]) for c in each])
    rest = 1 - alpha - beta
    return alpha * mse + beta * (1 - r) + rest * naive_covariance(pred, target, w).item()


def gradient(loss, leaf):
    return torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize(  # 70: more tiles than genes
    ("tiles", "standardise"), [(2, False), (B, False), (B, True), (70, False), (70, True)]
)
def test_covariance_equals_the_large_matrices(tiles, standardise, weights):
    p, y = torch.randn(2, tiles, G, dtype=torch.float64)
    p.requires_grad_()
    for w in (None, weights):
        ours = covariance_loss(p, y, weights=w, standardise=standardise)
        ref = naive_covariance(p, y, torch.ones(G).double() if w is None else w, standardise)
        torch.testing.assert_close(ours, ref, rtol=1e-9, atol=0)
        torch.testing.assert_close(gradient(ours, p), gradient(ref, p), rtol=1e-6, atol=1e-12)


def test_covariance_in_single_precision(pair):
    p, y = pair
    ref = naive_covariance(p, y, torch.ones(G).double())
    single = p.detach().float().requires_grad_()
    ours = covariance_loss(single, y.float())
    assert ours.dtype == torch.float32
    assert abs(ours.item() / ref.item() - 1) < 1e-5
    gap = gradient(ours, single).double() - gradient(ref, p)
    assert gap.norm() / gradient(naive_covariance(p, y, torch.ones(G).double()), p).norm() < 1e-5


def test_covariance_keeps_its_digits_near_the_optimum(pair):
    p, y = pair
    near = y + 1e-4 * p.detach()
    ref = naive_covariance(near, y, torch.ones(G).double())
    ours = covariance_loss(near.float(), y.float())
    assert abs(float(ours) / float(ref) - 1) < 0.01  # the difference of squares misses by far more
    assert float(covariance_loss(y, y)) == 0


def test_no_gene_by_gene_matrix_is_made():
    p = torch.randn(4, 60_000, requires_grad=True)  # 14 GB if it were
    loss = covariance_loss(p, torch.randn(4, 60_000))
    assert torch.isfinite(gradient(loss, p)).all()


@pytest.mark.parametrize("axis", ["gene", "tile"])
@pytest.mark.parametrize(("alpha", "beta"), [(1, 0), (0, 1), (0, 0), (0.5, 0.3), (0.7, 0.3)])
def test_composite_equals_loops(pair, weights, axis, alpha, beta):
    p, y = pair
    for w in (None, weights):
        ours = CompositeLoss(alpha, beta, axis=axis, weights=w)(p, y)
        ref = naive_composite(p, y, alpha, beta, axis, torch.ones(G).double() if w is None else w)
        assert ours.item() == pytest.approx(ref, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["gene", "tile"])
def test_gradient_is_right(pair, weights, axis):
    p, y = pair[0].detach()[:3].requires_grad_(), pair[1][:3]  # a column of the Jacobian each
    groups = [np.arange(0, G, 3), np.arange(1, G, 3), np.arange(2, G, 3)]
    for given in (None, groups):
        loss = CompositeLoss(0.3, 0.4, axis=axis, weights=weights, groups=given, huber=1.0)
        assert torch.autograd.gradcheck(lambda q, f=loss: f(q, y), (p,))
    loss = CompositeLoss(0, 0.4, standardise=True)
    assert torch.autograd.gradcheck(lambda q: loss(q, y), (p,))


@pytest.mark.parametrize("axis", ["gene", "tile"])
def test_each_group_counts_the_same(pair, weights, axis):
    p, y = pair
    groups = [np.array([3]), np.arange(10, G), np.array([0, 1, 2, 9, 8, 7, 6, 5, 4])]
    if axis == "tile":  # one gene has no correlation over genes
        groups = [np.arange(4), np.arange(10, G), np.arange(4, 10)]
    ours = CompositeLoss(0.3, 0.3, axis=axis, weights=weights, groups=groups)(p, y)
    apart = [CompositeLoss(0.3, 0.3, axis=axis, weights=weights[g])(p[:, g], y[:, g])
             for g in groups]  # fmt: skip
    torch.testing.assert_close(ours, torch.stack(apart).mean())
    together = CompositeLoss(0.3, 0.3, axis=axis, weights=weights)(p, y)
    assert abs((ours - together).item()) > 1e-3


def test_functions_are_the_terms(pair, weights):
    p, y = pair
    terms = CompositeLoss(0.3, 0.3, weights=weights).terms(p, y)
    torch.testing.assert_close(terms["mse"], squared_error(p, y, weights=weights))
    torch.testing.assert_close(terms["pearson"], pearson_loss(p, y, weights=weights))
    torch.testing.assert_close(terms["covariance"], covariance_loss(p, y, weights=weights))
    tile = CompositeLoss(0.3, 0.7, weights=weights, axis="tile").terms(p, y)
    assert set(tile) == {"mse", "pearson"}  # what weighs nothing is not computed
    torch.testing.assert_close(tile["pearson"], pearson_loss(p, y, axis="tile", weights=weights))


def test_huber_is_torch_s(pair):
    p, y = pair
    ref = torch.nn.functional.huber_loss(p, y, delta=0.7)
    torch.testing.assert_close(squared_error(p, y, huber=0.7), ref)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("axis", ["gene", "tile"])
def test_constants_count_as_zero_and_have_no_gradient(pair, dtype, axis):
    p, y = (v.detach().to(dtype) for v in pair)
    line = (slice(None), 3) if axis == "gene" else (3,)
    p[line] = 0.1
    other = (slice(None), 5) if axis == "gene" else (5,)
    y[other] = 7.3
    p.requires_grad_()
    r = correlation(p, y, axis=axis)
    assert r[3] == 0
    assert r[5] == 0
    grad = gradient(1 - r.mean(), p)
    assert torch.isfinite(grad).all()
    assert (grad[line] == 0).all()
    assert (grad[other] == 0).all()
    keep = [i for i in range(len(r)) if i not in (3, 5)]
    assert (r[keep] != 0).all()
    assert np.abs(grad.numpy()).sum() > 0


def test_a_wide_constant_tile():
    p = torch.full((2, 20_001), 0.1)
    p[1] = torch.randn(20_001)
    y = torch.randn(2, 20_001)
    groups = [np.arange(0, 20_001, 2), np.arange(1, 20_001, 2)]
    assert correlation(p, y, axis="tile")[0] == 0
    p.requires_grad_()
    loss = CompositeLoss(0, 1, axis="tile", groups=groups)(p, y)
    assert (gradient(loss, p)[0] == 0).all()


def test_rounding_is_no_signal():
    p = torch.full((8, 3), 5.0)
    p[::2] += 5e-7  # one unit in the last place
    assert (correlation(p, torch.randn(8, 3)) == 0).all()
    small = 1e-12 * torch.randn(8, 3)  # small is not constant
    torch.testing.assert_close(correlation(small, 3 * small + 1e-12), torch.ones(3))


def test_one_tile_has_the_error_only(pair):
    p, y = (v.detach()[:1] for v in pair)
    p.requires_grad_()
    loss = CompositeLoss(0.4, 0.3)(p, y)
    torch.testing.assert_close(loss, 0.4 * squared_error(p, y))
    assert torch.isfinite(gradient(loss, p)).all()
    assert float(covariance_loss(p, y)) == 0
    zero = CompositeLoss(0, 1)(p, y)
    assert zero.item() == 0
    assert (gradient(zero, p) == 0).all()


def test_half_precision_is_raised(pair):
    p, y = (v.detach() for v in pair)
    ref = CompositeLoss(0.4, 0.3)(p.bfloat16().double(), y.float().double()).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = CompositeLoss(0.4, 0.3)(p.bfloat16(), y.float())
    torch.testing.assert_close(ours, ref)


def test_no_buffer_is_saved():
    joint = PathwayLoss(np.eye(4))
    loss = CompositeLoss(weights=np.ones(4), groups=[[0, 1], [2, 3]], pathways=joint)
    assert not loss.state_dict()


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"alpha": 0.8, "beta": 0.3}, "alpha=0.8, beta=0.3"),
        ({"axis": "spot"}, "'spot'"),
        ({"huber": 0}, "huber=0"),
        ({"weights": [1, -1]}, "negative"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"groups": [[0, 1], [1, 2]]}, "exactly one"),
        ({"groups": [[0, 1], []]}, "empty"),
        ({"groups": [[0, 1], [2]], "weights": [1, 1, 0]}, "group 1"),
        ({"groups": [[0, 1], [2]], "weights": [1, 1]}, "weights has 2 genes"),
    ],
)
def test_bad_settings_are_named(settings, culprit):
    with pytest.raises(InputError, match=culprit):
        CompositeLoss(**settings)


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"\(3, 4\), target \(3, 5\)"):
        CompositeLoss()(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(InputError, match="5 genes, pred has 4"):
        CompositeLoss(weights=np.ones(5))(torch.ones(3, 4), torch.ones(3, 4))
    with pytest.raises(InputError, match="no tiles"):
        CompositeLoss()(torch.ones(0, 4), torch.ones(0, 4))


# ------------------------------------------------------------------ pathways


@pytest.fixture
def pathways():
    rng = np.random.default_rng(0)
    table = rng.random((6, G)) * (rng.random((6, G)) < 0.3)
    return table, rng.normal(size=G), rng.random(G) + 0.5, np.array([[0, 1], [2, 5], [0, 3]])


def naive_pathways(p, y, table, mean, sd, pairs, beta, joint):
    scores = []
    for x in (p, y):
        s = np.zeros((len(x), len(table)))
        for k, row in enumerate(table):
            for g in np.flatnonzero(row):
                s[:, k] += row[g] / row.sum() * (x[:, g] - mean[g]) / sd[g]
        scores.append(s)
    a, b = scores
    out = ((a - b) ** 2).mean()
    out += beta * (1 - np.mean([pearsonr(a[:, k], b[:, k])[0] for k in range(len(table))]))
    gaps = [np.cov(a[:, i], a[:, j])[0, 1] - np.cov(b[:, i], b[:, j])[0, 1] for i, j in pairs]
    return out + joint * np.mean(np.square(gaps))


@pytest.mark.slow
def test_pathway_loss_equals_loops(pair, pathways):
    p, y = pair
    table, mean, sd, pairs = pathways
    loss = PathwayLoss(
        sp.csr_array(table), mean=mean, sd=sd, pairs=pairs, beta=0.7, joint=2.0, weight=3.0
    )
    ref = naive_pathways(p.detach().numpy(), y.numpy(), table, mean, sd, pairs, 0.7, 2.0)
    assert loss(p, y).item() == pytest.approx(3 * ref, rel=1e-9)
    assert torch.autograd.gradcheck(lambda q: loss(q, y), (p,))
    whole = CompositeLoss(0.5, 0.5, pathways=loss)(p, y)
    torch.testing.assert_close(whole, CompositeLoss(0.5, 0.5)(p, y) + loss(p, y))


def test_joint_term_sees_what_the_scores_do_not():
    """Two pathways whose scores are right on average but lost their covariance."""
    y = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]]).double()
    p = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]).double()
    table, pairs = np.eye(2), [[0, 1]]
    without = PathwayLoss(table, beta=0)(p, y)
    joint = PathwayLoss(table, pairs=np.array(pairs), beta=0)(p, y)
    assert float(joint - without) == pytest.approx((0 - 4 / 3) ** 2)


def test_pathway_loss_of_one_tile_and_of_constant_genes(pathways):
    table, mean, sd, pairs = pathways
    sd = np.where(np.arange(G) == 2, 0.0, sd)
    loss = PathwayLoss(table, mean=mean, sd=sd, pairs=pairs)
    p, y = torch.randn(2, 5, G)
    p.requires_grad_()
    assert torch.isfinite(gradient(loss(p, y), p)).all()
    assert (gradient(loss(p, y), p)[:, 2] == 0).all()
    torch.testing.assert_close(
        loss(p[:1], y[:1]), (loss.scores(p[:1]) - loss.scores(y[:1])).square().mean()
    )


@pytest.mark.parametrize(
    ("kwargs", "culprit"),
    [
        ({"membership": np.zeros((2, 3))}, "every pathway needs members"),
        ({"membership": np.eye(3), "mean": np.ones(2)}, "not 3"),
        ({"membership": np.eye(3), "pairs": np.array([[0, 3]])}, "pathway 3"),
    ],
)
def test_bad_pathways_are_named(kwargs, culprit):
    with pytest.raises(InputError, match=culprit):
        PathwayLoss(**kwargs)
    with pytest.raises(InputError, match="4 genes, the pathways have 3"):
        PathwayLoss(np.eye(3))(torch.ones(2, 4), torch.ones(2, 4))
