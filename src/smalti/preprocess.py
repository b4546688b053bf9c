"""PLACEHOLDER by the lead, until the real file is here: overwrite it whole."""
from __future__ import annotations
from typing import Any
def steps_of(spec: Any) -> list[Any]: return []
def spec_of(steps: Any) -> str: return ""
def fit_steps(steps: Any, bags: Any) -> tuple[list[Any], Any]: return [], bags
def apply_steps(steps: Any, bags: Any) -> Any: return bags
def state_of(steps: Any) -> dict[str, Any]: return {}
def names_of(steps: Any) -> Any: return []
def from_state(spec: Any, arrays: Any, names: Any) -> list[Any]: return []
def cells_per_bag_note(bags: Any, tiny: int = 10) -> str | None: return None
def count_problem(view: Any) -> str | None: return None
