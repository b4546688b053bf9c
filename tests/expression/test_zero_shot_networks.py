"""SGN, Deep Association and the ensemble over genes: their equations, and a law to find."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import smalti as sm
from smalti.datasets.programmes import planted_programmes
from smalti.errors import InputError
from smalti.expression.deep_association import DeepAssociation
from smalti.expression.deep_association import method as deep_association
from smalti.expression.deep_association import net as deep_net
from smalti.expression.deep_association.alignment import alignment
from smalti.expression.sgn.method import SGN
from smalti.expression.zero_shot_network import NetworkZeroShot, SlideGenes
from smalti.scores.expression_metrics import pearson_slides

SMALL = {
    "sgn": {"width": 16, "layers": 2, "gene_width": 16, "text_layers": 1, "epochs": 3,
            "lr": 5e-3, "genes_per_step": 5},
    "deep_association": {"width": 16, "hidden": 16, "rounds": 1, "context": 4, "near": 3,
                         "epochs": 3, "lr": 5e-3, "genes_per_step": 5, "dropout": 0.0},
}  # fmt: skip


def make(name, **settings):
    x = {} if name == "total_count" else {"x": "X_planted"}
    return sm.make(name, progress=False, accelerator="cpu", **x, **settings)


def small(name, **settings):
    return make(name, **(SMALL[name] | settings))


@pytest.fixture(scope="module")
def few():
    """Three slides, and the genes to see and not to see."""
    bags, vectors = planted_programmes(3, 25, n_genes=20)
    return bags, vectors, vectors.names[:14], vectors.names[14:]


@pytest.fixture(scope="module")
def nuclei_model(few):
    bags, vectors, seen, _ = few
    return small("deep_association", vectors=vectors, genes=seen, epochs=20).fit(bags)


def batch_of(model, bags, slides):
    """What a network reads of some slides."""
    return model._store(model._read_new(bags), torch.device("cpu")).batch(np.asarray(slides))


def table_of(model, names):
    return model.gene_table(tuple(names), torch.device("cpu"))


def with_view(bags, **views):
    return dataclasses.replace(bags, x={**bags.x, **views})


# ---------------------------------------------------------------- the loss of a step


def by_hand(scaled, wanted, huber):
    """Mean error plus half of 1 - mean Pearson over the tiles of a slide."""
    gap = np.abs(scaled - wanted)
    error = gap**2
    if huber is not None:
        error = np.where(gap < huber, gap**2 / 2, huber * (gap - huber / 2))
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(scaled.T, wanted.T, strict=True)]
    return error.mean() + 0.5 * (1 - np.mean(r))


@pytest.mark.parametrize("huber", [None, 0.7])
def test_the_loss_is_of_the_genes_that_were_drawn(few, monkeypatch, huber):
    bags, vectors, seen, _ = few
    drawn, steps = [], []
    batch, loss = SlideGenes.batch, NetworkZeroShot.loss

    def spy_batch(self, store, units):
        drawn.append(units[0].copy())
        return batch(self, store, units)

    def spy_loss(self, task, output, target):
        value = loss(self, task, output, target)
        steps.append((output.extra["scaled"].detach().numpy().copy(), target.numpy().copy(),
                      value.item()))  # fmt: skip
        return value

    monkeypatch.setattr(SlideGenes, "batch", spy_batch)
    monkeypatch.setattr(NetworkZeroShot, "loss", spy_loss)
    model = small("sgn", vectors=vectors, genes=seen, epochs=2, huber=huber).fit(bags)
    y = model.measured(bags).astype(np.float64)
    assert len(steps) == len(drawn) == 6  # a step a slide, twice
    assert sorted(u[0] for u in drawn[:3]) == [0, 1, 2]
    told = 0
    for units, (scaled, target, value) in zip(drawn, steps, strict=True):
        slide, genes = units[0], units[1:]
        assert len(set(genes)) == 5
        own = y[bags.index == slide]
        np.testing.assert_allclose(target, own[:, genes], rtol=1e-6)
        z = (y - y.mean()) / y.std()
        z = z[bags.index == slide]
        assert value == pytest.approx(by_hand(scaled, z[:, genes], huber), rel=1e-4)
        # the released code compared with the first columns: another number
        told += value != pytest.approx(by_hand(scaled, z[:, :5], huber), rel=1e-3)
    assert told == 6


def test_the_genes_of_a_step_keep_their_vectors(few):
    """What the network reads of a drawn gene, and what it is compared with, are of one gene."""
    bags, vectors, seen, _ = few
    model = small("sgn", vectors=vectors, genes=seen, epochs=1).fit(bags)
    sampler = SlideGenes(table_of(model, seen), bags.offsets, 5)
    store = model._store(model._read_new(bags), torch.device("cpu"))
    units = sampler.epoch(np.arange(3), None, store, np.random.default_rng(0))
    for unit in units:
        genes = sampler.batch(store, unit[None]).genes
        np.testing.assert_array_equal(genes.x.numpy(), vectors.x[unit[1:]])
        np.testing.assert_array_equal(genes.own.numpy(), unit[1:])
        words = [vectors.tokens[vectors.offsets[g] : vectors.offsets[g + 1]] for g in unit[1:]]
        np.testing.assert_array_equal(genes.words.numpy(), np.concatenate(words))
    all_units = np.concatenate([sampler.epoch(np.arange(3), None, None, np.random.default_rng(s))
                                for s in range(20)])  # fmt: skip
    assert set(all_units[:, 1:].ravel()) == set(range(14))  # none is never drawn


def test_the_scale_of_expression_is_one_pair_of_numbers(few):
    bags, vectors, seen, _ = few
    model = small("sgn", vectors=vectors, genes=seen, epochs=1).fit(bags)
    y = model.measured(bags)
    assert model.network_.expression.center.item() == pytest.approx(y.mean(), rel=1e-5)
    assert model.network_.expression.spread.item() == pytest.approx(y.std(), rel=1e-5)


# ---------------------------------------------------------------- SGN


def test_sgn_is_a_product_of_a_tile_and_a_gene(few):
    bags, vectors, seen, unseen = few
    model = small("sgn", vectors=vectors, genes=seen).fit(bags)
    network = model.network_.eval()
    with torch.no_grad():
        v, b = network.genes(table_of(model, unseen))
        for slide in range(3):
            batch = batch_of(model, bags, [slide])
            h = network.first(network.scale(batch.x))
            for layer in network.graph:
                h = F.leaky_relu(layer(h, network.edges(batch)), 0.2)
            z = network.last(h)
            y = network.expression.center + network.expression.spread * (z @ v.T + b)
            np.testing.assert_allclose(
                model.predict(bags, unseen)[bags.index == slide], y, atol=2e-5
            )
    np.testing.assert_allclose(torch.linalg.vector_norm(v, dim=1), 1, atol=1e-5)
    assert v.std(0).max() > 1e-3  # not one vector for all
    assert b.std() > 1e-4


def test_sgn_sees_its_neighbours_in_place_and_in_looks(few):
    bags, vectors, seen, unseen = few
    moved = bags.table("X_planted").copy()
    moved[12] += 3  # the middle of the first slide
    other = with_view(bags, X_planted=moved)
    reach = {}
    for near, alike in ((0, 0), (4, 0), (0, 3)):
        model = small("sgn", vectors=vectors, genes=seen, layers=1, near=near, alike=alike)
        model.fit(bags)
        gap = np.abs(model.predict(other, unseen) - model.predict(bags, unseen)).max(1)
        reach[near, alike] = np.flatnonzero(gap > 1e-5)
    np.testing.assert_array_equal(reach[0, 0], [12])
    np.testing.assert_array_equal(reach[4, 0], [7, 11, 12, 13, 17])
    assert 12 in reach[0, 3]
    assert len(reach[0, 3]) > 1
    assert reach[0, 3].max() < 25  # no other slide


def test_edges_that_are_kept_equal_edges_that_are_found_anew(few, monkeypatch):
    bags, vectors, seen, unseen = few
    kept = small("sgn", vectors=vectors, genes=seen).fit(bags)
    monkeypatch.setattr(SGN, "plan", NetworkZeroShot.plan)
    anew = small("sgn", vectors=vectors, genes=seen).fit(bags)
    for name, value in kept.network_.state_dict().items():
        torch.testing.assert_close(value, anew.network_.state_dict()[name], msg=name)
    np.testing.assert_allclose(kept.predict(bags, unseen), anew.predict(bags, unseen), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 7])
@pytest.mark.parametrize("name", ["sgn", "deep_association"])
def test_killed_and_resumed_equals_uninterrupted(few, killed_and_resumed, name, step):
    bags, vectors, seen, _ = few
    more = {"dropout": 0.2, "vectors": vectors, "genes": seen, "epochs": 4}
    killed_and_resumed(lambda: small(name, **more), bags, step)


# ---------------------------------------------------------------- Deep Association: the image


@pytest.mark.slow
def test_genes_change_with_the_slide(few):
    bags, vectors, seen, unseen = few
    shown = {}
    for rounds in (0, 1, 3):
        model = small("deep_association", vectors=vectors, genes=seen, rounds=rounds).fit(bags)
        network = model.network_.eval()
        with torch.no_grad():
            genes = network.genes(table_of(model, unseen))
            batches = [batch_of(model, b, [0]) for b in (bags, changed_tiles(bags))]
            v = [network.refined(genes, network.tiles(b), b.segments)[0] for b in batches]
        moved = (v[0] - v[1]).norm(dim=1) / v[0].norm(dim=1)
        shown[rounds] = moved
    assert shown[0].max() == 0
    assert shown[1].min() > 1e-3  # every unseen gene
    assert shown[3].min() > 1e-3


def changed_tiles(bags):
    """All tiles of the first slide but its first look otherwise."""
    x = bags.table("X_planted").copy()
    x[1:25] = x[1:25][:, ::-1] * 2
    return with_view(bags, X_planted=x)


def test_a_prediction_knows_the_slide_by_the_prompts_alone(few):
    """The first tile stays as it is; only through the genes can the others reach it."""
    bags, vectors, seen, unseen = few
    reached = {}
    for preset in ("", ":no_prompts"):
        own = SMALL["deep_association"] | {"vectors": vectors, "genes": seen}
        if preset:
            del own["rounds"]
        model = make("deep_association" + preset, **own).fit(bags)
        gap = model.predict(changed_tiles(bags), unseen) - model.predict(bags, unseen)
        reached[preset] = np.abs(gap[0]).max()
        assert np.abs(gap[25:]).max() < 1e-5  # the slides beside it
    assert reached[""] > 1e-3
    assert reached[":no_prompts"] < 1e-5


def test_a_cut_branch_is_told_apart(few):
    """As above, on one fitted model: what the test of the branch measures is the branch."""
    bags, vectors, seen, unseen = few
    model = small("deep_association", vectors=vectors, genes=seen).fit(bags)
    open_ = model.predict(bags, unseen)
    model.network_.prompter.enabled = False
    cut = model.predict(bags, unseen)
    assert np.abs(open_ - cut).max() > 1e-3
    gap = model.predict(changed_tiles(bags), unseen) - cut
    assert np.abs(gap[0]).max() < 1e-5


# ---------------------------------------------------------------- Deep Association: its parts

PARTS = {"no_nuclei": ["fusion"], "no_prompts": ["prompter"], "no_graph": ["graph"],
         "no_alignment": [], "towers": ["fusion", "prompter", "graph"]}  # fmt: skip


# each is off by default: what it needs beside, and the module that it brings
SWITCHES = {"refined_edges": None, "all_genes": None, "local_prompts": "local", "words": "reader"}


def parts_of(model):
    return {n.partition(".")[0] for n, _ in model.network_.named_parameters()}


@pytest.mark.parametrize("preset", PARTS)
def test_presets_switch_their_part_off(few, monkeypatch, preset):
    bags, vectors, seen, _ = few
    assert set(DeepAssociation.presets) == set(PARTS) | set(SWITCHES)
    own = {k: v for k, v in SMALL["deep_association"].items()
           if k not in DeepAssociation.presets[preset]}  # fmt: skip
    calls, penalties = [], []
    monkeypatch.setattr(deep_association, "alignment",
                        lambda *a: calls.append(1) or alignment(*a))  # fmt: skip
    loss = NetworkZeroShot.loss

    def spy(self, task, output, target):
        penalties.append(output.extra["penalty"].item())
        return loss(self, task, output, target)

    monkeypatch.setattr(NetworkZeroShot, "loss", spy)
    model = make(f"deep_association:{preset}", vectors=vectors, genes=seen, **own).fit(bags)
    whole = {"straight", "curved", "fusion", "project", "prompter", "graph", "bias"}
    assert parts_of(model) == whole - set(PARTS[preset])
    aligned = preset not in ("no_alignment", "towers")
    assert bool(calls) == aligned
    assert (max(penalties) > 0) == (aligned)
    assert len(penalties) == 9  # three epochs of three slides


def test_no_graph_means_that_neighbours_do_not_matter(few):
    bags, vectors, seen, unseen = few
    # other seen vectors, the same asked: with a graph the neighbours of the unseen gene change
    x = vectors.x.copy()
    x[:14] *= -1
    other = dataclasses.replace(vectors, x=x, tokens=None, offsets=None)
    for near, same in ((0, True), (3, False)):
        model = small("deep_association", vectors=vectors, genes=seen, near=near).fit(bags)
        before = model.predict(bags, unseen)
        model.vectors_ = other
        assert np.allclose(model.predict(bags, unseen), before, atol=1e-5) == same


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_the_penalty_is_how_far_genes_are_moved(few, keep):
    bags, vectors, seen, _ = few
    model = small("deep_association", vectors=vectors, genes=seen, keep=keep).fit(bags)
    network, batch = model.network_.train(), batch_of(model, bags, [1])
    batch.genes = table_of(model, seen).take(torch.tensor([2, 5, 7]))
    with torch.no_grad():
        penalty = network(batch).extra["penalty"]
        drawn = network.genes(batch.genes)
        v = network.refined(drawn, network.tiles(batch), batch.segments)[0]
    wanted = keep * np.mean((v.numpy() - drawn["v"].numpy()) ** 2)
    assert penalty.item() == pytest.approx(wanted, rel=1e-5)
    assert (penalty.item() > 0) == (keep > 0)
    batch.genes = network.eval().genes(table_of(model, seen))
    with torch.no_grad():
        assert "penalty" not in network(batch).extra


def test_a_seen_gene_is_not_its_own_neighbour(few, nuclei_model):
    _, vectors, seen, unseen = few
    network = nuclei_model.network_
    assert not (network.near == torch.arange(14)[:, None]).any()
    placed = vectors.x[:14] / np.linalg.norm(vectors.x[:14], axis=1, keepdims=True)
    about = placed - placed.mean(0)
    about /= np.linalg.norm(about, axis=1, keepdims=True)
    alike = about @ about.T - 9 * np.eye(14)
    np.testing.assert_array_equal(network.near, np.argsort(-alike, axis=1)[:, :3])
    # nor when it is asked for among others, in another order
    names = (unseen[0], seen[9], seen[2])
    with torch.no_grad():
        genes = network.genes(table_of(nuclei_model, names))
        bank = network.project(network.placed(torch.as_tensor(vectors.x[:14])))
    for row, own in ((1, 9), (2, 2)):
        heard = genes["bank"][genes["near"][row]]
        torch.testing.assert_close(heard, bank[network.near[own]])


def test_the_prediction_is_a_product_of_tile_and_gene(few, nuclei_model):
    bags, _, _, unseen = few
    network = nuclei_model.network_.eval()
    batch = batch_of(nuclei_model, bags, [2])
    with torch.no_grad():
        z = network.tiles(batch)
        v = network.refined(network.genes(table_of(nuclei_model, unseen)), z, batch.segments)[0]
        y = z @ v.T / 4 + network.bias(v)[:, 0]  # a width of 16
        y = network.expression.center + network.expression.spread * y
    found = nuclei_model.predict(bags, unseen)[bags.index == 2]
    np.testing.assert_allclose(found, y, atol=2e-5)


# ---------------------------------------------------------------- Deep Association: its switches


def switched(few, preset, **settings):
    """A model with one switch, fitted for long enough that what starts at 0 has moved."""
    bags, vectors, seen, _ = few
    given = DeepAssociation.presets[preset] if preset else {}
    return small("deep_association", vectors=vectors, genes=seen, **(given | settings)).fit(bags)


@pytest.mark.slow
@pytest.mark.parametrize("preset", SWITCHES)
def test_switches_bring_their_part_and_change_the_answer(few, preset):
    bags, _, _, unseen = few
    plain, model = switched(few, ""), switched(few, preset)
    brought = {SWITCHES[preset]} - {None}
    assert parts_of(model) == parts_of(plain) | brought
    assert np.abs(model.predict(bags, unseen) - plain.predict(bags, unseen)).max() > 1e-4
    default = DeepAssociation()
    assert all(getattr(default, k) != v for k, v in DeepAssociation.presets[preset].items())


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"bank": "all"}, {"edges": "refined", "rounds": 2},
                                  {"bank": "all", "edges": "refined"},
                                  {"edges": "refined", "rounds": 0},
                                  {"text": "words", "local": 8}], ids=str)  # fmt: skip
def test_a_gene_alone_is_that_gene_among_others(few, tmp_path, more):
    bags, _, seen, unseen = few
    model = switched(few, "", **more)
    together = model.predict(bags, unseen)
    for j, gene in enumerate(unseen):
        np.testing.assert_allclose(model.predict(bags, [gene])[:, 0], together[:, j], atol=1e-4)
    mixed = (unseen[2], seen[1], unseen[0])
    out = model.predict(bags, mixed)
    np.testing.assert_allclose(out[:, [0, 2]], together[:, [2, 0]], atol=1e-4)
    np.testing.assert_allclose(out[:, 1], model.predict(bags)[:, 1], atol=1e-4)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(sm.load(tmp_path / "model").predict(bags, mixed), out)


def test_unseen_genes_hear_each_other_through_the_table_alone(few):
    """With bank="all" the vector of another unseen gene matters, asked for or not."""
    bags, vectors, _, unseen = few
    x = vectors.x.copy()
    x[15:] = x[15:] * 0.5 + 0.5 * x[14]  # all other unseen genes nearer to the first
    other = dataclasses.replace(vectors, x=x)
    for bank in ("seen", "all"):
        model = switched(few, "", bank=bank)
        before = model.predict(bags, unseen[:1])
        model.vectors_ = other
        moved = np.abs(model.predict(bags, unseen[:1]) - before).max()
        assert (moved > 1e-4) == (bank == "all")


def test_a_gene_of_the_table_is_not_its_own_neighbour(few):
    _, vectors, seen, unseen = few
    model = switched(few, "all_genes")
    table = table_of(model, (unseen[3], seen[2], unseen[0]))
    assert table.own.tolist()[1] == 2
    assert len(table.seen) == 20
    np.testing.assert_array_equal(table.seen.x[:14], vectors.x[:14])
    np.testing.assert_array_equal(table.x, table.seen.x[table.own])
    placed = model.network_.placed(table.seen.x)
    placed = placed / placed.norm(dim=1, keepdim=True)
    alike = placed @ placed.T - 9 * torch.eye(20)
    genes = model.network_.eval().genes(table)
    with torch.no_grad():
        bank = model.network_.meaning(table.seen)
    for row, own in enumerate(table.own):
        best = alike[own].topk(3).indices
        torch.testing.assert_close(genes["bank"][genes["near"][row]], bank[best])


def test_refined_edges_are_built_anew_in_every_round(few, monkeypatch):
    """Each round links the genes as that slide and that round have made them."""
    bags, _, _, unseen = few
    model = switched(few, "refined_edges", rounds=2)
    net, calls = model.network_.eval(), []
    find = deep_net.nearest_genes
    monkeypatch.setattr(deep_net, "nearest_genes",
                        lambda *a: calls.append((a, find(*a))) or calls[-1][1])  # fmt: skip
    batch = batch_of(model, bags, [0, 1])
    with torch.no_grad():
        z = net.tiles(batch)
        genes = net.genes(table_of(model, unseen))
        calls.clear()
        found = net.refined(genes, z, batch.segments)
        out = torch.cat([genes["v"], genes["bank"]]).expand(2, -1, -1)
        for i, look in enumerate(net.prompter.rounds):
            out = look(out, look.context(z, batch.segments))
            heard = []
            for s, slide in enumerate(out):
                (query, bank, k, own), near = calls[2 * i + s]
                torch.testing.assert_close(query, slide)
                torch.testing.assert_close(bank, slide[6:])
                assert k == 3
                assert own.tolist() == [-1] * 6 + list(range(14))
                heard.append(net.graph(slide, near, slide[6:])[0])
            out = torch.stack(heard)
    assert len(calls) == 4  # two rounds of two slides
    torch.testing.assert_close(found, out[:, :6])
    assert not torch.equal(calls[0][1], calls[2][1])  # and rounds do not agree


def test_local_prompts_hear_the_ring_of_a_tile_alone(few):
    bags, _, _, unseen = few
    moved = bags.table("X_planted").copy()
    moved[12] += 3  # the middle of the first slide of 5 x 5
    other = with_view(bags, X_planted=moved)
    reach = {}
    for local in (0, 8):
        model = switched(few, "", local=local, rounds=0, nuclei="off")
        gap = np.abs(model.predict(other, unseen) - model.predict(bags, unseen)).max(1)
        reach[local] = np.flatnonzero(gap > 1e-5)
    np.testing.assert_array_equal(reach[0], [12])
    np.testing.assert_array_equal(reach[8], [6, 7, 8, 11, 12, 13, 16, 17, 18])


def test_local_prompts_are_genes_of_each_tile(few):
    """The product that is made, against genes that are made for every tile."""
    bags, _, _, unseen = few
    model = switched(few, "local_prompts")
    net, batch = model.network_.eval(), batch_of(model, bags, [1])
    with torch.no_grad():
        z = net.tiles(batch)
        v = net.refined(net.genes(table_of(model, unseen)), z, batch.segments)[0]
        own = net.local(z, net._around(batch))[:, None] * v  # (n, g, width)
        y = (own * z[:, None]).sum(2) / 4 + net.bias(own)[..., 0]
        y = net.expression.center + net.expression.spread * y
    np.testing.assert_allclose(model.predict(bags, unseen)[bags.index == 1], y, atol=2e-5)


def test_words_are_read_by_attention(few):
    _, vectors, _, unseen = few
    model = switched(few, "words")
    net, table = model.network_.eval(), table_of(model, unseen)
    with torch.no_grad():
        plain = net.project(net.placed(table.x))
        found = net.meaning(table) - plain
        for j, g in enumerate(range(14, 20)):
            own = torch.as_tensor(vectors.tokens[vectors.offsets[g] : vectors.offsets[g + 1]])
            own = F.layer_norm(own.float(), own.shape[1:])
            weight, value = net.reader.ask(own).softmax(0), net.reader.value(own)
            heads = [weight[:, h] @ value[:, 4 * h : 4 * h + 4] for h in range(4)]
            torch.testing.assert_close(found[j], net.reader.mix(torch.cat(heads)), atol=1e-5,
                                       rtol=1e-4)  # fmt: skip
    assert found.abs().max() > 1e-4


def test_switches_that_lack_what_they_need(few):
    bags, vectors, seen, _ = few
    bare = dataclasses.replace(vectors, tokens=None, offsets=None, segment=None)
    with pytest.raises(InputError, match=r"text='words'.*no words.*tokens=True"):
        small("deep_association", vectors=bare, genes=seen, text="words").fit(bags)
    nowhere = dataclasses.replace(bags, instance=bags.instance.drop(columns=["x_um", "y_um"]))
    with pytest.raises(InputError, match="needs the positions of tiles"):
        small("deep_association", vectors=vectors, genes=seen, local=8).fit(nowhere)
    small("deep_association", vectors=vectors, genes=seen).fit(nowhere)
    member = {"method": "deep_association", "bank": "all"}
    with pytest.raises(InputError, match="bank='seen'"):
        make("gene_ensemble", vectors=vectors, genes=seen, parts=2, method=member).fit(bags)


# ---------------------------------------------------------------- Deep Association: alignment


def naive(z, v, y):
    s = (y - y.mean(0)) / y.std(0)
    u = np.array([sum(s[i, g] * v[g] for g in range(len(v))) for i in range(len(z))])
    cos = [[z[i] @ u[j] / np.linalg.norm(z[i]) / np.linalg.norm(u[j]) / 0.1
            for j in range(len(u))] for i in range(len(z))]  # fmt: skip
    cos, total = np.array(cos), 0.0
    for i in range(len(z)):
        total -= 0.5 * (cos[i, i] - np.log(np.exp(cos[i]).sum()))
        total -= 0.5 * (cos[i, i] - np.log(np.exp(cos[:, i]).sum()))
    return total / len(z)


def test_alignment_is_a_naive_loop():
    rng = np.random.default_rng(0)
    z, v, y = rng.normal(size=(9, 6)), rng.normal(size=(5, 6)), rng.normal(size=(9, 5)) * 3 + 2
    found = alignment(*map(torch.as_tensor, (z, v, y)))
    assert found.item() == pytest.approx(naive(z, v, y), rel=1e-9)


def test_alignment_of_what_is_and_is_not_aligned():
    rng = np.random.default_rng(1)
    v, y = (torch.as_tensor(rng.normal(size=s)) for s in ((5, 6), (12, 5)))
    z = torch.as_tensor(rng.normal(size=(12, 6)))
    # a gene that stands still says nothing, and neither do tiles that all look the same
    assert alignment(z, v, torch.ones(12, 5).double()).item() == pytest.approx(np.log(12))
    same = alignment(z[:1].expand(12, 6), v, y)
    s = (y - y.mean(0)) / y.std(0, correction=0)
    best, worst = alignment(s @ v, v, y), alignment(-(s @ v), v, y)
    assert best < np.log(12) - 1
    assert best < same < worst
    assert worst > np.log(12) + 1


def test_alignment_of_a_large_slide_looks_at_tiles_spread_over_it():
    rng = np.random.default_rng(2)
    z, v, y = (torch.as_tensor(rng.normal(size=s)) for s in ((1000, 6), (5, 6), (1000, 5)))
    at = np.round(np.linspace(0, 999, 256)).astype(int)
    assert alignment(z, v, y).item() == pytest.approx(alignment(z[at], v, y[at]).item(), rel=1e-9)


# ---------------------------------------------------------------- Deep Association: nuclei


def test_nuclei_are_listened_to_after_training(few, nuclei_model):
    bags, vectors, seen, unseen = few
    nuclei = bags.table("X_nuclei").copy()
    nuclei[:25] = nuclei[25:50]
    other = with_view(bags, X_nuclei=nuclei)
    moved = np.abs(nuclei_model.predict(other, unseen) - nuclei_model.predict(bags, unseen))
    assert moved[:25].max() > 1e-3
    assert moved[25:].max() < 1e-6
    deaf = small("deep_association", vectors=vectors, genes=seen, nuclei="off").fit(bags)
    np.testing.assert_array_equal(deaf.predict(other, unseen), deaf.predict(bags, unseen))
    bare = dataclasses.replace(bags, x={k: v for k, v in bags.x.items() if k != "X_nuclei"})
    np.testing.assert_array_equal(deaf.predict(bare, unseen), deaf.predict(bags, unseen))
    auto = small("deep_association", vectors=vectors, genes=seen).fit(bare)  # where there are none
    np.testing.assert_array_equal(auto.predict(bare, unseen), deaf.predict(bare, unseen))


def test_tiles_and_slides_without_nuclei(few):
    bags, vectors, seen, unseen = few
    nuclei = bags.table("X_nuclei").copy()
    nuclei[:5], nuclei[50:] = 0, 0
    empty = with_view(bags, X_nuclei=nuclei)
    model = small("deep_association", vectors=vectors, genes=seen).fit(empty)
    out = model.predict(empty, unseen)
    assert np.isfinite(out).all()
    # an empty cell is not looked at, so what a number of 0 is scaled to does not matter there
    network, batch = model.network_.eval(), batch_of(model, empty, [0])
    with torch.no_grad():
        before = network.tiles(batch)
        network.nuclei_scale.mean += 1
        moved = (network.tiles(batch) - before).norm(dim=1)
    assert moved[:5].max() == 0
    assert moved[5:].min() > 0


def test_views_of_nuclei_that_cannot_be_read(few, nuclei_model):
    bags, vectors, seen, _ = few
    bare = dataclasses.replace(bags, x={k: v for k, v in bags.x.items() if k != "X_nuclei"})
    with pytest.raises(InputError, match=r"'X_nuclei'.*there are X_planted, counts.*extract\(bags"):
        small("deep_association", nuclei="X_nuclei", vectors=vectors, genes=seen).fit(bare)
    with pytest.raises(InputError, match="'X_nuclei', which these slides lack"):
        nuclei_model.predict(bare)
    with pytest.raises(InputError, match="'X_planted' is both features and nuclei"):
        small("deep_association", nuclei="X_planted", vectors=vectors, genes=seen).fit(bags)
    odd = dataclasses.replace(bags, features={k: v for k, v in bags.features.items()
                                              if k != "X_nuclei"})  # fmt: skip
    odd = with_view(odd, X_nuclei=bags.table("X_nuclei")[:, :31])
    with pytest.raises(InputError, match=r"'X_nuclei' has 31 numbers.*4 x 4 cells: say grid="):
        small("deep_association", vectors=vectors, genes=seen).fit(odd)
    with pytest.raises(InputError, match="X_nuclei"):
        nuclei_model.predict(odd)


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [("sgn", {"genes_per_step": 0}, "genes_per_step=0"), ("sgn", {"epochs": 0}, "epochs=0"),
     ("sgn", {"pearson": -1.0}, "pearson=-1"), ("sgn", {"layers": 0}, "layers=0"),
     ("sgn", {"max_words": 0}, "max_words=0"), ("sgn", {"gene_width": 15}, "gene tower.*width=15"),
     ("deep_association", {"width": 15}, "width=15"),
     ("deep_association", {"context": 0}, "context=0")],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_work(few, name, settings, word):
    bags, vectors, seen, _ = few
    with pytest.raises(InputError, match=word):
        small(name, vectors=vectors, genes=seen, **settings).fit(bags)


# ---------------------------------------------------------------- how far to believe it


def test_nearness_is_a_naive_loop(few, nuclei_model):
    _, vectors, seen, unseen = few
    found = nuclei_model.nearness((seen[3], *unseen))
    x = vectors.x.astype(np.float64) - vectors.x[:14].mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    usual = [max(x[i] @ x[j] for j in range(14) if j != i) for i in range(14)]
    for row, gene in enumerate((3, *range(14, 20))):
        alike = {j: x[gene] @ x[j] for j in range(14) if j != gene}
        best = max(alike, key=alike.get)
        own = found.iloc[row]
        assert own["seen"] == (gene < 14)
        assert own["nearest"] == seen[best]
        assert own["similarity"] == pytest.approx(alike[best], abs=1e-5)
        ten = sorted(alike.values())[-10:]
        assert own["similarity_10"] == pytest.approx(np.mean(ten), abs=1e-5)
        if gene >= 14:
            share = np.mean(np.array(usual) < alike[best])
            assert own["percentile"] == pytest.approx(share, abs=1e-9)


@pytest.fixture(scope="module")
def ensemble(law):
    """An ensemble on slides of which one donor is left out, with genes of many kinds of text."""
    _, vectors, train, test, seen, unseen = law
    # the text of some genes is worth little, so that there is something to foresee
    rng, x = np.random.default_rng(0), vectors.x.copy()
    bad = rng.random(len(x)) < 0.4
    x[bad] = x[bad] * 0.25 + rng.normal(size=x[bad].shape) * x.std()
    mixed = dataclasses.replace(vectors, x=x.astype(np.float32), tokens=None, offsets=None)
    model = make("gene_ensemble", vectors=mixed, genes=seen, parts=4, method={
        "method": "bilinear", "alphas": (1.0, 10.0, 100.0, 1000.0)})  # fmt: skip
    return model.fit(train), test, unseen


@pytest.fixture(scope="module")
def law():
    """Slides of four donors, one of them left out, and genes, a quarter of them left out."""
    bags, vectors = planted_programmes(8, 49, n_genes=160, vague=0.9)
    test = bags.donors == 3
    train, test = bags[np.flatnonzero(~test)], bags[np.flatnonzero(test)]
    return bags, vectors, train, test, vectors.names[:120], vectors.names[120:]


def reached_by(model, test, unseen):
    return pearson_slides(
        model.predict(test, unseen), model.measured(test, unseen), test.index
    ).mean(0)


def test_the_ensemble_is_the_mean_of_fits_without_a_part(few):
    bags, vectors, seen, unseen = few
    member = {"method": "bilinear", "alpha": 10.0, "beta": 1.0, "level": 1.0}
    model = make("gene_ensemble", vectors=vectors, genes=seen, parts=3, method=member).fit(bags)
    asked = (*unseen, seen[0])
    part, each = model.part_of(14), model.spread(bags, asked)
    assert sorted(np.bincount(part)) == [4, 5, 5]
    for j in range(3):
        kept = tuple(g for g, p in zip(seen, part, strict=True) if p != j)
        alone = make("bilinear", vectors=vectors, genes=kept, alpha=10.0, beta=1.0, level=1.0)
        np.testing.assert_allclose(each[j], alone.fit(bags).predict(bags, asked), atol=1e-4)
    np.testing.assert_allclose(model.predict(bags, asked), each.mean(0), atol=1e-5)
    r = [np.mean([np.corrcoef(each[a, :, g], each[b, :, g])[0, 1]
                  for a, b in ((0, 1), (0, 2), (1, 2))]) for g in range(7)]  # fmt: skip
    np.testing.assert_allclose(model.confidence(bags, asked)["agreement"], r, atol=1e-4)


@pytest.mark.slow
def test_members_of_a_network_are_fits_of_their_own(few):
    bags, vectors, seen, unseen = few
    member = {"method": "deep_association", **SMALL["deep_association"]}
    model = make("gene_ensemble", vectors=vectors, genes=seen, parts=2, method=member).fit(bags)
    part, each = model.part_of(14), model.spread(bags, unseen)
    for j in range(2):
        kept = tuple(g for g, p in zip(seen, part, strict=True) if p != j)
        alone = small("deep_association", vectors=vectors, genes=kept, seed=1000 * j).fit(bags)
        np.testing.assert_allclose(each[j], alone.predict(bags, unseen), atol=1e-3)


def test_what_to_expect_is_what_is_reached(ensemble):
    model, test, unseen = ensemble
    told = model.confidence(test, unseen)
    reached = reached_by(model, test, unseen)
    assert np.corrcoef(told["expected_pcc"], reached)[0, 1] > 0.3
    assert abs(told["expected_pcc"].mean() - reached.mean()) < 0.15
    # and the spread around it is of the size that is told
    off = np.sqrt(np.mean((told["expected_pcc"] - reached) ** 2))
    assert 0.5 < off / told["expected_sd"].iloc[0] < 2


def test_abstention_leaves_out_unseen_genes_alone(ensemble):
    model, test, unseen = ensemble
    asked = (*model.genes_[:60], *unseen)
    told = model.confidence(test, asked)
    least = float(told["expected_pcc"].quantile(0.6))
    table = model.to_anndata(test, asked, abstain=least)
    blank = np.isnan(table.layers["predicted"])
    assert (blank.all(0) | ~blank.any(0)).all()
    blank = blank.all(0)
    assert not blank[:60].any()  # seen genes never, however little is expected of them
    assert (told["expected_pcc"][:60] < least).any()
    np.testing.assert_array_equal(blank[60:], told["expected_pcc"][60:] < least)
    assert 0 < blank.sum() < 40
    np.testing.assert_array_equal(table.var["abstain"].to_numpy(bool), blank)
    kept = ~blank
    np.testing.assert_array_equal(
        table.layers["predicted"][:, kept], model.predict(test, asked)[:, kept]
    )
    # without it, all genes are predicted
    assert np.isfinite(model.to_anndata(test, asked).layers["predicted"]).all()


def test_far_genes_are_told_by_their_percentile():
    bags, vectors = planted_programmes(2, 9, n_genes=160, vague=0.1)
    far = vectors.x.copy()
    far[150:] = np.random.default_rng(0).normal(size=far[150:].shape)  # of no programme
    mixed = dataclasses.replace(vectors, x=far, tokens=None, offsets=None)
    names = vectors.names
    model = make("bilinear", vectors=mixed, genes=names[:120], alpha=10.0, beta=1.0, level=1.0)
    told = model.fit(bags).confidence(bags, names[120:])["percentile"]
    assert (told[30:] < 0.02).all()
    assert (told[:30] < 0.02).mean() < 0.2
    for name in ("total_count", "bilinear"):
        one = make(name, **({"vectors": mixed} if name == "bilinear" else {}))
        with pytest.raises(InputError, match="does not know which correlation to expect"):
            one.fit(bags).to_anndata(bags, abstain=0.1)


def test_a_map_that_all_genes_share_is_told():
    bags, vectors = planted_programmes(4, 36, n_genes=40)
    seen, asked = vectors.names[:30], vectors.names[30:]
    common = make("nearest_gene", k=None, vectors=vectors, genes=seen).fit(bags)
    np.testing.assert_allclose(common.confidence(bags, asked)["shared"], 1, atol=1e-5)
    model = make("bilinear", vectors=vectors, genes=seen).fit(bags)
    guess, mean = model.predict(bags, asked), model.predict(bags).mean(1)
    r = [np.corrcoef(guess[:, g], mean)[0, 1] for g in range(10)]
    told = model.confidence(bags, asked)["shared"]
    np.testing.assert_allclose(told, r, atol=1e-4)
    assert told.abs().max() < 0.99
    assert model.confidence(bags.keep([0]), asked)["shared"].isna().all()


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"parts": 1}, "parts=1"), ({"parts": 14}, "14 genes are too few for 14 parts"),
     ({"method": "ridge"}, "'ridge' does not predict unseen genes"),
     ({"method": "gene_ensemble"}, "does not predict unseen genes"),
     ({"method": {"method": "bilinear", "preprocess": "log1p"}}, "set it there")],
    ids=str,
)  # fmt: skip
def test_ensembles_that_cannot_work(few, settings, word):
    bags, vectors, seen, _ = few
    with pytest.raises(InputError, match=word):
        make("gene_ensemble", vectors=vectors, genes=seen, **settings).fit(bags)


# ---------------------------------------------------------------- the law

LEARNED = {
    "bilinear": {},
    "sgn": {"width": 32, "layers": 2, "gene_width": 32, "text_layers": 1, "near": 4, "alike": 4,
            "epochs": 100, "lr": 3e-3},
    "deep_association": {"width": 32, "hidden": 32, "rounds": 1, "context": 4, "near": 5,
                         "epochs": 60, "lr": 4e-3, "dropout": 0.1},
}  # fmt: skip


@pytest.fixture(scope="module")
def controls(law):
    """Correlation of each unseen gene by what has not learned how meaning shows."""
    _, vectors, train, test, seen, unseen = law
    models = {"nearest_gene": make("nearest_gene", vectors=vectors, genes=seen),
              "all seen genes": make("nearest_gene", vectors=vectors, genes=seen, k=None),
              "total_count": make("total_count", genes=seen)}  # fmt: skip
    return {k: reached_by(m.fit(train), test, unseen) for k, m in models.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_unseen_genes_of_unseen_donors_are_found_by_their_meaning(law, controls, name):
    _, vectors, train, test, seen, unseen = law
    settings = {"genes": seen, **LEARNED[name]}
    meant = reached_by(make(name, vectors=vectors, **settings).fit(train), test, unseen)
    random = reached_by(make(name, vectors="random", **settings).fit(train), test, unseen)
    for control, r in controls.items():
        assert meant.mean() > r.mean() + 0.02, control
    assert meant.mean() > random.mean() + 0.2
    # a vector without meaning leaves what all genes share, which two controls know too
    shared = [controls["all seen genes"].mean(), controls["total_count"].mean()]
    noise = 2 * random.std() / np.sqrt(len(unseen))
    assert min(shared) - noise < random.mean() < max(shared) + noise


@pytest.mark.parametrize("name", ["sgn", "deep_association"])
def test_a_tile_is_predicted_from_its_slide_and_rows_are_taken_after(few, name):
    """Other slides may be missing, other tiles may not: the docstring of predict says so."""
    bags, vectors, seen, unseen = few
    model = small(name, vectors=vectors, genes=seen).fit(bags)
    whole, rows = model.predict(bags, unseen), np.arange(10)  # of the first slide
    np.testing.assert_allclose(model.predict(bags[[0]], unseen)[rows], whole[rows], atol=1e-5)
    assert np.abs(model.predict(bags.keep(rows), unseen) - whole[rows]).max() > 0.01
    assert "take rows" in " ".join(type(model).__doc__.split())
    assert "predict(slides)[rows]" in type(model).predict.__doc__
