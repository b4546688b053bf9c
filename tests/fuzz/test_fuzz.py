"""Damaged files of every format: one clear error or a right answer, never a traceback or a crash.

``make fuzz`` runs many more of the same.
"""

import os

import pytest
import torch
from formats import TARGETS
from harness import faults, run

# slow: 1,500 files are a minute and a half; SMALTI_FUZZ says another number
pytestmark = [pytest.mark.fuzz, pytest.mark.slow]
EACH = -(-int(os.environ.get("SMALTI_FUZZ", "1500")) // len(TARGETS))


@pytest.fixture(autouse=True)
def _one_thread():
    """A forked child of a process with threads waits for those that it has not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", list(TARGETS))
def test_damage_is_one_clear_error(name, tmp_path):
    cases = run(name, TARGETS[name], range(EACH), tmp_path)
    assert len(cases) == EACH
    if not TARGETS[name].checked:  # a damaged cache is made anew, and so identical
        assert {c.outcome for c in cases} - {"identical", "otherwise"}, "nothing was refused"
    assert not faults(TARGETS[name], cases)
