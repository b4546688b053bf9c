"""Pictures of what is found before a fit: what stands in them."""

import numpy as np
import pandas as pd
import pytest

from smalti.errors import InputError
from smalti.features.screen import Screen
from smalti.plot import plot_predictable, plot_screen


def test_encoders_by_falling_mean():
    rows = [{"view": view, "width": 3, "left_out": donor, "n_tiles": 9, "pcc_slide": value}
            for view, values in (("X_a", (0.1, 0.2, 0.3)), ("X_" + "b" * 60, (0.4, 0.3, 0.5)))
            for donor, value in zip("PQR", values, strict=True)]  # fmt: skip
    axes = plot_screen(Screen(pd.DataFrame(rows), "donor", ("A",)))
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels[1] == "X_a"
    assert len(labels[0]) == 24
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[0.4, 0], [0.2, 1]])
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0.4, 0.1])  # donor P in both


def test_scores_of_genes_beside_their_null():
    table = pd.DataFrame({"gene": ["A", "B", "C", "D"], "view": "X", "null_sd": 0.1,
                          "score": [0.1, 0.5, np.nan, 0.3],
                          "null_mean": [0.0, 0.1, np.nan, 0.0]})  # fmt: skip
    shares, best = plot_predictable(table, n=2).axes
    np.testing.assert_allclose(shares.lines[0].get_xdata()[:3], [0.1, 0.3, 0.5])
    assert shares.get_title(loc="left") == "3 genes"
    assert [t.get_text() for t in best.get_yticklabels()] == ["B", "D"]
    np.testing.assert_allclose(best.lines[0].get_xdata(), [0.5, 0.3])
    np.testing.assert_allclose([p[:, 0] for p in best.collections[0].get_segments()],
                               [[-0.1, 0.3], [-0.2, 0.2]])  # fmt: skip
    with pytest.raises(InputError, match="no gene has a score"):
        plot_predictable(table.assign(score=np.nan))
