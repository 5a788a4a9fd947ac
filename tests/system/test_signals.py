"""Signals, reloads and two daemons at once: what a person or a service manager does."""

from __future__ import annotations

import json
import signal
import stat
import time
from typing import TYPE_CHECKING

import pytest

from meshd.supervisor import GATHERING_SECONDS
from tests.system.daemon import Daemon
from tests.system.difference import changed
from tests.system.trees import plant, save

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # each waits for a daemon to start and stop


def scanning(*roots: Path, more: str = "") -> str:
    """Return a configuration."""
    return f"[scan]\nroots = {json.dumps([str(root) for root in roots])}\n{more}"


# the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_in_order(home: Path, root: Path, number: signal.Signals) -> None:
    save(root / "one", "one")
    with Daemon(home, root) as daemon:
        daemon.notified()
        daemon.process.send_signal(number)
        daemon.process.wait(30)
        assert "STOPPING=1" in daemon.notified()
        assert daemon.ended() == 0
        assert [entry["event"] for entry in daemon.logged()[-2:]] == ["stopping", "stopped"]
        assert not daemon.socket.exists()
        assert daemon.cli("db", "check").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_loses_nothing(home: Path, root: Path, number: signal.Signals) -> None:
    """Both arrive while the first sweep imports; what was committed is whole."""
    projects = plant(root, 100)
    daemon = Daemon(home, root)
    daemon.launch()
    with daemon:
        daemon.await_answering()
        daemon.process.send_signal(number)
        daemon.process.send_signal(number)
        assert daemon.ended() == 0
        assert daemon.cli("db", "check").returncode == 0
        daemon.start()
        daemon.sweep()
        assert {one.id for one in projects} == daemon.agents().keys()


def test_an_acknowledged_act_survives_a_stop_that_follows_at_once(home: Path, root: Path) -> None:
    denied = save(root / "denied", "denied")
    with Daemon(home, root) as daemon:
        daemon.ask("deny", str(denied.path))
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended() == 0
        daemon.start()
        assert daemon.agents() == {}


# reload


def test_a_hangup_takes_the_configuration_as_it_is_now(
    home: Path, root: Path, tmp_path: Path
) -> None:
    added = tmp_path / "added"
    one, other = save(root / "one", "one"), save(added / "other", "other")
    with Daemon(home, config=scanning(root)) as daemon:
        assert {one.id} == daemon.agents().keys()
        daemon.config_file.write_text(scanning(root, added))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_until(lambda: generation(daemon) >= 2, "reload")
        daemon.sweep()
        assert {one.id, other.id} == daemon.agents().keys()


def test_a_hangup_is_told_to_the_service_manager_good_or_bad(home: Path, root: Path) -> None:
    with Daemon(home, config=scanning(root)) as daemon:
        for text in (scanning(root, more="# the same"), "[scan\n"):
            daemon.notified()
            daemon.config_file.write_text(text)
            daemon.process.send_signal(signal.SIGHUP)
            told: list[str] = []

            def is_told(told: list[str] = told) -> bool:
                told.append(daemon.notified())
                return "RELOADING=1" in "".join(told) and "READY=1" in "".join(told)

            daemon.wait_until(is_told, "RELOADING=1 and READY=1")
            assert "MONOTONIC_USEC=" in "".join(told)


def test_a_broken_configuration_changes_nothing_and_is_reported_everywhere(
    home: Path, root: Path
) -> None:
    save(root / "one", "one")
    with Daemon(home, config=scanning(root)) as daemon:
        before = daemon.agents()
        daemon.configure('[scan]\nroots = ["/elsewhere"]\n[sweeep]\n')
        refused = daemon.cli("reload")
        assert refused.returncode == 5
        assert f"{daemon.config_file}:3" in refused.stderr
        config = daemon.status()["config"]
        assert (config["lastReloadOk"], "sweeep" in config["lastReloadError"]) == (False, True)
        assert "the newest was refused" in daemon.cli("status").stdout
        assert daemon.logged("reload_refused")
        daemon.sweep()
        assert changed(before, daemon.agents()) == {}
        daemon.configure(scanning(root))
        assert daemon.cli("reload").returncode == 0
        assert daemon.status()["config"]["lastReloadOk"] is True


def test_an_edit_of_the_configuration_is_noticed(home: Path, root: Path, tmp_path: Path) -> None:
    added = tmp_path / "added"
    save(added / "other", "other")
    with Daemon(home, config=scanning(root)) as daemon:
        daemon.configure(scanning(root, added))
        daemon.wait_until(lambda: "other" in daemon.agents(), "agent of the added root")
        fragment = daemon.config_file.parent / "conf.d" / "exclude.toml"
        fragment.parent.mkdir()
        fragment.write_text('[scan]\nexclude = ["other"]\n')
        daemon.wait_until(lambda: unscanned(daemon) == {"other": "excluded"}, "exclusion")


def test_a_broken_edit_is_noticed_once_and_the_daemon_goes_on(home: Path, root: Path) -> None:
    with Daemon(home, config=scanning(root)) as daemon:
        daemon.configure("[scan\n")
        daemon.wait_until(lambda: bool(daemon.logged("reload_refused")), "refusal")
        daemon.sweep()
        save(root / "one", "one")
        daemon.sweep()
        assert {"one"} == daemon.agents().keys()
        assert len(daemon.logged("reload_refused")) == 1


def test_the_agents_of_a_removed_root_wait_unscanned_until_it_is_back(
    home: Path, root: Path, tmp_path: Path
) -> None:
    """Faults 83 and 163: not probed, not routed, not expired."""
    removed = tmp_path / "removed"
    save(root / "one", "one")
    gone = [save(removed / f"p{n}", f"gone-{n}").id for n in range(6)]
    quick = '[sweep]\ngrace = "0s"\n'
    with Daemon(home, config=scanning(root, removed, more=quick)) as daemon:
        before = daemon.agents()
        daemon.configure(scanning(root, more=quick))
        daemon.ask("reload")
        for _ in range(3):
            daemon.sweep()
        expected = {
            agent_id: {
                "unscanned": "no-root",
                "confirmed": False,
                "healthStatus": "unreachable",
                "flags": ["unscanned:no-root"],
            }
            for agent_id in gone
        }
        assert changed(before, daemon.agents()) == expected
        assert daemon.status()["unscannedCount"] == len(gone)
        with daemon.client() as client:
            assert {"one"} == {agent["id"] for agent in client.agents()["agents"]}
        daemon.configure(scanning(root, removed, more=quick))
        daemon.ask("reload")
        daemon.sweep()
        assert changed(before, daemon.agents()) == {}


def test_a_removed_root_stays_removed_over_a_restart_and_can_be_forgotten(
    home: Path, root: Path, tmp_path: Path
) -> None:
    removed = tmp_path / "removed"
    save(root / "one", "one")
    save(removed / "two", "two")
    with Daemon(home, config=scanning(root, removed)) as daemon:
        assert daemon.stop() == 0
        daemon.configure(scanning(root))
        daemon.start()
        daemon.sweep()
        assert unscanned(daemon) == {"two": "no-root"}
        daemon.ask("forget", "--unscanned")
        assert {"one"} == daemon.agents().keys()


def test_a_changed_exclusion_takes_out_and_brings_back(home: Path, root: Path) -> None:
    save(root / "one", "one")
    save(root / "attic" / "old", "old")
    with Daemon(home, config=scanning(root)) as daemon:
        before = daemon.agents()
        daemon.configure(scanning(root, more='exclude = ["attic"]\n'))
        daemon.ask("reload")
        assert daemon.reloaded() == {"scan.exclude"}
        daemon.sweep()
        assert unscanned(daemon) == {"old": "excluded"}
        assert {"old"} == changed(before, daemon.agents()).keys()
        daemon.configure(scanning(root))
        daemon.ask("reload")
        daemon.sweep()
        assert changed(before, daemon.agents()) == {}


def test_keys_that_need_a_restart_are_named(home: Path, root: Path) -> None:
    with Daemon(home, config=scanning(root)) as daemon:
        daemon.configure(scanning(root, more='[api]\nsocket_mode = "0660"\n[log]\nlevel="debug"\n'))
        answer = daemon.ask("reload")
        assert daemon.reloaded() == {"api.socket_mode", "log.level"}
        assert answer["needsRestart"] == ["api.socket_mode"]
        assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
        daemon.stop()
        daemon.start()
        assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660


def test_a_reload_of_the_same_configuration_is_nothing(home: Path, root: Path) -> None:
    save(root / "one", "one")
    with Daemon(home, config=scanning(root)) as daemon:
        before = (daemon.agents(), daemon.status()["seq"])
        answer = daemon.ask("reload")
        assert (answer["changed"], answer["needsRestart"]) == ([], [])
        assert before == (daemon.agents(), daemon.status()["seq"])


def test_many_hangups_during_sweeps_drop_no_row(home: Path, root: Path) -> None:
    """Fault 162."""
    plant(root, 50)
    with Daemon(home, config=scanning(root)) as daemon:
        before = daemon.agents()
        for _ in range(5):
            for _ in range(10):
                daemon.process.send_signal(signal.SIGHUP)
            daemon.sweep("--full")
        assert changed(before, daemon.agents()) == {}


def test_a_refusal_is_an_alarm_once_however_often_it_is_met(home: Path, root: Path) -> None:
    """An edit, a request and hangups meet the same mistake; another mistake is another alarm."""
    with Daemon(home, config=scanning(root)) as daemon:
        for mistake in ("[sweeep]\n", "[scann]\n"):
            daemon.configure(mistake)
            for _ in range(3):
                assert daemon.cli("reload").returncode == 5
        told = [one["level"] for one in daemon.logged("reload_refused")]
        assert told.count("error") == 2
        assert len(told) >= 6, "each is in the log"


def test_hangups_in_a_row_are_few_reloads(home: Path, root: Path) -> None:
    """Fault 162: each is sent when the daemon has answered after the one before."""
    with Daemon(home, config=scanning(root)) as daemon:
        daemon.configure(scanning(root, more='[sweep]\ninterval = "1h"\n'))
        began = time.monotonic()
        with daemon.client() as client:
            for _ in range(40):
                daemon.process.send_signal(signal.SIGHUP)
                client.status()
            client.reload()
        most = 2 + int((time.monotonic() - began) / GATHERING_SECONDS)
        taken = daemon.logged("reloaded")
        assert [one["changed"] for one in taken if one["changed"]] == [["sweep.interval"]]
        assert 1 <= len(taken) <= most


# two daemons


def test_a_second_daemon_on_the_same_state_is_refused(home: Path, root: Path) -> None:
    save(root / "one", "one")
    with Daemon(home, root) as daemon:
        refused = daemon.cli("run", str(root))
        assert refused.returncode == 1
        assert f"process {daemon.process.pid}" in refused.stderr
        assert "hint: stop it first" in refused.stderr
        assert {"one"} == daemon.agents().keys()


def test_the_socket_of_a_killed_daemon_is_replaced(home: Path, root: Path) -> None:
    save(root / "one", "one")
    with Daemon(home, root) as daemon:
        daemon.kill()
        assert daemon.socket.exists()
        assert not daemon.answers()
        offline = daemon.ask("status")
        assert (offline["ready"], offline["pid"]) == (False, None)
        daemon.start()
        assert {"one"} == daemon.agents().keys()


@pytest.mark.parametrize(
    "words",
    [("status",), ("agents", "list"), ("sweep",)],
    ids=" ".join,
)
def test_without_a_daemon_and_a_database_a_command_says_what_to_do(
    home: Path, root: Path, words: tuple[str, ...]
) -> None:
    done = Daemon(home, root).cli(*words)
    assert done.returncode == 4
    assert "hint: start one: meshd run DIR" in done.stderr


def generation(daemon: Daemon) -> int:
    return int(daemon.status()["config"]["generation"])


def unscanned(daemon: Daemon) -> dict[str, str]:
    """Return why agents are not scanned, by id."""
    return {
        agent_id: agent["unscanned"]
        for agent_id, agent in daemon.agents().items()
        if agent["unscanned"] is not None
    }
