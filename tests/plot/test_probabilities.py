"""Pictures of probabilities and differences."""

import numpy as np
import pandas as pd
import pytest

from smalti.errors import InputError
from smalti.plot import plot_calibration, plot_net_benefit, plot_precision_recall, plot_roc
from smalti.scores import calibration_curve, net_benefit


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=80)
    return rng.uniform(size=80) < p, p


def of(frame, *methods):
    return pd.concat([frame.assign(method=m, **{"class": "ill"}) for m in methods])


def test_a_panel_has_the_points_of_its_curve(drawn):
    curve = calibration_curve(*drawn)
    figure = plot_calibration(of(curve, "a", "b", "c", "d"), methods=["d", "a"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["d", "a"]
    points = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_xdata().astype(float), curve["predicted"])
    np.testing.assert_allclose(points.get_ydata().astype(float), curve["observed"])
    assert "'ill'" in figure.axes[0].get_ylabel()


def test_a_method_of_one_bin_is_left_out_where_others_have_several(drawn):
    one = calibration_curve(drawn[0], np.full(80, 0.5))
    both = pd.concat([of(one, "flat"), of(calibration_curve(*drawn), "a")])
    assert [ax.get_title(loc="left") for ax in plot_calibration(both).axes] == ["a"]
    assert len(plot_calibration(of(one, "flat")).axes) == 1


def test_curves_of_decisions_stand_beside_treating_all(drawn):
    table = net_benefit(*drawn)
    axes = plot_net_benefit(of(table, "a"))
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["a"].get_ydata(), table["net_benefit"])
    np.testing.assert_allclose(lines["treat everyone"].get_ydata(), table["treat_all"])


@pytest.mark.parametrize("draw", [plot_calibration, plot_net_benefit])
def test_two_classes_are_two_pictures(draw, drawn):
    two = pd.concat([of(net_benefit(*drawn), "a"), of(net_benefit(*drawn), "a")])
    two["class"] = ["ill"] * 19 + ["well"] * 19
    with pytest.raises(InputError, match="is of one class"):
        draw(two)
    with pytest.raises(InputError, match="is of one class"):
        draw(pd.DataFrame())
    with pytest.raises(InputError, match="none of these methods"):
        draw(of(net_benefit(*drawn), "a"), methods=["b"])


def test_a_legend_has_the_area_of_the_table():
    frame = pd.DataFrame({"method": "a", "bag": range(4), "true": ["n", "y"] * 2,
                          "p_n": [0.9, 0.2, 0.4, 0.6], "p_y": [0.1, 0.8, 0.6, 0.4]})  # fmt: skip
    one = plot_roc(frame).legend_
    assert one.get_texts()[0].get_text() == "a  0.750"
    assert one.get_title().get_text() == "AUROC"
    two = plot_roc(pd.concat([frame.assign(fold=0), frame.assign(fold=1, p_y=0.5)])).legend_
    assert two.get_texts()[0].get_text() == "a  0.625"
    assert two.get_title().get_text() == "AUROC, mean over test folds"
    right = plot_precision_recall(frame).legend_
    assert right.get_texts()[0].get_text() == "a  0.833"
