"""Features of a modality, as methods predict them."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import COLOURS, one_panel, short, styled


@styled
def plot_features(
    table: pd.DataFrame, *, label: str = "Pearson correlation", ax: Axes | None = None
) -> Axes:
    """Draw a score of each feature, a dot for each method.

    Parameters
    ----------
    table
        Features by methods: ``ModalityPrediction.by_feature``.
    label
        What the score is.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        The first feature on top.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if table.empty:
        raise InputError("there is no feature to draw.")
    axes = one_panel(ax, 6.4, 1.1 + 0.22 * len(table))
    rows = range(len(table))[::-1]
    for i, name in enumerate(table):
        axes.plot(table[name], rows, "o", ms=5, label=short(str(name)), alpha=0.85,
                  color=COLOURS[i % len(COLOURS)])  # fmt: skip
    axes.set_yticks(rows, [short(str(k)) for k in table.index])
    axes.set_xlabel(label)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return axes
