"""Heat maps of slides by models of folds that were not fitted on them."""

import dataclasses
import re

import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Eight slides of eight donors, half of them with a dark corner."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("slides"), np.random.default_rng(0)
    for k in range(8):
        picture = np.full((128, 160, 3), (235, 205, 225), np.uint8)
        if k % 2:
            picture[64:, :64] = (90, 50, 130)
        picture = picture - rng.integers(0, 12, picture.shape).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"S{k}.png")
    slides = sm.read_slides(folder, um_per_px=0.5, tile_px=32, size=32, tissue_min=0.0)
    dark = np.array([255 - t.mean() for t in slides.x["tile"].read(0, slides.n_instances)])
    x = np.c_[dark, rng.normal(size=len(dark))].astype(np.float32)
    own = dataclasses.replace(slides, x={"X": x, **slides.x}, donor="bag")
    return own.with_target(np.array(["N0", "N1"] * 4))


@pytest.fixture(scope="module")
def table(bags):
    with pytest.MonkeyPatch.context() as patch:
        few = {"majority": sm.mil.Majority, "bag_mean": sm.mil.BagMean}
        patch.setattr("smalti.comparison.phenotype.methods", lambda: few)
        patch.setattr("smalti.nn.linear.folds_by_donor", lambda *_: [])
        method = sm.make("abmil", widths=(8,), epochs=4, lr=0.02, batch_size=4, progress=False)
        return sm.compare([method], bags, folds=2, repeats=2, n_jobs=1, progress=False,
                          attributions=True)  # fmt: skip


def test_a_slide_is_seen_by_the_model_that_was_not_fitted_on_it(bags, table):
    kept = table.attributions["abmil"]
    assert set(table.attributions) == {"abmil", "bag_mean"}  # majority says nothing of tiles
    assert kept["bag"].value_counts().to_dict() == dict(
        zip(bags.bag.index, bags.lengths, strict=True)
    )
    heat = table.heatmap(bags, "S3", method="abmil")
    fold = int(kept[kept["bag"] == "S3"]["fold"].iloc[0])
    first = table.predictions.query("method == 'abmil' and repeat == 0")
    train = first[first["fold"] != fold]["bag"]
    method = sm.make("abmil", widths=(8,), epochs=4, lr=0.02, batch_size=4, progress=False,
                     seed=fold)  # fmt: skip
    again = method.fit(bags[np.flatnonzero(bags.bag.index.isin(train))]).heatmap(bags, "S3")
    np.testing.assert_allclose(heat.values, again.values, atol=1e-5)
    assert heat.words == again.words
    np.testing.assert_array_equal(heat.xy, again.xy)
    row = first[first["bag"] == "S3"].iloc[0]
    assert f"the abmil of fold {fold}, which was not fitted on this donor" in heat.notes[0]
    assert f"predicted {row['predicted']} ({row['p_' + row['predicted']]:.2f})" in heat.notes[0]


@pytest.mark.slow  # draws slides
def test_the_report_shows_few_slides_and_stays_small(bags, table, tmp_path):
    table.report(tmp_path / "r.html", slides=bags, n_slides=2)
    page = (tmp_path / "r.html").read_text("utf-8")
    shown = re.findall(r"<figcaption>Slide (S\d): (?!tiles)", page)
    assert len(shown) == 2
    assert page.count("tiles that stand out") >= 2
    assert page.count("data:image/jpeg") == 4
    assert "which was not fitted on this donor" in page
    assert "a model that knows nothing can follow the tissue too" in page
    assert len(page) < 1_000_000


def test_the_best_of_each_class_and_the_worst_are_shown(table):
    from smalti.comparison.maps import _telling

    rows = table.predictions.query("method == 'abmil' and repeat == 0").reset_index(drop=True)
    p = np.array([0.9, 0.6, 0.8, 0.1, 0.7, 0.55, 0.95, 0.3])  # of the true class
    other = np.where(rows["true"] == "N1", "N0", "N1")
    rows["predicted"] = np.where(p > 0.5, rows["true"], other)
    for c in ("N0", "N1"):
        rows[f"p_{c}"] = np.where(rows["true"] == c, p, 1 - p)
    found = _telling(dataclasses.replace(table, predictions=rows), "abmil", 4)
    best = [rows["bag"][p == p[rows["true"] == c].max()].iloc[0] for c in ("N0", "N1")]
    assert [b for b, why in found.items() if "best" in why] == sorted(
        best, key=lambda b: -p[rows["bag"] == b][0])  # fmt: skip
    assert [b for b, why in found.items() if "worst" in why] == [rows["bag"][3], rows["bag"][7]]


@pytest.mark.slow
def test_what_cannot_be_drawn(bags, table):
    with pytest.raises(InputError, match="give the bags that were compared"):
        table.heatmap(bags.keep(np.arange(bags.n_instances) % 5 > 0), "S3")
    with pytest.raises(InputError, match="nothing of tiles was kept of 'majority'"):
        table.heatmap(bags, "S3", method="majority")
    with pytest.raises(InputError, match="attributions=True"):
        dataclasses.replace(table, attributions={}).report("r.html", slides=bags)
