"""`meshd wait`: return once an agent is as it is wanted.

Owns what each state means, and the order of asking: first where the change log stands, then
the rows, then the log from there on, so that nothing falls in between. A daemon that restarts
meanwhile is waited for.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from meshd.cli.group import Command
from meshd.cli.output import print_fields, print_json, print_line
from meshd.cli.reference import is_id
from meshd.cli.session import current_session, resolved
from meshd.client import GoneError
from meshd.errors import DeadlineError, NoDaemonError, StoppingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshd.client import Client, Document

STATES = ("registered", "active", "unreachable", "gone")
POLL_SECONDS = 30.0
"""How long one question may wait; the next follows at once."""
ANSWER_SECONDS = 1.0
"""How much longer than the timeout an answer may take; then the daemon hangs."""
PAUSE_SECONDS = 0.2
"""Between two tries to reach a daemon that went away."""

# What the log calls the moment in which a state begins: it counts also if it has passed.
_BEGINNINGS = {
    "registered": {"registered"},
    "active": {"registered", "returned"},
    "unreachable": {"unreachable", "displaced"},
    "gone": {"removed", "forgotten", "unregistered", "denied"},
}
# As `meshd.config.duration` has it, which is slow to import.
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """A duration as the configuration writes it, in seconds."""

    name = "duration"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the seconds; a number without its unit is refused."""
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail('write a duration with its unit, for example "5m"', param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An agent, and how it is to be.

    Attributes:
        agent_id: which one, None when it is named by its path.
        path: where it lives, None when it is named by its id.
        state: one of `STATES`.
    """

    agent_id: str | None
    path: str | None
    state: str

    def find(self, agents: Iterable[Document]) -> Document | None:
        """Return the row that is meant: at a path, the one that lives there before others."""
        last = None
        for agent in agents:
            if self.path is None:
                if agent["id"] == self.agent_id:
                    return agent
            elif agent["projectPath"] == self.path:
                return agent
            elif agent["lastPath"] == self.path:
                last = agent
        return last

    def holds(self, agent: Document | None) -> bool:
        """Whether a row, or that there is none, is what is waited for."""
        if self.state == "gone" or agent is None:
            return self.state == "gone" and agent is None
        if self.state == "active":
            return agent["status"] == "active" and agent["unscanned"] is None
        return self.state in ("registered", agent["status"])

    def concerns(self, entry: Document) -> bool:
        """Whether an entry of the change log may be about the agent."""
        if self.path is None:
            return bool(entry["agentId"] == self.agent_id)
        said = [entry["from"] or {}, entry["to"] or {}]
        places = [one.get(name) for one in said for name in ("projectPath", "lastPath")]
        return self.path in (entry["path"], *places)

    def begins_with(self, entry: Document) -> bool:
        """Whether an entry that concerns the agent is the beginning of the state.

        Of a path it is not known: several agents may share its entries.
        """
        return self.path is None and entry["kind"] in _BEGINNINGS[self.state]


@click.command(cls=Command)
@click.argument("reference", metavar="ID|PATH")
@click.option("--for", "state", type=click.Choice(STATES), required=True, help="What to wait for.")
@click.option(
    "--timeout", type=Duration(), default="60s", show_default=True, help="Exit 8 after so long."
)
def wait(reference: str, state: str, timeout: float) -> None:
    """Return once the agent is as wanted. A path needs a slash: ./NAME."""
    session = current_session()
    named = is_id(reference)
    wanted = Wanted(reference if named else None, None if named else resolved(reference), state)
    until = time.monotonic() + timeout
    with session.client(until + ANSWER_SECONDS) as client:
        agent = _await(client, wanted, until)
    if session.as_json:
        print_json(agent)
    elif agent is None:
        print_line(f"gone: {reference}")
    else:
        print_fields(agent.items())


def _await(client: Client, wanted: Wanted, until: float) -> Document | None:
    """Return the row once it is as wanted, None once there is none and none is wanted.

    Raises:
        DeadlineError: the monotonic second `until` came first.
    """
    place: str | None = None
    while True:
        try:
            if place is None:
                place = _newest(client)
            agent = wanted.find(client.registry()["agents"])
            if wanted.holds(agent):
                return agent
            place, began = _after_news(client, place, wanted, until)
            if began:
                return wanted.find(client.registry()["agents"])
        except GoneError:
            place = None  # the rows are read anew, so what the log has lost does not matter
        except (NoDaemonError, StoppingError):
            _check(wanted, until)
            time.sleep(PAUSE_SECONDS)


def _newest(client: Client) -> str:
    status = client.status()
    return f"{status['epoch']}-{status['seq']}"


def _after_news(client: Client, place: str, wanted: Wanted, until: float) -> tuple[str, bool]:
    """Wait for entries that concern the agent.

    Returns:
        The place after them, and whether one of them is the beginning of the state.

    Raises:
        DeadlineError: the monotonic second `until` came first.
        GoneError: the log cannot go on from the place.
    """
    while True:
        left = _check(wanted, until)
        page = client.events(place, wait=min(left, POLL_SECONDS))
        if page["events"]:
            place = f"{page['epoch']}-{page['events'][-1]['seq']}"
        news = [entry for entry in page["events"] if wanted.concerns(entry)]
        if news:
            return place, any(map(wanted.begins_with, news))


def _check(wanted: Wanted, until: float) -> float:
    """Return the seconds that are left; raise DeadlineError when there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise DeadlineError(
            f"{wanted.agent_id or wanted.path} was not {wanted.state} in time",
            hint="`meshd agents list` shows how things are",
        )
    return left
