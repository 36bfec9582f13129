"""What counts as the end of an emulated run."""

from dataclasses import replace

from tests.chaos.builds import Run

FAILING = Run(builder="CODE_BUILD", start="s", event_type="E", run_id="r", succeeds=False, ended_at=3.0)


def test_a_run_has_failed_from_its_own_report_on_which_may_come_before_its_end() -> None:
    reporting = replace(FAILING, failure_reported_at=2.0)

    assert [reporting.has_failed(at) for at in (1.0, 2.5, 3.5)] == [False, True, True]


def test_a_run_without_a_report_has_failed_once_it_has_ended() -> None:
    assert [FAILING.has_failed(at) for at in (2.5, 3.5)] == [False, True]
