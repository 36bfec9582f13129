"""Carries out a plan, and counts what was wrong."""

import time
from collections import Counter

from tests.chaos.aws_server import TENANTS_TABLE
from tests.chaos.driver import Driver
from tests.chaos.faults import Faults
from tests.chaos.plan import Plan
from tests.chaos.schedule import SWEEP
from tests.chaos.verdict import Facts, Judge, Verdict, describe
from tests.chaos.world import World

# The requests that join and leave gates, find who waits, and hide and wake messages.
_GATES = ("TransactWriteItems", "Query", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch")


def run(plan: Plan) -> Verdict:
    """Carry out a plan."""
    started = time.monotonic()
    faults = Faults(failing=plan.failing, slow=plan.slow, killing=plan.killing, seed=plan.seed)
    with World(faults, room=plan.room, scale=plan.scale) as world:
        driver = Driver(plan, world)
        driver.run()
        facts = Facts(
            starts=driver.starts,
            runs=driver.builds.runs,
            history=world.history,
            records=world.aws.dynamodb.tables[TENANTS_TABLE],
            room=plan.room,
            given_up=driver.given_up(),
            followed=driver.followed(),
            asleep=driver.asleep(),
        )
        return _judged(driver, facts, world, time.monotonic() - started)


def _judged(driver: Driver, facts: Facts, world: World, seconds: float) -> Verdict:
    judge, findings = Judge(facts), []
    for start in driver.starts:
        row = driver.rows[start.builder]
        row.events += 1
        for column, finding in judge.findings(start):
            setattr(row, column, getattr(row, column) + 1)
            findings.append(f"{column}: {finding}: {describe(start, facts.runs)}")
    for builder, row in driver.rows.items():
        row.faults = world.met[builder]
    sweeps = driver.rows.pop(SWEEP)
    superseded = {one.start for one in facts.history.handled if one.is_superseded()}
    counts = Counter(
        {
            "sweeps": sweeps.deliveries,
            "runs": len(facts.runs),
            "published": len(facts.history.published),
            "webhooks": len(facts.history.webhooks),
            "superseded": len(superseded),
            "overtaken in flight": judge.in_flight(),
            "pauses": driver.pauses,
            **world.aws.waiting.counts,
            "kills at gates and wake-ups": sum(world.kills[name] for name in _GATES),
        }
    )
    return Verdict(driver.rows, driver.errors, counts, findings, world.surprises, seconds)
