"""Telling a relay outside the database where agents are reached.

Owns the thread that calls the relay, the only one that may wait for it. It is driven by what
the tables say, not by what happened: whatever wakes it, it reads which endpoints are pending or
to be retired and which rules hold, and tells what the relay does not know yet. Promises: what
the relay confirms goes back through the inbox (R3), so a crash at any point only makes a call
come twice; a rule is put before, and removed after, the endpoints it is for; a relay that fails
is tried again ever later, and told of in the log once; an agent that comes and goes is let go of
at once, and announced again ever later (fault 156).
"""

from __future__ import annotations

import contextlib
import math
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from meshd.commands import Confirmation
from meshd.core.damping import Damping
from meshd.core.endpoints import EndpointState, rules_for
from meshd.errors import MeshdError, StoppingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from meshd.core.endpoints import AccessRule, Endpoint
    from meshd.relay import Relay
    from meshd.shared import Shared

Result = TypeVar("Result")

FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 300.0
"""Seconds until a relay that failed is tried again: doubled each time, up to this."""

CHUNK: Final = 100
"""Most calls that one confirmation waits for: an agent becomes discoverable with its chunk."""

FLUSH: Final = 3.0
"""Seconds for last calls when the daemon stops; less than an actor has to end."""

# How often a wait for the reconciler looks whether the daemon is stopping, in seconds.
STOP_POLL: Final = 0.2


class Announcer:
    """Actor: tells the relay.

    Args:
        shared: the parts that the stations of the flow meet at.
        relay: whom to tell.
        jitter: returns a number in [0, 1) by which a retry comes sooner, so that many daemons
            do not come back to one relay in step.

    Attributes:
        failures: how often the relay, or the commit of what it confirmed, has failed.
    """

    def __init__(self, shared: Shared, relay: Relay, jitter: Callable[[], float]) -> None:
        self._shared = shared
        self._relay = relay
        self._jitter = jitter
        self._woken = threading.Event()
        self._stopping = threading.Event()
        # What the relay holds is not known before it was told all of it once.
        self._doubted = True
        self._rules: dict[tuple[str, str], AccessRule] = {}
        self._in_a_row = 0
        self._retry_at = -math.inf
        self._give_up_at = math.inf
        self._damping = Damping()
        # Subjects that the relay has let go of since it was doubted last.
        self._let_go: set[str] = set()
        self.failures = 0

    def wake(self) -> None:
        """Look whether there is anything to tell. For any thread."""
        self._woken.set()

    def doubt(self) -> None:
        """Have the relay compare all it holds, as after every sweep. For any thread."""
        self._doubted = True
        self._woken.set()

    def stop(self) -> None:
        """Tell what is left, for as long as there is time; `run` returns then."""
        self._give_up_at = self._shared.clock.monotonic() + FLUSH
        self._stopping.set()
        self._woken.set()

    def run(self) -> None:
        """Announce until stopped. The body of the relay's thread."""
        while not self._stopping.is_set():
            wait = self.announce()
            self._woken.wait(wait)
            self._woken.clear()
        self._retry_at = -math.inf
        self.announce()

    def announce(self) -> float | None:
        """Tell the relay what it does not know yet, unless it failed a moment ago.

        Returns:
            Seconds until there is more to tell or to try again, None when there is nothing to do.
        """
        now = self._shared.clock.monotonic()
        if now < self._retry_at:
            return self._retry_at - now
        try:
            due = self._tell()
        except StoppingError:
            return None  # the next start tells what is left
        except MeshdError as error:
            return self._fail(error)
        if self._in_a_row > 0:
            self._shared.log.info("relay_recovered", failures=self._in_a_row)
            self._in_a_row = 0
        return None if due is None else max(due - self._shared.clock.monotonic(), 0.0)

    def _fail(self, error: MeshdError) -> float:
        """Note a failure; return the seconds until the next attempt."""
        if self._in_a_row == 0:
            self._shared.log.warning("relay_failed", why=error.message, what_to_do=error.hint)
        self.failures += 1
        self._in_a_row += 1
        # The exponent is bounded because a float is: 2**9 seconds are over the longest already.
        delay = min(FIRST_RETRY * 2.0 ** min(self._in_a_row - 1, 9), LONGEST_RETRY)
        delay *= 1 - self._jitter() / 2
        self._retry_at = self._shared.clock.monotonic() + delay
        return delay

    def _tell(self) -> float | None:
        """Tell what may be told; return the monotonic second at which more may be."""
        with self._shared.store.reading() as registry:
            doubted = self._doubted
            rows = registry.endpoints() if doubted else registry.unsettled_endpoints()
            namespaces = registry.namespaces(pending=True)
            rules = rules_for(namespaces, registry.explicit_rules(), self._shared.trust.system)
        every = [row.endpoint for row in rows if row.state is EndpointState.PENDING]
        pending, due = self._undamped(every)
        # An agent that moves is reached at its old subject until the new one may be told.
        waiting = {one.agent_id for one in every} - {one.agent_id for one in pending}
        retired = [
            row.endpoint
            for row in rows
            if row.state is EndpointState.RETIRED and row.endpoint.agent_id not in waiting
        ]
        live = [row.endpoint for row in rows if row.state is EndpointState.LIVE]
        wanted = {(rule.source, rule.target): rule for rule in rules}
        if doubted:
            self._reconcile([*live, *pending], wanted)
        for ends in sorted(wanted):
            if self._rules.get(ends) != wanted[ends]:
                self._check_time()
                self._relay.put_rule(wanted[ends])
                self._rules[ends] = wanted[ends]
        self._each(pending, self._register, lambda done: Confirmation(registered=done))
        self._each(
            retired,
            self._retire,
            lambda done: Confirmation(retired=done),
        )
        for ends in sorted(self._rules.keys() - wanted.keys()):
            self._check_time()
            self._relay.remove_rule(self._rules[ends])
            del self._rules[ends]
        return due

    def _undamped(self, pending: Iterable[Endpoint]) -> tuple[list[Endpoint], float | None]:
        """Return the endpoints that may be registered now, and when the next of the others may."""
        now = self._shared.clock.monotonic()
        dues = [(one, self._damping.due(one.subject)) for one in pending]
        later = [due for _, due in dues if due > now]
        return [one for one, due in dues if due <= now], min(later, default=None)

    def _register(self, endpoint: Endpoint) -> None:
        self._let_go.discard(endpoint.subject)
        self._relay.register(endpoint)
        self._damping.announced(endpoint.subject, self._shared.clock.monotonic())

    def _retire(self, endpoint: Endpoint) -> None:
        """Have the relay let go of an endpoint, unless it did and was told nothing since."""
        if endpoint.subject not in self._let_go:
            self._relay.retire(endpoint.subject)
            self._let_go.add(endpoint.subject)

    def _reconcile(
        self, endpoints: list[Endpoint], wanted: dict[tuple[str, str], AccessRule]
    ) -> None:
        # A sweep that ends during the call doubts anew.
        self._doubted = False
        self._let_go.clear()
        try:
            lost = self._relay.reconcile(endpoints, list(wanted.values()))
        except MeshdError:
            self._doubted = True
            raise
        self._rules = dict(wanted)
        if lost:
            self._confirm(Confirmation(lost=tuple(sorted(lost))))

    def _each(
        self,
        endpoints: Iterable[Endpoint],
        call: Callable[[Endpoint], None],
        confirmation: Callable[[tuple[str, ...]], Confirmation],
    ) -> None:
        """Make one call per endpoint; confirm those that succeeded, also when one fails."""
        done: list[str] = []
        try:
            for one in endpoints:
                self._check_time()
                call(one)
                done.append(one.subject)
                if len(done) == CHUNK:
                    self._confirm(confirmation(tuple(done)))
                    done.clear()
        finally:
            if done:
                self._confirm(confirmation(tuple(done)))

    def _check_time(self) -> None:
        """Make no further call once there is no more time.

        Raises:
            StoppingError: the daemon is stopping, and the last calls took long enough.
        """
        if self._shared.clock.monotonic() >= self._give_up_at:
            raise StoppingError("the relay is told the rest at the next start")

    def _confirm(self, confirmation: Confirmation) -> None:
        """Have a confirmation committed; while stopping nobody takes it, and the next start asks.

        The relay is told nothing further before: what it confirms next rests on this.
        """
        if self._stopping.is_set():
            return
        self._shared.inbox.post(confirmation)
        self._await(confirmation.future)

    def _await(self, future: Future[Result]) -> Result:
        """Wait for the reconciler, and for no longer than the daemon runs."""
        while True:
            with contextlib.suppress(TimeoutError):
                return future.result(timeout=STOP_POLL)
            if self._stopping.is_set() and not future.done():
                raise StoppingError("the confirmation was abandoned")
