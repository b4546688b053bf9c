"""Curves: losses over training, receiver operating characteristics, precision and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import (
    BROKEN,
    COLOURS,
    GREY,
    LINES,
    PALE,
    legend_beside,
    one_panel,
    short,
    styled,
)
from smalti.scores.curves import mean_curves


@styled
def plot_history(
    history: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    unit: str = "nats",
    ax: Axes | None = None,
) -> Axes:
    """Loss of training (and of validation, where some donors were held out) over epochs.

    Parameters
    ----------
    history
        ``model.history_``, or several by name.
    unit
        Unit of the loss: "nats" of a likelihood; a regression has half squared errors.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Mean loss per bag over epochs; validation dashed.

    Raises
    ------
    InputError
        If no method was trained by gradient.
    """
    several = {"training": history} if isinstance(history, pd.DataFrame) else dict(history)
    several = {k: h for k, h in several.items() if "epoch" in h and h["train_loss"].notna().any()}
    if not several:
        raise InputError("no loss to draw: nothing here was trained by gradient.")
    axes = one_panel(ax, 6.8, 3.1)
    for i, (name, table) in enumerate(several.items()):
        part = table[table["epoch"].notna() & table["train_loss"].notna()]
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(part["epoch"], part["train_loss"], color=colour, label=name,
                  ls=LINES[i % 4] if len(several) > 1 else "-")  # fmt: skip
        if "val_loss" in part and part["val_loss"].notna().any():
            axes.plot(
                part["epoch"], part["val_loss"], color=colour, ls=":", label=f"{name}, held out"
            )
    axes.set(xlabel="epoch (pass over the training bags)", ylabel=f"mean loss per bag ({unit})")
    axes.set_ylim(bottom=0)
    axes.grid(color=PALE, lw=0.7)
    axes.legend(loc="upper right")
    last = {k: h["train_loss"].dropna().iloc[-1] for k, h in several.items()}
    low, high = min(last.values()), max(last.values())
    end = f"{low:.2g}" if np.isclose(low, high, rtol=0.05) else f"{low:.2g} to {high:.2g}"
    axes.set_title(f"Training ended at a loss of {end}")
    return axes


@styled
def plot_roc(
    predictions: pd.DataFrame,
    *,
    bands: Sequence[str] = (),
    n_train: float | None = None,
    freedom: int | None = None,
    most: int = 6,
    ax: Axes | None = None,
) -> Axes:
    """Receiver operating characteristic of each method of a binary task.

    Parameters
    ----------
    predictions, bands, n_train, freedom
        See :func:`smalti.scores.mean_curves`.
    most
        Methods to draw, those of the largest area; more cannot be told apart.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Share of bags of the positive class found over share of the others falsely called so, the
        mean curve of the test folds, its area beside the name; the axes name both classes.

    Raises
    ------
    InputError
        If the task is not binary.
    """
    negative, positive = _classes(predictions)
    found = mean_curves(predictions, "roc", bands=bands, n_train=n_train, freedom=freedom)
    axes = _drawn(one_panel(ax, 7.0, 4.1), found, "AUROC", most)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=BROKEN, zorder=1)
    axes.set(xlabel=f"share of bags of '{negative}' called '{positive}'",
             ylabel=f"share of bags of '{positive}' found")  # fmt: skip
    return axes


@styled
def plot_precision_recall(
    predictions: pd.DataFrame,
    *,
    bands: Sequence[str] = (),
    n_train: float | None = None,
    freedom: int | None = None,
    most: int = 6,
    ax: Axes | None = None,
) -> Axes:
    """Precision over recall of each method of a binary task.

    Parameters
    ----------
    predictions, bands, n_train, freedom, most
        As of :func:`plot_roc`.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Share of calls that are right over share of bags of the positive class found, the mean curve
        of the test folds; its area, beside the name, is the average precision. Dashed: the share of
        the class, which calls by chance have.

    Raises
    ------
    InputError
        If the task is not binary.
    """
    _, positive = _classes(predictions)
    found = mean_curves(predictions, "precision_recall", bands=bands, n_train=n_train,
                        freedom=freedom)  # fmt: skip
    axes = _drawn(one_panel(ax, 7.0, 4.1), found, "average precision", most)
    axes.axhline((predictions["true"].astype(str) == positive).mean(), color=GREY, lw=0.8,
                 ls=BROKEN, zorder=1)  # fmt: skip
    axes.set(xlabel=f"share of bags of '{positive}' found",
             ylabel=f"share of calls of '{positive}' that are right")  # fmt: skip
    return axes


def _classes(predictions: pd.DataFrame) -> tuple[str, str]:
    """The negative and the positive class."""
    columns = [str(c).removeprefix("p_") for c in predictions if str(c).startswith("p_")]
    if len(columns) != 2:
        raise InputError("a ROC curve needs a binary task: columns true and two of p_CLASS.")
    return columns[0], columns[1]


def _drawn(axes: Axes, found: pd.DataFrame, area: str, most: int) -> Axes:
    """The curves of the largest areas with their bands."""
    order = found.drop_duplicates("method").sort_values("area", ascending=False, kind="stable")
    shown = set(order["method"].iloc[:most])
    # in the order that they came in: a method has one colour in all pictures of a page
    for i, method in enumerate(m for m in found["method"].unique() if m in shown):
        own = found[found["method"] == method]
        colour = COLOURS[i % len(COLOURS)]
        axes.fill_between(own["x"], own["low"], own["high"], color=colour, alpha=0.16, lw=0)
        x, y = ([0, *own["x"]], [0, *own["y"]]) if area == "AUROC" else (own["x"], own["y"])
        axes.plot(x, y, color=colour, ls=LINES[i % 4],
                  label=f"{short(method, 34)}  {own['area'].iloc[0]:.3f}")  # fmt: skip
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.grid(color=PALE, lw=0.7)
    head = area if found["parts"].max() == 1 else f"{area}, mean over test folds"
    if len(order) > most:
        head += f"\n(best {most} of {len(order)})"
    legend_beside(axes, title=head, alignment="left", title_fontsize=8)
    return axes
