"""Shared by all tests."""

import contextlib
import functools
import gc
import os
import resource
import signal
from pathlib import Path

import pytest
import threadpoolctl

# two test processes with two threads each on two cores wait for one another; so do processes that
# a comparison starts where its first fit was slow
if "PYTEST_XDIST_WORKER" in os.environ:
    # for what is loaded later; numba, which scanpy brings, sets torch's number to its own
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}
    threadpoolctl.threadpool_limits(1)  # and for what a plugin of pytest has loaded


def pytest_collection_modifyitems(items):
    """What takes minutes begins first: begun last, it keeps one process while the other idles."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


def pytest_collection_finish():
    """A million objects of imported packages are no garbage: nobody looks at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_command_line():
    """Typer builds all verbs anew in each call, from their annotations: 30 ms."""
    import typer.testing

    with pytest.MonkeyPatch.context() as patch:
        name = "_get_command"  # its own name: where it is gone, tests are slower, not wrong
        if build := getattr(typer.testing, name, None):
            patch.setattr(typer.testing, name, functools.cache(build))
        yield


@pytest.fixture
def data() -> Path:
    """The folder of real data, where SMALTI_DATA names one."""
    folder = os.environ.get("SMALTI_DATA")
    if not folder:
        pytest.skip("needs real data: set SMALTI_DATA to its folder")
    return Path(folder)


@pytest.fixture
def majority_alone(monkeypatch):
    """Only the cheapest baseline in a comparison, for tests of what is around the fits."""
    import smalti

    only = {"majority": smalti.mil.Majority}
    monkeypatch.setattr("smalti.comparison.phenotype.methods", lambda: only)


@pytest.fixture
def one_penalty(monkeypatch):
    """Linear methods take the middle penalty, as with few donors: a choice is 25 fits in each."""
    monkeypatch.setattr("smalti.nn.linear.folds_by_donor", lambda *_: [])


@pytest.fixture
def full_disk():
    """``with full_disk(n)``: files may grow to n bytes; EFBIG takes the way of ENOSPC."""

    @contextlib.contextmanager
    def full(most):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    return full


class Killed(BaseException):
    """The process ends: as with KeyboardInterrupt, nobody may catch it and go on."""


@pytest.fixture
def killed_and_resumed(tmp_path, monkeypatch):
    """A check that a fit that is killed after some steps and taken up again is the same fit.

    ``check(make, bags, step)``: ``make()`` gives the method anew; the fit dies in step ``step + 1``
    of all its stages by gradient, with a checkpoint after each.
    """
    import torch

    from smalti.core import training

    def check(make, bags, step):
        whole = make().fit(bags)
        path = tmp_path / "fit.safetensors"
        every, taken, count = training.Checkpoint.__init__, training.Runner.step, 0

        def dies(self, groups):
            nonlocal count
            count += 1
            if count > step:
                raise Killed
            return taken(self, groups)

        with monkeypatch.context() as patch:
            patch.setattr(
                training.Checkpoint, "__init__",
                lambda self, path, **kw: every(self, path, **(kw | {"every": 0.0})),
            )  # fmt: skip
            patch.setattr(training.Runner, "step", dies)
            with pytest.raises(Killed):
                make().fit(bags, checkpoint=path)
            assert path.exists()
            patch.setattr(training.Runner, "step", taken)
            resumed = make().fit(bags, checkpoint=path)
        assert not path.exists()
        for name, value in whole.network_.state_dict().items():
            assert torch.equal(value, resumed.network_.state_dict()[name]), name
        assert whole.history_.to_csv() == resumed.history_.to_csv()  # NaN equals NaN here

    return check
