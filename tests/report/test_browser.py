"""A page in headless Chromium: at a desk, on a phone, printed; sorted, filtered, downloaded."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from smalti.report import write_report
from smalti.report.section import Drawing, Facts, Folded, Note, Points, Section, Table, Text

pytestmark = pytest.mark.slow  # starts a browser, twice
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser",
                                                "google-chrome"))), None)  # fmt: skip
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--no-first-run", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files",
         "--enable-logging=stderr", "--virtual-time-budget=8000")  # fmt: skip
NASTY = "<script>window.alive=1</script><img src=x onerror=window.alive=1> & 'co'"
LONG = "a_name_without_a_single_space_" * 6
VALUES = [0.5, np.nan, -1.25, 10.0, 2.0, *np.linspace(3, 4, 11)]


def sections():
    rows = len(VALUES)
    names = [NASTY, LONG, "שלום", "🧬 gene", *(f"row {i}" for i in range(4, rows))]
    many = pd.DataFrame({"name": names, "value": VALUES})
    for i in range(6):  # as wide as a table of a page gets
        many[f"score_{i}"] = np.linspace(0.1, 0.9, rows)
        many[f"score_{i}_low"], many[f"score_{i}_high"] = 0.0, 1.0
    many["verdict"] = "not told apart"
    figure = Figure(figsize=(6.8, 3))
    figure.subplots().plot([0, 1])
    photo = Figure(figsize=(2, 2))
    photo.subplots().imshow(np.zeros((4, 4, 3)))
    deep = Table("deep", pd.DataFrame({"a": ["x"], "b": [1]}), "Deep.")
    parts = (
        Text(NASTY), Note(LONG, strong=NASTY), Points("Limits", (LONG, NASTY)),
        Facts({LONG: LONG, NASTY: "b"}, code=True),
        Table("many", many, LONG, marks={1: "baseline", 2: "3 of 25 fits failed"},
              best=frozenset({(0, "value")})),
        Drawing("line", figure, alt=NASTY, caption=LONG), Drawing("photo", photo, alt="Black."),
        Folded("More", (deep,)),
    )  # fmt: skip
    return [Section("first", NASTY, parts), Section("second", LONG, (deep_again(),), folded=True)]


def deep_again():
    return Table("again", pd.DataFrame({"a": ["x"], "b": [np.nan]}))


class Few:
    about, notes, digest, settings = LONG, (NASTY, LONG), "d", {}

    folds = pd.DataFrame({"method": ["a"], "repeat": [0], "fold": [0], "seconds": [1.0]})

    def headline(self):
        return NASTY


def browse(folder, *more):
    return subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *more],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")
    write_report(Few(), folder / "report.html", sections=sections(), title=NASTY)
    driver = (Path(__file__).parent / "driver.js").read_text("utf-8")
    frame = '<iframe src="report.html" style="height:900px"></iframe><pre></pre>'
    (folder / "driver.html").write_text(f"<meta charset=utf-8>{frame}<script>{driver}</script>")
    for _ in range(3):  # on a busy machine the time that is simulated may end too soon
        done = browse(folder, f"--log-net-log={folder / 'net.json'}", "--dump-dom",
                      f"file://{folder}/driver.html")  # fmt: skip
        found = re.search("<pre>(.+?)</pre>", done.stdout, re.DOTALL)
        if found:
            break
    assert found, done.stderr
    told = json.loads(html.unescape(found[1]))
    assert "error" not in told, told
    return told | {"log": done.stderr, "folder": folder}


def test_nothing_is_asked_of_a_network_and_nothing_is_wrong(seen):
    assert "CONSOLE" not in seen["log"]
    log = (seen["folder"] / "net.json").read_text("utf-8")
    assert "report.html" in log or "constants" in log
    # the browser itself asks its maker, whatever page is open; the page may ask nobody
    asked = re.findall(r'"url":"(?:https?|wss?)://([^/"]*)', log)
    assert [host for host in asked if not host.endswith((".google.com", ".googleapis.com"))] == []
    assert seen["alive"]
    assert seen["title"] == NASTY


@pytest.mark.parametrize(("where", "width", "cards"), [
    ("desk", 1280, False), ("phone", 390, True), ("print", 688, False),
])  # fmt: skip
def test_no_column_is_clipped(seen, where, width, cards):
    assert seen[where]["too_wide"] == []
    assert (seen[where]["width"], seen[where]["cards"]) == (width, cards)
    assert seen[where]["heads"]


def test_what_is_folded_is_printed_and_no_cell_is_lost(seen):
    assert seen["print"]["open"]
    assert seen["print"]["cells"]
    assert seen["print"]["heads_return"]  # on each page of a long table


def test_numbers_sort_as_numbers_and_missing_ones_last(seen):
    assert seen["focus"]  # a button: the keyboard reaches it
    ways = [way for way, _ in seen["orders"]]
    assert ways == ["ascending", "descending", "none"]
    up, down, back = ([float(v.replace("−", "-")) if v != "–" else None for v in values]
                      for _, values in seen["orders"])  # fmt: skip
    known = sorted(v for v in VALUES if v == v)
    assert up == [*(pytest.approx(v, abs=1e-3) for v in known), None]
    assert down == [*(pytest.approx(v, abs=1e-3) for v in known[::-1]), None]
    assert back == [None if v != v else pytest.approx(v, abs=1e-3) for v in VALUES]


def test_a_long_table_has_a_filter_and_a_short_one_none(seen):
    wanted = sum("row 1" in f"row {i}" for i in range(4, len(VALUES)))
    assert (seen["filters"], seen["left"]) == (1, wanted)
    assert seen["told"] == f"{wanted} of {len(VALUES)} rows"


def test_downloads_are_the_files_beside_the_page(seen):
    files = {p.name for p in (seen["folder"] / "report_files").iterdir()} - {"index.csv"}
    assert set(seen["saved"]) == {"report.json", *files}
    mine = pd.read_csv(seen["folder"] / "report_files" / "many.csv")
    (seen["folder"] / "got.csv").write_text(seen["saved"]["many.csv"], "utf-8")
    pd.testing.assert_frame_equal(pd.read_csv(seen["folder"] / "got.csv"), mine, check_dtype=False)
    beside = json.loads((seen["folder"] / "report.json").read_text("utf-8"))
    assert json.loads(seen["saved"]["report.json"]) == beside
    assert "<svg" in seen["saved"]["line.svg"]


def test_it_prints_on_a4(seen):
    out = seen["folder"] / "page.pdf"
    browse(seen["folder"], f"--print-to-pdf={out}", "--no-pdf-header-footer",
           f"file://{seen['folder']}/report.html")  # fmt: skip
    sizes = set(re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", out.read_bytes()))
    assert {(round(float(w)), round(float(h))) for w, h in sizes} == {(595, 842)}
