"""Shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

# two test processes with two threads each on two cores wait for one another
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture
def data() -> Path:
    """The folder of real data, where SMALTI_DATA names one."""
    folder = os.environ.get("SMALTI_DATA")
    if not folder:
        pytest.skip("needs real data: set SMALTI_DATA to its folder")
    return Path(folder)
