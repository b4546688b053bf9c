"""Files that are whole or not there, and tables."""

import errno
import multiprocessing
import os
import stat

import numpy as np
import pandas as pd
import pytest

from smalti.errors import InputError
from smalti.system import files
from smalti.system.files import atomic_folder, atomic_write, check_free, recovered
from smalti.system.lock import lock
from smalti.system.tables import read_table, write_table


def test_atomic_files_leave_nothing_half_written(tmp_path):
    (tmp_path / "out.txt").write_text("old")
    with pytest.raises(KeyError), atomic_write(tmp_path / "out.txt", overwrite=True) as path:
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
        with pytest.raises(InputError, match=r"cannot write .*taken.x \(Not a directory"), \
                opened(tmp_path / "taken" / "x"):  # fmt: skip
            pass
    with pytest.raises(InputError, match="is a folder"), atomic_write(tmp_path):
        pass
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "taken"):
        pass


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path, monkeypatch, at_once):
    if not at_once:  # as where the system cannot exchange two names
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "run", overwrite=True) as folder:
            (folder / name).write_text(name)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["run", "run/new"]


def test_what_is_not_ours_is_refused(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt is there already.*overwrite=True"), \
            atomic_write(mine):  # fmt: skip
        pass
    with pytest.raises(InputError, match=r"folder with other files in it \(mine\.txt\)"), \
            atomic_folder(tmp_path):  # fmt: skip
        pass
    assert mine.read_text() == "mine"
    check_free(mine, ours=lambda p: p.read_text() == "mine")
    check_free(mine, overwrite=True)
    with pytest.raises(InputError, match="is read, or holds what is read"):
        check_free(mine, overwrite=True, inputs=[tmp_path / "none", tmp_path / "." / "mine.txt"])
    with pytest.raises(InputError, match="holds what is read, so it cannot be the output"):
        check_free(tmp_path, overwrite=True, inputs=[mine])  # the folder of the data
    os.mkfifo(tmp_path / "pipe")
    for device in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(InputError, match="is a device or a pipe"):
            check_free(device, overwrite=True)
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as folder:
        (folder / "a").touch()


def test_a_link_is_followed_and_its_file_keeps_its_mode(tmp_path):
    real, link = tmp_path / "there" / "real.txt", tmp_path / "link.txt"
    real.parent.mkdir()
    link.symlink_to(real)
    with atomic_write(link) as path:  # a link to what is not there yet
        path.write_text("1")
    real.chmod(0o640)
    with atomic_write(link, overwrite=True) as path:
        path.write_text("2")
    assert link.is_symlink()
    assert (real.read_text(), stat.S_IMODE(real.stat().st_mode)) == ("2", 0o640)
    assert {p.name for p in tmp_path.rglob("*")} == {"there", "real.txt", "link.txt"}


def test_new_files_are_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as path:
            path.write_text("")
            path.chmod(0o600)  # as libraries do
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_what_a_killed_writer_left_is_cleaned_by_the_next(tmp_path):
    for name in (".out.part", ".out.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("half")
    (tmp_path / ".out.lock").touch()
    with atomic_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "a").write_text("whole")
    assert {p.name for p in tmp_path.rglob("*")} == {"out", "a"}


def test_what_was_moved_away_comes_back(tmp_path):
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "x").write_text("mine")
    assert (recovered(tmp_path / "out") / "x").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with pytest.raises(InputError, match="other files"), atomic_folder(tmp_path / "out"):
        pass


def test_a_full_disk_is_one_sentence_and_the_old_file_stays(tmp_path, full_disk):
    file = tmp_path / "out.txt"
    file.write_text("old")
    said = r"out\.txt \(File too large\): make room .* is as it was"
    with full_disk(1000), pytest.raises(InputError, match=said), \
            atomic_write(file, overwrite=True) as path:  # fmt: skip
        path.write_text("x" * 5000)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        (tmp_path / "none").read_text()
    with pytest.raises(PermissionError), atomic_write(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "what is read", "/elsewhere/input.h5ad")
    with pytest.raises(RuntimeError, match="a bug"), atomic_write(tmp_path / "a"):
        raise RuntimeError("a bug")


# ---------------------------------------------------------------- one process at a time


def _adds(path, times):
    for _ in range(times):
        with lock(path):
            path.write_text(str(int(path.read_text()) + 1))


def test_two_processes_never_have_the_same_path(tmp_path):
    (tmp_path / "n").write_text("0")
    forked = multiprocessing.get_context("fork")
    workers = [forked.Process(target=_adds, args=(tmp_path / "n", 50)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "n").read_text() == "150"
    assert [p.name for p in tmp_path.iterdir()] == ["n"]


def test_a_path_that_is_taken_is_said(tmp_path):
    with lock(tmp_path / "fit"), pytest.raises(InputError, match="another fit"), \
            lock(tmp_path / "fit", busy="another fit"):  # fmt: skip
        pass
    with lock(tmp_path / "fit", busy="another fit") as alone:
        assert alone
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with lock(tmp_path / "a") as alone:
        assert not alone
    with atomic_write(tmp_path / "a") as path:
        path.write_text("1")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    with pytest.raises(InputError, match="cannot write"), atomic_write(tmp_path / "x"):
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


def test_no_cell_is_a_formula(tmp_path):
    frame = pd.DataFrame({"=n": ["=1+1", "-1", "@x", "+a", "CD4+", "-"], "v": -np.arange(6.0)},
                         index=["=r", "b", "c", "d", "e", "f"])  # fmt: skip
    frame["c"] = pd.Categorical(["=c", "d"] * 3)
    write_table(frame, tmp_path / "a.csv", index=True)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == ",'=n,v,c"
    assert lines[1] == "'=r,'=1+1,-0.0,'=c"
    assert lines[2:] == ["b,-1,-1.0,d", "c,'@x,-2.0,'=c", "d,'+a,-3.0,d", "e,CD4+,-4.0,'=c",
                         "f,'-,-5.0,d"]  # fmt: skip
    assert frame["=n"].iloc[0] == "=1+1"  # the user's table is as it was


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    def absent(self, *_, **__):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", absent)
    with pytest.raises(InputError, match=r"pip install .smalti\[parquet\]"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())
