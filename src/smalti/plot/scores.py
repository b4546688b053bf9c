"""Scores of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from smalti.plot.style import BROKEN, COLOURS, GREY, PALE, explained, headline, one_panel, styled
from smalti.scores.chance import BY_RANK
from smalti.scores.metrics import BY_CHANCE, with_unit

if TYPE_CHECKING:
    from smalti.scores.table import Scores


@styled
def plot_scores(
    comparison: Scores,
    metric: str | None = None,
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One row per method: a dot per fold, the mean and one standard deviation.

    Parameters
    ----------
    comparison
        What :func:`smalti.compare` or :func:`smalti.compare_integration` returned.
    metric
        Metric to show; the default one of the task when left out.
    title
        Above it; the headline when left out.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Methods that have the metric by falling score, baselines in grey, the level of chance dashed
        where there is one, and shaded where nine of ten means of random scores lie in these folds.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(24, seed=0)
    >>> table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
    >>> axes = sm.pl.plot_scores(table)  # ax=: in axes of your own
    >>> axes.figure.savefig("scores.png")
    """
    metric = metric or comparison.metrics[0]
    label, chance = with_unit(metric) + _of_class(comparison, metric), BY_CHANCE.get(metric)
    table = comparison.summary(metric).query("metric == @metric and n_folds > 0 and n_failed == 0")
    axes = one_panel(ax, 6.8, 0.36 * len(table) + 1.25)
    rng = np.random.default_rng(0)
    for y, row in enumerate(table.itertuples()):
        values = comparison.folds.query("method == @row.method and metric == @metric")["value"]
        raced = comparison.races(row.method) and not row.baseline
        colour = COLOURS[0] if raced else GREY
        shift = rng.uniform(-0.14, 0.14, len(values))
        axes.scatter(values, y + shift, s=14, color=colour, alpha=0.35, lw=0, zorder=2)
        spread = 0.0 if np.isnan(row.sd_folds) else row.sd_folds
        ends = np.clip([row.mean - spread, row.mean + spread], values.min(), values.max())
        axes.plot(ends, [y, y], color=colour, lw=2, zorder=3, solid_capstyle="round")
        axes.scatter([row.mean], [y], s=46, color=colour, zorder=4, ec="white", lw=1)
        axes.text(1.02, y, f"{row.mean:.3f}", transform=axes.get_yaxis_transform(), va="center",
                  color=colour, fontsize=8.5)  # fmt: skip
    if chance is not None:
        _null_of(comparison, metric, axes)
        axes.axvline(chance, color=GREY, lw=0.8, ls=BROKEN, zorder=1)
        axes.text(chance, -0.62, " chance", fontsize=7.5, color=GREY, va="bottom")
    roles = {m: comparison.role(m) for m in table["method"]}
    names = [f"{m} ({role})" if role else m for m, role in roles.items()]
    axes.set_yticks(range(len(table)), names)
    axes.set_ylim(len(table) - 0.4, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, lw=0.7)
    axes.set_axisbelow(True)
    explained(axes, f"{label}; dots: {comparison.unit}; bar: mean ± 1 s.d., within the range of "
                    "the dots")  # fmt: skip
    headline(axes, comparison.headline(metric) if title is None else title)
    return axes


def _null_of(comparison: Scores, metric: str, axes: Axes) -> None:
    """Where nine of ten means lie of scores that mean nothing, in the very folds of the table."""
    if metric not in BY_RANK or not hasattr(comparison, "chance"):
        return
    null = comparison.chance(metric)
    if null["low"] == null["low"]:
        axes.axvspan(null["low"], null["high"], color=PALE, alpha=0.6, lw=0, zorder=0)


def _of_class(comparison: Scores, metric: str) -> str:
    """The class that a metric is of, where it would be another number for the other class."""
    positive = getattr(getattr(comparison, "task", None), "positive", None)
    return f" of '{positive}'" if metric == "average_precision" and positive is not None else ""
