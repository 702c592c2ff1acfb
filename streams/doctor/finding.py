"""What a check of the doctor says: of one thing, in one line, with what to do."""

from collections.abc import Iterable
from typing import Literal

import msgspec

Severity = Literal["ok", "warning", "error"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `fix` is a command, or what to do; "" where nothing is wrong."""

    check: str
    subject: str
    severity: Severity
    what: str
    fix: str = ""


def fine(check: str, subject: str, what: str) -> Finding:
    """Return a finding of what is as it should be."""
    return Finding(check=check, subject=subject, severity="ok", what=what)


def warning(check: str, subject: str, what: str, fix: str) -> Finding:
    """Return a finding of what costs something and breaks no promise."""
    return Finding(check=check, subject=subject, severity="warning", what=what, fix=fix)


def error(check: str, subject: str, what: str, fix: str) -> Finding:
    """Return a finding of what is wrong."""
    return Finding(check=check, subject=subject, severity="error", what=what, fix=fix)


def is_healthy(findings: Iterable[Finding]) -> bool:
    """Say whether nothing is wrong; a warning is not."""
    return all(finding.severity != "error" for finding in findings)
