"""A live daemon under siege: a hostile user, an editor, git, an operator and faults, at random.

Owns the choice of what happens, and when the daemon is judged. Assumes a mount namespace of its
own. Promises: the same choices for the same seed, whatever the daemon answers; every fault is
taken back before the daemon is judged as one that is well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self

from meshd.api.server import READER_THREADS
from meshd.errors import MeshdError
from tests.stateful import damaging, judging
from tests.stateful.bystander import Bystander
from tests.stateful.estate import Estate
from tests.stateful.faults import PATIENCE, Faults
from tests.stateful.footprint import CEILING, NOTHING, Footprint, footprint
from tests.stateful.ground import Ground
from tests.stateful.ledger import Ledger
from tests.stateful.operating import Operator
from tests.system.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random
    from types import TracebackType

    from meshd.client import Client

Document = dict[str, Any]

ROOTS: Final = ("one", "two", "three")
PLACES: Final = (
    *(f"{root}/{place}" for root in ROOTS[:2] for place in ("p", "q", "r", "deep/s")),
    "three/p",
    "three/q",
    "three/deep/s",
)
TEAM: Final = tuple(f"{number:02}" for number in range(12))
"""More than half of a root's agents, and more than the mass guard lets go at once."""

GROWTH_MEGABYTES: Final = 60
GROWTH_THREADS: Final = 4
"""Threads more than at the first judgement: answers that are under way."""
GROWTH_DESCRIPTORS: Final = GROWTH_THREADS + 2 * (READER_THREADS + 3)
"""Descriptors more: of answers too, and two for each reader that had not been needed by then, one
for every thread that answers and for the main, the reconciler's and the sweeper's."""
TRIES: Final = 40
"""Of a fault that has to happen, at places by chance."""

BOUND_BY_MODES: Final = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Runs a daemon whom permissions bind, root too."""

TIMINGS: Final = (
    ('[sweep]\ninterval = "24h"\n', 86_400.0),
    ('[sweep]\ninterval = "24h"\n', 86_400.0),
    ('[sweep]\ninterval = "2s"\nfull_every = 3\n', 86_400.0),
    ('[sweep]\ninterval = "1s"\ngrace = "4s"\n', 4.0),
    ('[sweep]\ninterval = "2s"\n[watch]\nbackend = "none"\n', 86_400.0),
)
"""How a daemon may be told of changes, with the grace in seconds."""


class Siege:
    """One daemon, from its first start to its last judgement; a context manager.

    Args:
        base: an empty directory, on a short path.
        chance: chooses.

    Attributes:
        counts: what happened, by kind.
        most: the largest footprint at rest.
    """

    def __init__(self, base: Path, chance: Random) -> None:
        self.counts: Counter[str] = Counter()
        self.most = NOTHING
        self.chance = chance
        self.estate = Estate(base, chance, base / "disk", ROOTS, PLACES, TEAM, is_hostile=True)
        outside = base / "disk" / "outside" / ".dork"
        outside.mkdir(parents=True)
        (outside / "agent.json").write_text('{"id": "outside", "name": "not ours"}')
        timing, grace = chance.choice(TIMINGS)
        home = base / "h"
        self.ground = Ground(base, base / "disk", home / "state", ROOTS)
        self.daemon = Daemon(home, through=BOUND_BY_MODES)
        self.operator = Operator(self.estate, self.daemon, timing)
        self.ledger = Ledger(grace)
        self.bystander = Bystander(self.daemon.socket)
        self.estate.trail.append(timing)
        self.faults = Faults(self.estate, self.ground, self.daemon, self.operator)
        self._first: tuple[int, Footprint] | None = None
        self._in_doubt: set[str] = set()

    def __enter__(self) -> Self:
        for _ in range(8):
            self.estate.act()
        self.operator.seal()
        self.daemon.start()
        self.bystander.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.faults.lift_all()
                self.bystander.__exit__()
                assert self.daemon.stop() == 0
                tracebacks = self.daemon.log.count("Traceback")
                assert self.daemon.may_fail or not tracebacks, self.daemon.log[-5000:]
        finally:
            self.daemon.kill()
            if kind is not None:
                self.bystander.__exit__()
            self.ground.close()

    # what happens

    def step(self) -> None:
        """Let something happen, and now and then judge."""
        kinds: list[tuple[Callable[[], bool | None], int]] = [
            (self.users, 30),
            (self.operators, 14),
            (self.kill, 2),
            (self.kill_in_a_call, 2),
            (self.restart, 1),
            (self.overflow, 1),
            (self.pause, 2),
            (self.faults.unmount_or_mount, 3),
            (self.faults.replace_root, 1),
            (self.faults.write_protect, 2),
            (self.faults.shut_place, 3),
            (self.faults.fill_state, 1),
            (self.damage, 1),
            (self.vanish, 1),
            (self.back_up, 1),
            (self.sweep, 3),
            (self.judge, 12),
            (self.glance, 6),
        ]
        (kind,) = self.chance.choices([one for one, _ in kinds], [weight for _, weight in kinds])
        self.counts["steps"] += 1
        self._do(kind)

    def each_fault(self) -> None:
        """Let every kind of fault happen once, each between users' acts and a judgement."""
        for kind in (
            self.vanish, self.kill, self.restart, self.overflow, self.pause, self.damage,
            self.faults.replace_root, self.faults.unmount_or_mount, self.faults.write_protect,
            self.faults.shut_place, self.faults.fill_state,
        ):  # fmt: skip
            self._insist(kind, lambda kind=kind: self.counts[kind.__name__] > 0)  # type: ignore[misc]
        self._insist(self.kill_in_a_call, lambda: self.operator.answered > 0)
        self._insist(self.kill_in_a_call, lambda: self.operator.unanswered > 0)

    def _insist(self, kind: Callable[[], bool | None], is_done: Callable[[], bool]) -> None:
        for _ in range(TRIES):
            if is_done():
                break
            self._do(kind)
        assert is_done(), f"{kind.__name__} was never possible"
        for usual in (self.users, self.glance, self.judge):
            self._do(usual)

    def _do(self, kind: Callable[[], bool | None]) -> None:
        """Let something happen, and count it unless it could not."""
        self.estate.trail.append(kind.__name__.upper())
        self.counts[kind.__name__] += kind() is not False

    def users(self) -> None:
        """People, editors, git and attackers do things."""
        self.operator.expect_untouched()
        for _ in range(self.chance.randint(1, 8)):
            self.estate.act()
            self.counts["acts of users"] += 1
        self.operator.seal()

    def operators(self) -> None:
        """The operator does something."""
        self.operator.act()
        self.faults.let_go()

    def kill(self) -> None:
        """The daemon dies at work, and things go on."""
        self.faults.make_room()
        self.users()
        self.daemon.kill()
        self.users()
        self.daemon.start()

    def kill_in_a_call(self) -> None:
        """The daemon dies while it is told something."""
        self.faults.make_room()
        self.operator.kill_in_a_call()

    def restart(self) -> None:
        """The daemon is stopped in order, and things go on."""
        self.faults.make_room()
        self.users()
        assert self.daemon.stop() == 0, "a stop that failed"
        self.users()
        self.daemon.start()

    def overflow(self) -> None:
        """More happens than the kernel keeps, while the daemon has no time to read."""
        self.operator.expect_untouched()
        with self._stopped():
            self.users()
            self.estate.flood()
            self.users()

    def pause(self) -> None:
        """The daemon gets no time for a while."""
        self.operator.expect_untouched()
        with self._stopped():
            self.users()

    @contextlib.contextmanager
    def _stopped(self) -> Any:  # noqa: ANN401 - a generator
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)

    def damage(self) -> None:
        """The database is lost or damaged, under the daemon or while it is stopped."""
        self.faults.lift_all()
        how = self.chance.choice(damaging.WAYS)
        while_it_runs = self.chance.random() < 0.5
        self.estate.trail.append(f"{how.__name__}, running: {while_it_runs}")
        self.daemon.may_fail = True
        self._in_doubt = {self.estate.path(place) for place in self.estate.everywhere}
        before = self.daemon.status()["epoch"]
        if while_it_runs:
            damaging.empty_journal(self.daemon.database)
            how(self.daemon.database)
            self.users()
            self.daemon.wait_until(lambda: self._epoch() not in (None, before), "new epoch")
            self.daemon.await_ready()
        else:
            assert self.daemon.stop() == 0
            how(self.daemon.database)
            self.users()
            self.daemon.start()
            assert self._epoch() != before, "a lost database was not begun anew"
        self.faults.frozen.clear()

    def vanish(self) -> bool:
        """The team of a root vanishes while nobody watches: it is held (I13), and comes back."""
        self.faults.lift_all()
        root = self.chance.choice(ROOTS)
        team = {self.estate.path(place) for place in self.estate.of_teams(root)}
        if team & {self.estate.path(place) for place in self.estate.unscanned}:
            return False
        self.operator.expect_untouched()
        with self._client() as client:
            client.sweep(confirm=True)
            seq = client.status()["seq"]
        self.daemon.kill()
        self.estate.vanish_or_return(root)
        self.daemon.start()
        with self._client() as client:
            client.sync()
            rows = client.registry()["agents"]
            told = [entry["kind"] for entry in client.events(seq)["events"]]
        live = {row["projectPath"] for row in rows if judging.is_live(row)}
        assert team <= live, f"I13: {sorted(team - live)} of {root} at once"
        assert "held" in told, f"I13: not said to be held: {told}"
        self.estate.vanish_or_return(root)
        self.operator.seal()
        return True

    def _epoch(self) -> str | None:
        with contextlib.suppress(MeshdError), self.daemon.client() as client:
            client.sweep()
            epoch: str | None = client.status()["epoch"]
            return epoch
        return None

    def back_up(self) -> None:
        """The operator copies the database, and the copy is sound."""
        if self.faults.is_full:
            return
        copy = self.estate.base / "copy.db"
        copy.unlink(missing_ok=True)
        done = self.daemon.cli("db", "backup", str(copy))
        assert done.returncode == 0, done.stderr
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            listed = {row[0] for row in connection.execute("SELECT path FROM denials")}
        assert listed == {os.fsencode(self.estate.path(one)) for one in self.estate.denied}

    def sweep(self) -> None:
        """The operator sweeps."""
        options = {"full": self.chance.random() < 0.3, "confirm": self.chance.random() < 0.3}
        with self._client() as client:
            try:
                client.sweep(**options)
            except MeshdError:
                assert self.faults.is_full, "a sweep failed"

    # what is judged

    def _client(self) -> Client:
        """Return a client that takes a daemon for hung which is not well in good time."""
        client = self.daemon.client()
        client.give_up_at(time.monotonic() + PATIENCE)
        return client

    def _accept(self, client: Client) -> None:
        """Accept the roots that were first met while something else lay there.

        Nobody is known below such a root, so there is nothing to recognise it by, and it stays
        sick until it is accepted; any other has to become healthy by itself.
        """
        for root in client.roots()["roots"]:
            if (root["reason"], root["agents"]) == ("identity-changed", 0):
                client.accept_root(root["path"])

    def judge(self) -> None:
        """Take every fault back, let the daemon come to rest, and judge it."""
        self.faults.lift_all()
        with self._client() as client:
            swept = client.sweep(confirm=True)
            if swept["sickRoots"]:
                self._accept(client)
                swept = client.sweep(confirm=True)
            assert swept["sickRoots"] == [], f"I20: {swept}"
            synced = client.sync()
            assert {root["by"] for root in synced["roots"]} <= {"events", "sweep"}, synced
            rows = {row["id"]: row for row in client.registry()["agents"]}
            disk = self.estate.looks()
            claims = {one["path"]: one["outcome"] for one in client.claims()["claims"]}
            judging.expect_health(client.status())
            judging.expect_registry(disk, rows, self._in_doubt)
            # A path that was read, or is known to be empty, keeps nobody waiting any more.
            self._in_doubt -= {
                path for path, look in disk.items() if look.outcome in ("present", "absent")
            }
            judging.expect_claims(disk, rows, claims)
            judging.expect_nothing_invented(self.estate, rows)
            judging.expect_acknowledged(client, self.estate, self.operator.rules)
            judging.expect_surfaces(client, self.daemon.database, rows)
            self.ledger.read(client)
            self.ledger.expect({row["id"]: row for row in client.registry()["agents"]})
            if self.chance.random() < 0.4:
                self._expect_quiet(client)
        self.operator.expect_untouched()
        self._expect_bounded()
        assert not self.bystander.wrong, self.bystander.wrong[0]

    def _expect_quiet(self, client: Client) -> None:
        """Expect another sweep over the same disk to tell nothing (I2); removals may be due."""
        client.sweep(full=True)
        seq = client.status()["seq"]
        client.sweep(full=self.chance.random() < 0.5)
        since = [one["kind"] for one in client.events(seq)["events"]]
        assert not [kind for kind in since if kind != "removed"], f"I2: {since}"

    def _expect_bounded(self) -> None:
        """Expect the daemon to take no more than it may, and to grow no further (I17)."""
        pid = self.daemon.process.pid
        now = footprint(pid, self.daemon.database)
        self.most = self.most.most(now)
        assert now.most(CEILING) == CEILING, f"I17: {now}"
        if self._first is None or self._first[0] != pid:
            self._first = (pid, now)
        first = self._first[1]
        assert now.megabytes <= first.megabytes + GROWTH_MEGABYTES, f"I17: {first}, then {now}"
        wanted = f"as many descriptors and threads as when there were {first}"
        self.daemon.wait_until(lambda: self._has_not_grown(first), wanted, PATIENCE)

    def _has_not_grown(self, first: Footprint) -> bool:
        now = footprint(self.daemon.process.pid, self.daemon.database)
        descriptors = now.descriptors <= first.descriptors + GROWTH_DESCRIPTORS
        return descriptors and now.threads <= first.threads + GROWTH_THREADS

    def glance(self) -> None:
        """Judge what holds under faults too."""
        if self.faults.is_full:
            return
        with self._client() as client:
            client.sync()
            rows = {row["id"]: row for row in client.registry()["agents"]}
            self.ledger.read(client)
            judging.expect_acknowledged(client, self.estate, self.operator.rules)
            judging.expect_nothing_invented(self.estate, rows)
        self.faults.expect_frozen()
        self.operator.expect_untouched()
        assert not self.bystander.wrong, self.bystander.wrong[0]
