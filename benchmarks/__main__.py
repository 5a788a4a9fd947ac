"""`python -m benchmarks`: measure, print one table, keep the results.

Owns the arguments. Promises: progress goes to standard error, the table to standard output; the
exit code is 0 when all was measured, whether or not the bars were met.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

from benchmarks.rendering import markdown, text
from benchmarks.site import QUICK, Scale
from benchmarks.suite import MEASURES, measure, names_for

RESULTS: Final = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    """Measure what the arguments ask for."""
    options = _arguments()
    # Otherwise the trees would be left behind.
    signal.signal(signal.SIGTERM, _end)
    scale = QUICK if options.quick else Scale()
    sizes = list(dict.fromkeys(options.projects))
    wanted = [(size, options.only or names_for(size, sizes)) for size in sizes]
    table = ""
    for results in measure(wanted, options.seed, scale):
        written = json.dumps(results, indent=2) + "\n"
        if options.json is not None:
            options.json.write_text(written, "utf-8")
        if options.write:
            RESULTS.write_text(markdown(json.loads(written)), "utf-8")
        table = text(json.loads(written))
    sys.stdout.write(table + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure meshd and the floors in one run on the same tree.",
    )
    parser.add_argument(
        "--projects", type=int, nargs="+", default=[10_000], metavar="N",
        help="sizes of tree; with several, what grows with them is measured, and all at 10,000",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="NAME",
        help=f"measure only these: {', '.join(MEASURES)}")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the trees")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; figures mean nothing"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} anew")
    return parser.parse_args()


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
