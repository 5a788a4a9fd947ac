"""`meshd doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from meshd.cli.group import Command
from meshd.cli.output import print_json, print_line, print_note
from meshd.cli.session import current_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshd.diagnosis import Facts, Finding

EXIT_FINDINGS = 6
"""The exit code of findings (design: §Surfaces, exit codes)."""

MOST_OF_ONE_KIND = 20
"""So many findings of one code are printed; the rest is counted. JSON has all."""


@click.command(cls=Command)
@click.option("--full", is_flag=True, help="Check every row of the database too.")
@click.option("--fail-on-findings", is_flag=True, help="Exit 6 if there is an error or a warning.")
def doctor(full: bool, fail_on_findings: bool) -> int:
    """Say what is wrong, and what to do about it.

    It looks at the daemon, its configuration, its state directory and database, the limits of
    inotify, the roots, and every claim that was refused. It changes nothing.
    """
    from meshd.cli.gathering import gather
    from meshd.diagnosis import diagnose, is_healthy

    session = current_session()
    facts, unchecked = gather(session, full=full)
    findings = diagnose(facts)
    healthy = is_healthy(findings)
    if session.as_json:
        print_json(
            {
                "healthy": healthy,
                "findings": [asdict(finding) for finding in findings],
                "unchecked": unchecked,
            }
        )
    else:
        _print_findings(findings)
        print_line(_summary(facts, findings, healthy=healthy))
        for what in unchecked:
            print_note(f"not checked: {what}")
    return EXIT_FINDINGS if fail_on_findings and not healthy else 0


def _print_findings(findings: Sequence[Finding]) -> None:
    """Print each finding with what to do about it, and how many are left out."""
    printed: Counter[str] = Counter()
    for finding in findings:
        printed[finding.code] += 1
        if printed[finding.code] > MOST_OF_ONE_KIND:
            continue
        subject = "" if finding.subject is None else f"{finding.subject}: "
        print_line(f"{finding.severity:<7}  {subject}{finding.message}")
        print_line(f"{'':<7}  -> {finding.hint}")
    for code, count in printed.items():
        if count > MOST_OF_ONE_KIND:
            print_note(f"{count - MOST_OF_ONE_KIND} more of {code}: see meshd doctor --json")


def _summary(facts: Facts, findings: Sequence[Finding], *, healthy: bool) -> str:
    """Return the last line: that all is well, or how much is not."""
    counts = Counter(str(finding.severity) for finding in findings)
    if not healthy:
        return ", ".join(_counted(count, word) for word, count in counts.items())
    roots = [] if facts.status is None else facts.status["roots"]
    said = [_counted(len(facts.agents), "agent"), _counted(len(roots), "root")]
    if counts["remark"]:
        said.append(_counted(counts["remark"], "remark"))
    return f"healthy: {', '.join(said)}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
