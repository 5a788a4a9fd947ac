"""The command line: what a person and a script type.

Owns the words of the commands, how answers are rendered, and the exit codes (design:
§Surfaces). Assumes a daemon that may not run: what only reads then reads the database.
Promises: a query imports nothing that is slow to import, and untrusted text never reaches
the terminal unescaped.
"""

from meshd.cli.main import main

__all__ = ["main"]
