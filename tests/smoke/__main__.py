"""Runs the smoke test: `python -m tests.smoke STACK`."""

import sys

from tests.smoke.checks import main

if __name__ == "__main__":
    sys.exit(main())
