"""Inner against outer scores: what lies below the line was too hopeful."""

import numpy as np
import pandas as pd
import pytest

from smalti.errors import InputError
from smalti.plot import plot_searches


def frame(**more):
    one = {"method": ["a", "a", "b"], "metric": "roc_auc", "inner": [0.9, 0.7, 0.8],
           "outer": [0.6, 0.8, np.nan]}  # fmt: skip
    return pd.DataFrame(one | more)


def test_a_dot_for_each_fit_and_one_for_the_mean():
    ax = plot_searches(frame())
    dots, mean = (c.get_offsets() for c in ax.collections)
    np.testing.assert_allclose(dots, [[0.9, 0.6], [0.7, 0.8]])
    np.testing.assert_allclose(mean, [[0.8, 0.7]])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a"]  # b has no outer score
    assert ax.get_xlabel() == "AUROC, inner folds"
    assert ax.get_xlim() == ax.get_ylim()


def test_nothing_to_draw_is_said():
    with pytest.raises(InputError, match="no fit that chose its settings"):
        plot_searches(frame(outer=np.nan))
