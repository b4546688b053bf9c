"""Loggers of a fit: those of Lightning, by name or as they are.

CSV and TensorBoard are Fabric's, which is there; Weights & Biases and MLflow are those of Lightning
itself. They are imported when one is asked for.
"""

from __future__ import annotations

import importlib.util
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from smalti.errors import InputError
from smalti.names import meant
from smalti.system.extras import need

NAMES = ("csv", "tensorboard", "wandb", "mlflow")
FOLDER = "logs"  # where nothing else is said
_CLIENTS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",),
            "mlflow": ("mlflow",)}  # fmt: skip


class Logged:
    """A logger as a callback: one row for each epoch of each stage.

    Names of what is logged begin with that of the stage, whose losses are no one curve with those
    of another stage. The step counts the epochs of all stages.

    Parameters
    ----------
    logger
        One of Lightning's, or what has their ``log_metrics`` and ``finalize``.
    """

    def __init__(self, logger: Any) -> None:
        self.logger, self.step = logger, 0

    def on_start(self, model: Any) -> None:
        """Log the settings, where the logger takes any."""
        plain = (bool, int, float, str)
        settings = {"method": model.name} | {
            k: v if isinstance(v, plain) else str(v) for k, v in model.get_params(False).items()
        }
        with suppress(NotImplementedError):  # Fabric's CSV takes none
            self.logger.log_hyperparams(settings)

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Log what is a number."""
        names = ("epoch", "train_loss", "val_loss", "lr", "seconds")
        numbers = {f"{record['stage']}/{k}": record[k] for k in names if not math.isnan(record[k])}
        self.logger.log_metrics(numbers, step=self.step)
        self.logger.save()  # a fit that is killed has its log
        self.step += 1

    def on_end(self, done: bool) -> None:
        """Close it."""
        self.logger.finalize("success" if done else "failed")


def is_logger(given: Any) -> bool:
    """Whether this is a logger of Lightning, or behaves as one."""
    return hasattr(given, "log_metrics") and hasattr(given, "finalize")


def named(text: str, method: str) -> Logged:
    """The logger ``NAME`` or ``NAME:FOLDER``, for a fit of a method.

    Raises
    ------
    InputError
        If there is none of that name, what it needs is not installed, or it cannot be opened.
    """
    name, _, folder = text.partition(":")
    if name not in NAMES:
        raise InputError(f"no logger is called {name!r}; there are {', '.join(NAMES)}."
                         f"{meant(name, NAMES)}")  # fmt: skip
    clients = _CLIENTS.get(name, ())
    if clients and not any(importlib.util.find_spec(c) for c in clients):
        raise InputError(f"logger {name!r} needs {clients[0]}: pip install {clients[0]}.")
    try:
        return Logged(_opened(name, folder, method))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"logger {text!r} cannot be opened ({type(error).__name__}: {error})."
        ) from error


def _opened(name: str, folder: str, method: str) -> Any:
    """A logger of Lightning."""
    if name == "csv":
        from lightning_fabric.loggers import CSVLogger

        return CSVLogger(folder or FOLDER, name=method)
    if name == "tensorboard":
        from lightning_fabric.loggers import TensorBoardLogger

        return TensorBoardLogger(folder or FOLDER, name=method)
    loggers = need("lightning.pytorch.loggers", "loggers")
    if name == "wandb":
        return loggers.WandbLogger(name=method, save_dir=folder or FOLDER, project="smalti")
    server = "" if folder else os.environ.get("MLFLOW_TRACKING_URI", "")
    return loggers.MLFlowLogger(
        "smalti", run_name=method, tracking_uri=server or _database(folder or FOLDER)
    )


def _database(folder: str) -> str:
    """Where MLflow keeps runs without a server; it no longer takes a plain folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{Path(folder).resolve().as_posix()}/mlflow.db"
