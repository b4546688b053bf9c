"""A name that is not there is answered by the one that was meant."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.base import clone

import smalti as sm
from smalti.names import meant


@pytest.fixture(scope="module")
def cells():
    obs = pd.DataFrame({"sample": np.repeat(["a", "b", "c"], 10), "state": "x"},
                       index=map(str, range(30)))  # fmt: skip
    x = np.ones((30, 4), dtype=np.float32)
    return AnnData(x, obs=obs, obsm={"X_pca": x}, layers={"counts": x})


def planted():
    return sm.datasets.planted_bags(12, seed=0)


TYPOS = {
    "a method": (lambda _: sm.make("abmill"), "abmil"),
    "a method of a comparison": (lambda _: sm.compare(["bag_men"], planted()), "bag_mean"),
    "a preset": (lambda _: sm.make("umint:fst"), "fast"),
    "a setting by name": (lambda _: sm.make("abmil", gatd=True), "gated"),
    "a setting": (lambda _: sm.mil.ABMIL(gatd=True), "gated"),
    "a setting of an integration": (lambda _: sm.integrate.UMINT(widht=8), "width"),
    "a setting to change": (lambda _: sm.mil.ABMIL().set_params(gatd=True), "gated"),
    "a room": (lambda _: sm.methods("mill"), "mil"),
    "a data set": (lambda _: sm.datasets.load("musk3"), "musk1"),
    "a step": (lambda _: sm.mil.BagMean(preprocess="lgo1p").fit(planted()), "log1p"),
    "a column": (lambda d: sm.read(d, sample="smaple"), "sample"),
    "a label": (lambda d: sm.read(d, sample="sample", label="State"), "state"),
    "a layer": (lambda d: sm.read(d, x="layers/count"), "layers/counts"),
    "a key": (lambda d: sm.read(d, x="obsm/X_pac"), "X_pca"),
    "what a view holds": (lambda d: sm.read(d, x="X", kinds={"X": "rnaa"}), "rna"),
    "a view": (lambda _: planted().view("X"), "x"),
    "an instance column": (lambda _: sm.plot.plot_attention(
        planted(), pd.DataFrame({"attention": [0.1]}), column="atention"), "attention"),
}  # fmt: skip


@pytest.mark.parametrize("what", TYPOS)
def test_the_error_says_which_name_was_meant(what, cells):
    mistake, right = TYPOS[what]
    with pytest.raises(sm.InputError) as caught:
        mistake(cells)
    assert str(caught.value).endswith(f" Did you mean {right!r}?")


def test_a_class_of_a_room_is_answered_once():
    with pytest.raises(AttributeError, match=r"'ABML'.* Did you mean 'ABMIL'\?$") as caught:
        sm.mil.ABML  # noqa: B018
    assert caught.value.name == "ABML"  # so that Python adds no answer of its own


def test_nothing_near_is_no_answer():
    assert meant("gpt", ["abmil", "clam"]) == ""
    assert meant("STATE", ["state"]) == " Did you mean 'state'?"
    assert meant("sampel", ["sample", "samples", "x"], 2) == " Did you mean 'sample' or 'samples'?"


def test_settings_inside_settings_are_still_changed():
    search = clone(sm.mil.ABMIL(gated=True)).set_params(epochs=3)
    assert (search.gated, search.epochs) == (True, 3)
