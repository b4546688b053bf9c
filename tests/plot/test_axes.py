"""Where pictures are drawn: in axes or a figure that is given, else in one that pyplot ignores."""

import inspect

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import smalti as sm


def frame():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=40)
    return pd.DataFrame({"method": "m", "repeat": 0, "fold": 0, "bag": range(40),
                         "donor": range(40), "p_well": 1 - p, "p_ill": p,
                         "true": np.where(rng.uniform(size=40) < p, "ill", "well")})  # fmt: skip


def embedded(**where):
    z = np.random.default_rng(0).normal(size=(30, 3))
    found = pd.DataFrame({"attention": np.full(60, 0.05)})
    bags = sm.Bags.from_list(list(z.reshape(3, 10, 3)) + list(z.reshape(3, 10, 3)), [0, 1] * 3)
    return sm.pl.plot_attention(bags, found, **where)


def calibrated(**where):
    curve = sm.scores.calibration_curve(np.tile([True, False], 20), np.linspace(0, 1, 40))
    return sm.pl.plot_calibration(curve.assign(method="m", **{"class": "ill"}), **where)


ONE = {
    "roc": lambda **k: sm.pl.plot_roc(frame(), **k),
    "precision_recall": lambda **k: sm.pl.plot_precision_recall(frame(), **k),
    "cells": lambda **k: sm.pl.plot_cells(np.eye(9)[:, :2], np.linspace(0, 1, 9), **k),
    "features": lambda **k: sm.pl.plot_features(pd.DataFrame({"m": [0.1]}, index=["CD4"]), **k),
    "composition": lambda **k: sm.pl.plot_composition(
        pd.DataFrame({"B": [0.4], "T": [0.6]}, index=["s"]), **k
    ),
    "history": lambda **k: sm.pl.plot_history(
        pd.DataFrame({"epoch": [0, 1], "train_loss": [2.0, 1.0]}), **k
    ),
    "residuals": lambda **k: sm.pl.plot_patients(
        pd.DataFrame({"bag": ["a", "b"], "true": [1.0, 2.0], "residual": [0.5, -0.5], "times": 1,
                      "predicted_low": [1.4, 1.4], "predicted_high": [1.6, 1.6]}), **k
    ),
}  # fmt: skip
SEVERAL = {"attention": embedded, "calibration": calibrated}


@pytest.mark.parametrize("name", sorted(sm.plot.__all__))
def test_a_picture_takes_axes_and_returns_them_or_a_figure_and_returns_that(name):
    signature = inspect.signature(getattr(sm.pl, name))
    where = {"ax": "Axes", "fig": "Figure"}
    given = [k for k in where if k in signature.parameters]
    assert len(given) == 1
    assert signature.parameters[given[0]].kind is inspect.Parameter.KEYWORD_ONLY
    assert signature.parameters[given[0]].default is None
    assert signature.return_annotation == where[given[0]]


@pytest.mark.parametrize("name", ONE)
def test_one_panel_is_drawn_into_the_axes_that_are_given(name):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert ONE[name](ax=left) is left
    assert left.has_data()
    assert not right.has_data()
    assert figure._supxlabel is None
    assert figure._suptitle is None
    assert not figure.legends
    assert ONE[name]().figure is not figure


@pytest.mark.parametrize("name", SEVERAL)
def test_several_panels_fill_a_figure_or_a_part_of_one(name):
    whole = Figure(layout="constrained")
    assert SEVERAL[name](fig=whole) is whole
    n = len(whole.axes)
    parted = Figure(layout="constrained")
    left, right = parted.subfigures(1, 2)
    assert SEVERAL[name](fig=left) is parted
    assert (len(left.axes), len(right.axes)) == (n, 0)


@pytest.mark.parametrize("draw", [ONE["roc"], SEVERAL["calibration"]])
def test_a_picture_leaves_pyplot_alone_and_a_notebook_shows_it(draw):
    before = dict(mpl.rcParams)
    drawn = draw()
    assert pyplot.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert drawn._repr_png_().startswith(b"\x89PNG")


def test_axes_that_were_given_are_shown_by_whoever_made_them():
    figure, axes = pyplot.subplots()
    assert not hasattr(ONE["roc"](ax=axes), "_repr_png_")
    assert pyplot.get_fignums() == [figure.number]
    pyplot.close(figure)


def test_the_short_name_is_the_same_module():
    assert sm.pl is sm.plot
    assert "pl" in dir(sm)
