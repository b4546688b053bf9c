"""Bags in a loop of PyTorch: the batches, losses and gradients of smalti's own steps."""

import copy

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

import smalti as sm
from smalti.batch import Batch
from smalti.core.alone import Alone
from smalti.core.runner import Runner
from smalti.core.store import Store

BAGS = sm.datasets.planted_bags(20, seed=0)
CPU = torch.device("cpu")


def same(one, two):
    assert one.views.keys() == two.views.keys()
    for name, view in one.views.items():
        assert view.dtype == two.views[name].dtype
        assert torch.equal(*(v.to_dense() if v.layout == torch.sparse_csr else v
                             for v in (view, two.views[name])))  # fmt: skip
    assert torch.equal(one.segments.offsets, two.segments.offsets)
    assert torch.equal(one.segments.index, two.segments.index)
    for part in ("instance", "bag"):
        ours, theirs = getattr(one, part), getattr(two, part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("method", ["abmil", "clam", "hier_mil", "mean_pooling"])
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_a_plain_loop_has_the_losses_and_gradients_of_smaltis_step(method, kind):
    more = {"group": "cell_type"} if method == "hier_mil" else {}
    bags = BAGS if kind == "classes" else BAGS.with_target(BAGS.bag["trait"].to_numpy())
    model = sm.make(method, progress=False, dropout=0.0, **more)
    job = model.prepare(bags, np.arange(len(bags)), CPU)
    stage = list(model.plan(model.shape_))[-1]
    own = copy.deepcopy(job.network).train()
    step = np.array([3, 4, 9, 16])
    store = Store(bags, CPU, torch.float32, model.columns_)
    runner = Runner(Alone("32-true"), stage, store, job)
    theirs = float(runner.step(step))

    data = sm.loaders.BagDataset(bags, **more)
    batch, target = next(iter(DataLoader(Subset(data, step.tolist()), 4,
                                         collate_fn=sm.loaders.collate)))  # fmt: skip
    loss = model.loss(data.task, own(batch), target).mean()
    loss.backward()
    assert float(loss) == pytest.approx(theirs, rel=1e-6)
    moved = dict(job.network.named_parameters())
    n = 0
    for name, parameter in own.named_parameters():
        if moved[name].grad is not None:
            torch.testing.assert_close(parameter.grad, moved[name].grad, rtol=1e-5, atol=1e-8)
            n += 1
    assert n > 2


def test_the_loss_of_the_task_is_that_of_the_step():
    """The loop of the docstring: no method is asked for its loss."""
    model = sm.mil.ABMIL(progress=False, dropout=0.0)
    job = model.prepare(BAGS, np.arange(20), CPU)
    own = copy.deepcopy(job.network)
    stage = list(model.plan(model.shape_))[-1]
    runner = Runner(Alone("32-true"), stage, Store(BAGS, CPU, torch.float32), job)
    theirs = float(runner.step(np.arange(20)))
    data = sm.loaders.BagDataset(BAGS)
    batch, target = data.__getitems__(range(20))
    assert float(data.task.loss(own(batch).raw, target).mean()) == pytest.approx(theirs, rel=1e-6)


def test_items_joined_are_the_step_at_once():
    data = sm.loaders.BagDataset(BAGS, group="cell_type", covariates=("trait",))
    at = [7, 2, 2, 19]
    whole, target = data.__getitems__(at)
    joined, also = sm.loaders.collate([data[i] for i in at])
    same(whole, joined)
    assert torch.equal(target, also)
    assert whole.segments.lengths.tolist() == BAGS.lengths[at].tolist()
    assert "covariates" in whole.bag
    rows = np.concatenate([np.arange(BAGS.offsets[i], BAGS.offsets[i + 1]) for i in at])
    assert torch.equal(whole.x, torch.as_tensor(BAGS.table()[rows], dtype=torch.float32))


def test_long_bags_joined_are_cut_into_pieces():
    rng = np.random.default_rng(0)
    bags = sm.Bags.from_list([rng.normal(size=(n, 2)) for n in (3, 200, 7000)], [0, 1, 0])
    data = sm.loaders.BagDataset(bags)
    whole, _ = data.__getitems__([0, 1, 2])
    joined, _ = sm.loaders.collate([data[i] for i in range(3)])
    assert torch.equal(whole.segments.pieces[0], joined.segments.pieces[0])
    assert whole.segments.pieces[2] == joined.segments.pieces[2]


def test_it_ends_and_counts_from_behind():
    data = sm.loaders.BagDataset(BAGS)
    assert len(list(data)) == len(data) == 20
    same(data[-1][0], data[19][0])
    with pytest.raises(IndexError):
        data[20]


def test_concatenated_sets_are_collated():
    data = sm.loaders.BagDataset(BAGS)
    loader = DataLoader(ConcatDataset([data, data]), 30, collate_fn=sm.loaders.collate)
    batch, target = next(iter(loader))
    assert target[20:].tolist() == target[:10].tolist()
    assert len(batch.segments.lengths) == 30


def test_bags_without_a_target_have_none():
    import dataclasses

    bare = dataclasses.replace(BAGS, target=None, kind=None)
    batch, target = next(iter(DataLoader(sm.loaders.BagDataset(bare), 4,
                                         collate_fn=sm.loaders.collate)))  # fmt: skip
    assert isinstance(batch, Batch)
    assert target is None


# ---------------------------------------------------------------- like others


def test_new_bags_have_the_classes_and_levels_of_training():
    few = BAGS[np.flatnonzero(np.asarray(BAGS.labels) == 1)[:3]]
    train = sm.loaders.BagDataset(BAGS, group="cell_type")
    new = sm.loaders.BagDataset(few, like=train)
    assert new.target.tolist() == [1, 1, 1]
    assert new.shape.levels == train.shape.levels


def test_a_fitted_network_predicts_as_its_model_does():
    train = BAGS[np.arange(12)]
    model = sm.mil.ABMIL(preprocess="pca=3", epochs=3, progress=False).fit(train)
    data = sm.loaders.BagDataset(BAGS[np.arange(12, 20)], like=model)
    batch, target = data.__getitems__(range(8))
    with torch.no_grad():
        raw = model.network_(batch).raw
    p = data.task.probabilities(raw.numpy())
    assert np.array_equal(p, model.predict_proba(BAGS[np.arange(12, 20)]))
    assert target.shape == (8,)


def test_it_reads_what_the_kinds_of_method_read():
    cells = sm.datasets.planted_modalities(40, seed=0)
    embedding = sm.make("umint", epochs=1, progress=False).fit(cells)
    data = sm.loaders.BagDataset(cells, like=embedding)
    batch, _ = data.__getitems__(range(len(data)))
    with torch.no_grad():
        z = embedding.network_(batch).raw.numpy()
    np.testing.assert_allclose(z, embedding.transform(cells), rtol=1e-5, atol=1e-6)
    slides = sm.datasets.planted_slides(3, seed=0)
    model = sm.expression.MLP.example().set_params(epochs=1, progress=False).fit(slides)
    batch, _ = sm.loaders.BagDataset(slides, like=model).__getitems__(range(3))
    with torch.no_grad():
        raw = model.network_(batch).raw.numpy()
    np.testing.assert_allclose(raw, model.predict(slides), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("asked", "why"), [
    ({"like": "features"}, "other features, or another order"),
    ({"like": "views"}, "have the views x, those of like= other"),
    ({"like": "same", "group": "cell_type"}, "are those of like="),
    ({"group": "nothing"}, "nothing"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(asked, why):
    import dataclasses

    like = {
        "features": dataclasses.replace(BAGS, x={"x": BAGS.table()[:, :2]}),
        "views": dataclasses.replace(BAGS, x={"other": BAGS.table()}),
        "same": BAGS,
    }
    if "like" in asked:
        asked = asked | {"like": sm.loaders.BagDataset(like[asked["like"]])}
    with pytest.raises(sm.InputError, match=why):
        sm.loaders.BagDataset(BAGS, **asked)


# ---------------------------------------------------------------- on disk, sparse, in workers


@pytest.fixture(params=["dense", "sparse"])
def backed(request, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.poisson(0.6, size=(240, 9)).astype(np.float32)
    obs = pd.DataFrame({"sample": [f"s{i // 20}" for i in range(240)],
                        "state": [("ill", "well")[i // 20 % 2] for i in range(240)]},
                       index=[f"c{i}" for i in range(240)])  # fmt: skip
    table = sp.csr_matrix(x) if request.param == "sparse" else x
    anndata.AnnData(table, obs=obs).write_h5ad(tmp_path / "cells.h5ad")

    def read(backed):
        return sm.read(tmp_path / "cells.h5ad", sample="sample", label="state", backed=backed)

    return read(True), read(False)


@pytest.mark.parametrize("workers", [0, 2])
def test_bags_on_disk_are_those_in_memory(backed, workers):
    on_disk, in_memory = map(sm.loaders.BagDataset, backed)
    assert not isinstance(on_disk.bags.view()[1], np.ndarray)
    one, two = (
        list(DataLoader(d, 5, num_workers=n, collate_fn=sm.loaders.collate))
        for d, n in ((on_disk, workers), (in_memory, 0))
    )
    assert len(one) == len(two) == 3
    for (ours, target), (theirs, also) in zip(one, two, strict=True):
        same(ours, theirs)
        assert torch.equal(target, also)


def test_only_the_bags_that_are_asked_for_are_read():
    class OnDisk:
        def __init__(self, values):
            self.values, self.shape, self.dtype, self.seen = values, values.shape, values.dtype, []

        def read(self, start, stop):
            self.seen.append((start, stop))
            return self.values[start:stop]

        def digest(self):
            return "x"

    import dataclasses

    view = OnDisk(BAGS.table())
    data = sm.loaders.BagDataset(dataclasses.replace(BAGS, x={"x": view}))
    view.seen.clear()  # they were looked at for NaN
    data.__getitems__([4, 5])
    assert view.seen == [(BAGS.offsets[4], BAGS.offsets[6])]


def test_sparse_rows_stay_sparse_where_the_network_takes_them():
    counts = sm.datasets.planted_modalities(40, counts=True, seed=0)
    bags = counts.only([next(iter(counts.x))])
    data = sm.loaders.BagDataset(bags)
    data.sparse = True
    import dataclasses

    data.bags = dataclasses.replace(bags, x={k: sp.csr_matrix(bags.table(k)) for k in bags.x})
    whole, _ = data.__getitems__([3, 1, 8])
    joined, _ = sm.loaders.collate([data[i] for i in (3, 1, 8)])
    assert whole.x.layout == joined.x.layout == torch.sparse_csr
    same(whole, joined)


def test_a_worker_sends_its_bags_and_not_the_whole_view():
    """A tensor is sent with the storage that it is a slice of."""
    from torch.utils.data._utils import worker

    data = sm.loaders.BagDataset(BAGS)
    assert data[3][0].x.untyped_storage().nbytes() == BAGS.table().nbytes  # a slice: no copy here
    before = worker._worker_info
    try:
        worker._worker_info = worker.WorkerInfo(id=0, num_workers=1, seed=0, dataset=data)
        sent = data[3][0].x
    finally:
        worker._worker_info = before
    assert sent.untyped_storage().nbytes() == sent.numel() * sent.element_size()


@pytest.mark.slow  # a process that imports all anew
def test_a_worker_that_is_started_anew_reads_the_same():
    data = sm.loaders.BagDataset(BAGS)
    loader = DataLoader(data, batch_size=5, collate_fn=sm.loaders.collate, num_workers=1,
                        multiprocessing_context="spawn")  # fmt: skip
    steps = list(loader)
    assert len(steps) == -(-len(BAGS) // 5)
    for k, (batch, _) in enumerate(steps):
        rows = list(range(5 * k, min(5 * k + 5, len(BAGS))))
        same(batch, data.__getitems__(rows)[0])


def test_a_batch_moves_as_a_whole():
    data = sm.loaders.BagDataset(BAGS, group="cell_type")
    batch = data[3][0].to("meta")
    tensors = [batch.x, batch.segments.offsets, batch.segments.index, batch.instance["group"]]
    assert {t.device.type for t in tensors} == {"meta"}
