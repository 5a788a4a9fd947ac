"""`python -m meshd` is `meshd`."""

import sys

from meshd.cli import main

if __name__ == "__main__":
    sys.exit(main())
