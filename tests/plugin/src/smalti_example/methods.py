"""What the entry point names: classes that are imported here are methods too, if they are ours."""

from smalti.mil.abmil import ABMIL  # noqa: F401 - smalti's own stays smalti's own
from smalti_example.linear_code import LinearCode
from smalti_example.one_penalty import OnePenalty

__all__ = ["LinearCode", "OnePenalty"]
