"""What became of an action: an entry of the handler's JSON answer."""

from collections.abc import Mapping
from typing import TypedDict


class Outcome(TypedDict, total=False):
    """One performed action.

    Attributes:
        action: The action's kind, for example `StartJob`.
        status: What happened: `started`, `published`, `sent`, `updated`, each also with `already` before it,
            `saved`, `refused`, `swept`, `skipped` (nothing was done, and what follows goes on), `superseded` (nothing
            was done, nor is what follows), or `ignored`.
        builder: Build system of a job.
        name: The job's name, the tenant's id of a record, the published event's type, or a callback's host (the
            tenant's id where it was not sent).
        id: The build system's name for the run, or the published event's id.
        link: Where a person can look at the run.
        buildNumber: Number of a Jenkins build, where it is known already.
        buildLink: Where a person can look at that build.
        checked: How many open jobs a sweep asked after.
        reported: How many of them it reported.
        reason: Why an action was skipped, superseded or ignored, or counts as sent already; of a published failure, its
            text.
        error: Name of a published failure's error.
        answer: What a callback keeps of its answer, by name. It may be personal: it is stored with the action's
            record, and is in no log and no answer of the handler.
    """

    action: str
    status: str
    builder: str
    name: str
    id: str
    link: str
    buildNumber: int
    buildLink: str
    checked: int
    reported: int
    reason: str
    error: str
    answer: Mapping[str, str | int]


def repeated(outcome: Outcome) -> Outcome:
    """Say of an outcome that it is an earlier delivery's.

    Args:
        outcome: What came of the action then.

    Returns:
        The same with a status such as `already started`.
    """
    status = outcome["status"]
    return outcome if status.startswith("already ") else {**outcome, "status": f"already {status}"}
