"""The encoder that is taken where none is named, and several at once."""

import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.datasets import planted_slides
from smalti.errors import InputError
from smalti.features import default, extraction


@pytest.fixture(scope="module")
def bags():
    return planted_slides(2, 3, images=True, size=32)


class Named:
    """An encoder of a mean, under a name."""

    half, features = False, ("mean",)

    def __init__(self, name, factor=1.0):
        self.name, self.factor, self.identity = name, factor, f"{name} {factor}"

    def encode(self, tiles, um_per_px):
        return self.factor * tiles.reshape(len(tiles), -1).mean(1, dtype=np.float32)[:, None]


def by_name(monkeypatch):
    monkeypatch.setattr(extraction, "make_encoder",
                        lambda e, **k: Named(e, len(e)) if isinstance(e, str) else e)  # fmt: skip


@pytest.mark.parametrize(("there", "want"), [(True, "efficientnet-lite0"), (False, "morphology")])
def test_one_rule_and_it_is_said(there, want, bags, monkeypatch):
    monkeypatch.setattr(default, "is_installed", lambda name: there)
    by_name(monkeypatch)
    out = sm.features.extract(bags, progress=False)
    assert out.view()[0] == f"X_{want}"
    assert sm.features.default_encoder()[0] == want
    said = [n for n in out.notes if n not in bags.notes]
    assert len(said) == 1
    assert f"those of {want}" in said[0]
    assert ("smalti[slides]" in said[0]) == (not there)
    named = sm.features.extract(bags, "morphology", progress=False)
    assert named.notes == bags.notes  # what was asked for is no news


def test_both_in_one_view_or_a_view_of_each(bags, monkeypatch, tmp_path):
    by_name(monkeypatch)
    each = sm.features.extract(bags, ["one", "three"], progress=False, cache=tmp_path)
    assert list(each.x)[:2] == ["X_one", "X_three"]
    kept = sorted(tmp_path.rglob("*.safetensors"))
    both = sm.features.extract(bags, "one+three", progress=False, cache=tmp_path)
    assert both.view()[0] == "X_one+three"
    np.testing.assert_array_equal(
        both.table(), np.hstack([each.table("X_one"), each.table("X_three")])
    )
    assert both.features["X_one+three"] == ("mean", "mean")
    assert sorted(tmp_path.rglob("*.safetensors")) == kept  # each has its own place in the cache
    flips = sm.features.extract(bags, "one+three", flips="all", progress=False)
    assert flips.table("X_one+three_5").shape == both.table().shape
    with pytest.raises(InputError, match="names none"):
        sm.features.extract(bags, [])


def test_an_ensemble_of_backbones_is_an_ensemble_of_views(bags, monkeypatch):
    by_name(monkeypatch)
    slides = sm.features.extract(bags, ["one", "two", "three"], progress=False)
    views = [v for v in slides.x if v.startswith("X_") and v != "X_planted"]
    model = sm.make("ensemble", members=[{"method": "ridge", "x": v} for v in views]).fit(slides)
    members = [sm.make("ridge", x=v).fit(slides).predict(slides) for v in views]
    np.testing.assert_allclose(model.predict(slides), np.mean(members, 0), atol=1e-4)
    with pytest.raises(InputError, match="X_two"):
        model.predict(dataclasses.replace(slides, x={k: v for k, v in slides.x.items()
                                                     if k != "X_two"}))  # fmt: skip
