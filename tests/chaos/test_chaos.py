"""A quick chaos run; `make chaos` is the long one."""

from tests.chaos.driver import Plan, run


def test_each_start_has_one_run_and_one_webhook_or_is_superseded_despite_faults() -> None:
    verdict = run(Plan(events=8, pace=8, lock=1.5, seed=1))

    print(verdict.table())
    assert not verdict.surprises
    assert sum(row.kills for row in verdict.rows.values()) > 0
    assert verdict.counts["superseded"] > 0
    for row in verdict.rows.values():
        assert row.events > 0
        assert row.faults > 0
        assert (row.lost, row.duplicated, row.false) == (0, 0, 0)
