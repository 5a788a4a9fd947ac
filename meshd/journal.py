"""journald's native protocol.

Owns the datagrams: one for each record, with fields that can be matched (`AGENT_ID=`,
`MESHD_EVENT=`). Promises: never blocks, never raises; what journald does not take at once is
counted. A stalled journald would otherwise stall the daemon (systemd.io, "Native Journal
Protocol"; a blocking sender was seen to hang after some 500 records).
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

from meshd.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

JOURNAL_SOCKET = "/run/systemd/journal/socket"

MESSAGE_IDS: Final = {
    "reload_refused": "f66357005180461280fdae9752b6fbf8",
    "root_confined": "7e6201455f474f248dd3b5f101d58450",
    "root_sick": "2d480684b7e74e92a3a57e9653c703a3",
    "held": "535ca58e06864b58b4f94c5634812cac",
    "unreachable": "0981997d7ab94db1810dc71bd6df6025",
    "refused": "2dc485563c3a462da10fde529a37d8d5",
    "database_rebuilt": "3ed0f763d26a40f2abb8adf24beecd3f",
    "database_lost": "66abfb98944447d9bae39e504334f672",
    "degraded": "4b8fb1096d064cfeb3bbe89c6105b231",
    "log_dropped": "bea45464a8f64999a6051c3adf4d2277",
    "actor_ended": "07e87547698a47d4b30752c2a3ef006e",
    "stopped_late": "9a519efc10a9435c915f37018684f81f",
    "nothing_watched": "4a035d1553fe4fe4af81bb8a25dc078c",
}
"""Which explanation an event has; `systemd/meshd.catalog` holds their texts."""

# syslog's numbers.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_FIELDS = {"event": "MESHD_EVENT", "agent_id": "AGENT_ID", "path": "AGENT_PATH"}
# journald stamps and ranks a record itself.
_LEFT_OUT = frozenset({"at", "level"})
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")
_LONGEST_NAME = 64
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Journal:
    """A sender of records.

    Attributes:
        path: where journald listens. It is named with every datagram, so that a journald
            that was restarted is found again.
        dropped: records that journald did not take.
    """

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self.path = path
        self.dropped = 0
        self._counting = threading.Lock()
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Take a descriptor; before that, and after `close`, every record is dropped."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def exists(self) -> bool:
        """Whether there is a journald to send to."""
        return os.path.exists(self.path)  # noqa: PTH110 - a socket's address is text

    def send(self, record: Mapping[str, object]) -> None:
        """Send one record, or count it as dropped.

        Args:
            record: `event`, `level` and the values; keys become field names.
        """
        sender = self._socket
        try:
            taken = sender is not None and _deliver(sender, encode(record), self.path)
        except OSError:
            taken = False
        if not taken:
            with self._counting:
                self.dropped += 1

    def close(self) -> None:
        """Give the descriptor back."""
        sender, self._socket = self._socket, None
        if sender is not None:
            sender.close()


def _deliver(sender: socket.socket, datagram: bytes, path: str) -> bool:
    """Send one record; what is too long for a datagram goes as a sealed file in memory.

    Returns:
        True: journald has it.

    Raises:
        OSError: journald has not taken it.
    """
    try:
        return sender.sendto(datagram, path) > 0
    except OSError as error:
        if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
            raise
    file = os.memfd_create("meshd-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(datagram)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))
        sender.sendmsg([b""], [rights], 0, path)
        return True
    finally:
        os.close(file)


def encode(record: Mapping[str, object]) -> bytes:
    """Return a record as journald reads it."""
    fields = {
        "MESSAGE": _message(record),
        "PRIORITY": str(_PRIORITIES[str(record["level"])]),
        "SYSLOG_IDENTIFIER": "meshd",
    }
    explained = MESSAGE_IDS.get(str(record["event"]))
    if explained is not None:
        fields["MESSAGE_ID"] = explained
    for key, value in record.items():
        if key not in _LEFT_OUT and value is not None:
            fields[_field_name(key)] = str(value)
    return b"".join(_encode_field(name, value) for name, value in fields.items())


def _message(record: Mapping[str, object]) -> str:
    """Return the line that `journalctl` shows."""
    words = [str(record["event"])]
    for key, value in record.items():
        if key not in _LEFT_OUT and key not in ("event", "exception") and value is not None:
            words.append(f"{key}={value}")
    return escape(" ".join(words))


def _field_name(key: str) -> str:
    """Return a key's name in the journal: upper-case, and ours."""
    known = _FIELDS.get(key)
    return known or ("MESHD_" + _NOT_IN_A_NAME.sub("_", key.upper()))[:_LONGEST_NAME]


def _encode_field(name: str, value: str) -> bytes:
    """Return one field; several lines are sent with their length, so they cannot end early."""
    encoded = value.encode("utf-8", "backslashreplace")
    if b"\n" not in encoded:
        return b"%s=%s\n" % (name.encode("ascii"), encoded)
    return b"%s\n%s%s\n" % (name.encode("ascii"), struct.pack("<Q", len(encoded)), encoded)
