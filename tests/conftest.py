"""What holds for every test.

Owns the environment tests see, the Hypothesis profiles, the search for leaked threads and the
rule about skips. Promises: no test reads the settings or reaches the daemon of whoever runs it;
a test that leaves a thread behind fails and names it; under MESHD_NO_SKIPS=1 a test that was
skipped for a reason that is not expected fails the run.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

JOIN_DEADLINE: Final = 2.0
"""Seconds that threads of a test get, all together, to end after it."""

EXPECTED_SKIPS: Final = (
    "needs a user whom permissions bind",  # the run that skips nothing else is root's
)
"""Beginnings of the reasons for which a test may be skipped although MESHD_NO_SKIPS is set."""

_SERVICE_VARIABLES: Final = (
    "NOTIFY_SOCKET",
    "JOURNAL_STREAM",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "INVOCATION_ID",
)

hypothesis.settings.register_profile("default", print_blob=True, deadline=None)
# Machines of a continuous integration keep no example database, so the same examples each time.
hypothesis.settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None)


class SkipReport:
    """Collects the skips of one run and judges them at its end."""

    def __init__(self) -> None:
        self._unexpected: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that was skipped; an expected failure is another thing."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that was skipped whole."""
        if report.skipped:
            self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a passed run with unexpected skips into a failed one."""
        if self._unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which skips made the run fail."""
        if self._unexpected:
            terminalreporter.section("skips that MESHD_NO_SKIPS does not allow", red=True)
            for line in self._unexpected:
                terminalreporter.line(line)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # Of a skip, pytest keeps the file, the line and "Skipped: REASON".
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = text.removeprefix("Skipped: ")
        if not reason.startswith(EXPECTED_SKIPS):
            self._unexpected.append(f"{report.nodeid}: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the Hypothesis profile, and judge skips when asked to."""
    hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")
    if os.environ.get("MESHD_NO_SKIPS") == "1":
        config.pluginmanager.register(SkipReport(), "meshd-skips")


@pytest.fixture(scope="session", autouse=True)
def _cleared_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take away what points to the daemon, the settings or the service manager outside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MESHD_", "XDG_")) or name in _SERVICE_VARIABLES:
                patch.delenv(name)
        # ~/.config/meshd and ~/.local/state/meshd are reached through the home directory.
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Fail a test whose threads outlive it, for they would disturb the next one."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + JOIN_DEADLINE
    started = [thread for thread in threading.enumerate() if thread not in before]
    for thread in started:
        thread.join(max(deadline - time.monotonic(), 0.0))
    leaked = [thread.name for thread in started if thread.is_alive()]
    if leaked:
        pytest.fail(f"leaked threads: {', '.join(leaked)}")
