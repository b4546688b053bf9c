"""What each modality adds to cells of each label."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import COLOURS, one_panel, short, styled


@styled
def plot_contributions(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the shares of the modalities in the code, a bar for each label.

    Parameters
    ----------
    table
        Columns label, modality and share: of one method in ``IntegrationComparison.adds``.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Bars of parts that sum to 1, labels in the order of the first modality's share.

    Raises
    ------
    InputError
        If a column is missing, or a label has a modality twice.
    """
    lacking = {"label", "modality", "share"} - set(table)
    if lacking or table.duplicated(["label", "modality"]).any():
        raise InputError("give columns label, modality and share, one row for each of both.")
    wide = table.pivot_table(index="label", columns="modality", values="share", sort=False)
    wide = wide.sort_values(wide.columns[0])
    axes = one_panel(ax, 6.4, 0.9 + 0.3 * len(wide))
    left = np.zeros(len(wide))
    for i, name in enumerate(wide):
        share = wide[name].fillna(0).to_numpy()
        axes.barh(range(len(wide)), share, left=left, label=name, height=0.7,
                  color=COLOURS[i % len(COLOURS)])  # fmt: skip
        left += share
    axes.set_yticks(range(len(wide)), [short(str(k)) for k in wide.index])
    axes.set_xlabel("share of the code")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    return axes
