"""Callbacks and loggers of a fit: what they are told, what they may do, what they cost."""

import csv
import math
import os
import signal
import subprocess
import sys

import pytest
import torch

import smalti as sm
from smalti.contract.fitted import same_fit
from smalti.core.callbacks import Callbacks
from smalti.core.checkpoint import Checkpoint

BAGS = sm.datasets.planted_bags(30)
TINY = dict(widths=(8,), epochs=5, batch_size=8, progress=False)


def abmil(**settings):
    return sm.mil.ABMIL(**TINY | settings)


def expression():
    return sm.expression.MLP.example().set_params(epochs=2, progress=False)


class Diary:
    def __init__(self):
        self.said = []

    def on_start(self, model):
        self.said.append(("start", model.name))

    def on_epoch(self, record):
        self.said.append((record["stage"], record["epoch"]))

    def on_end(self, done):
        self.said.append(("end", done))


def test_each_row_of_the_history_is_told_with_its_learning_rate_and_seconds():
    told = []
    model = abmil(validation=0.25, lr=0.003).fit(BAGS, callbacks=told.append)
    rows = model.history_.to_dict("records")
    assert len(told) == len(rows) == 6  # a sweep, and five epochs
    for one, row in zip(told, rows, strict=True):
        assert {k: one[k] for k in ("stage", "epoch")} == {k: row[k] for k in ("stage", "epoch")}
        assert one.keys() - row.keys() == {"lr", "seconds"}
        assert 0 <= one["seconds"] < 60
    assert math.isnan(told[0]["lr"])
    assert [one["lr"] for one in told[1:]] == [0.003] * 5
    assert [one["val_loss"] for one in told[1:]] == model.history_["val_loss"].tolist()[1:]


def test_the_learning_rate_is_that_of_the_schedule():
    told = []
    bags = sm.datasets.planted_modalities(120, seed=0)
    sm.make("umint", anneal=True, epochs=4, progress=False).fit(bags, callbacks=told.append)
    rates = [r["lr"] for r in told if not math.isnan(r["lr"])]
    assert len(rates) >= 4
    assert len(set(rates)) > 1


def test_a_fit_that_is_watched_is_the_same_fit():
    same_fit(abmil(validation=0.25).fit(BAGS), abmil(validation=0.25).fit(BAGS, callbacks=Diary()))


def test_an_object_hears_of_beginning_and_end_and_is_no_part_of_the_model(tmp_path):
    diary = Diary()
    model = abmil(epochs=2).fit(BAGS, callbacks=[diary])
    assert diary.said == [("start", "abmil"), ("standardize", 0), ("train", 0), ("train", 1),
                          ("end", True)]  # fmt: skip
    model.save(tmp_path / "model")
    assert "Diary" not in (tmp_path / "model" / "model.json").read_text()
    assert not any(isinstance(v, (Diary, Callbacks)) for v in vars(model).values())


def test_true_ends_the_stage_with_its_best_weights():
    seen = []

    def third(record):
        seen.append(record)
        return record["stage"] == "train" and record["epoch"] == 2

    model = abmil(validation=0.25).fit(BAGS, callbacks=[third])
    assert model.history_["stage"].tolist() == ["standardize", *["train"] * 3]
    shorter = abmil(validation=0.25, epochs=3).fit(BAGS)
    for name, value in shorter.network_.state_dict().items():
        assert torch.equal(value, model.network_.state_dict()[name])
    assert model.converged_  # it was ended, and not cut off


def test_what_is_true_but_not_True_ends_nothing():
    assert len(abmil().fit(BAGS, callbacks=lambda r: "some letters").history_) == 6


def test_a_sweep_ends_too_and_the_stages_that_follow_are_run():
    model = sm.mil.CloudPred.example().set_params(progress=False)
    rounds = model.fit(BAGS).history_["stage"].value_counts()
    told = []
    model.fit(BAGS, callbacks=lambda r: told.append(r) or True)
    assert rounds.max() > 1
    assert model.history_["stage"].value_counts().to_dict() == dict.fromkeys(rounds.index, 1)


@pytest.mark.parametrize("when", ["on_start", "on_epoch", "on_end"])
def test_one_that_fails_ends_the_fit_with_one_clear_error(when):
    diary = Diary()

    def fails(what):
        raise OSError("disk full")

    setattr(diary, when, fails)
    before = abmil(epochs=1).fit(BAGS)
    weights = {k: v.clone() for k, v in before.network_.state_dict().items()}
    with pytest.raises(sm.InputError, match=r"callback Diary failed .*\(OSError: disk full\)"):
        before.fit(BAGS, callbacks=diary)
    for name, value in before.network_.state_dict().items():  # as it was before
        assert torch.equal(value, weights[name])
    if when == "on_epoch":
        assert diary.said == [("start", "abmil"), ("end", False)]


def test_a_fit_that_fails_says_so_to_all():
    diary = Diary()
    with pytest.raises(KeyboardInterrupt):
        abmil().fit(BAGS, callbacks=[diary, lambda r: signal.raise_signal(signal.SIGINT)])
    assert diary.said[-1] == ("end", False)


@pytest.mark.parametrize("given", [3, object(), [None], "csvv"])
def test_what_is_no_callback_is_refused_before_the_first_step(given):
    with pytest.raises(sm.InputError, match="callback|Did you mean 'csv'"):
        abmil().fit(BAGS, callbacks=given)


def test_a_fit_that_was_ended_and_then_killed_is_ended(tmp_path, monkeypatch):
    monkeypatch.setitem(Checkpoint.__init__.__kwdefaults__, "every", 0.0)

    def second(record):
        return record["epoch"] == 1

    whole = abmil().fit(BAGS, callbacks=second)
    with monkeypatch.context() as patch:

        def dies(self):
            raise KeyboardInterrupt

        patch.setattr(Checkpoint, "remove", dies)
        with pytest.raises(KeyboardInterrupt):
            abmil().fit(BAGS, callbacks=second, checkpoint=tmp_path / "fit")
    told = []
    same_fit(whole, abmil().fit(BAGS, callbacks=told.append, checkpoint=tmp_path / "fit"))
    assert told == []


# ---------------------------------------------------------------- kinds of method


@pytest.mark.parametrize("kind", ["mil", "integrate", "block_pca", "expression", "search"])
def test_all_kinds_of_method_are_watched(kind):
    told = []
    if kind == "mil":
        model = abmil().fit(BAGS, callbacks=told.append)
    elif kind == "integrate":
        bags = sm.datasets.planted_modalities(60, seed=0)
        model = sm.make("umint", epochs=2, progress=False)
        model.fit(bags, callbacks=told.append)
    elif kind == "block_pca":
        bags = sm.datasets.planted_modalities(60, seed=0)
        model = sm.integrate.BlockPCA(width=2, modality=next(iter(bags.x)), progress=False)
        model.fit(bags, callbacks=told.append)
    elif kind == "expression":
        slides = sm.datasets.planted_slides(4, seed=0)
        model = expression().fit(slides, callbacks=told.append)
    else:
        search = sm.Search(abmil(epochs=2), {"lr": [0.1, 0.01]}, folds=2)
        model = search.fit(BAGS, callbacks=told.append).best_
    assert [r["stage"] for r in told] == model.history_["stage"].tolist()
    assert len(told) >= 1


# ---------------------------------------------------------------- loggers


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_each_epoch_of_each_stage(tmp_path):
    model = abmil().fit(BAGS, callbacks=f"csv:{tmp_path}")
    rows = read_csv(tmp_path / "abmil" / "version_0" / "metrics.csv")
    assert [row["step"] for row in rows] == list("012345")
    logged = [float(row["train/train_loss"]) for row in rows[1:]]
    assert logged == model.history_["train_loss"].tolist()[1:]
    assert rows[0]["standardize/seconds"] != ""
    assert not any("val_loss" in name for name in rows[0])  # there is none
    abmil().fit(BAGS, callbacks=f"csv:{tmp_path}")
    assert (tmp_path / "abmil" / "version_1" / "metrics.csv").exists()


def test_a_log_is_written_as_the_fit_goes(tmp_path):
    """A fit that is killed has its rows."""
    seen = []

    def looks(record):
        seen.append(len(read_csv(tmp_path / "abmil" / "version_0" / "metrics.csv")))

    abmil().fit(BAGS, callbacks=[f"csv:{tmp_path}", looks])
    assert seen == [1, 2, 3, 4, 5, 6]


def test_logs_go_to_a_folder_of_the_working_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    abmil(epochs=1).fit(BAGS, callbacks="csv")
    assert (tmp_path / "logs" / "abmil" / "version_0" / "metrics.csv").exists()


def test_tensorboard_has_the_curves(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = abmil(validation=0.25).fit(BAGS, callbacks=f"tensorboard:{tmp_path}")
    curves = EventAccumulator(str(tmp_path / "abmil" / "version_0")).Reload()
    for name in ("train_loss", "val_loss"):
        curve = [scalar.value for scalar in curves.Scalars(f"train/{name}")]
        assert curve == pytest.approx(model.history_[name].tolist()[1:], rel=1e-6)


class Theirs:
    """A logger as those of Lightning are."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs, self.said = args, kwargs, []

    def log_hyperparams(self, params):
        self.said.append(("settings", params))

    def log_metrics(self, metrics, step):
        self.said.append((step, metrics))

    def save(self):
        pass

    def finalize(self, status):
        self.said.append(status)


def test_a_logger_of_theirs_gets_settings_numbers_and_the_end():
    logger = Theirs()
    abmil(lr=0.01, epochs=1).fit(BAGS, callbacks=logger)
    (_, settings), (step, metrics) = logger.said[0], logger.said[2]
    assert settings["method"] == "abmil"
    assert settings["lr"] == 0.01
    assert all(isinstance(v, (bool, int, float, str)) for v in settings.values())
    assert step == 1
    assert metrics.keys() == {f"train/{k}" for k in ("epoch", "train_loss", "lr", "seconds")}
    assert logger.said[-1] == "success"
    with pytest.raises(sm.InputError):
        abmil().fit(BAGS, callbacks=[logger, lambda r: 1 / 0])
    assert logger.said[-1] == "failed"


@pytest.mark.parametrize(("name", "kind"), [("wandb", "WandbLogger"), ("mlflow", "MLFlowLogger")])
def test_loggers_of_services_are_lightnings(name, kind, monkeypatch, tmp_path):
    """The client is none of ours, and need not be here: what it is made with is looked at."""
    from smalti.core import loggers

    made = []

    class Both:
        pass

    def make(*args, **kwargs):
        made.append(Theirs(*args, **kwargs))
        return made[-1]

    setattr(Both, kind, staticmethod(make))
    monkeypatch.setattr(loggers, "need", lambda package, extra: Both)
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: name)
    abmil(epochs=1).fit(BAGS, callbacks=f"{name}:{tmp_path}")
    where = {
        "wandb": {"save_dir": str(tmp_path)},
        "mlflow": {"tracking_uri": f"sqlite:///{tmp_path.resolve().as_posix()}/mlflow.db"},
    }
    assert where[name].items() <= made[0].kwargs.items()
    assert "abmil" in made[0].kwargs.values()
    assert made[0].said[-1] == "success"


def test_mlflow_goes_to_the_server_of_its_variable(monkeypatch):
    from smalti.core import loggers

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://runs")
    monkeypatch.setattr(loggers, "need", lambda *_: type("Module", (), {"MLFlowLogger": Theirs}))
    assert loggers._opened("mlflow", "", "abmil").kwargs["tracking_uri"] == "http://runs"


def test_a_logger_that_cannot_be_opened_closes_the_others(monkeypatch, tmp_path):
    from smalti.core import loggers

    def refuses(*_):
        raise ConnectionError("no server")

    monkeypatch.setattr(loggers, "_opened", refuses)
    why = r"logger 'csv' cannot be opened \(ConnectionError: no server\)"
    with pytest.raises(sm.InputError, match=why):
        abmil().fit(BAGS, callbacks="csv")
    diary, other = Diary(), Diary()
    other.on_start = refuses
    with pytest.raises(sm.InputError, match="callback Diary failed at the beginning of the fit"):
        abmil().fit(BAGS, callbacks=[diary, other])
    assert diary.said == [("start", "abmil"), ("end", False)]


def test_a_client_that_is_not_there_is_named(monkeypatch):
    from smalti.core import loggers

    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(sm.InputError, match="logger 'wandb' needs wandb: pip install wandb"):
        abmil().fit(BAGS, callbacks="wandb")


def test_a_fit_without_one_loads_none():
    code = "import smalti as sm, sys; bags = sm.datasets.planted_bags(10); " \
           "sm.mil.ABMIL(epochs=1, progress=False).fit(bags); " \
           "print([m for m in ('lightning_fabric', 'lightning', 'tensorboard') " \
           "if m in sys.modules])"  # fmt: skip
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True,
                         text=True, check=True, env=env)  # fmt: skip
    assert out.stdout.strip() == "[]"


# ---------------------------------------------------------------- several processes

TWO = """
import os, sys
from smalti import mil
from smalti.datasets import planted_bags
from smalti.errors import InputError

rank, how = os.environ["RANK"], sys.argv[2]
told = []
def callback(record):
    told.append(record)
    if how == "fails" and record["epoch"] == 1:
        raise OSError("disk full")
    return record["stage"] == "train" and record["epoch"] == 1

model = mil.ABMIL(widths=(8,), epochs=4, batch_size=8, progress=False, accelerator="cpu", devices=2)
try:
    model.fit(planted_bags(30), callbacks=[callback, f"csv:{sys.argv[1]}"])
    said = str(len(model.history_))
except InputError as error:
    said = str(error)
with open(f"{sys.argv[1]}/said.{rank}", "w") as file:
    file.write(f"{len(told)} {said}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ends", "fails"])
def test_of_two_processes_the_first_calls_and_both_end(how, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone",
                    "--nproc-per-node=2", script, tmp_path, how], env=env, check=True,
                   capture_output=True, timeout=300)  # fmt: skip
    first, second = ((tmp_path / f"said.{rank}").read_text() for rank in "01")
    assert [p.name for p in (tmp_path / "abmil").iterdir()] == ["version_0"]
    assert second.startswith("0 ")
    if how == "ends":
        assert (first, second) == ("3 3", "0 3")
    else:
        assert first.startswith("3 callback callback failed after epoch 2 of stage 'train'")
        assert second.removeprefix("0 ") == first.removeprefix("3 ")
