"""How a page was made: command, files with their digests, time, machine, versions."""

import hashlib

import pandas as pd
import pytest

from smalti.report.provenance import file_facts, made, spell
from smalti.report.section import Code, Facts


def test_a_file_has_its_digest(tmp_path):
    file = tmp_path / "cells.h5ad"
    file.write_bytes(b"x" * 1500)
    found = file_facts([file, file, tmp_path / "gone.csv"])
    assert found == {str(file): f"1.5 kB, SHA-256 {hashlib.sha256(b'x' * 1500).hexdigest()}"}


def test_two_files_of_one_name_are_two(tmp_path):
    files = [tmp_path / "a" / "cells.h5ad", tmp_path / "b" / "cells.h5ad"]
    for file in files:
        file.parent.mkdir()
        file.write_text(str(file))
    assert list(file_facts(files)) == list(map(str, files))


def test_a_folder_has_that_of_names_and_sizes(tmp_path):
    folder = tmp_path / "cells.zarr"
    (folder / "X").mkdir(parents=True)
    (folder / "X" / "0.0").write_bytes(b"abc")
    (folder / ".zgroup").write_bytes(b"{}")
    (before,) = file_facts([folder]).values()
    sha = hashlib.sha256(b".zgroup 2\nX/0.0 3\n").hexdigest()
    assert before == f"2 files, 5 bytes, SHA-256 of their names and sizes {sha}"
    (folder / "X" / "0.0").write_bytes(b"abcd")
    assert file_facts([folder])[str(folder)] != before


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.44, "0.4 s"), (12.3, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_a_time_in_words(seconds, words):
    assert spell(seconds) == words


def test_the_section():
    folds = pd.DataFrame({"method": ["a", "a", "b"], "repeat": 0, "fold": [0, 0, 0],
                          "metric": ["x", "y", "x"], "seconds": [2.0, 2.0, 3.0]})  # fmt: skip
    section = made("smalti compare cells.h5ad", (), folds)
    code, facts = section.parts
    assert isinstance(code, Code)
    assert code.text == "smalti compare cells.h5ad"
    assert isinstance(facts, Facts)
    assert facts.facts["time"] == "5.0 s for 2 fits, one after another"
    assert "smalti" in facts.facts["versions"]
    assert "cores" in facts.facts["machine that wrote this"]
    assert len(made().parts) == 1
