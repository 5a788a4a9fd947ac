"""A relay outside the database, as unreliable as a test wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.relay import RelayError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from meshd.core.endpoints import AccessRule, Endpoint


class TestRelay:
    """Holds what it is told, and remembers every call.

    Attributes:
        endpoints: by subject.
        rules: by source and target.
        calls: names and subjects (or ends) of the calls so far, failed ones included.
        failing: asked before each call whether it fails; so a list of answers is a program.
        takes_effect: whether a call that fails has done its work all the same, as one does whose
            answer is lost.
        during: called in every call, before it takes effect: the world goes on meanwhile.
    """

    __test__ = False

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.rules: dict[tuple[str, str], AccessRule] = {}
        self.calls: list[tuple[str, str]] = []
        self.failing: Iterator[bool] = iter(())
        self.takes_effect = False
        self.during: Callable[[], None] = lambda: None

    def register(self, endpoint: Endpoint) -> None:
        with _Call(self, "register", endpoint.subject):
            self.endpoints[endpoint.subject] = endpoint

    def retire(self, subject: str) -> None:
        with _Call(self, "retire", subject):
            self.endpoints.pop(subject, None)

    def put_rule(self, rule: AccessRule) -> None:
        with _Call(self, "put_rule", f"{rule.source} {rule.target}"):
            self.rules[rule.source, rule.target] = rule

    def remove_rule(self, rule: AccessRule) -> None:
        with _Call(self, "remove_rule", f"{rule.source} {rule.target}"):
            self.rules.pop((rule.source, rule.target), None)

    def reconcile(
        self, endpoints: Collection[Endpoint], rules: Collection[AccessRule]
    ) -> frozenset[str]:
        missing: frozenset[str] = frozenset()
        with _Call(self, "reconcile", ""):
            wanted = {one.subject: one for one in endpoints}
            missing = frozenset(wanted.keys() - self.endpoints.keys())
            self.endpoints = wanted
            self.rules = {(rule.source, rule.target): rule for rule in rules}
        return missing

    def names(self, since: int = 0) -> list[str]:
        """Return the names of the calls after the first `since`."""
        return [name for name, _ in self.calls[since:]]


class _Call:
    """One call: fails before it takes effect, or after."""

    def __init__(self, relay: TestRelay, name: str, about: str) -> None:
        relay.calls.append((name, about))
        self._fails = next(relay.failing, False)
        self._relay = relay

    def __enter__(self) -> None:
        self._relay.during()
        if self._fails and not self._relay.takes_effect:
            raise RelayError("the relay is down")

    def __exit__(self, *_: object) -> None:
        if self._fails and self._relay.takes_effect:
            raise RelayError("the relay did not answer in time")
