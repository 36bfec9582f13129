"""A quick chaos run; `make chaos` is the long one."""

from tests.chaos.driver import Plan, run


def test_whatever_happens_each_event_starts_one_run() -> None:
    verdict = run(Plan(events=16, lock=2.0, seed=1))

    print(verdict.table())
    assert not verdict.surprises
    assert sum(row.kills for row in verdict.rows.values()) > 0
    for row in verdict.rows.values():
        assert row.events == 8
        assert row.faults > 0
        assert (row.lost, row.duplicated) == (0, 0)
