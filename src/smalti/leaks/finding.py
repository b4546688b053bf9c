"""``Finding``: what makes scores too good, in words, with its mend; ``Audit``: all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from smalti.errors import InputError

SEVERITIES = ("leak", "doubt")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with data, or that nobody but their owner can rule out.

    Parameters
    ----------
    kind
        Which check found it: "donor names", "copies", ...
    words
        What is there, in a sentence.
    mend
        What to do about it, in a sentence.
    severity
        "leak": scores of these data are too good. "doubt": they are, if it is what it looks like.
    evidence
        The numbers and names that it rests on, as JSON has them.

    Raises
    ------
    InputError
        If it has no mend, or the severity is another word.
    """

    kind: str
    words: str
    mend: str
    severity: str = "leak"
    evidence: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.mend.strip():
            raise InputError(f"a finding of kind {self.kind!r} without a mend: say what to do.")
        if self.severity not in SEVERITIES:
            raise InputError(f"severity {self.severity!r} is not one of {', '.join(SEVERITIES)}.")

    def __str__(self) -> str:
        return f"{self.severity} ({self.kind}): {self.words} {self.mend}"


@dataclass(frozen=True)
class Audit:
    """What an audit found, leaks first.

    Attributes
    ----------
    findings
        All of them; none is no proof that there is nothing.
    checks
        Kinds that were looked for.
    """

    findings: tuple[Finding, ...] = ()
    checks: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def kinds(self) -> set[str]:
        """Kinds of what was found."""
        return {finding.kind for finding in self.findings}

    def record(self) -> dict[str, Any]:
        """All of it as JSON has it: findings, checks."""
        return {"findings": [asdict(f) for f in self.findings], "checks": list(self.checks)}

    def __str__(self) -> str:
        looked = f"looked for: {', '.join(self.checks)}"
        if not self.findings:
            return f"Audit: no finding ({looked})."
        return "\n".join([f"Audit: {len(self)} found ({looked}).", *map(str, self.findings)])
