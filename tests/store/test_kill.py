"""A writer that is killed: what it acknowledged is there, and nothing is half there."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

from meshd.store.connection import Condition, examine, open_reading

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 20

# Each operation writes two rows; its number is told after its future resolved.
WRITE = """
import sys, threading
from pathlib import Path
from meshd.store.writer import Writer

def pair(number):
    def operation(connection):
        for half in ("left", "right"):
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"{half} {number}", "x" * 300))
        return number
    return operation

writer = Writer(Path(sys.argv[1]))
threading.Thread(target=writer.run, daemon=True).start()
number = int(sys.argv[2])
while True:
    futures = [writer.submit(pair(number + n)) for n in range(5)]
    number += 5
    for future in futures:
        print(future.result(), flush=True)
"""


def run_and_kill(database: Path, first: int, acknowledgements: int) -> list[int]:
    """Let a writer work, kill it after so many acknowledgements, return all it gave."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, database, str(first)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        given = [process.stdout.readline() for _ in range(acknowledgements)]
        process.kill()
        given += process.stdout.readlines()
    # The last line may be torn by the kill; a number is only told with its line's end.
    return [int(line) for line in given if line.endswith("\n")]


def halves(database: Path, half: str) -> set[int]:
    connection = open_reading(database)
    try:
        rows = connection.execute("SELECT key FROM meta WHERE key GLOB ?", (f"{half} *",))
        return {int(key.split()[1]) for (key,) in rows}
    finally:
        connection.close()


def test_twenty_kills_lose_nothing_that_was_acknowledged_and_leave_no_half(
    database: Path,
) -> None:
    chance = random.Random(7)
    acknowledged: set[int] = set()
    for kill in range(KILLS):
        first = max(acknowledged | halves(database, "left"), default=0) + 1
        acknowledged |= set(run_and_kill(database, first, chance.randint(1, 40)))

        assert examine(database, expected=True) is Condition.OURS, f"after kill {kill}"
        present = halves(database, "left")
        assert acknowledged <= present
        assert present == halves(database, "right")
    assert len(acknowledged) >= KILLS
