"""Explores larger bounds than the tests (`make model`); prints the trace of a violation and exits with 1."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.model import tenants
from tests.model.exploration import Exploration
from tests.model.tenants import BESIDE, FIRST, FOLLOWING, PAIR, RING, SECOND, THIRD, Job
from tests.model.worlds import Bounds

LARGE = (
    Bounds(kills=1, lost=1, late=1, refused=1),
    Bounds(kills=2, lost=2, late=1),
    Bounds(kills=1, late=2, refused=1),
    Bounds(lost=1, late=1, closes=1, months=1),
)


SHARED: Sequence[tuple[tuple[Job, ...], dict[str, Any]]] = (
    ((FIRST, SECOND), {"kills": 1, "ticks": 1, "attempts": 2, "gives_up": True}),
    ((FIRST, BESIDE, SECOND), {}),
    ((FIRST, FOLLOWING, SECOND), {"kills": 1}),
    ((FIRST, FOLLOWING, SECOND), {"ticks": 1, "gives_up": True}),
    ((FIRST, SECOND, THIRD), {}),
    (RING[:2], {"kills": 1, "ticks": 1, "attempts": 2, "gives_up": True}),
    (RING, {}),
    (PAIR, {}),
    ((FIRST, SECOND, THIRD), {"attempts": 2, "wakes": True}),
)


def main() -> int:
    """Print the number of states for each build system and each of the bounds, and for locks, slots and wake-ups."""
    for bounds in LARGE:
        for builder in ("CodeBuild", "Jenkins"):
            began = time.monotonic()
            found = Exploration(has_token=builder == "CodeBuild").explore(bounds)
            seconds = time.monotonic() - began
            print(f"{builder}, {bounds}: {found.states:,} states, {found.violation or 'no fault'} ({seconds:.0f} s)")
            if found.violation is not None:
                print(*found.trace, sep="\n")
                return 1
    for jobs, limits in SHARED:
        began = time.monotonic()
        shared = tenants.Exploration(*jobs, **limits).explore()
        seconds = time.monotonic() - began
        named = ", ".join(job.run_id for job in jobs)
        print(f"{named}, {limits}: {shared.states:,} states, {shared.violation or 'no fault'} ({seconds:.0f} s)")
        if shared.violation is not None:
            print(*shared.trace, sep="\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
