"""Explores larger bounds than the tests (`make model`); prints the trace of a violation and exits with 1."""

import sys
import time

from tests.model.exploration import Exploration
from tests.model.worlds import Bounds

LARGE = (
    Bounds(kills=1, lost=1, late=1, refused=1),
    Bounds(kills=2, lost=2, late=1),
    Bounds(kills=1, late=2, refused=1),
    Bounds(lost=1, late=1, closes=1, months=1),
)


def main() -> int:
    """Print the number of states for each build system and each of the bounds."""
    for bounds in LARGE:
        for builder in ("CodeBuild", "Jenkins"):
            began = time.monotonic()
            found = Exploration(has_token=builder == "CodeBuild").explore(bounds)
            seconds = time.monotonic() - began
            print(f"{builder}, {bounds}: {found.states:,} states, {found.violation or 'no fault'} ({seconds:.0f} s)")
            if found.violation is not None:
                print(*found.trace, sep="\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
