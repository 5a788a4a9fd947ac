"""What is wrong, and what to do about it.

Owns the judgement of facts: answers of the daemon or of its database, and figures of the host.
Assumes the facts were gathered at one moment. Promises: pure functions without I/O or clock;
every finding names its subject and a next step; nothing of a rejected file is in one, because
the facts have nothing of it (R9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.diagnosis.agents import agent_findings
from meshd.diagnosis.findings import (
    Facts,
    Finding,
    Limits,
    Severity,
    StateDirectory,
    Unfinished,
)
from meshd.diagnosis.place import place_findings
from meshd.diagnosis.roots import root_findings
from meshd.diagnosis.service import service_findings

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Facts",
    "Finding",
    "Limits",
    "Severity",
    "StateDirectory",
    "Unfinished",
    "diagnose",
    "is_healthy",
]

_ORDER = tuple(Severity)


def diagnose(facts: Facts) -> list[Finding]:
    """Return what is wrong, the worst first."""
    found = [
        *service_findings(facts),
        *place_findings(facts),
        *root_findings(facts),
        *agent_findings(facts),
    ]
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing needs anybody to act: remarks are no faults."""
    return all(finding.severity is Severity.REMARK for finding in findings)
