"""Somebody who asks all the time, while everything else happens.

Owns what must hold of any single answer, at any moment. Assumes nothing of what is done
meanwhile; a daemon that does not answer is no matter. Promises: never to change anything.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Self

from meshd.client import Client
from meshd.errors import MeshdError

if TYPE_CHECKING:
    from pathlib import Path

PAUSE: Final = 0.03
"""Seconds between two rounds of questions."""


class Bystander:
    """A thread that asks; a context manager that ends it.

    Attributes:
        questions: how many were answered.
        wrong: what was wrong, oldest first.
    """

    def __init__(self, socket: Path) -> None:
        self.questions = 0
        self.wrong: list[str] = []
        self._socket = socket
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bystander", daemon=True)
        self._log: tuple[str | None, int] = (None, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "a question was never answered"

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            try:
                with Client(self._socket) as client:
                    self._ask(client)
            except MeshdError:
                continue
            except AssertionError as error:
                self.wrong.append(str(error))

    def _ask(self, client: Client) -> None:
        self._expect_numbers_to_grow(client.status())
        rows = client.registry()["agents"]
        ids = [row["id"] for row in rows]
        paths = [row["projectPath"] for row in rows if row["projectPath"] is not None]
        assert len(ids) == len(set(ids)), f"I4: an id twice: {ids}"
        assert len(paths) == len(set(paths)), f"I4: a path twice: {paths}"
        gone = [row for row in rows if row["status"] != "active" or row["unscanned"]]
        for row in gone[:2]:
            self._expect_unroutable(client, row)
        self.questions += 3

    def _expect_numbers_to_grow(self, status: dict[str, Any]) -> None:
        epoch, seq = self._log
        if status["epoch"] == epoch:
            assert status["seq"] >= seq, f"the log fell from {seq} to {status['seq']}"
        self._log = (status["epoch"], status["seq"])

    @staticmethod
    def _expect_unroutable(client: Client, row: dict[str, Any]) -> None:
        """Expect no subject for who is gone, unless it is back meanwhile (I9)."""
        subject = client.subject(row["id"])
        now = client.row(row["id"])
        assert subject is None or now["seq"] != row["seq"], f"I9: {subject} leads to {row}"
