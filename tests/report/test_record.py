"""What stands beside a page: its numbers, its tables, its drawings; and that nobody's file goes."""

import json
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from smalti.errors import InputError
from smalti.report import write_report
from smalti.report.section import Drawing, Facts, Folded, Note, Points, Section, Table, Text
from smalti.scores.table import is_run

THIRD = 1 / 3
FRAME = pd.DataFrame({"who": ["a", 'b, "c"'], "value": [THIRD, np.nan], "n": [3, 4],
                      "odd": [np.inf, None]})  # fmt: skip
PARTS = (
    Text("words"), Note("mind </script>", strong="now"), Points("limits", ("one", "two")),
    Facts({"a": "b"}), Folded("more", (Table("deep", FRAME, "Deep down."),)),
    Drawing("line", Figure(figsize=(1, 1)), alt="Nothing is found."),
)  # fmt: skip


class Few:
    """As little of a comparison as a page needs."""

    about, notes, digest = "two rows", ("mind",), "abc"
    settings = MappingProxyType({"m": {"lr": 0.1, "widths": (8, np.int64(4))}})
    folds = pd.DataFrame()

    folds = pd.DataFrame({"method": ["a"], "repeat": [0], "fold": [0], "seconds": [1.0]})

    def headline(self):
        return "One is better"

    def sections(self):
        return [Section("first", "First", PARTS)]


def report(path, **kwargs):
    write_report(Few(), path, title="T", **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    report(folder / "report.html")
    return folder


def test_one_list_gives_page_numbers_tables_and_drawings(folder):
    assert {p.name for p in folder.iterdir()} == {"report.html", "report.json", "report_files"}
    files = {p.name for p in (folder / "report_files").iterdir()}
    assert files == {"deep.csv", "line.svg", "index.csv"}
    note = json.loads((folder / "report.json").read_text("utf-8"))
    assert (note["title"], note["answer"], note["digest"]) == ("T", "One is better.", "abc")
    assert note["settings"]["m"]["widths"] == [8, 4]
    assert note["versions"]["numpy"] == np.__version__
    kinds = [part["kind"] for part in note["sections"][0]["parts"]]
    assert kinds == ["text", "note", "points", "facts", "folded", "drawing"]
    [table] = note["sections"][0]["parts"][4]["parts"]
    assert table["rows"] == [["a", THIRD, 3, "inf"], ['b, "c"', None, 4, None]]
    kept = pd.read_csv(folder / "report_files" / "deep.csv")
    assert kept["value"][0] == pytest.approx(THIRD, abs=1e-12)
    assert kept["who"].tolist() == FRAME["who"].tolist()
    assert b"<svg" in (folder / "report_files" / "line.svg").read_bytes()


def test_the_page_holds_the_same_record(folder):
    page = (folder / "report.html").read_text("utf-8")
    inside = page.split('id="record">')[1].split("</script>")[0]
    assert json.loads(inside) == json.loads((folder / "report.json").read_text("utf-8"))
    assert "mind </script>" not in page


@pytest.mark.parametrize("name", ["report.json", "report_files"])
def test_a_file_of_somebody_else_stays(tmp_path, name):
    if name == "report.json":
        mine = tmp_path / name
    else:
        report(tmp_path / "report.html")
        mine = tmp_path / name / "thesis.csv"
    mine.write_text("{}")
    with pytest.raises(InputError, match=name):
        report(tmp_path / "report.html")
    assert mine.read_text() == "{}"
    report(tmp_path / "report.html", overwrite=True)
    assert not mine.exists() or mine.read_text() != "{}"


def test_a_run_with_its_page_is_a_run_unless_a_file_is_added(tmp_path):
    (tmp_path / "split.json").write_text('{"files": []}')
    report(tmp_path / "report.html")
    assert is_run(tmp_path)
    (tmp_path / "report_files" / "mine.csv").write_text("mine")
    assert not is_run(tmp_path)


def test_names_of_tables_and_drawings_are_said_once(tmp_path):
    twice = Section("a", "A", (Table("t", FRAME), Table("t", FRAME)))
    with pytest.raises(InputError, match="two parts of this page are called 't'"):
        report(tmp_path / "r.html", sections=[twice])
    odd = Section("a", "A", (Table("../t", FRAME),))
    with pytest.raises(InputError, match="small letters, digits and hyphens"):
        report(tmp_path / "r.html", sections=[odd])
    assert not list(tmp_path.iterdir())
