"""One job for each of many files."""

import warnings

import pytest

from smalti.errors import InputError
from smalti.system.each import each_file


def job(name, file):
    warnings.warn(f"{name} is small", UserWarning, stacklevel=1)
    if file == "bad":
        raise InputError(f"{name} is bad")
    return len(file)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_fails_is_said_and_what_was_warned_of_is_heard(jobs):
    files = {"a": "x", "b": "bad", "c": "xyz"}
    with pytest.warns(UserWarning, match="c is small") as heard:
        done, failed = each_file(job, files, title="t", progress=False, n_jobs=jobs)
    assert done == {"a": 1, "c": 3}
    assert failed == {"b": "b is bad"}
    assert sorted(str(w.message)[0] for w in heard) == ["a", "b", "c"]


@pytest.mark.filterwarnings("ignore")
def test_nothing_done_or_strict_is_an_error():
    with pytest.raises(InputError, match="none of 2 files could be used; the first: a is bad"):
        each_file(job, {"a": "bad", "b": "bad"}, title="t", progress=False)
    with pytest.raises(InputError, match="b is bad"):
        each_file(job, {"a": "x", "b": "bad"}, title="t", progress=False, strict=True)
