"""Files that are whole or not there, and tables."""

import os
import stat

import pandas as pd
import pytest

from smalti.errors import InputError
from smalti.system.files import atomic_folder, atomic_write
from smalti.system.tables import read_table, write_table


def test_atomic_files_leave_nothing_half_written(tmp_path):
    (tmp_path / "out.txt").write_text("old")
    with pytest.raises(KeyError), atomic_write(tmp_path / "out.txt") as path:
        path.write_text("half")
        raise KeyError
    with pytest.raises(KeyError), atomic_folder(tmp_path / "folder") as path:
        (path / "a").write_text("half")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "old"


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    for opened in (atomic_write, atomic_folder):
        with pytest.raises(InputError, match="cannot write to folder .*taken"), \
                opened(tmp_path / "taken" / "x"):  # fmt: skip
            pass
    with pytest.raises(InputError, match="is a folder"), atomic_write(tmp_path):
        pass
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "taken"):
        pass


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "run") as folder:
            (folder / name).write_text(name)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["run", "run/new"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    with pytest.raises(InputError, match="cannot write to folder"), atomic_write(tmp_path / "x"):
        pass


def test_tables(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for ending in (".csv", ".tsv", ".parquet"):
        write_table(frame, tmp_path / f"t{ending}")
        pd.testing.assert_frame_equal(read_table(tmp_path / f"t{ending}"), frame)
    with pytest.raises(InputError, match=r"not \.csv"):
        write_table(frame, tmp_path / "t.xlsx")
    with pytest.raises(InputError, match="no file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"bad\.parquet is cut short or damaged"):
        read_table(tmp_path / "bad.parquet")
    (tmp_path / "ids.csv").write_text("slide,y\n007,1\n")
    assert read_table(tmp_path / "ids.csv", text=["slide", "other"])["slide"].tolist() == ["007"]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    def absent(self, *_, **__):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", absent)
    with pytest.raises(InputError, match=r"pip install .smalti\[parquet\]"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())
