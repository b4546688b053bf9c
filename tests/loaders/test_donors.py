"""Parts by donor, and Lightning's data module over them."""

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.loaders.donors import parts_by_donor
from smalti.system.torchvision_shim import mend_torchvision

BAGS = sm.datasets.planted_bags(40, bags_per_donor=2, seed=0)
REASON = 'lightning is not installed: pip install "smalti[lightning]"'


@pytest.mark.parametrize("seed", range(5))
def test_no_donor_is_in_two_parts(seed):
    parts = parts_by_donor(BAGS, 0.2, 0.3, seed)
    whose = {name: set(BAGS.donors[at]) for name, at in parts.items()}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(40))
    assert sum(map(len, whose.values())) == len(set(BAGS.donors)) == 20
    assert len(whose["test"]) == 6
    assert all(len(set(np.asarray(BAGS.labels)[at])) == 2 for at in parts.values())


def test_named_donors_are_those_and_a_share_is_of_the_rest():
    names = BAGS.bag["donor"].astype(str).unique()[:3].tolist()
    parts = parts_by_donor(BAGS, 0.25, names, 0)
    assert set(BAGS.bag["donor"].astype(str).iloc[parts["test"]]) == set(names)
    assert len(parts["test"]) == 6
    assert len(parts["validation"]) == 8  # a quarter of 17 donors


@pytest.mark.parametrize(("validation", "test", "why"), [
    (["nobody"], 0.0, "validation= names donor 'nobody', who is not among the bags"),
    (["0"], ["0", "1"], "donor '0' is named in validation= and in test="),
    (1.5, 0.0, "must be at least 0 and less than 1"),
    (list(range(20)), 0.0, "no donor is left for training"),
])  # fmt: skip
def test_what_cannot_be_is_refused(validation, test, why):
    with pytest.raises(sm.InputError, match=why):
        parts_by_donor(BAGS, validation, test, 0)


def test_rows_are_never_split():
    import dataclasses

    with pytest.raises(sm.InputError, match="no donor: samples of one donor on both sides"):
        parts_by_donor(dataclasses.replace(BAGS, donor=None), 0.2, 0.0, 0)


def test_without_lightning_the_extra_is_named(monkeypatch):
    from smalti.system import extras

    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(sm.InputError, match=r'pip install "smalti\[lightning\]"'):
        sm.loaders.data_module(BAGS)


# ---------------------------------------------------------------- with Lightning


@pytest.fixture
def lightning():
    mend_torchvision()
    return pytest.importorskip("lightning.pytorch", reason=REASON)


def test_steps_and_numbers_are_learned_of_training_donors(lightning):
    bags = BAGS.with_target(BAGS.bag["trait"].to_numpy())
    data = sm.loaders.data_module(bags, preprocess="scale", test=0.2, seed=3)
    data.setup()
    inside = bags[data.parts["train"]]
    x = inside.table()
    np.testing.assert_allclose(data.train.bags.table(), (x - x.mean(0)) / x.std(0), atol=1e-4)
    assert data.task.center == pytest.approx(np.mean(inside.labels))
    assert data.validation.task is data.test.task is data.train.task
    new = data.new(bags[data.parts["test"]])
    assert np.array_equal(new.bags.table(), data.test.bags.table())


def test_loaders_shuffle_training_alone(lightning):
    data = sm.loaders.data_module(BAGS, test=0.2, batch_size=100)
    data.setup()
    orders = []
    loader = data.train_dataloader()
    for _ in range(2):
        ((_, target),) = loader
        orders.append(target.tolist())
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(data.train.target.tolist())
    ((_, target),) = data.test_dataloader()
    assert target.tolist() == data.test.target.tolist()
    none = sm.loaders.data_module(BAGS, validation=0.0)
    none.setup()
    assert none.val_dataloader() == none.test_dataloader() == []


def module(lightning, data):
    class Own(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = sm.mil.MeanPooling(widths=(8,), standardize=False).network(data.shape)
            self.losses, self.held = [], []

        def training_step(self, step, _):
            batch, target = step
            loss = data.task.loss(self.network(batch).raw, target).mean()
            self.losses.append(loss.item())
            self.log("train_loss", loss)
            return loss

        def validation_step(self, step, _):
            batch, target = step
            self.held.append(data.task.loss(self.network(batch).raw, target).mean().item())

        test_step = validation_step

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01)

    return Own()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
def test_a_lightning_module_trains(lightning, workers, tmp_path):
    torch.manual_seed(0)
    data = sm.loaders.data_module(
        BAGS, validation=0.2, test=0.2, batch_size=8, workers=workers, preprocess="scale"
    )
    data.setup()
    own = module(lightning, data)
    trainer = lightning.Trainer(
        max_epochs=30, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(own, datamodule=data)
    n = len(own.losses) // 30
    assert np.mean(own.losses[-n:]) < 0.5 * np.mean(own.losses[:n])
    assert len(own.held) >= 30
    trainer.test(own, datamodule=data)
    assert np.isfinite(own.held[-1])
