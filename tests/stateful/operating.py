"""An operator at random: what the daemon is told to do, and what it has acknowledged.

Owns the model of what was acknowledged. Assumes that nobody else tells the daemon anything.
Promises: an act that was refused is known to have left every byte as it was; one that was
acknowledged to have done what it says, and nothing else.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshd.errors import ConfigError, MeshdError
from tests.stateful.footprint import lies_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stateful.estate import Estate
    from tests.system.daemon import Daemon

Document = dict[str, Any]

NAMESPACES: Final = ("p", "q", "r", "deep", "*")
WITHOUT_A_ROOT: Final = ("three",)
"""Roots that the operator takes out of the configuration and brings back."""


@dataclass
class Operator:
    """Whoever runs the daemon.

    Attributes:
        timing: sections of the configuration that stay as they are.
        refused: how many acts were refused.
        done: how many were acknowledged.
        answered: how many acts were acknowledged just before a kill.
        unanswered: how many were under way at one.
        rules: actions by source and target, as acknowledged.
        sealed: what lies on the disk, as its users and the operator left it.
    """

    estate: Estate
    daemon: Daemon
    timing: str
    refused: int = 0
    done: int = 0
    answered: int = 0
    unanswered: int = 0
    rules: dict[tuple[str, str], str] = field(default_factory=dict)
    sealed: dict[str, str] = field(default_factory=dict)
    _exclude: tuple[str, ...] = ()
    _depth: int = 5
    _out: tuple[str, ...] = ()
    _texts: int = 0

    def __post_init__(self) -> None:
        self.chance = self.estate.chance
        self.daemon.configure(self.configuration())

    # the disk

    def seal(self) -> None:
        """Take what lies on the disk for what its users want."""
        self.sealed = self._lies()

    def expect_untouched(self, within: tuple[str, ...] = ()) -> None:
        """Expect that the daemon changed nothing on the disk (I10).

        Args:
            within: beginnings of the paths that it was told to change.
        """
        stray = [path for path in self._changed() if not path.startswith(within)]
        assert not stray, f"I10: changed without being asked: {stray}"

    def _changed(self) -> list[str]:
        """Return which paths are not as they were left."""
        was, now = self.sealed, self._lies()
        return sorted(path for path in was.keys() | now.keys() if was.get(path) != now.get(path))

    def _lies(self) -> dict[str, str]:
        disk = self.estate.disk
        return lies_below(*(disk / root for root in self.estate.roots), disk / "outside")

    # the acts

    def act(self) -> None:
        """Do one thing."""
        acts: list[tuple[Callable[[], None], int]] = [
            (self.register, 5),
            (self.update, 4),
            (self.unregister, 3),
            (self.deny_or_allow, 3),
            (self.forget, 1),
            (self.set_rule, 2),
            (self.beat, 2),
            (self.reload, 2),
            (self.break_configuration, 1),
        ]
        (act,) = self.chance.choices([one for one, _ in acts], [weight for _, weight in acts])
        self.estate.trail.append(f"operator: {act.__name__}")
        act()

    def register(self) -> None:
        """Register a place, whatever lies there."""
        place = self._project()
        said = {"name": self._text(), "runtime": "codex", "description": self._text()}
        with self.daemon.client() as client:
            self._change(said, lambda: client.register(self.estate.path(place), said))

    def update(self) -> None:
        """Change the agent of a place."""
        agent_id = self._somebody()
        said = {"description": self._text()}
        with self.daemon.client() as client:
            self._change(said, lambda: client.update(agent_id, said))

    def unregister(self) -> None:
        """Take the agent of a place out, in one of three ways."""
        agent_id = self._somebody()
        claiming = {
            one for one in self.estate.places if self.estate.found(one).agent_id == agent_id
        }
        kept, data = self.chance.choice(((False, False), (False, True), (True, False)))
        with self.daemon.client() as client:
            done = self._try(
                lambda: client.unregister(agent_id, keep_manifest=kept, data=data), may_write=True
            )
            if done is not None and kept:
                denied = {one["path"] for one in client.denied()["denied"]}
                self.estate.denied |= {
                    place for place in self.estate.places if self.estate.path(place) in denied
                }
        changed = self._changed()
        assert done is not None or not changed, f"I10: refused, and changed {changed}"
        assert not kept or not changed, f"I10: kept, and changed {changed}"
        if done is not None and changed:
            # Only the answer says from where: the agent may have moved since it was asked for.
            place = self._place_of(done["deletedPath"]).partition("/.dork")[0]
            assert place in claiming, f"I10: {agent_id} was not at {place}"
            self.expect_untouched((str(self.estate.disk / place / ".dork"),))
            assert self.estate.found(place).outcome == "absent", "it is still there"
        self.seal()

    def _place_of(self, path: str) -> str:
        return path.removeprefix(f"{self.estate.base}/")

    def deny_or_allow(self) -> None:
        """Deny a place, or take its denial back."""
        place = self.chance.choice(self.estate.places)
        with self.daemon.client() as client:
            if place in self.estate.denied:
                if self._try(lambda: client.allow(self.estate.path(place))) is not None:
                    self.estate.denied.discard(place)
            elif self._try(lambda: client.deny(self.estate.path(place))) is not None:
                self.estate.denied.add(place)
        self._settle_doubt(place)

    def _settle_doubt(self, place: str) -> None:
        """Ask what became of an act that failed: an allow is done before what it leads to."""
        if self.estate.trail[-1].startswith("refused"):
            try:
                with self.daemon.client() as client:
                    denied = {one["path"] for one in client.denied()["denied"]}
            except MeshdError:
                return
            if self.estate.path(place) in denied:
                self.estate.denied.add(place)
            else:
                self.estate.denied.discard(place)

    def forget(self) -> None:
        """Drop all that is out of scope."""
        with self.daemon.client() as client:
            self._try(client.forget)

    def set_rule(self) -> None:
        """Let one namespace reach another, or not."""
        source, target = self.chance.sample(NAMESPACES, 2)
        action = self.chance.choice(("allow", "deny"))
        if "*" in (source, target):
            source = target = "*"
        with self.daemon.client() as client:
            done = self._try(lambda: client.set_rule(source, target, action))
        if done is not None and (source, action) == ("*", "deny"):
            self.rules.pop((source, target), None)
        elif done is not None:
            self.rules[source, target] = action

    def beat(self) -> None:
        """Let an agent say that it lives, and ask for it at once."""
        agent_id = self._somebody()
        with self.daemon.client() as client:
            done = self._try(lambda: client.heartbeat(agent_id, "soak"))
            if done is not None:
                rows = client.registry(agent=agent_id)["agents"]
                assert all(row["lastSeenEvent"] == "soak" for row in rows), "a heartbeat was lost"

    # the configuration

    def configuration(self) -> str:
        """Return the configuration that is wanted."""
        roots = [str(self.estate.base / one) for one in self.estate.roots if one not in self._out]
        return (
            f"[scan]\nroots = {json.dumps(roots)}\nexclude = {json.dumps(self._exclude)}\n"
            f"max_depth = {self._depth}\n{self.timing}"
        )

    def reload(self) -> None:
        """Change what is scanned, and reload; the edit alone may be noticed first."""
        self._exclude = self.chance.choice(((), (), ("r",)))
        self._depth = self.chance.choice((5, 5, 1))
        self._out = self.chance.choice(((), (), WITHOUT_A_ROOT))
        self.daemon.configure(self.configuration())
        with self.daemon.client() as client:
            answer = client.reload()
            assert client.status()["config"]["generation"] >= answer["generation"]
        self.estate.unscanned = {
            place for place in self.estate.everywhere if not self._is_scanned(place)
        }
        self.done += 1
        self.estate.trail[-1] += f" unscanned: {sorted(self.estate.unscanned)}"

    def _is_scanned(self, place: str) -> bool:
        root, *below = place.split("/")
        return not (
            root in self._out or len(below) > self._depth or set(self._exclude).intersection(below)
        )

    def break_configuration(self) -> None:
        """Save a configuration that cannot be taken, reload, and mend it (I19)."""
        with self.daemon.client() as client:
            before = client.status()["config"]["generation"]
            self.daemon.configure("[scan\nroots = 1")
            try:
                client.reload()
            except ConfigError:
                self.refused += 1
            else:
                raise AssertionError("I19: a broken configuration was taken")
            config = client.status()["config"]
            assert (config["generation"], config["lastReloadOk"]) == (before, False), "I19"
            self.daemon.configure(self.configuration())
            client.reload()
            assert client.status()["config"]["lastReloadOk"], "I19: a good one was not taken"

    # a call that the daemon does not live to answer

    def kill_in_a_call(self) -> None:
        """Kill the daemon while it registers or changes an agent; nothing is left by half."""
        place = self._project()
        before = self.estate.found(place)
        text, answers = self._text(), list[Document]()

        def call() -> None:
            try:
                with self.daemon.client() as client:
                    said = {"name": text, "runtime": "codex"}
                    answers.append(client.register(self.estate.path(place), said))
            except MeshdError:
                pass

        caller = threading.Thread(target=call)
        caller.start()
        caller.join(self.chance.choice((self.chance.uniform(0.0, 0.03), None)))
        self.daemon.kill()
        caller.join()
        self.answered += bool(answers)
        self.unanswered += not answers
        self.estate.trail[-1] += f" {place}, {'answered' if answers else 'unanswered'}"
        self.daemon.start()
        after = self.estate.found(place)
        assert not answers or (after.agent_id, after.name) == (answers[0]["id"], text), (
            f"I11: {place} was acknowledged, and is {after}"
        )
        assert after == before or after.name == text, f"I11: {before} became {after}"
        self.expect_untouched((str(self.estate.disk / place / ".dork"),))
        self.estate.note()
        self.seal()

    # in general

    def _project(self) -> str:
        """Return a place at which something is, made for it if need be."""
        self.expect_untouched()
        place = self._place()
        project = self.estate.disk / place
        if not project.exists() and not project.is_symlink():
            project.mkdir(parents=True)
        self.seal()
        return place

    def _place(self) -> str:
        open_ = [one for one in self.estate.places if one not in self.estate.shut]
        return self.chance.choice(open_)

    def _somebody(self) -> str:
        """Return an id that lies on the disk, or another."""
        look = self.estate.found(self._place())
        return look.agent_id or self.chance.choice(("a", "b", "c", "d", "nobody"))

    def _text(self) -> str:
        self._texts += 1
        return f"told {self._texts}"

    def _change(self, said: Document, act: Callable[[], Document]) -> None:
        """Do what writes a manifest, and expect it there with all that it said before."""
        before = {place: self._says(place) for place in self.estate.places}
        answer = self._try(act, may_write=True)
        changed = self._changed()
        assert answer is not None or not changed, f"I10: refused, and changed {changed}"
        if changed:
            assert answer is not None, "bug: changed by nobody"
            with self.daemon.client() as client:
                place = self._place_of(client.row(answer["id"])["projectPath"])
            self.expect_untouched((str(self.estate.disk / place / ".dork"),))
            after = self._says(place)
            assert after.items() >= (before[place] | said).items(), f"{before[place]}: {after}"
            assert before[place].get("id") in (None, after["id"]), "it got another id"
        self.estate.note()
        self.seal()

    def _says(self, place: str) -> Document:
        """Return what a manifest says, nothing if it is none."""
        if self.estate.found(place).outcome != "present":
            return {}
        document: Document = json.loads(self.estate.manifest(place).read_bytes())
        return document

    def _try(self, act: Callable[[], Document], *, may_write: bool = False) -> Document | None:
        """Do something; return None when it was refused."""
        self.expect_untouched()
        self.seal()
        try:
            answer = act()
        except MeshdError as error:
            self.refused += 1
            self.estate.trail.append(f"refused: {error.code}: {error.message}")
            return None
        self.done += 1
        self.estate.trail.append("acknowledged")
        if not may_write:
            self.expect_untouched()
        return answer
