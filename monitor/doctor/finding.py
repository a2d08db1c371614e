"""What the doctor says: one line about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.redact import one_line


class Verdict(StrEnum):
    """How it went."""

    OK = "ok"
    WARNING = "warning"
    """Works, but not as it should, or not for long."""
    FAILED = "failed"
    """The monitor won't work so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was tried and how it went; where it isn't well, `says` names the remedy."""

    about: str
    verdict: Verdict
    says: str

    @property
    def line(self) -> str:
        """The finding in one line."""
        return one_line(f"{self.about}: {self.says}")

    def to_json(self) -> dict[str, str]:
        """Return it for a script."""
        return {"about": self.about, "verdict": self.verdict.value, "says": one_line(self.says)}


def worked(about: str, says: str) -> Finding:
    """Say that something is well."""
    return Finding(about, Verdict.OK, says)


def warned(about: str, says: str) -> Finding:
    """Say what isn't well."""
    return Finding(about, Verdict.WARNING, says)


def failed(about: str, says: str) -> Finding:
    """Say what doesn't work."""
    return Finding(about, Verdict.FAILED, says)
