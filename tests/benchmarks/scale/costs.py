"""What the steps of an event cost: the requests to the tables in each, and AWS's list prices."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

Step: TypeAlias = Counter[str]
"""The requests of a step. A key names an operation and the item, and is a key of `UNITS`."""


class Units(NamedTuple):
    """Request units (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html)."""

    reads: float = 0.0
    writes: float = 0.0


# A tenant record has 3 KB, any other item less than 1 KB. A write of a transaction counts twice. A write to an item
# also writes to each index that shows a changed attribute: once, or twice if a key of the index changes.
UNITS: Mapping[str, Units] = {
    "get tenant": Units(reads=1),
    "get record": Units(reads=1),
    "get waiting": Units(reads=1),
    "get gate": Units(reads=1),
    "query waiting": Units(reads=1.5),  # eleven entries; a sweep reads more
    "query open-jobs": Units(reads=0.5),
    "put tenant": Units(writes=3),
    "update tenant": Units(writes=3),
    "claim record, lock": Units(writes=2 * 2 + 2),  # indexes open-jobs and by-tenant
    "claim record, lock, slot": Units(writes=3 * 2 + 2),
    "update record": Units(writes=1 + 2),
    "delete record": Units(writes=1 + 2),
    "update lock": Units(writes=1),
    "update slot": Units(writes=1),
    "update waiting": Units(writes=1 + 2),  # index waiting
    "update gate": Units(writes=1 + 2),  # index open-jobs, whose key checkAt changes each time
    "delete waiting": Units(writes=1 + 1),
    "update publication": Units(writes=1),  # the record of an event that was published; it is in no index
}

MAY_BE_REPEAT = Counter({"get record": 2})
"""Reads with which a delivery of an event begins that is 30 seconds old: was it handled, was its failure published?"""
SAVE = Counter({"put tenant": 1})
NOTE = Counter({"update tenant": 1})
READ_RUN = Counter({"get record": 1})
"""A look at one of the runs in a full slot."""
LOOK_UP = Counter({"get record": 1, "get waiting": 1})
"""Reads for an event that has waited: may its job have been started, and has it been woken?"""
LOOK_AT_GATE = Counter({"get gate": 1})
CLAIM = {False: Counter({"claim record, lock": 1}), True: Counter({"claim record, lock, slot": 1})}
"""The claim of a job, by whether it has a slot."""
RELEASE = {
    False: Counter({"delete record": 1, "update lock": 1}),
    True: Counter({"delete record": 1, "update lock": 1, "update slot": 1}),
}
SETTLE = Counter({"update record": 1})
JOIN = Counter({"update waiting": 1, "update gate": 1})
TAKE = Counter({"delete waiting": 1})
FIND_NEXT = Counter({"query waiting": 1})
SWEEP = Counter({"query open-jobs": 2})
SWEEP_GATE = Counter({"get gate": 1, "query waiting": 2})
"""One gate in a sweep, which reads twenty entries or more."""
POSTPONE = Counter({"update record": 1})
ENDING = {
    has_slot: Counter(
        {
            "get record": 2,
            "get tenant": 1,
            "update record": 3,  # twice how it ended, and that it is not followed any more
            "update tenant": 1,
            "update publication": 4,
            "update lock": 1,
            **({"update slot": 1} if has_slot else {}),
        }
    )
    for has_slot in (False, True)
}
"""The state change of a build, and the event about its ending. What that leads to is not counted."""
PUBLISHED_PER_ENDING, INVOCATIONS_PER_ENDING = 2, 2


def units(step: Step) -> Units:
    """Add up the units of a step."""
    reads = sum(UNITS[name].reads * count for name, count in step.items())
    return Units(reads, sum(UNITS[name].writes * count for name, count in step.items()))


# US East (N. Virginia), dollars: list prices per request or unit, per GB-second (arm64) and per GB.
INVOCATION, GB_SECOND, SQS_REQUEST, EVENT = 0.20e-6, 13.3334e-6, 0.40e-6, 1.0e-6
READ, WRITE, LOG_GB = 0.125e-6, 0.625e-6, 0.50
STATE_TRANSITION = 25e-6  # https://aws.amazon.com/step-functions/pricing/
MEMORY_GB = 0.5
LOG_GB_A_DELIVERY = 3e-6
