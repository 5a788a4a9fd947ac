"""Figures for Prometheus, read when they are asked for.

Owns the names of the metrics. Promises: no figure is kept here, so none can be out of step
with the registry; the library's own registry, which is global, is left alone.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from meshd import __version__, answers
from meshd.core.endpoints import EndpointState
from meshd.core.health import HealthStatus
from meshd.core.model import ClaimOutcome
from meshd.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from meshd.commands import SweepResult
    from meshd.services import DaemonState, Services
    from meshd.watcher import Coverage

_UNSETTLED: Final = (EndpointState.PENDING, EndpointState.RETIRED)


class MeshCollector(Collector):
    """The daemon's figures at the moment of a scrape."""

    def __init__(self, services: Services, subscribers: int) -> None:
        self._services = services
        self._subscribers = subscribers

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        services = self._services
        with services.store.reading() as registry:
            counts = answers.tally(registry, services.clock.wall_ns())
            claims = registry.claim_counts()
            seq = registry.newest_seq()
            unsettled = Counter(str(row.state) for row in registry.unsettled_endpoints())
        by_status = {str(status): counts.health.get(status, 0) for status in HealthStatus}
        by_status["unscanned"] = counts.unscanned
        yield _labelled("meshd_agents", "Agents, by how they are.", "status", by_status)
        by_outcome = {str(outcome): claims.get(outcome, 0) for outcome in ClaimOutcome}
        yield _labelled("meshd_claims", "Claims, by how they were judged.", "outcome", by_outcome)
        yield _labelled("meshd_roots", "Configured roots.", "state", _root_states(services))
        by_state = {str(state): unsettled[state] for state in _UNSETTLED}
        help_text = "Endpoints that the relay has yet to confirm or to retire."
        yield _labelled("meshd_endpoints_unsettled", help_text, "state", by_state)
        commits = CounterMetricFamily("meshd_writer_commits", "Transactions that wrote.")
        commits.add_metric([], services.store.writer.commits)
        yield commits
        spent = CounterMetricFamily("meshd_writer_commit_seconds", "What these transactions took.")
        spent.add_metric([], services.store.writer.commit_seconds)
        yield spent
        yield _gauge("meshd_inbox_length", "Projects that wait to be looked at.", services.waiting)
        yield _gauge("meshd_feed_subscribers", "Open streams of events.", self._subscribers)
        failures = CounterMetricFamily(
            "meshd_relay_failures", "Calls that the relay outside failed."
        )
        failures.add_metric([], services.relay_failures)
        yield failures
        yield _gauge("meshd_change_log_seq", "Number of the newest entry.", seq)
        yield from _of_state(services.state())
        yield from _of_watching(services.coverage())
        yield _labelled("meshd_build_info", "The version running.", "version", {__version__: 1})


def _of_state(state: DaemonState) -> Iterator[Metric]:
    yield _gauge("meshd_ready", "1 once the first sweep is committed.", state.ready)
    yield _gauge("meshd_degraded", "1 while something is wrong with meshd.", bool(state.degraded))
    yield _gauge("meshd_config_generation", "The configuration in force.", state.generation)
    yield _gauge("meshd_config_last_reload_ok", "0 while one is refused.", state.last_reload_ok)
    dropped = CounterMetricFamily("meshd_log_dropped", "Records that could not be written.")
    dropped.add_metric([], state.log_dropped)
    yield dropped
    if state.last_sweep is not None:
        yield from _of_sweep(state.last_sweep)


def _of_sweep(sweep: SweepResult) -> Iterator[Metric]:
    began = datetime.fromisoformat(sweep.started_at).timestamp()
    yield _gauge("meshd_last_sweep_seconds", "Walk's start to last commit.", sweep.seconds)
    yield _gauge("meshd_last_sweep_timestamp_seconds", "When it began.", began)
    yield _gauge("meshd_last_sweep_held", "Disappearances held back.", sweep.held)
    yield _gauge("meshd_sweep_drift", "Changes the last sweep found, not events.", sweep.drift)


def _of_watching(coverage: Mapping[str, Coverage]) -> Iterator[Metric]:
    # A path may hold bytes that are not UTF-8, which the text format has no form for.
    roots = {escape(root): coverage[root] for root in sorted(coverage)}
    watched = {root: one.watched for root, one in roots.items()}
    wanted = {root: one.wanted for root, one in roots.items()}
    events = {root: one.events for root, one in roots.items()}
    overflows = {root: one.overflows for root, one in roots.items()}
    yield _labelled("meshd_watched_directories", "Watches that are placed.", "root", watched)
    yield _labelled("meshd_wanted_directories", "Watches that would see all.", "root", wanted)
    yield _counted("meshd_watch_events", "Events that said something.", "root", events)
    yield _counted("meshd_watch_overflows", "How often events were lost.", "root", overflows)


def _root_states(services: Services) -> Mapping[str, int]:
    view = services.roots.view
    known = [view.states.get(root) for root in view.lookers]
    last = services.state().last_sweep
    truncated = {} if last is None else last.truncated
    counts = Counter(
        "unscanned"
        if state is None
        else "sick"
        if not state.healthy
        else "truncated"
        if state.path in truncated
        else "healthy"
        for state in known
    )
    return {word: counts[word] for word in ("healthy", "truncated", "sick", "unscanned")}


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _labelled(name: str, help_text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _counted(name: str, help_text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def exposition(services: Services, subscribers: int) -> bytes:
    """Return every metric in the text format.

    Args:
        services: the daemon.
        subscribers: open streams of the feed, which the API knows.
    """
    registry = CollectorRegistry()
    registry.register(MeshCollector(services, subscribers))
    ProcessCollector(registry=registry)  # memory, processor time, descriptors
    return generate_latest(registry)
