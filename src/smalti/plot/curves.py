"""Curves: losses over training, receiver operating characteristics, scores over donors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from smalti.errors import InputError
from smalti.plot.style import COLOURS, GREY, PALE, new, short, styled

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


@styled
def plot_history(
    history: pd.DataFrame | Mapping[str, pd.DataFrame], *, unit: str = "nats"
) -> Figure:
    """Loss of training (and of validation, where some donors were held out) over epochs.

    Parameters
    ----------
    history
        ``model.history_``, or several by name.
    unit
        Unit of the loss: "nats" of a likelihood; a regression has half squared errors.

    Returns
    -------
    Figure
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
    figure, axes = new(6.8, 3.1)
    for i, (name, table) in enumerate(several.items()):
        part = table[table["epoch"].notna() & table["train_loss"].notna()]
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(part["epoch"], part["train_loss"], color=colour, label=name,
                  ls=_DASHES[i % 4] if len(several) > 1 else "-")  # fmt: skip
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
    return figure


@styled
def plot_roc(
    predictions: pd.DataFrame, *, title: str | None = None, most: int = 6,
    areas: Mapping[str, float] | None = None,
) -> Figure:  # fmt: skip
    """Receiver operating characteristic of each method of a binary task.

    Parameters
    ----------
    predictions
        ``comparison.predictions``: columns method, true, p_CLASS (the last column of that form is
        the positive class), and repeat where there are repeats. Test bags of all folds are pooled
        within a repeat, and the probability of a bag is averaged over repeats.
    title
        Title; says the best method when left out.
    most
        Methods to draw, the best ones; more cannot be told apart.
    areas
        Method -> the AUROC to name beside its curve, as a table has it: the mean over folds. When
        left out, that of the curve, whose bags of several folds are pooled: of models that never
        met, and below 0.5 by chance.

    Returns
    -------
    Figure
        Share of bags of the positive class found over share of the others falsely called so; the
        axes name both classes.

    Raises
    ------
    InputError
        If the task is not binary.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    columns = [c for c in predictions if str(c).startswith("p_")]
    if len(columns) != 2 or "true" not in predictions:
        raise InputError("a ROC curve needs a binary task: columns true and two of p_CLASS.")
    negative, positive = (c.removeprefix("p_") for c in columns)
    curves = {}
    for method, part in predictions.groupby("method", sort=False):
        one = part.groupby("bag", sort=False).agg(true=("true", "first"), p=(columns[1], "mean"))
        truth = one["true"].astype(str) == positive
        if truth.nunique() == 2:
            fall_out, recall, _ = roc_curve(truth, one["p"])
            pooled = roc_auc_score(truth, one["p"])
            curves[method] = (fall_out, recall, pooled if areas is None else areas[str(method)])
    if not curves:
        raise InputError("a ROC curve needs test bags of both classes.")
    figure, axes = new(7.0, 4.3)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=(0, (4, 3)))
    ranked = sorted(curves.items(), key=lambda c: -c[1][2])
    for i, (method, (fall_out, recall, area)) in enumerate(ranked[:most]):
        axes.plot(fall_out, recall, color=COLOURS[i % len(COLOURS)], ls=_DASHES[i % 4],
                  drawstyle="steps-post", label=f"{method}  {area:.3f}")  # fmt: skip
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal",
             xlabel=f"share of bags of '{negative}' called '{positive}'",
             ylabel=f"share of bags of '{positive}' found")  # fmt: skip
    axes.grid(color=PALE, lw=0.7)
    head = "AUROC of the pooled test bags" if areas is None else "AUROC, mean over test folds"
    if len(ranked) > most:
        head += f"\n(best {most} of {len(ranked)})"
    axes.legend(title=head, loc="upper left", bbox_to_anchor=(1.02, 1.0), alignment="left",
                title_fontsize=8, fontsize=8)  # fmt: skip
    # no word on who is first: areas of the same bags differ by chance, and here is no interval
    axes.set_title(title or "ROC curves of the test bags")
    return figure


@styled
def plot_learning(means: pd.DataFrame, *, metric: str = "score", most: int = 4) -> Figure:
    """Scores over the number of training donors.

    Parameters
    ----------
    means
        ``comparison.learning_curve()``.
    metric
        What is drawn, for the axis.
    most
        Methods to draw, the first ones.

    Returns
    -------
    Figure
        The mean over test folds, and its 95 % interval.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if means.empty:
        raise InputError("no learning curve to draw.")
    figure, axes = new(6.8, 3.4)
    names = list(means["method"].unique())[:most]
    wide = means["donors"].max() - means["donors"].min()
    for i, name in enumerate(names):
        part = means[means["method"] == name].sort_values("donors")
        at = part["donors"] + 0.012 * wide * (i - (len(names) - 1) / 2)  # bars side by side
        ends = np.stack([part["value"] - part["low"], part["high"] - part["value"]])
        axes.errorbar(at, part["value"], np.nan_to_num(ends), marker="o", ms=5, lw=1.6,
                      elinewidth=1.1, capsize=2.5, color=COLOURS[i % len(COLOURS)],
                      ls=_DASHES[i % 4], label=short(name, 30))  # fmt: skip
    every = means["donors"].round().astype(int).drop_duplicates().sort_values()
    axes.set_xticks(every if len(every) <= 8 else every.iloc[:: len(every) // 6])
    axes.set(xlabel="training donors of a fold (mean); bars: 95 % of the procedure", ylabel=metric)
    axes.grid(color=PALE, lw=0.7)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)
    return figure
