"""`python -m tests.chaos`: a run of any length, printed as a table."""

import argparse
import sys

from tests.chaos.plan import Plan
from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--events", type=int, default=60, help="start events, about half of them for each builder")
    parser.add_argument(
        "--deliveries",
        type=int,
        default=0,
        help="planned deliveries of start events: 2 each, and duplicates of some; default: 3 each",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4, help="child processes at the same time")
    parser.add_argument("--pace", type=float, default=4.0, help="start events a second")
    parser.add_argument("--lock", type=float, default=3.0, help="seconds that an invocation may take")
    parser.add_argument(
        "--room", type=int, default=1, help="factor for the tiers' limits on jobs at the same time; 0: no limits"
    )
    parser.add_argument(
        "--failing", type=float, default=0.05, help="share of calls at which a series of failures begins"
    )
    parser.add_argument("--slow", type=float, default=0.06, help="share of calls that take long")
    parser.add_argument(
        "--killing", type=float, default=0.04, help="share of calls at a kill point at which the caller is killed"
    )
    parser.add_argument(
        "--apart", type=float, default=0.33, help="largest difference between two clocks, as a share of --lock"
    )
    verdict = run(Plan(**vars(parser.parse_args())))
    print(verdict.table())
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
