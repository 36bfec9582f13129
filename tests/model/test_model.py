"""Two deliveries of an event start one run, in every interleaving within small bounds.

`make model` explores larger bounds.
"""

from typing import Any

import pytest

from orchestrator.ledger import ledger
from orchestrator.ledger.ledger import Claim
from orchestrator.ledger.memory import MemoryRecords
from orchestrator.ledger.record import Record, latest_free_lock
from orchestrator.timing import deadline
from tests.model.exploration import Exploration, Found
from tests.model.worlds import Bounds

LOCK_ENDS = ["26 s pass"] * 3


def explore(bounds: Bounds, *, has_token: bool = False, go_on: bool = False) -> Found:
    found = Exploration(has_token=has_token).explore(bounds, go_on=go_on)
    print(f"{'CodeBuild' if has_token else 'Jenkins'}, {bounds}: {found.states:,} states, {found.violations} wrong")
    return found


@pytest.mark.parametrize("has_token", [True, False], ids=["CodeBuild", "Jenkins"])
@pytest.mark.parametrize(
    "bounds",
    [Bounds(kills=1, closes=1), Bounds(lost=1), Bounds(late=1), Bounds(refused=1), Bounds(closes=1, months=1)],
    ids=str,
)
def test_an_event_starts_one_run_despite_faults(bounds: Bounds, has_token: bool) -> None:
    found = explore(bounds, has_token=has_token)

    assert (found.violation, found.trace) == (None, [])


def test_only_a_pause_between_check_and_send_starts_a_second_run_on_jenkins() -> None:
    found = explore(Bounds(pauses=1), go_on=True)

    assert found.violations > 0
    assert explore(Bounds(), go_on=True).violations == 0
    assert (found.violation, found.trace) == (
        "two runs",
        [
            "A: claim: done",
            "A pauses between check and send",
            *LOCK_ENDS,
            "B: claim: done",
            "B: search: done",
            "A: send: done",
            "B: send: done",
        ],
    )


# Defects are found


def assert_found(bounds: Bounds, violation: str, trace: list[str], *, has_token: bool = False) -> None:
    found = explore(bounds, has_token=has_token)

    assert (found.violation, found.trace) == (violation, trace)


def test_a_send_without_a_check_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(failure: str, *, ambiguous: bool = False) -> None: ...

    monkeypatch.setattr(deadline, "require", accept)

    assert_found(
        Bounds(),
        "two runs",
        ["A: claim: done", *LOCK_ENDS, "B: claim: done", "B: search: done", "A: send: done", "B: send: done"],
    )


@pytest.mark.parametrize("has_token", [True, False], ids=["CodeBuild", "Jenkins"])
def test_a_take_over_without_a_search_is_found(monkeypatch: pytest.MonkeyPatch, has_token: bool) -> None:
    class FirstClaim(Claim):
        def __init__(self, **_: Any) -> None:
            super().__init__()

    monkeypatch.setattr(ledger, "Claim", FirstClaim)

    assert_found(
        Bounds(),
        "the event comes again after all locks: 2 runs",
        ["A: claim: done", "A: send: done"],
        has_token=has_token,
    )


def test_a_take_over_before_the_end_of_the_lock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_claimed(record: Record, owner: str) -> bool:
        return record.state == "claimed"

    monkeypatch.setattr(Record, "may_be_claimed", is_claimed)

    assert_found(
        Bounds(),
        "two runs",
        ["A: claim: done", "B: claim: done", "B: search: done", "A: send: done", "B: send: done"],
    )


def test_a_claim_that_is_taken_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK repeats a claim after two locks have ended, and another delivery acted between them."""

    def is_free(record: Record, owner: str) -> bool:
        is_over = record.locked_until < latest_free_lock()
        return record.state == "claimed" and (record.owner == owner or is_over)

    monkeypatch.setattr(Record, "may_be_claimed", is_free)

    assert_found(
        Bounds(lost=1),
        "the event comes again after all locks: 2 runs",
        [
            "A: claim: done, its answer is lost",
            *LOCK_ENDS,
            "B: claim: done",
            "B: search: done",
            "B: send: done",
            *LOCK_ENDS,
            "A: claim: done",
            "A: check: too late",
            "A: release: done; A fails",
        ],
    )


def test_a_release_by_a_delivery_that_is_not_the_owner_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def release(memory_ledger: MemoryRecords, action_id: str, owner: str) -> None:
        memory_ledger._records.pop(action_id, None)

    monkeypatch.setattr(MemoryRecords, "release", release)

    assert_found(
        Bounds(),
        "the event comes again after all locks: 2 runs",
        [
            "A: claim: done",
            *LOCK_ENDS[:2],
            "A: check: too late",
            *LOCK_ENDS[2:],
            "B: claim: done",
            "A: release: done; A fails",
            "B: search: done",
            "B: send: done",
        ],
    )


def test_a_release_in_doubt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_certain(error: BaseException) -> bool:
        return True

    monkeypatch.setattr(ledger, "is_certain", is_certain)

    assert_found(
        Bounds(late=1),
        "the event comes again after all locks: 2 runs",
        [
            "A: claim: done",
            "A: send: without an answer, done later",
            "A: search: done",
            "A: release: done; A fails",
            "late send: done",
        ],
    )


def test_a_claim_that_is_never_free_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_own(record: Record, owner: str) -> bool:
        return record.state == "claimed" and record.owner == owner

    monkeypatch.setattr(Record, "may_be_claimed", is_own)

    assert_found(Bounds(), "the event comes again after all locks and fails", ["A: claim: done"])
