"""A quick chaos run; `make chaos` is the long one."""

from tests.chaos.plan import Plan
from tests.chaos.run import run


def test_nothing_is_lost_duplicated_or_false_and_no_slot_is_crowded_despite_faults() -> None:
    verdict = run(Plan(events=12, pace=8, lock=1.5, seed=1))

    print(verdict.table())
    assert not verdict.surprises
    assert verdict.counts["waiting"] > 0
    assert verdict.counts["superseded"] > 0
    assert sum(row.kills for row in verdict.rows.values()) > 0
    for row in verdict.rows.values():
        assert row.events > 0
        assert row.faults > 0
        assert row.is_good
