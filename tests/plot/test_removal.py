"""Curves of what predictions become when instances are taken away."""

import pandas as pd
import pytest

from smalti.errors import InputError
from smalti.explain.explanations import CURVE_COLUMNS
from smalti.plot import plot_removal


def curves(n):
    rows = [
        {"method": f"m{i}", "scores": "attention", "order": order, "gone_first": first,
         "gone": gone, "value": 0.9 - gone * (first == "highest"), "low": 0.8, "high": 1.0}
        for i in range(n) for order, first in (("scores", "highest"), ("scores", "lowest"),
                                               ("norm", "highest"), ("random", "any"))
        for gone in (0.5, 0.0, 0.98)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def test_each_kind_of_scores_has_a_panel_with_its_answer_and_lines_go_by_share():
    figure = plot_removal(curves(2), verdicts={("m1", "attention"): "its scores are chance"},
                          followed={"attention": "probability"}, unit="cells")  # fmt: skip
    panels = [a for a in figure.axes if a.get_visible()]
    assert [a.get_title("left") for a in panels] == ["m0: attention", "m1: attention"]
    assert "its scores are chance" in [t.get_text().strip() for t in panels[1].texts]
    high = panels[0].lines[0]
    assert high.get_xdata().tolist() == [0, 50, 98]
    assert high.get_ydata().tolist() == pytest.approx([0.9, 0.4, -0.08])
    assert panels[0].get_ylabel() == "probability"
    assert "cells" in panels[0].get_xlabel()


def test_the_first_panels_are_drawn_and_nothing_is_refused():
    assert sum(a.get_visible() for a in plot_removal(curves(12)).axes) == 8
    assert sum(a.get_visible() for a in plot_removal(curves(3)).axes) == 3
    with pytest.raises(InputError, match="no curve to draw"):
        plot_removal(curves(0))
