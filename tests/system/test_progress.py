"""Bars on terminals and in notebooks, lines of the log in pipes."""

import logging
import sys
import types

import pytest

from smalti.system import progress
from smalti.system.progress import Progress


class Terminal:
    """Standard error as a terminal that remembers."""

    encoding = "utf-8"

    def __init__(self):
        self.said = ""

    def write(self, text):
        self.said += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.fixture
def notebook(monkeypatch):
    """A kernel of Jupyter as far as the bar asks for one; what it was given to draw."""
    drawn = []

    class Place:
        def update(self, what):
            drawn.append(what)

    def display(what, display_id):
        assert display_id is True
        drawn.append(what)
        return Place()

    fake, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    fake.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    shown.HTML, shown.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    return drawn


def work(show=None, note="a < b"):
    with Progress(show, "fits") as bar:
        bar.start("of abmil", 2)
        bar.advance(train=0.5, valid=0.25)
        bar.advance(note=note)


def test_a_pipe_gets_a_line_for_each_piece_with_a_note(caplog, capsys):
    with caplog.at_level(logging.INFO, logger="smalti"):
        work()
    assert [r.getMessage() for r in caplog.records] == ["fits 2 of 2: a < b"]
    assert capsys.readouterr() == ("", "")


def test_false_is_silent(caplog, notebook):
    with caplog.at_level(logging.INFO, logger="smalti"):
        work(show=False)
    assert caplog.records == []
    assert notebook == []


def test_a_terminal_gets_a_bar_that_goes(monkeypatch, caplog):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with caplog.at_level(logging.INFO, logger="smalti"):
        work()
    assert "fits of abmil" in terminal.said
    assert "2/2" in terminal.said
    assert caplog.records == []


def test_a_notebook_gets_the_bar_of_the_browser_and_it_goes(notebook, caplog):
    with caplog.at_level(logging.INFO, logger="smalti"):
        work()
    assert notebook == [
        "",
        '<progress max="2" value="0"></progress> fits of abmil 0 of 2 ',
        '<progress max="2" value="1"></progress> fits of abmil 1 of 2 loss 0.500, validation 0.250',
        '<progress max="2" value="2"></progress> fits of abmil 2 of 2 a &lt; b',
        "",
    ]
    assert caplog.records == []


def test_a_notebook_is_not_flooded(notebook, monkeypatch):
    monkeypatch.setattr(progress, "_PAUSE", 1000.0)
    with Progress(None, "fits") as bar:
        bar.start("", 500)
        for _ in range(500):
            bar.advance()
    assert len(notebook) == 3  # its place, the first picture, and none


def test_a_console_of_ipython_is_no_notebook(notebook, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    work()
    assert notebook == []


@pytest.mark.slow
def test_in_a_kernel_the_bar_is_shown_and_the_page_keeps_none(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cell = (
        "from smalti.system.progress import Progress, in_notebook\n"
        "print(in_notebook())\n"
        "with Progress(None, 'fits') as bar:\n"
        "    bar.start('of abmil', 3)\n"
        "    for _ in range(3): bar.advance(note='x')\n"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    seen = []
    client = nbclient.NotebookClient(book, timeout=60, resources={"metadata": {"path": tmp_path}})
    message = client.process_message

    def watch(msg, *rest):
        if msg["msg_type"] == "update_display_data":
            seen.append(msg["content"]["data"]["text/html"])
        return message(msg, *rest)

    client.process_message = watch
    client.execute()
    assert seen[0].startswith('<progress max="3" value="0"></progress> fits of abmil 0 of 3')
    assert seen[-1] == ""
    printed, place = book.cells[0].outputs
    assert printed["text"] == "True\n"
    assert place["data"]["text/html"] == ""
