"""meshd measured beside the floor: the least that any program would take for the same work.

`python -m benchmarks --help` says how. `benchmarks/RESULTS.md` holds the last table.
"""
