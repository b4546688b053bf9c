"""What is read of a user's files: sizes, texts, JSON, arrays."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from smalti.errors import InputError
from smalti.system.arrays import read_npy, read_npz
from smalti.system.reading import about, check_text, checked_size, read_json, reading
from smalti.system.tables import numbers, read_text


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_text_is_told_by_its_line(pack, tmp_path):
    file = tmp_path / "a.csv"
    rows = [b"x,y"] + [b"1,2"] * 300_000  # more than one block
    file.write_bytes(pack(b"\n".join(rows)))
    check_text(file, ",", 3)
    assert len(read_text(file)) == 300_000
    rows[290_000] = b"1,\xff"
    file.write_bytes(pack(b"\n".join(rows)))
    with pytest.raises(InputError, match=r"a\.csv, line 290001: no text in UTF-8"):
        check_text(file)
    rows[290_000] = b"1,\0"
    file.write_bytes(pack(b"\n".join(rows)))
    with pytest.raises(InputError, match=r"a\.csv, line 290001: a NUL"):
        check_text(file)
    with pytest.raises(InputError, match="line 1: 2 columns or more"):
        check_text(file, ",", 1)


def test_a_letter_between_two_blocks_is_read(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a" * (2**20 - 1) + "é".encode())
    check_text(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes("é".encode()[:1])
    with pytest.raises(InputError, match=r"a\.txt, line 1"):
        check_text(tmp_path / "a.txt")


def test_sizes_are_held_against_what_is_stored():
    checked_size(2**26, 1, "small files may say what they like")
    checked_size(250 * 10**6, 10**6, "a ratio that tables have")
    with pytest.raises(InputError, match=r"x says to be .* GiB, of which .* 0\.954 MiB"):
        checked_size(250 * 10**6 + 1, 10**6, "x")


def test_errors_of_checks_name_the_file_once():
    for source, told in (("a.csv", "a.csv: no column y"), (None, "no column y")):
        with pytest.raises(InputError) as error, about(source):
            raise InputError("no column y")
        assert str(error.value) == told
    with pytest.raises(InputError, match=r"^a\.csv lacks y$"), about("a.csv"):
        raise InputError("a.csv lacks y")


def test_what_libraries_die_of_is_one_error():
    for error in (KeyError("k"), OSError("o"), AssertionError(), RecursionError("deep")):
        with pytest.raises(InputError, match=r"^f is cut short or damaged at '/x' \("), \
                reading("f", "'/x'"):  # fmt: skip
            raise error
    with pytest.raises(InputError, match="takes more memory than there is"), reading("f"):
        raise MemoryError
    with pytest.raises(KeyboardInterrupt), reading("f"):
        raise KeyboardInterrupt


def test_json_and_arrays_come_back(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": [1, 2.5, None]}))
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None]}
    arrays = {"x": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "bc"]), "none": np.ones(0)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz")
        assert list(found) == list(arrays)
        assert all((found[k] == v).all() and found[k].dtype == v.dtype for k, v in arrays.items())
        assert list(read_npz(tmp_path / "a.npz", ("names", "other"))) == ["names"]
    np.save(tmp_path / "a.npy", np.asfortranarray(arrays["x"]))
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), arrays["x"])


def test_numbers_are_told_by_column_and_row():
    table = pd.DataFrame({"x": ["1", "2"], "y": ["3", "four"]})
    assert numbers(table, ["x"], "a.csv").tolist() == [[1], [2]]
    with pytest.raises(InputError, match=r"a\.csv: y in row 2 is 'four', no number \(1 such\)"):
        numbers(table, ["x", "y"], "a.csv")
    with pytest.raises(InputError, match="several columns 'x'"):
        numbers(table.set_axis(["x", "x"], axis=1), ["x"], "a.csv")
