"""Layers that join tiles, genes and nuclei, against naive loops."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smalti.core.noise import drawn_from
from smalti.errors import InputError
from smalti.expression.deep_association.nuclei_fusion import NucleiFusion
from smalti.expression.deep_association.prompter import Prompter, PromptRound
from smalti.expression.sgn.sage import HeteroSAGE
from smalti.expression.sgn.words import GeneTower
from smalti.nn.gene_graph import GeneGraphAttention, nearest_genes
from smalti.nn.window_graph import Neighbours, feature_edges, near_edges
from smalti.segment import Segments
from smalti.solve.nearest import nearest_columns

D = torch.float64


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random(*shape):
    return torch.randn(*shape, dtype=D)


def shaken(module):
    """In double precision, with no weight at 0, 1 or the identity, where terms could hide."""
    module = module.double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return module


def cut(*lengths):
    return Segments.of(torch.tensor([0, *np.cumsum(lengths)]))


def same(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=atol)


def linear(layer, x):
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


def norm(layer, x):
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias


def attention(ask, key, value, heads, there=None):
    """One query (w,) over keys and values (p, w), by loops: the result and its weights (p,)."""
    part, out, weights = len(ask) // heads, [], []
    for h in range(heads):
        s = slice(h * part, (h + 1) * part)
        score = torch.stack([ask[s] @ k[s] / part**0.5 for k in key])
        if there is not None:
            score[~there] = -torch.inf
        a = score.exp() / score.exp().sum()
        out.append(sum(a[p] * value[p, s] for p in range(len(key))))
        weights.append(a)
    return torch.cat(out), torch.stack(weights).mean(0)


# ---------------------------------------------------------------- nearest, graphs


def test_nearest_columns_by_sorting_in_python():
    apart = torch.randint(0, 4, (50, 12), dtype=D)  # ties everywhere
    apart[torch.rand(50, 12) < 0.4] = torch.inf
    apart[7] = torch.inf
    for k in (1, 3, 12, 20):
        row, column, place = nearest_columns(apart, k)
        ref = []
        for i, line in enumerate(apart.tolist()):
            ok = sorted((v, j) for j, v in enumerate(line) if v < np.inf)[:k]
            ref += [(i, j, p) for p, (_, j) in enumerate(ok)]
        assert list(zip(row.tolist(), column.tolist(), place.tolist(), strict=True)) == ref
    assert all(len(x) == 0 for x in nearest_columns(torch.zeros(0, 3), 2))


def naive_near(xy, lengths, radius, k):
    edges, start = [], 0
    for n in lengths:
        here = xy[start : start + n].numpy()
        gap = [[np.hypot(*(a - b)) for b in here] for a in here]
        least = [min(g for j, g in enumerate(gap[i]) if j != i) for i in range(n) if n > 1]
        pitch = np.median(least) if n > 1 else 1.0
        reach = radius if radius is not None else pitch * 2**0.5 * (1 + 1e-3)
        for i in range(n):
            found = [(round(gap[i][j] / pitch * 1e6), *here[j], start + j)
                     for j in range(n) if j != i and gap[i][j] <= reach]  # fmt: skip
            edges.append([f[-1] for f in sorted(found)[:k]])
        start += n
    return edges


def lists(edges):
    ends = edges.offsets.tolist()
    return [edges.index[a:b].tolist() for a, b in itertools.pairwise(ends)]


def square(side, step):
    a = torch.arange(side, dtype=D) * step
    return torch.cartesian_prod(a, a)


def hexagons(side, step):
    xy = square(side, 1.0)
    return torch.stack([xy[:, 0] + 0.5 * (xy[:, 1] % 2), xy[:, 1] * 0.75**0.5], 1) * step


@pytest.mark.parametrize(("radius", "k"), [(None, 5), (None, 8), (150.0, 3), (1e9, 4), (0.0, 5)])
def test_near_edges_equal_a_loop(radius, k):
    slides = [square(5, 112.0), hexagons(4, 100.0), random(30, 2) * 500, random(1, 2), random(2, 2)]
    xy = torch.cat([s[torch.randperm(len(s))] for s in slides])
    lengths = [len(s) for s in slides]
    got = near_edges(xy, cut(*lengths), radius=radius, k=k)
    assert lists(got) == naive_near(xy, lengths, radius, k)


def test_near_edges_of_grids():
    inner = lists(near_edges(square(5, 112.0), cut(25)))[12]
    assert inner[:4] == [7, 11, 13, 17]  # the four at one pitch, then the leftmost corner
    assert inner[4] == 6
    counts = near_edges(square(5, 112.0), cut(25), k=8).degrees.view(5, 5)
    assert (counts[1:-1, 1:-1] == 8).all()  # one ring within sqrt(2)
    assert counts[0, 0] == 3
    ring = near_edges(hexagons(7, 55.0), cut(49), k=8).degrees.view(7, 7)
    assert (ring[1:-1, 1:-1] == 6).all()  # the second ring is sqrt(3) away
    both = near_edges(torch.cat([square(3, 1.0), square(3, 900.0)]), cut(9, 9))
    assert lists(both)[9:] == [[i + 9 for i in e] for e in lists(both)[:9]]  # each its own pitch


@pytest.mark.parametrize("kind", [near_edges, feature_edges])
def test_edges_follow_the_tiles_and_not_their_order(kind):
    x = square(6, 80.0) + 13.7 if kind is near_edges else random(36, 7)
    ref = lists(kind(x, cut(36)))
    for _ in range(5):
        order = torch.randperm(36)
        got = lists(kind(x[order], cut(36)))
        for new, old in enumerate(order.tolist()):
            assert [order[j].item() for j in got[new]] == ref[old]
    other = random(20, x.shape[1])  # another slide changes nothing
    assert lists(kind(torch.cat([other, x]), cut(20, 36)))[20:] == [
        [j + 20 for j in e] for e in ref
    ]
    assert lists(kind(x.float(), cut(36))) == ref


def test_feature_edges_equal_a_loop():
    lengths = [1, 2, 4, 40]
    x = random(47, 9) + 50
    x[10:14] = x[9]  # copies
    ref, start = [], 0
    for n in lengths:
        for i in range(start, start + n):
            found = [(float((x[i] - x[j]).square().sum().round(decimals=9)), float(x[j].sum()), j)
                     for j in range(start, start + n) if j != i]  # fmt: skip
            ref.append([j for *_, j in sorted(found)[:5]])
        start += n
    assert lists(feature_edges(x, cut(*lengths))) == ref
    alike = random(40, 9)  # beside a common part their differences are small
    alike = (alike * 2**12).round() / 2**12
    assert lists(feature_edges(alike + 2.0**30, cut(40))) == lists(feature_edges(alike, cut(40)))


@pytest.mark.parametrize("n", [1, 2, 500])
def test_blocks_do_not_show(n, monkeypatch):
    xy = random(n, 2)
    whole = near_edges(xy, cut(n)), feature_edges(xy, cut(n))
    monkeypatch.setattr("smalti.solve.nearest.BLOCK", 1300)
    for a, b in zip(whole, (near_edges(xy, cut(n)), feature_edges(xy, cut(n))), strict=True):
        assert lists(a) == lists(b)


def test_edges_reject_what_makes_no_graph():
    with pytest.raises(InputError, match="finite"):
        near_edges(torch.tensor([[0.0, torch.nan]]), cut(1))
    with pytest.raises(InputError, match="at least 1"):
        near_edges(random(3, 2), cut(3), k=0)
    with pytest.raises(InputError, match="radius"):
        near_edges(random(3, 2), cut(3), radius=-1.0)
    with pytest.raises(InputError, match="at least 1"):
        feature_edges(random(3, 2), cut(3), k=0)


def test_mean_over_neighbours_and_its_gradient():
    xy = torch.cat([random(30, 2), random(1, 2) + 9])
    edges = near_edges(xy, cut(30, 1), k=4)
    x = random(31, 6).requires_grad_()
    ref = torch.stack([sum(x[j] for j in near) / len(near) if near else 0 * x[0]
                       for near in lists(edges)])  # fmt: skip
    assert min(map(len, lists(edges))) == 0
    same(edges.mean(x), ref)
    pull = random(31, 6)
    same(*(torch.autograd.grad((m * pull).sum(), x)[0] for m in (edges.mean(x), ref)))
    assert torch.autograd.gradcheck(edges.mean, x)
    empty = near_edges(random(1, 2), cut(1))
    same(empty.mean(x[:1]), torch.zeros(1, 6, dtype=D))


def test_sage_equals_a_layer_per_kind():
    n, w = 24, 8
    kinds = [near_edges(square(4, 1.0).repeat(2, 1)[:n], cut(16, 8)),
             feature_edges(random(n, 3), cut(16, 8), k=3)]  # fmt: skip
    layer = shaken(HeteroSAGE(w))
    h = random(n, w).requires_grad_()
    # W^self_r and b_r of each kind, any that have the layer's as their mean
    own, bias = random(w, w), random(w)
    selves = [(layer.own.weight + own, layer.own.bias + bias),
              (layer.own.weight - own, layer.own.bias - bias)]  # fmt: skip
    rows = []
    for i in range(n):
        parts = []
        for (w_self, b), lin, edges in zip(selves, layer.kinds, kinds, strict=True):
            near = lists(edges)[i]
            heard = sum(h[j] for j in near) / len(near) if near else torch.zeros(w, dtype=D)
            parts.append(w_self @ h[i] + b + lin.weight @ heard)
        rows.append(sum(parts) / 2)
    got, ref = layer(h, kinds), torch.stack(rows)
    same(got, ref)
    same(*(torch.autograd.grad(o.square().sum(), h)[0] for o in (got, ref)), atol=1e-10)
    with pytest.raises(ValueError, match="shorter"):
        layer(h, kinds[:1])
    assert layer.float()(h.float(), kinds).dtype == torch.float32


# ---------------------------------------------------------------- gene tower


def texts(*lengths, width=6):
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    n = int(offsets[-1])
    return random(n, width), offsets, torch.randint(0, 7, (n,))


def naive_tower(tower, tokens, segment):
    """One gene, a row at a time."""
    words = linear(tower.project, tokens[: tower.max_tokens].to(D))
    slots = segment[: tower.max_tokens].clamp(max=4)
    h = torch.cat([tower.extra, words + tower.segment[slots]])
    for block in tower.blocks:
        seen = norm(block.norm1, h)
        key, value = linear(block.key_value, seen).chunk(2, 1)
        mixed = torch.stack([attention(q, key, value, block.heads)[0]
                             for q in linear(block.query, seen)])  # fmt: skip
        h = h + block.scale1 * linear(block.mix, mixed)
        fed = linear(block.second, F.gelu(linear(block.first, norm(block.norm2, h))))
        h = h + block.scale2 * fed
    out = linear(tower.out, norm(tower.norm, h[0]))
    return out[:-1] / out[:-1].norm(), out[-1]


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1, 20, 2**15])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_tower_equals_a_gene_at_a_time(budget, layers):
    tower = shaken(GeneTower(6, 8, layers=layers, heads=2, max_tokens=7, budget=budget))
    tokens, offsets, segment = texts(3, 1, 9, 3, 7, 2, 8)  # two are cut
    v, b = tower(tokens, offsets, segment)
    for g in range(7):
        part = slice(offsets[g], offsets[g + 1])
        ref_v, ref_b = naive_tower(tower, tokens[part], segment[part])
        same(v[g], ref_v)
        same(b[g], ref_b)
        alone = tower(tokens[part], offsets[g : g + 2] - offsets[g], segment[part])
        same(v[g], alone[0][0])
        same(b[g], alone[1][0])
    same(v.norm(dim=1), torch.ones(7, dtype=D))


def test_tower_gradient_equals_the_loop():
    tower = shaken(GeneTower(6, 8, heads=2, budget=20))
    tokens, offsets, segment = texts(3, 1, 9, 3)
    pull = random(4, 8)
    v, b = tower(tokens, offsets, segment)
    got = torch.autograd.grad((v * pull).sum() + b.sum(), list(tower.parameters()))
    parts = [naive_tower(tower, tokens[s:e], segment[s:e])
             for s, e in itertools.pairwise(offsets)]  # fmt: skip
    total = sum((p[0] * q).sum() + p[1] for p, q in zip(parts, pull, strict=True))
    for a, b in zip(got, torch.autograd.grad(total, list(tower.parameters())), strict=True):
        same(a, b, atol=1e-10)


def test_tower_of_vectors_and_its_laws():
    tower = shaken(GeneTower(6, 8, heads=2))
    x = random(5, 6)
    ends = torch.arange(6)
    same(tower(x)[0], tower(x, ends, torch.zeros(5, dtype=torch.int64))[0])
    tokens, offsets, _ = texts(6, 4)
    order = torch.cat([torch.randperm(6), 6 + torch.randperm(4)])
    same(tower(tokens, offsets)[0], tower(tokens[order], offsets)[0])  # no positions
    half = tower.float()(tokens.half(), offsets)[0]
    assert half.dtype == torch.float32
    v, b = tower(tokens[:0].float(), offsets[:1])
    assert v.shape == (0, 8)
    assert b.shape == (0,)
    fresh = GeneTower(6, 8)
    assert not fresh.segment.any()
    assert all((block.scale1 == 0.1).all() for block in fresh.blocks)
    with pytest.raises(InputError, match="multiple"):
        GeneTower(6, 10)


@pytest.mark.parametrize(("genes", "budget"), [(500, 1000), (500, 2**15), (64, 2**15), (1, 5)])
def test_tower_chunks_waste_little(genes, budget):
    tower = GeneTower(6, 8, budget=budget)
    size = torch.randint(5, 115, (genes,))
    order = size.argsort(stable=True)
    chunks = list(tower._chunks(order, size))
    assert torch.equal(torch.cat(chunks), order)
    padded = [len(c) * (int(size[c[-1]]) + 2) for c in chunks]
    assert genes == 1 or max(padded) <= budget
    assert sum(padded) < 1.3 * int((size + 2).sum())
    assert len(chunks) <= max(8, 2 * sum(padded) / budget)


def test_tower_dropout_draws_from_the_fit_alone():
    tower = GeneTower(6, 8, dropout=0.5).train()
    tokens, offsets, _ = texts(3, 5)
    state, outs = torch.get_rng_state(), []
    for _ in range(2):
        with drawn_from(torch.Generator().manual_seed(3)):
            outs.append(tower(tokens, offsets)[0])
    assert torch.equal(*outs)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(outs[0], tower.eval()(tokens, offsets)[0])


# ---------------------------------------------------------------- gene graph


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_nearest_genes_equal_a_loop(dtype, monkeypatch):
    bank = random(40, 5)
    bank[20:30] = 2 * bank[10:20]  # the same directions
    query = torch.cat([bank[:25], random(6, 5)])
    exclude = torch.cat([torch.arange(25), torch.full((6,), -1)])
    unit, ask = bank / bank.norm(dim=1, keepdim=True), query / query.norm(dim=1, keepdim=True)
    for own in (None, exclude):
        ref = []
        for i in range(31):
            found = sorted((-round(float(ask[i] @ unit[j]), 6), j) for j in range(40)
                           if own is None or j != own[i])  # fmt: skip
            ref.append([j for _, j in found[:7]])
        for block in (2**22, 90):
            monkeypatch.setattr("smalti.solve.nearest.BLOCK", block)
            assert nearest_genes(query.to(dtype), bank.to(dtype), 7, own).tolist() == ref


def test_nearest_genes_of_a_small_bank():
    bank = torch.eye(3, dtype=D)
    got = nearest_genes(bank, bank, 4, torch.arange(3))
    assert got.tolist() == [[1, 2, -1, -1], [0, 2, -1, -1], [0, 1, -1, -1]]
    with pytest.raises(InputError, match="at least 1"):
        nearest_genes(bank, bank, 0)


def dense_reference(layer, v, bank, allowed):
    """All g x m logits, those that are not ``allowed`` (g, m) masked out."""
    mine, theirs = (linear(layer.key, x).unflatten(1, (layer.heads, -1)) for x in (v, bank))
    pair = torch.cat([mine[:, None].expand(-1, len(bank), -1, -1),
                      theirs[None].expand(len(v), -1, -1, -1)], 3)  # fmt: skip
    score = (pair * torch.cat([layer.listen, layer.speak], 1)).sum(3)
    score = torch.where(score > 0, score, 0.2 * score)
    mass = score.exp() * allowed[..., None]
    weight = mass / mass.sum(1, keepdim=True).clamp(min=1e-300)  # (g, m, heads)
    message = torch.einsum("gmh,mhd->ghd", weight, theirs).flatten(1)
    return v + torch.tanh(linear(layer.gate, message)) * linear(layer.value, v), weight


@pytest.mark.parametrize("block", [5, 2048])
@pytest.mark.parametrize("apart", [False, True])
def test_graph_attention_equals_dense_attention(block, apart):
    layer = shaken(GeneGraphAttention(8, heads=2, block=block))
    v = random(23, 8).requires_grad_()
    bank = random(30, 8).requires_grad_() if apart else None
    spoken = v if bank is None else bank
    near = nearest_genes(v, spoken, 6, None if apart else torch.arange(23))
    near[3] = -1  # hears nobody
    near[4, 2:] = -1
    allowed = torch.zeros(23, len(spoken), dtype=torch.bool)
    for c in range(23):
        allowed[c, near[c][near[c] >= 0]] = True
    out, weight = layer(v, near, bank)
    ref, dense = dense_reference(layer, v, spoken, allowed)
    same(out, ref)
    assert weight.shape == (23, 6, 2)
    for c in range(23):
        for j, k in enumerate(near[c].tolist()):
            same(weight[c, j], dense[c, k] if k >= 0 else torch.zeros(2, dtype=D))
    same(out[3], v[3])
    leaves = [v, *layer.parameters()] + ([bank] if apart else [])
    for a, b in zip(*(torch.autograd.grad(o.sin().sum(), leaves) for o in (out, ref)), strict=True):
        same(a, b, atol=1e-10)


def test_graph_attention_starts_as_the_published_update():
    layer = GeneGraphAttention(8).double()
    v = random(9, 8)
    near = nearest_genes(v, v, 3, torch.arange(9))
    out, weight = layer(v, near)
    wv = linear(layer.key, v).view(9, 4, 2)
    for c in range(9):
        heard = sum(weight[c, j][:, None] * wv[k] for j, k in enumerate(near[c].tolist()))
        same(out[c], v[c] + torch.tanh(heard.flatten()) * v[c])
    assert layer.float()(v.float(), near)[0].dtype == torch.float32
    with pytest.raises(InputError, match="multiple"):
        GeneGraphAttention(9)


# ---------------------------------------------------------------- prompter


def naive_context(look, z, lengths):
    out, start = [], 0
    for n in lengths:
        tiles = norm(look.tile_norm, z[start : start + n])
        tokens = []
        for q in look.ask:
            score = torch.stack([q @ linear(look.tile_key, t) / len(q) ** 0.5 for t in tiles])
            a = score.exp() / score.exp().sum()
            tokens.append(sum(a[i] * linear(look.tile_value, t) for i, t in enumerate(tiles)))
        out.append(torch.stack(tokens))
        start += n
    return torch.stack(out)


def naive_round(look, v, context):
    """``v`` (n_slides, g, width), by slide and gene."""
    out = torch.zeros_like(v)
    for s, tokens in enumerate(context):
        key, value = linear(look.key_value, norm(look.context_norm, tokens)).chunk(2, 1)
        for c, gene in enumerate(v[s]):
            ask = linear(look.query, norm(look.gene_norm, gene))
            heard = linear(look.mix, attention(ask, key, value, look.heads)[0])
            gate = linear(look.gate, torch.cat([gene, heard]))
            out[s, c] = gene + heard / (1 + (-gate).exp())
    return out


@pytest.mark.parametrize("rounds", [1, 3])
def test_prompter_equals_loops(rounds):
    lengths = [5, 1, 8]
    module = shaken(Prompter(8, n_context=3, rounds=rounds, heads=2))
    v, z = random(6, 8).requires_grad_(), random(14, 8).requires_grad_()
    ref = v.expand(3, -1, -1)
    for look in module.rounds:
        context = naive_context(look, z, lengths)
        same(look.context(z, cut(*lengths)), context)
        ref = naive_round(look, ref, context)
    got = module(v, z, cut(*lengths))
    same(got, ref)
    leaves = [v, z, *module.parameters()]
    for a, b in zip(*(torch.autograd.grad(o.sin().sum(), leaves) for o in (got, ref)), strict=True):
        same(a, b, atol=1e-10)


def test_prompter_sees_its_own_slide_alone_and_can_be_cut():
    module = shaken(Prompter(8, heads=2))
    v, z = random(6, 8), random(14, 8)
    base = module(v, z, cut(5, 9))
    other = torch.cat([z[:5], random(9, 8)])
    moved = module(v, other, cut(5, 9))
    assert torch.equal(moved[0], base[0])
    assert (moved[1] - base[1]).abs().amax(1).min() > 1e-3  # each gene heard of it
    order = torch.cat([torch.randperm(5), 5 + torch.randperm(9)])
    same(module(v, z[order], cut(5, 9)), base)
    same(module(v, z[5:], cut(9))[0], base[1])
    module.enabled = False
    for tiles in (z, other):
        assert torch.equal(module(v, tiles, cut(5, 9)), v.expand(2, 6, 8))
    module.enabled = True
    hollow = module(v, z, cut(5, 0, 9))  # a slide without tiles
    assert hollow.isfinite().all()
    same(hollow[[0, 2]], base)


def test_prompter_starts_near_the_text():
    look = PromptRound(16)
    assert (look.gate.bias == -2).all()
    v = F.normalize(torch.randn(50, 16), dim=1)
    context = look.context(torch.randn(30, 16), cut(30))
    out = look(v, context)
    assert out.dtype == torch.float32
    look.gate.bias.data.fill_(50.0)  # open
    assert (out - v).norm() < 0.2 * (look(v, context) - v).norm()
    with pytest.raises(InputError, match="multiple"):
        PromptRound(10)


# ---------------------------------------------------------------- nuclei


@pytest.mark.parametrize("masked", [False, True])
def test_fusion_equals_attention_over_tokens(masked):
    n, w, grid, channels = 7, 8, 3, 4
    layer = shaken(NucleiFusion(w, grid, channels, heads=2))
    z, x = random(n, w).requires_grad_(), random(n, grid * grid * channels)
    there = torch.rand(n, 9) < 0.5 if masked else None
    if masked:
        there[2] = False  # no nuclei at all
    got, weight = layer(z, x, there)
    rows, weights = [], []
    for i in range(n):
        tokens = [linear(layer.cell, x[i, p * channels : (p + 1) * channels]) + layer.position[p]
                  for p in range(9)]  # fmt: skip
        tokens = torch.stack([*tokens, layer.null])
        ok = None if there is None else torch.cat([there[i], torch.ones(1, dtype=torch.bool)])
        ask = linear(layer.query, norm(layer.norm, z[i]))
        key, value = linear(layer.key, tokens), linear(layer.value, tokens)
        heard, a = attention(ask, key, value, 2, ok)
        rows.append(z[i] + torch.tanh(layer.gate) * linear(layer.mix, heard))
        weights.append(a)
    ref = torch.stack(rows)
    same(got, ref)
    same(weight, torch.stack(weights))
    same(weight.sum(1), torch.ones(n, dtype=D))
    if masked:
        assert weight[2].tolist() == [0.0] * 9 + [1.0]
        assert not weight[:, :-1][~there].any()
    leaves = [z, *layer.parameters()]
    for a, b in zip(*(torch.autograd.grad(o.sin().sum(), leaves) for o in (got, ref)), strict=True):
        assert a.isfinite().all()
        same(a, b, atol=1e-10)


def test_fusion_starts_as_the_tile_alone_and_can_learn():
    layer = NucleiFusion(8, 4, 2)
    z, x = torch.randn(5, 8), torch.randn(5, 32)
    out, weight = layer(z, x)
    assert torch.equal(out, z)
    assert weight.shape == (5, 17)
    out.square().sum().backward()
    assert layer.gate.grad.abs().min() > 0
    unseen = torch.zeros(5, 16, dtype=torch.bool)
    layer.gate.data.fill_(1.0)
    a, b = layer(z, x, unseen)[0], layer(z, x + 1, unseen)[0]
    assert torch.equal(a, b)  # cells without nuclei are not looked at
    with pytest.raises(InputError, match="multiple"):
        NucleiFusion(10, 4, 2)


def test_neighbours_both_ways():
    edges = Neighbours.of(torch.tensor([0, 0, 2]), torch.tensor([2, 1, 0]), 3)
    assert lists(edges) == [[2, 1], [], [0]]
    ends = edges.back_offsets.tolist()
    assert [edges.back_index[a:b].tolist() for a, b in itertools.pairwise(ends)] == [
        [2], [0], [0]]  # fmt: skip
