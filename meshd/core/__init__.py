"""The decisions of meshd: pure functions over frozen values.

Nothing below this package does I/O, waits, logs, starts a thread or reads a clock.
"""
