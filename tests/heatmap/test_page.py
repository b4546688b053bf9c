"""The page: what stands in it, and in a browser what a click says."""

import json
import re
import shutil

import numpy as np
import pytest

import smalti as sm
from smalti.heatmap import pyramid
from smalti.tiles import Heatmap

CENTER, RADIUS, SIDE = np.array([1310.0, 705.0]), 240.0, 50  # as in conftest.py

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update",
        "--disable-sync"]  # fmt: skip


def data_of(page):
    text = page.read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_needs_no_network_and_holds_the_numbers(heat, tmp_path):
    page = tmp_path / "S1.html"
    sm.heatmap.write(heat, page, scale="percentile")
    text, data = page.read_text("utf-8"), data_of(page)
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import', outside)
    assert data["scale"] == "percentile"
    np.testing.assert_allclose(data["xy"], heat.xy, atol=0.05)
    assert [c["name"] for c in data["columns"]] == heat.columns
    np.testing.assert_allclose(data["columns"][1]["values"], heat.column("contribution_N1"))
    assert (data["width"], data["height"]) == (2000, 1500)
    assert data["picture"]["width"] == 2000  # it fits: all of it is there
    assert "Copyright (C) 2009 CodePlex" in text.replace("(c)", "(C)")


def test_no_name_can_end_the_script(heat, tmp_path):
    bad = Heatmap("</script><b>", heat.values.rename(columns={"attention": "a</script>"}),
                  heat.xy, heat.side)  # fmt: skip
    sm.heatmap.write(bad, tmp_path / "S1.html")
    assert data_of(tmp_path / "S1.html")["columns"][0]["name"] == "a</script>"
    assert "<b>" not in (tmp_path / "S1.html").read_text("utf-8")


def test_the_picture_is_as_fine_as_the_bound_holds(heat):
    found = pyramid.embedded(heat.picture, 60_000)
    size = sum(len(part) for level in found["levels"] for row in level for part in row)
    assert size <= 60_000
    assert found["width"] < 2000
    assert found["width"] / found["height"] == pytest.approx(4 / 3, rel=0.01)
    fine = pyramid.embedded(heat.picture, 12_000_000)
    sizes = [(len(level[0]), len(level)) for level in fine["levels"]]
    assert sizes == [(1, 1), (2, 2), (4, 3)]


def test_a_deepzoom_folder_holds_every_level(heat, tmp_path):
    from PIL import Image

    sm.heatmap.write(heat, tmp_path / "S1.html", deepzoom=True)
    folder = tmp_path / "S1_files"
    levels = sorted(int(p.name) for p in folder.iterdir())
    assert levels == list(range(12))
    assert Image.open(folder / "11" / "3_2.jpg").size == (2000 - 3 * 512, 1500 - 2 * 512)
    small = np.asarray(Image.open(folder / "9" / "0_0.jpg"))
    assert small.shape == (375, 500, 3)
    y, x = np.nonzero(small[..., 1] < 100)
    assert np.abs(np.array([x.mean() + 0.5, y.mean() + 0.5]) * 4 - CENTER).max() < 4


@pytest.mark.slow  # starts a browser
@pytest.mark.parametrize("deepzoom", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_a_click_says_which_tile_it_is(heat, tmp_path, width, height, deepzoom):
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright and a chromium")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("no chromium on this machine")
    sm.heatmap.write(heat, tmp_path / "S1.html", deepzoom=deepzoom)
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=ARGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        said = []
        page.on("console", lambda m: said.append(m.text))
        page.on("request", lambda r: said.append(r.url) if r.url[:4] == "http" else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto((tmp_path / "S1.html").as_uri())
        page.wait_for_function("state.map !== null")
        page.wait_for_timeout(500)
        page.select_option("#column", label="contribution N1")
        shot = page.locator("#frame").screenshot(path=tmp_path / "shot.png")
        assert shot
        frame = page.locator("#frame").bounding_box()
        found = _reddest(tmp_path / "shot.png")  # as a person finds it: by its colour
        page.mouse.click(frame["x"] + found[0], frame["y"] + found[1])
        page.wait_for_selector("#tile dl")
        text = page.inner_text("#tile")
        place = np.array([float(v) for v in re.search(r"(\d+), (\d+)", text).groups()])
        assert np.abs(place - CENTER).max() <= SIDE  # the tile under the middle of the disc
        assert np.hypot(*(place - CENTER)) < RADIUS
        at = page.evaluate("([x, y]) => { const p = onScreen(x, y); return [p.x, p.y]; }",
                           CENTER.tolist())  # fmt: skip
        half = page.evaluate("onScreen(25, 0).x - onScreen(0, 0).x")
        assert np.abs(np.array(at) - found).max() <= half + 1  # within half a tile on the screen
        assert "0.5" in text
        assert said == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()


def _reddest(file):
    from PIL import Image

    pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
    y, x = np.nonzero(pixels[..., 0] - pixels[..., 2] > 40)
    return np.array([x.mean() + 0.5, y.mean() + 0.5])
