"""What every method must keep, as checks that anyone can run on a method of their own.

``for check in checks(): check(MyMethod)``. A check raises ``AssertionError`` with the reason. The
method's ``example()`` says the settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[type[Any]], None]


def checks(room: str = "mil") -> list[Check]:
    """All checks in order, for the methods of a room: "mil", "integrate" or "expression"."""
    from smalti.contract import expression, integration, phenotype, zero_shot

    modules = {
        "mil": [phenotype],
        "integrate": [integration],
        "expression": [expression, zero_shot],
    }
    return [value for module in modules[room] for name, value in vars(module).items()
            if name.startswith("check_")]  # fmt: skip
